"""``train`` lets in what passes its gate and beats the model in use; cards, explanations and drivers from it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pystac
import pytest
import rasterio
import yaml
from pystac.extensions.mlm import MLMExtension
from rasterio.transform import rowcol
from support import Phusa

from models import ModelBundle, SampleTable
from pipeline import admission, modelcard
from pipeline.config import Config
from pipeline.demo import Demo
from pipeline.drivers import first_cell, middles
from pipeline.sampling import write_table


@pytest.fixture
def world(demo: Demo, tmp_path: Path) -> Path:
    """The demonstration's config with few trees and its usual gate, and a table that trees can learn."""
    for path in (demo.config.parent / "targets").glob("*.yaml"):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        content["model"] |= {"trees": 40, "learning_rate": 0.15, "feature_fraction": 1.0}
        content.pop("gate", None)
        path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    write_table(table(demo.config), tmp_path / "table.parquet")
    return demo.config


def table(config: Path, n: int = 200, seed: int = 0) -> SampleTable:
    """Salt and degradation where two features agree in sign, which no straight line tells."""
    spec, rng = Config.read(config).features, np.random.default_rng(seed)
    frame = pd.DataFrame({name: rng.normal(size=n).astype(np.float32) for name in spec.names})
    both = np.where((frame.ndvi_p50 > 0) == (frame.vv_mean > 0), 1.5, -1.5) + rng.normal(0, 0.2, n)
    frame = frame.assign(
        salinity=np.exp(both),
        degradation=np.clip(np.rint(both + 2.5 + 0.7 * rng.normal(size=n)), 1, 4),
        x=rng.uniform(600_000, 609_000, n), y=rng.uniform(1_100_000, 1_109_000, n), lon=106.8, lat=10.1,
        epsg=32648, group="", season="2025-dry", date="2025-03-01", sample_id=[f"S{k}" for k in range(n)],
    )  # fmt: skip
    return SampleTable(frame, spec, simulated=True)


def edit(config: Path, target: str, **changes: Any) -> None:
    path = config.parent / "targets" / f"{target}.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key, value in changes.items():
        content[key] = content.get(key, {}) | value if isinstance(value, dict) else value
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")


def train(phusa: Phusa, config: Path, folder: Path, *more: object, target: str = "salinity") -> Any:
    arguments = ("train", config, "--target", target, "--samples", folder / "table.parquet")
    return phusa(*arguments, "--out", folder / "model", "--json", *more)


def listing(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


# --- the gate ---------------------------------------------------------------------------------


def test_a_missed_gate_is_exit_3_says_the_numbers_and_writes_nothing(
    world: Path, phusa: Phusa, tmp_path: Path
) -> None:
    edit(world, "salinity", gate={"minimum": {"log_r2": 0.999}, "maximum": {"coverage": 0.1}})
    answer = train(phusa, world, tmp_path)
    assert answer.code == answer.json["exit_code"] == 3
    assert re.search(r"log_r2 of spatial folds is 0\.\d+; wanted at least 0\.999", answer.json["error"])
    assert re.search(r"coverage of spatial folds is 0\.\d+; wanted at most 0\.1", answer.json["error"])
    assert not (tmp_path / "model").exists()


def test_a_model_of_noise_is_refused(world: Path, phusa: Phusa, tmp_path: Path) -> None:
    noise = table(world)
    noise.frame["salinity"] = np.exp(np.random.default_rng(1).normal(size=len(noise)))
    write_table(noise, tmp_path / "table.parquet")
    answer = train(phusa, world, tmp_path)
    assert answer.code == 3
    assert "the mean of the samples is as good on the same spatial folds" in answer.json["error"]
    assert not (tmp_path / "model").exists()


def test_a_gate_that_makes_no_sense_is_exit_2(world: Path, phusa: Phusa, tmp_path: Path) -> None:
    for gate, fault in (
        ({"minimum": {"r3": 1}}, "r3"),
        ({"minimum": {"kappa": 0.5}}, "has no \\['kappa'\\]"),
        ({"beats": ["luck"]}, "'mean', 'linear' or 'forest'"),
    ):
        edit(world, "salinity", gate={"minimum": {}, "beats": []} | gate)
        answer = train(phusa, world, tmp_path)
        assert answer.code == 2
        assert re.search(fault, answer.json["error"]), answer.json["error"]


# --- champion and challenger ------------------------------------------------------------------


def test_the_champion_stays_until_it_is_beaten_or_forced_out(
    world: Path, phusa: Phusa, tmp_path: Path
) -> None:
    edit(world, "salinity", gate={"beats": []})
    first = train(phusa, world, tmp_path)
    assert first.code == 0, first.err
    kept = listing(tmp_path / "model")
    # The same again is the same, and no contest.
    assert train(phusa, world, tmp_path).json["digest"] == first.json["digest"]
    assert listing(tmp_path / "model") == kept

    edit(world, "salinity", model={"trees": 4, "leaves": 4, "learning_rate": 0.3})
    worse = train(phusa, world, tmp_path)
    assert worse.code == 3
    assert re.search(
        r"is not better than that in .*\(p = \d.*; it stays, unless --force", worse.json["error"]
    )
    assert listing(tmp_path / "model") == kept

    forced = train(phusa, world, tmp_path, "--force")
    assert forced.code == 0
    record = forced.json["card"]["champion"]
    assert record["forced"] and record["champion"] == first.json["digest"] and not record["better"]
    assert "forced" in [limit["id"] for limit in forced.json["card"]["limits"]]

    edit(world, "salinity", model={"trees": 40, "leaves": 15, "learning_rate": 0.15})
    better = train(phusa, world, tmp_path)
    assert better.code == 0, better.err
    assert better.json["card"]["champion"]["better"]
    again = train(phusa, world, tmp_path)
    assert again.json["digest"] == better.json["digest"]


def test_a_champion_may_be_named_and_must_be_comparable(world: Path, phusa: Phusa, tmp_path: Path) -> None:
    edit(world, "salinity", gate={"beats": []})
    assert train(phusa, world, tmp_path).code == 0
    (tmp_path / "model").rename(tmp_path / "old")
    edit(world, "salinity", model={"trees": 3, "leaves": 2})
    assert train(phusa, world, tmp_path, "--champion", tmp_path / "old").code == 3
    assert not (tmp_path / "model").exists()
    answer = train(phusa, world, tmp_path, "--champion", tmp_path / "none")
    assert (answer.code, "no bundle at" in answer.json["error"]) == (2, True)
    edit(world, "degradation", gate={"beats": []})
    other = train(phusa, world, tmp_path, "--champion", tmp_path / "old", target="degradation")
    assert other.code == 2
    assert "another kind, unit, transform or classes" in other.json["error"]


# --- the card ---------------------------------------------------------------------------------


class Page(HTMLParser):
    """Every tag is closed, and nothing is fetched."""

    VOID = frozenset({"meta", "br", "rect", "line", "circle"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [str(v) for k, v in attrs if k in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.mark.parametrize("target", ["salinity", "degradation"])
def test_the_card_is_a_page_json_and_a_stac_item(
    world: Path, phusa: Phusa, tmp_path: Path, target: str
) -> None:
    edit(world, target, gate={"beats": ["mean"]}, title={"vi": 'Độ <mặn> & "phèn"', "en": "A & B"})
    made = train(phusa, world, tmp_path, target=target)
    assert made.code == 0, made.err
    folder = tmp_path / "model"
    bundle = ModelBundle.load(folder)
    names = {f"{name}.txt" for name in bundle.boosters}
    assert set(listing(folder)) == names | {
        "bundle.json", "applicability.json", "card.html", "card.json", "item.json",
    }  # fmt: skip

    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    assert card["digest"] == bundle.digest == made.json["digest"]
    assert card["data"]["first_date"] == "2025-03-01" and card["samples"] == 200
    assert sum(d["share"] for d in card["drivers"]) == pytest.approx(1)
    assert {d["feature"] for d in card["drivers"][:2]} == {"ndvi_p50", "vv_mean"}
    assert card["scores"]["spatial"]["interval"][0] < card["scores"]["spatial"]["interval"][1]
    assert {"simulated", "unverified", "one-season", "outside"} <= {x["id"] for x in card["limits"]}
    assert card["digests"]["features"] == bundle.spec.digest
    assert all(p["lower"] <= p["observed"] <= p["upper"] for p in card["reliability"])

    page = Page((folder / "card.html").read_text(encoding="utf-8"))
    assert page.links == []
    text = " ".join(page.words)
    for words in ('Thẻ mô hình: Độ <mặn> & "phèn"', "Model card: A & B", "SIMULATED", "Giới hạn đã biết",
                  "ngoài vùng áp dụng", bundle.digest, "Learnt from one season"):  # fmt: skip
        assert words in text


@pytest.mark.parametrize("target", ["salinity", "degradation"])
def test_the_item_keeps_the_rules_of_the_mlm_extension(
    world: Path, phusa: Phusa, tmp_path: Path, target: str
) -> None:
    edit(world, target, gate={"beats": []})
    assert train(phusa, world, tmp_path, target=target).code == 0
    item = json.loads((tmp_path / "model" / "item.json").read_text(encoding="utf-8"))
    read = pystac.Item.from_dict(item)
    mlm = MLMExtension.ext(read)
    p = item["properties"]
    assert modelcard.MLM in item["stac_extensions"]
    # The rules of the extension's schema.
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.-]+[a-zA-Z0-9]", p["mlm:name"])
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", p["mlm:framework_version"])
    assert p["mlm:tasks"] == ["regression" if target == "salinity" else "classification"]
    assert all(re.fullmatch(r"[0-9a-zA-Z_.-]+", key) for key in p["mlm:hyperparameters"])
    (given,), (taken,) = p["mlm:input"], p["mlm:output"]
    for part in (given["input"], taken["result"]):
        assert len(part["shape"]) == len(part["dim_order"]) and part["data_type"] == "float32"
        assert all(re.fullmatch(r"[a-z-_]+", name) for name in part["dim_order"])
    bundle = ModelBundle.load(tmp_path / "model")
    assert given["input"]["shape"] == [-1, len(bundle.spec.names)]
    assert taken["result"]["shape"] == [-1, len(bundle.target.layers)]
    assert {b["name"] for b in p["bands"]} == set(given["bands"]) == set(bundle.spec.bands)
    assert [c["value"] for c in taken["classification:classes"]] == [c.code for c in bundle.target.classes]
    assert any("mlm:model" in a["roles"] for a in item["assets"].values())
    assert all("mlm:artifact_type" in a for a in item["assets"].values() if "mlm:model" in a["roles"])
    assert mlm.mlm_name == p["mlm:name"]
    for asset in item["assets"].values():
        path = tmp_path / "model" / asset["href"]
        assert path.is_file()
        if "file:size" in asset:
            assert asset["file:size"] == path.stat().st_size
    assert p["mlm:total_parameters"] > 40
    assert p["start_datetime"] == "2025-03-01T00:00:00Z"


def test_a_card_says_that_its_model_may_differ_elsewhere(world: Path, phusa: Phusa, tmp_path: Path) -> None:
    edit(world, "salinity", gate={"beats": []}, tuning={"trials": 2, "time_limit_s": 600},
         model={"trees": 5}, folds={"count": 2})  # fmt: skip
    made = train(phusa, world, tmp_path)
    assert made.json["card"]["reproducible"] is False
    assert "not-reproducible" in [limit["id"] for limit in made.json["card"]["limits"]]


# --- explain and drivers ----------------------------------------------------------------------


def test_samples_and_pixels_are_explained_and_mapped(
    world: Path, demo: Demo, phusa: Phusa, tmp_path: Path
) -> None:
    edit(world, "salinity", gate={"beats": []})
    assert train(phusa, world, tmp_path).code == 0
    model = ("--target", "salinity", "--bundle", tmp_path / "model")
    said = phusa("explain", world, *model, "--samples", tmp_path / "table.parquet", "--out",
                 tmp_path / "e.csv", "--json")  # fmt: skip
    assert said.code == 0, said.err
    assert said.json["places"] == 200 and len(said.json["explained"]) == 20
    whole = pd.read_csv(tmp_path / "e.csv")
    bundle = ModelBundle.load(tmp_path / "model")
    sums = whole.groupby("sample_id").contribution.sum()
    expected = whole.groupby("sample_id").first()
    assert (expected.expected + sums).to_numpy() == pytest.approx(expected.score.to_numpy())

    drawn = phusa("drivers", world, *model, "--season", demo.season, "--out", tmp_path / "d", "--json")
    assert drawn.code == 0, drawn.err
    legend = json.loads(Path(drawn.json["legend"]).read_text(encoding="utf-8"))
    codes = {c["code"]: c["feature"] for c in legend["codes"]}
    assert list(codes.values()) == list(bundle.spec.names)
    assert sum(c["first_in"] for c in legend["codes"]) == pytest.approx(1)
    assert legend["simulated"] and legend["contribution_unit"] == "ln(dS/m)"
    seen = 0
    for path in drawn.json["files"]:
        with rasterio.open(path) as file:
            values, transform, epsg = file.read(), file.transform, file.crs.to_epsg()
            assert transform.a == 100 and file.nodata == -32768
            assert file.descriptions == ("driver1", "driver2", "driver3",
                                         "contribution1", "contribution2", "contribution3")  # fmt: skip
            assert json.loads(file.tags(1)["CLASSES"]) == {str(k): n for k, n in codes.items()}
            shown = values[0] != -32768
            sizes = np.abs(values[3:][:, shown].astype(int))
            assert (np.diff(sizes, axis=0) <= 0).all()
        cells = np.argwhere(shown)
        seen += len(cells)
        if not len(cells) or "at" in locals():
            continue
        # One cell: what the map shows there is what `explain` says of the pixel in its middle.
        row, column = cells[len(cells) // 2]
        x, y = transform * (column + 0.55, row + 0.55)
        lon, lat = _lonlat(epsg, x, y)
        at = phusa("explain", world, *model, "--at", lon, lat, "--season", demo.season, "--json")
        assert at.code == 0, at.err
        (place,) = at.json["explained"]
        assert [d["feature"] for d in place["drivers"]] == [codes[v] for v in values[:3, row, column]]
        assert [d["contribution"] for d in place["drivers"]] == pytest.approx(
            values[3:, row, column] * 0.001, abs=6e-4
        )
        assert rowcol(transform, x, y) == (row, column)
    assert seen == legend["cells"] > 20


def _lonlat(epsg: int, x: float, y: float) -> tuple[float, float]:
    from pipeline.grid import transformer

    lon, lat = transformer(epsg, 4326).transform(x, y)
    return lon, lat


def test_what_cannot_be_explained_is_exit_2(world: Path, phusa: Phusa, tmp_path: Path) -> None:
    edit(world, "salinity", gate={"beats": []})
    assert train(phusa, world, tmp_path).code == 0
    model = ("--target", "salinity", "--bundle", tmp_path / "model", "--json")
    for arguments, fault in (
        ((), "Give --samples, or --at LON LAT"),
        (("--at", 105, 10), "--at needs --season"),
        (("--at", 10, 105, "--season", "2025-dry"), "expected longitude and latitude"),
        (("--at", 20, 0, "--season", "2025-dry"), "scene"),
    ):
        answer = phusa("explain", world, *arguments, *model)
        assert answer.code == 2
        assert fault in answer.json["error"]
    wrong = phusa("explain", world, "--target", "degradation", "--bundle", tmp_path / "model",
                  "--samples", tmp_path / "table.parquet", "--json")  # fmt: skip
    assert "holds a model of 'salinity'" in wrong.json["error"]
    odd = phusa("drivers", world, *model, "--season", "2025-dry", "--out", tmp_path / "d", "--cell-m", 95)
    assert odd.code == 2 and "multiple of the map's 10 m" in odd.json["error"]


def test_cells_are_those_of_the_tile_however_it_is_cut() -> None:
    for step in (1, 3, 10):
        whole = np.arange(step // 2, 500, step)
        for size in (7, 128, 499):
            found = [
                start + k
                for start in range(0, 500, size)
                for k in middles(start, min(size, 500 - start), step)
            ]
            assert found == whole.tolist()
            assert [first_cell(f, step) for f in found] == list(range(len(whole)))


def test_a_store_model_of_another_definition_is_no_champion(world: Path, tmp_path: Path) -> None:
    config = Config.read(world)
    theme = config.target("salinity")
    assert admission.usable(tmp_path / "none", theme, config.features) is None
