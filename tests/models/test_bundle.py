"""ModelBundle: to a folder and back, what is refused, and predictions against LightGBM itself."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr

from features import FeatureSpec
from models import BundleError, ModelBundle, SampleTable, Target, bundle
from models.settings import BoosterSettings
from models.train import train

SPEC = FeatureSpec.parse(["ndvi_p50", "swir16_mean", "slope"])
SMALL = BoosterSettings(trees=15, min_leaf=5, learning_rate=0.2)
CODES = (30, 10, 20, 200)  # neither 1..n nor in order


def table(n: int = 400, seed: int = 0) -> SampleTable:
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {name: rng.normal(size=n).astype(np.float32) for name in SPEC.names}
    for name in SPEC.names[:2]:  # slope is always there
        columns[name][rng.random(n) < 0.1] = np.nan
    signal = np.nan_to_num(columns["ndvi_p50"]) + rng.normal(0, 0.3, n)
    columns |= {
        "land": np.array(CODES)[np.digitize(signal, [-0.6, 0, 0.6])],
        "ece": np.exp(signal),
        "x": rng.uniform(0, 20000, n),
        "y": rng.uniform(0, 20000, n),
    }
    columns |= {
        "lon": 105.0,
        "lat": 10.0,
        "epsg": 32648,
        "group": "",
        "season": "s",
        "date": "d",
        "sample_id": "i",
    }
    return SampleTable(pd.DataFrame(columns), SPEC)


def target(kind: str) -> Target:
    plain: dict[str, Any] = {"title": {"vi": "Độ mặn của đất", "en": "Soil"}, "model": SMALL}
    if kind == "class":
        classes = [{"code": c, "name": f"c{c}", "title": plain["title"], "colour": "#000000"} for c in CODES]
        plain |= {"name": "land", "kind": "class", "classes": classes, "bad_classes": ["c200", "c10"]}
    else:
        plain |= {
            "name": "ece",
            "kind": "regression",
            "unit": "dS/m",
            "transform": kind,
            "thresholds": [0.5, 1, 2],
        }
    return Target.model_validate(plain)


KINDS = ("class", "none", "log")


@pytest.fixture(scope="module")
def trained() -> dict[str, ModelBundle]:
    return {kind: train(table(), target(kind)) for kind in KINDS}


def make_cube(shape: tuple[int, ...] = (13, 17), seed: int = 1) -> NDArray[np.float32]:
    """Partly NaN; a few pixels wholly."""
    rng = np.random.default_rng(seed)
    cube = rng.normal(size=(len(SPEC.names), *shape)).astype(np.float32)
    cube[:2][rng.random((2, *shape)) < 0.1] = np.nan
    cube[:, rng.random(shape) < 0.15] = np.nan
    return cube


def assert_same(one: dict[str, NDArray[Any]], other: dict[str, NDArray[Any]]) -> None:
    assert list(one) == list(other)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def listing(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# --- to a folder and back ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_bundle_loads_as_it_was(kind: str, trained: dict[str, ModelBundle], tmp_path: Path) -> None:
    trained[kind].save(tmp_path / "new" / "bundle")
    back = ModelBundle.load(tmp_path / "new" / "bundle")
    assert back == trained[kind]
    assert back.digest == trained[kind].digest
    assert_same(back.predict(make_cube()), trained[kind].predict(make_cube()))


def test_saving_twice_writes_the_same_bytes(trained: dict[str, ModelBundle], tmp_path: Path) -> None:
    trained["class"].save(tmp_path / "a")
    ModelBundle.load(tmp_path / "a").save(str(tmp_path / "b"))
    assert listing(tmp_path / "a") == listing(tmp_path / "b")


def test_a_bundle_is_text_and_json_only(trained: dict[str, ModelBundle], tmp_path: Path) -> None:
    trained["log"].save(tmp_path / "b")
    files = listing(tmp_path / "b")
    assert set(files) == {"bundle.json", "applicability.json", "estimate.txt", "scale.txt"}
    assert all(content.decode().isprintable() or "\n" in content.decode() for content in files.values())
    assert json.loads(files["bundle.json"])["target"]["title"]["vi"] == "Độ mặn của đất"


def test_an_older_bundle_is_replaced_whole(trained: dict[str, ModelBundle], tmp_path: Path) -> None:
    trained["log"].save(tmp_path / "b")
    trained["class"].save(tmp_path / "b")
    assert set(listing(tmp_path)) == {"b/bundle.json", "b/applicability.json", "b/class.txt"}
    assert ModelBundle.load(tmp_path / "b").digest == trained["class"].digest


def test_an_empty_folder_is_filled(trained: dict[str, ModelBundle], tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    trained["class"].save(tmp_path / "b")
    assert ModelBundle.load(tmp_path / "b").digest == trained["class"].digest


def test_a_save_that_fails_leaves_the_older_bundle(
    trained: dict[str, ModelBundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained["log"].save(tmp_path / "b")
    before, write = listing(tmp_path), Path.write_text

    def full(path: Path, *more: Any, **options: Any) -> int:
        if path.name == "bundle.json":
            raise OSError("no space left")
        return write(path, *more, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="no space"):
        trained["class"].save(tmp_path / "b")
    assert ModelBundle.load(tmp_path / "b").digest == trained["log"].digest
    assert {k: v for k, v in listing(tmp_path).items() if k.startswith("b/")} == before


def test_the_locale_does_not_change_the_bytes(trained: dict[str, ModelBundle], tmp_path: Path) -> None:
    """Titles are Vietnamese; Windows and old servers write text in other encodings unless told."""
    trained["class"].save(tmp_path / "here")
    code = f"""
        from models import ModelBundle
        ModelBundle.load({str(tmp_path / "here")!r}).save({str(tmp_path / "there")!r})
    """
    environment = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert listing(tmp_path / "there") == listing(tmp_path / "here")


# --- the digest -------------------------------------------------------------------------------


def test_the_digest_covers_all_that_a_bundle_holds(trained: dict[str, ModelBundle]) -> None:
    base = trained["class"]
    other_spec = FeatureSpec.parse(["ndvi_p50", "swir16_mean", "elevation"])
    others = [
        replace(base, boosters={"class": base.boosters["class"] + "\n"}),
        replace(base, target=base.target.model_copy(update={"bad_classes": ("c10",)})),
        replace(base, spec=other_spec),
        replace(base, card={**base.card, "samples": 1}),
        replace(base, calibration=trained["log"].calibration),
        replace(base, applicability=None),
        replace(base, applicability=trained["log"].applicability),
    ]
    assert len({b.digest for b in (base, *others)}) == 8
    assert replace(base, boosters=dict(base.boosters), card=dict(base.card)).digest == base.digest


# --- what is refused --------------------------------------------------------------------------


def refused(folder: Path, message: str) -> None:
    """Loading is refused and touches nothing."""
    before = listing(folder) if folder.is_dir() else None
    with pytest.raises(BundleError, match=message):
        ModelBundle.load(folder)
    assert before is None or listing(folder) == before


def test_a_folder_that_is_no_bundle_is_not_loaded(tmp_path: Path) -> None:
    refused(tmp_path / "absent", r"no bundle at .*absent: .*bundle\.json is missing")
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file", "is not a bundle")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.md").write_text("mine")
    refused(tmp_path / "notes", "is missing")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", "null", "{}", '{"target": 3}', '{"target": {"name": "x"}}']
)
def test_a_torn_or_foreign_json_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text(content)
    refused(tmp_path, r"bundle\.json is not a bundle")


def test_a_changed_booster_is_refused_by_name(trained: dict[str, ModelBundle], tmp_path: Path) -> None:
    trained["log"].save(tmp_path)
    path = tmp_path / "scale.txt"
    path.write_text(path.read_text().replace("leaf_value=", "leaf_value=1", 1))
    refused(tmp_path, r"scale\.txt was changed")


def test_changed_training_rows_are_refused_by_name(trained: dict[str, ModelBundle], tmp_path: Path) -> None:
    trained["log"].save(tmp_path)
    path = tmp_path / "applicability.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"threshold": content["threshold"] * 2}))
    refused(tmp_path, r"applicability\.json was changed")
    path.unlink()
    refused(tmp_path, r"applicability\.json is missing")


def test_a_bundle_of_an_older_format_says_so_and_may_be_replaced(
    trained: dict[str, ModelBundle], tmp_path: Path
) -> None:
    trained["log"].save(tmp_path / "b")
    path = tmp_path / "b" / "bundle.json"
    path.write_text(path.read_text().replace("phusa-bundle-2", "phusa-bundle-1"))
    refused(tmp_path / "b", "'phusa-bundle-1', not 'phusa-bundle-2'; train it again")
    trained["log"].save(tmp_path / "b")
    assert ModelBundle.load(tmp_path / "b") == trained["log"]


def test_a_missing_booster_is_refused_by_name(trained: dict[str, ModelBundle], tmp_path: Path) -> None:
    trained["log"].save(tmp_path)
    (tmp_path / "scale.txt").unlink()
    refused(tmp_path, r"scale\.txt is missing")


Edit = Callable[[dict[str, Any]], object]

EDITS: dict[str, Edit] = {
    "no-target": lambda c: c.pop("target"),
    "no-spec": lambda c: c.pop("spec"),
    "no-boosters": lambda c: c.pop("boosters"),
    "no-card": lambda c: c.pop("card"),
    "no-calibration": lambda c: c.pop("calibration"),
    "no-applicability": lambda c: c.pop("applicability"),
    "calibration-is-edited": lambda c: c["calibration"].update(slope=2.0),
    "calibration-of-another-kind": lambda c: c.update(calibration={"knots": [0, 1]}),
    "card-is-a-list": lambda c: c.update(card=[1]),
    "boosters-is-a-list": lambda c: c.update(boosters=["class"]),
    "boosters-is-empty": lambda c: c.update(boosters={}),
    "boosters-is-a-number": lambda c: c.update(boosters=3),
    "booster-of-another-kind": lambda c: c["target"].update(target("none").dump()),
    "unknown-key-in-target": lambda c: c["target"].update(newer=1),
    "unknown-key-in-spec": lambda c: c["spec"][0].update(newer=1),
    "hostile-formula": lambda c: c["spec"][0].update(formula="__import__('os').getcwd()"),
    "unknown-statistic": lambda c: c["spec"][0].update(statistic="p999"),
    "spec-is-empty": lambda c: c.update(spec=[]),
    "features-in-another-order": lambda c: c["spec"].reverse(),
    "one-feature-less": lambda c: c["spec"].pop(),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_bundle_json_is_refused(edit: str, trained: dict[str, ModelBundle], tmp_path: Path) -> None:
    """Each would otherwise end in a traceback or, worse, in a map that is silently wrong."""
    trained["class"].save(tmp_path)
    content = json.loads((tmp_path / "bundle.json").read_text())
    EDITS[edit](content)
    (tmp_path / "bundle.json").write_text(json.dumps(content))
    refused(tmp_path, ".")


def test_a_booster_outside_the_folder_is_not_read(trained: dict[str, ModelBundle], tmp_path: Path) -> None:
    folder = tmp_path / "b"
    trained["class"].save(folder)
    text = (folder / "class.txt").read_text()
    (tmp_path / "class.txt").write_text(text)
    (folder / "class.txt").unlink()
    content = json.loads((folder / "bundle.json").read_text())
    content["boosters"] = {"../class": hashlib.sha256(text.encode()).hexdigest()}
    (folder / "bundle.json").write_text(json.dumps(content))
    refused(folder, "missing")


def _notes(folder: Path) -> None:
    (folder / "notes.md").write_text("mine")


def _foreign(folder: Path) -> None:
    """The bundle.json of some other program, beside its data."""
    (folder / "bundle.json").write_text('{"entry": "main.js"}')
    (folder / "main.js").write_text("mine")


def _sub(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "samples.csv").write_text("mine")


@pytest.mark.parametrize("fill", [_notes, _foreign, _sub])
def test_a_folder_that_is_no_bundle_is_never_overwritten(
    fill: Callable[[Path], None], trained: dict[str, ModelBundle], tmp_path: Path
) -> None:
    folder = tmp_path / "b"
    folder.mkdir()
    fill(folder)
    before = listing(tmp_path)
    with pytest.raises(BundleError, match="not a bundle"):
        trained["class"].save(folder)
    assert listing(tmp_path) == before


def test_a_file_is_never_overwritten(trained: dict[str, ModelBundle], tmp_path: Path) -> None:
    (tmp_path / "b").write_text("mine")
    with pytest.raises((BundleError, OSError)):
        trained["class"].save(tmp_path / "b")
    assert listing(tmp_path) == {"b": b"mine"}


# --- predictions ------------------------------------------------------------------------------


def raw(found: ModelBundle, name: str, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(lightgbm.Booster(model_str=found.boosters[name]).predict(rows, num_threads=1))


def rows_of(cube: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    pixels = cube.reshape(len(cube), -1).T
    seen = ~np.isnan(pixels).all(axis=1)
    return np.ascontiguousarray(pixels[seen]), seen.reshape(cube.shape[1:])


def test_class_layers_are_those_of_lightgbm_calibrated(trained: dict[str, ModelBundle]) -> None:
    cube = make_cube()
    rows, seen = rows_of(cube)
    found = trained["class"].predict(cube)
    said = raw(trained["class"], "class", rows)[:, np.searchsorted(np.sort(CODES), CODES)]
    cut = trained["class"].calibration
    above = np.stack([said[:, k:].sum(axis=1) for k in (1, 2, 3)], axis=1)
    above = 1 / (1 + np.exp(-(cut.slope * np.log(above / (1 - above)) + np.array(cut.shift))))
    above = np.minimum.accumulate(above, axis=1)
    chance = np.stack(
        [1 - above[:, 0], above[:, 0] - above[:, 1], above[:, 1] - above[:, 2], above[:, 2]], axis=1
    )
    names = ["class", "risk", "p_c30", "p_c10", "p_c20", "p_c200", "applicability"]
    assert list(found) == names
    np.testing.assert_array_equal(found["class"][seen], np.array(CODES)[chance.argmax(axis=1)])
    for column, code in enumerate(CODES):
        np.testing.assert_allclose(found[f"p_c{code}"][seen], chance[:, column], atol=1e-5)


def test_probabilities_sum_to_one_and_risk_is_that_of_the_bad_classes(
    trained: dict[str, ModelBundle],
) -> None:
    cube = make_cube((40, 60))
    found, (_, seen) = trained["class"].predict(cube), rows_of(cube)
    layers = {name: values[seen].astype(np.float64) for name, values in found.items()}
    probabilities = np.stack([layers[f"p_c{c}"] for c in CODES])
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_allclose(layers["risk"], layers["p_c200"] + layers["p_c10"], atol=1e-6)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert ((layers["risk"] >= 0) & (layers["risk"] <= 1)).all()
    winner = np.array(CODES)[probabilities.argmax(axis=0)]
    np.testing.assert_array_equal(layers["class"], winner)


@pytest.mark.parametrize("kind", ["none", "log"])
def test_quantity_layers_are_read_from_one_distribution(kind: str, trained: dict[str, ModelBundle]) -> None:
    cube = make_cube((40, 60))
    rows, seen = rows_of(cube)
    found = trained[kind].predict(cube)
    assert list(found) == ["estimate", "lower", "upper", "p0.5", "p1", "p2", "applicability"]
    calibration = trained[kind].calibration
    location, scale = (raw(trained[kind], n, rows) for n in ("estimate", "scale"))
    spread = np.exp((calibration.base + scale) / 2)
    back, forth = (np.exp, np.log) if kind == "log" else (np.asarray, np.asarray)
    for layer, score in (("estimate", 0), ("lower", -1.6448536), ("upper", 1.6448536)):
        knot = np.interp(score, np.arange(-30, 31) / 10, calibration.knots)
        np.testing.assert_allclose(found[layer][seen], back(location + spread * knot), rtol=1e-5, atol=1e-6)
    assert (found["lower"][seen] <= found["estimate"][seen]).all()
    assert (found["estimate"][seen] <= found["upper"][seen]).all()
    assert (np.diff([found[f"p{t}"][seen] for t in ("0.5", "1", "2")], axis=0) <= 0).all()
    certain = found["lower"][seen] > 1
    assert (found["p1"][seen][certain] >= 0.95 - 1e-6).all() and certain.any()
    e = (forth(1.0) - location) / spread
    inner = np.abs(e) < 2
    expected = 1 - ndtr(np.interp(e, calibration.knots, np.arange(-30, 31) / 10))
    np.testing.assert_allclose(found["p1"][seen][inner], expected[inner], atol=1e-6)


def test_means_and_other_levels_are_read_from_the_same_distribution(trained: dict[str, ModelBundle]) -> None:
    rows, _ = rows_of(make_cube())
    rows[3] = np.nan
    found, layers = trained["log"].distribution(rows), trained["log"].predict_rows(rows)
    np.testing.assert_array_equal(found.median.astype(np.float32), layers["estimate"])
    np.testing.assert_array_equal(found.interval(0.9)[0].astype(np.float32), layers["lower"])
    known = np.arange(len(rows)) != 3
    assert np.isnan(found.mean[3]) and (found.mean > found.quantile(0.05))[known].all()
    with pytest.raises(ValueError, match="of classes"):
        trained["class"].distribution(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_applicability_is_that_of_the_features_that_training_always_had(
    kind: str, trained: dict[str, ModelBundle]
) -> None:
    rows, _ = rows_of(make_cube())
    rows[:20, 2] += 1000
    bundle = trained[kind]
    assert bundle.applicability is not None and bundle.applicability.used == (2,)
    near = np.abs(rows[:, 2:] - table().X[:, 2]).min(axis=1)
    layer = bundle.predict_rows(rows)["applicability"]
    reach = bundle.applicability.threshold * bundle.applicability.scale / bundle.applicability.factor[0]
    clear = np.abs(near - reach) > 1e-6
    np.testing.assert_array_equal(layer[clear], (near < reach)[clear].astype(np.float32))
    assert (layer[:20] == 0).all() and layer[20:].mean() > 0.8
    assert np.isnan(replace(bundle, applicability=None).predict_rows(rows)["applicability"]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_pixel_without_any_feature_is_nan_in_every_layer_and_no_other_is(
    kind: str, trained: dict[str, ModelBundle]
) -> None:
    cube = make_cube()
    _, seen = rows_of(cube)
    assert 0 < seen.sum() < seen.size
    for name, values in trained[kind].predict(cube).items():
        assert values.shape == (13, 17) and values.dtype == np.float32
        np.testing.assert_array_equal(np.isnan(values), ~seen, err_msg=name)


@pytest.mark.parametrize("pixels", [1, 17, 18, 40, 100, 10**9])
@pytest.mark.parametrize("kind", KINDS)
def test_strips_of_any_size_give_the_same_bits(
    pixels: int, kind: str, trained: dict[str, ModelBundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    cube = make_cube()
    whole = trained[kind].predict(cube)
    monkeypatch.setattr(bundle, "STRIP_PIXELS", pixels)
    assert_same(trained[kind].predict(cube), whole)


def test_a_cube_that_is_all_nan_is_predicted_as_nan(trained: dict[str, ModelBundle]) -> None:
    for kind in KINDS:
        found = trained[kind].predict(np.full((3, 4, 5), np.nan, np.float32))
        assert all(np.isnan(values).all() for values in found.values())


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0), (1, 1)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_cube_of_any_size_has_layers_of_that_size(
    shape: tuple[int, int], kind: str, trained: dict[str, ModelBundle]
) -> None:
    found = trained[kind].predict(np.zeros((3, *shape), np.float32))
    assert list(found) == list(trained[kind].target.layers)
    assert all(v.shape == shape and v.dtype == np.float32 for v in found.values())


def test_rows_of_any_number_are_predicted(trained: dict[str, ModelBundle]) -> None:
    for kind in KINDS:
        found = trained[kind].predict_rows(np.empty((0, 3), np.float32))
        assert set(found) == set(trained[kind].target.layers)
        assert all(v.shape == (0,) and v.dtype == np.float32 for v in found.values())


@pytest.mark.parametrize("kind", KINDS)
def test_out_is_filled_whole_and_returned(kind: str, trained: dict[str, ModelBundle]) -> None:
    out = {name: np.full((13, 17), 777, np.float32) for name in trained[kind].target.layers}
    for seed in (1, 2):
        cube = make_cube(seed=seed)
        found = trained[kind].predict(cube, out=out)
        assert found is out
        assert_same(found, trained[kind].predict(cube))


def test_a_cube_of_any_layout_gives_the_same_bits(trained: dict[str, ModelBundle]) -> None:
    cube = make_cube()
    strided = np.repeat(np.repeat(cube, 2, axis=2), 3, axis=1)[:, ::3, ::2]
    pixel_first = np.moveaxis(np.ascontiguousarray(np.moveaxis(cube, 0, -1)), -1, 0)
    read_only = cube.copy()
    read_only.flags.writeable = False
    for other in (strided, pixel_first, read_only):
        assert_same(trained["class"].predict(other), trained["class"].predict(cube))


def test_predicting_leaves_the_cube_as_it_was(trained: dict[str, ModelBundle]) -> None:
    cube = make_cube()
    before = cube.copy()
    for kind in KINDS:
        trained[kind].predict(cube)
    np.testing.assert_array_equal(cube, before)


@pytest.mark.parametrize("shape", [(2, 4, 5), (4, 4, 5), (3, 20), (3, 4, 5, 1), (4, 5, 3)])
def test_a_cube_that_does_not_fit_the_spec_is_refused(
    shape: tuple[int, ...], trained: dict[str, ModelBundle]
) -> None:
    with pytest.raises(ValueError, match=r"expected \(3, y, x\)"):
        trained["class"].predict(np.zeros(shape, np.float32))


def test_threads_predict_what_one_thread_does(trained: dict[str, ModelBundle]) -> None:
    fresh = replace(trained["log"])
    cubes = [make_cube((30, 20 + k), seed=k) for k in range(12)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(fresh.predict, cubes))
    for cube, found in zip(cubes, together, strict=True):
        assert_same(found, trained["log"].predict(cube))


def test_a_gap_that_training_never_saw_is_unknown_and_never_zero() -> None:
    """LightGBM predicts NaN as 0 where a feature was whole in training."""
    rows = table(120)
    rows = SampleTable(rows.frame.fillna(dict.fromkeys(rows.spec.names, 0.5)), rows.spec)
    bundle = train(rows, target("none"))
    cube = np.ascontiguousarray(rows.X[:6].T.reshape(-1, 2, 3))
    whole = bundle.predict(cube)["estimate"]
    cube[1, 0, 1] = np.nan
    gap = bundle.predict(cube)["estimate"]
    assert np.isnan(gap[0, 1])
    assert np.array_equal(np.delete(gap.ravel(), 1), np.delete(whole.ravel(), 1))

    frame = rows.frame.copy()
    frame.loc[::3, rows.spec.names[1]] = np.nan
    used_to_gaps = train(SampleTable(frame, rows.spec), target("none"))
    assert used_to_gaps.card["features_with_gaps"] == [rows.spec.names[1]]
    assert not np.isnan(used_to_gaps.predict(cube)["estimate"]).any()


# --- the forests behind it --------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_boosters_predict_has_the_bits_of_lightgbm(
    kind: str, trained: dict[str, ModelBundle]
) -> None:
    rows, _ = rows_of(make_cube((40, 60)))
    for name, found in zip(trained[kind].target.boosters, trained[kind]._raw(rows), strict=True):
        np.testing.assert_array_equal(found.view(np.int64), raw(trained[kind], name, rows).view(np.int64))


@pytest.mark.parametrize(
    ("kind", "name", "pattern", "other"),
    [
        ("none", "estimate", "objective=regression", "objective=regression sqrt"),
        ("none", "estimate", "objective=regression", "objective=poisson"),
        ("none", "estimate", "objective=regression", "average_output\nobjective=regression"),
        ("class", "class", "objective=multiclass", "objective=multiclassova"),
    ],
)
def test_a_booster_of_another_objective_is_not_predicted_wrongly(
    kind: str, name: str, pattern: str, other: str, trained: dict[str, ModelBundle]
) -> None:
    base = trained[kind]
    text = base.boosters[name].replace(pattern, other, 1)
    assert text != base.boosters[name]
    found = replace(base, boosters={**base.boosters, name: text})
    with pytest.raises(BundleError, match=f"booster '{name}' has objective"):
        found.predict(make_cube())


def test_a_bundle_predicts_the_same_in_another_process(trained: dict[str, ModelBundle]) -> None:
    for kind in KINDS:
        before = trained[kind].predict(make_cube())
        assert_same(pickle.loads(pickle.dumps(trained[kind])).predict(make_cube()), before)


# --- contributions ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_contributions_sum_to_the_raw_score(kind: str, trained: dict[str, ModelBundle]) -> None:
    rows, _ = rows_of(make_cube())
    found = trained[kind].contributions(rows)
    assert tuple(found) == trained[kind].target.boosters
    for name, values in found.items():
        booster = lightgbm.Booster(model_str=trained[kind].boosters[name])
        assert values.shape == (len(rows), *((4,) if kind == "class" else ()), len(SPEC.names) + 1)
        expected = booster.predict(rows, raw_score=True)
        np.testing.assert_allclose(values.sum(axis=-1), expected, rtol=1e-9, atol=1e-9)
        # what is expected of any row is the same for all
        assert (values[..., -1] == values[:1, ..., -1]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_contributions_of_rows_that_are_not_known_are_nan(kind: str, trained: dict[str, ModelBundle]) -> None:
    rows, _ = rows_of(make_cube())
    whole = trained[kind].contributions(rows)
    gaps = rows.copy()
    gaps[::3] = np.nan
    for name, values in trained[kind].contributions(gaps).items():
        assert np.isnan(values[::3]).all()
        np.testing.assert_array_equal(np.delete(values, np.s_[::3], 0), np.delete(whole[name], np.s_[::3], 0))
    for empty in (gaps[:1], gaps[:0]):
        for name, values in trained[kind].contributions(empty).items():
            assert values.shape == (len(empty), *whole[name].shape[1:]) and np.isnan(values).all()
