"""Bad input is one message and exit 2, with nothing half written."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from chain import edit, run, trained
from support import Phusa

from pipeline.demo import Demo


def test_bad_input_is_exit_2_with_one_message_and_nothing_half_written(
    small: Demo, phusa: Phusa, tmp_path: Path
) -> None:
    config, season = small.config, ("--season", small.season)
    binary = tmp_path / "binary"
    binary.write_bytes(bytes(range(256)))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    out = tmp_path / "out"
    table = tmp_path / "good.parquet"
    assert phusa("samples", config, "--out", table).code == 0
    cases: list[tuple[str, tuple[object, ...]]] = [
        ("unknown season 'wet'; known: 2025-dry", ("scenes", config, "--season", "wet", "--out", out)),
        ("no such file", ("scenes", tmp_path / "no.yaml", *season, "--out", out)),
        ("binary file", ("scenes", binary, *season, "--out", out)),
        ("unknown target 'salt'; known: salinity, degradation", ("train", config, "--target", "salt", "--samples", table, "--out", out)),
        ("is not a sample table", ("train", config, "--target", "salinity", "--samples", binary, "--out", out)),
        ("no such sample table", ("train", config, "--target", "salinity", "--samples", tmp_path / "no", "--out", out)),
        ("holds something that is not a bundle", ("train", config, "--target", "salinity", "--samples", table, "--out", tmp_path / "full")),
        ("no bundle at", ("map", config, *season)),
        ("is not a list of scenes", ("features", config, *season, "--out", out, "--scenes", binary)),
        ("Missing option '--season'", ("map", config)),
        ("No such option", ("map", config, *season, "--colour", "red")),
        ("unknown scheduler 'dusk'", ("features", config, *season, "--out", out, "--scheduler", "dusk")),
        ("has not been mapped", ("publish", config, *season)),
        ("no such sample file", ("samples", config, tmp_path / "no.csv", "--out", out)),
        ("binary file", ("samples", config, binary, "--out", out)),
    ]  # fmt: skip
    for told, arguments in cases:
        answer = phusa(*arguments, "--json")
        assert answer.code == 2, (arguments, answer.err)
        assert told in answer.json["error"]
        assert "Traceback" not in answer.err
        assert not out.exists(), arguments
    assert (tmp_path / "full" / "thesis.txt").read_text() == "years of work"


def test_a_sample_file_with_no_usable_row_leaves_a_report_and_no_table(
    small: Demo, phusa: Phusa, tmp_path: Path
) -> None:
    samples = tmp_path / "bad.csv"
    samples.write_text("sample_id,date,lon,lat,ece\na,2025-02-01,999,10,3\nb,2025-02-01,105,10,-3\n")
    answer = phusa(
        "samples", small.config, samples, "--out", tmp_path / "t", "--report", tmp_path / "r.json", "--json"
    )
    assert answer.code == 2
    assert "no usable row: {'bad-value': 1, 'outside-globe': 1}" in answer.json["error"]
    assert not (tmp_path / "t").exists()
    assert [r["row"] for r in json.loads((tmp_path / "r.json").read_text())["refusals"]] == [2, 3]


@pytest.mark.parametrize("option", ["--budget-hours", "--budget-gb"])
@pytest.mark.parametrize("value", ["nan", "inf", "-1", "0", "soon"])
def test_a_budget_is_a_number(small: Demo, phusa: Phusa, option: str, value: str) -> None:
    assert run(phusa, small, option, value, command="map").code == 2


def test_an_area_off_the_images_names_the_place(small: Demo, phusa: Phusa, tmp_path: Path) -> None:
    content = yaml.safe_load(small.config.read_text())
    edit(small, region=content["region"] | {"area": [110.0, 10.0, 110.1, 10.1]})
    answer = run(phusa, small, "--out", tmp_path / "s.json", command="scenes")
    assert answer.code == 2
    assert "over [110.0000, 10.0000, 110.1000, 10.1000]" in answer.json["error"]
    assert not (tmp_path / "s.json").exists()


def test_a_scene_list_that_cannot_serve_is_refused(small: Demo, phusa: Phusa, tmp_path: Path) -> None:
    path = tmp_path / "scenes.json"
    assert run(phusa, small, "--out", path, command="scenes").code == 0
    good = json.loads(path.read_text())
    radar = [s for s in good["kept"] if s["sensor"] == "sentinel-1-rtc"]
    first, rest = good["kept"][0], good["kept"][1:]
    cases: list[tuple[str, dict[str, Any]]] = [
        ("no sentinel-1-rtc scene", {"kept": [s for s in good["kept"] if s not in radar]}),
        ("no dem scene", {"kept": []}),
        ("unknown sensor 'sentinel-9'", {"kept": [first | {"sensor": "sentinel-9"}, *rest]}),
        ("is not a list of scenes", {"kept": [first | {"footprint": "POLYGON(("}, *rest]}),
        ("empty footprint", {"kept": [first | {"footprint": "POLYGON EMPTY"}, *rest]}),
        ("is not a list of scenes", {"kept": [first | {"datetime": "soon"}, *rest]}),
        ("is not a list of scenes", {"kept": [first | {"assets": 5}, *rest]}),
        ("of season 'wet', not '2025-dry'", {"season": "wet"}),
        (
            "not in season '2025-dry'",
            {"kept": [*rest, good["kept"][-1] | {"id": "old", "datetime": "2020-01-01T00:00:00+00:00"}]},
        ),
        ("offset 1000000000", {"kept": [first | {"offset": 1000000000}, *rest]}),
        ("offset", {"kept": [first | {"offset": 0.5}, *rest]}),
        ("epsg", {"kept": [first | {"epsg": "32648"}, *rest]}),
        ("id", {"kept": [first | {"id": 5}, *rest]}),
        ("listed twice", {"kept": [first, first, *rest]}),
        ("provider", {"provider": None}),
    ]
    for told, change in cases:
        path.write_text(json.dumps(good | change))
        for command in ("features", "run"):
            more = ("--out", tmp_path / "f") if command == "features" else ()
            answer = run(phusa, small, "--scenes", path, *more, command=command)
            assert answer.code == 2, (change, answer.err)
            assert told in answer.json["error"]
    assert not (tmp_path / "f").exists()


def test_samples_of_an_unknown_season_are_refused(small: Demo, phusa: Phusa, tmp_path: Path) -> None:
    for season in ("nope", small.season):
        answer = phusa("samples", small.config, "--season", season, "--out", tmp_path / "t", "--json")
        assert answer.code == 2
    assert not (tmp_path / "t").exists()


def test_a_missing_catalogue_says_how_to_get_one(small: Demo, phusa: Phusa, tmp_path: Path) -> None:
    (small.config.parent / "archive" / "catalog.json").unlink()
    answer = run(phusa, small, "--out", tmp_path / "s.json", command="scenes")
    assert answer.code == 2
    assert "no catalogue at" in answer.json["error"]
    assert "earth-search" in answer.json["error"]


def test_a_changed_bundle_is_refused(small: Demo, phusa: Phusa, tmp_path: Path) -> None:
    bundles = trained(phusa, small, tmp_path)
    path = tmp_path / "salinity" / "estimate.txt"
    path.write_text(path.read_text().replace("leaf_value=", "leaf_value=9", 1))
    answer = run(phusa, small, *bundles, command="map")
    assert answer.code == 2
    assert "was changed since it was trained" in answer.json["error"]


def test_a_real_process_prints_one_object_and_exits_with_the_code(small: Demo, tmp_path: Path) -> None:
    command = [
        Path(sys.executable).parent / "phusa",
        "scenes",
        small.config,
        "--out",
        tmp_path / "s.json",
        "--json",
    ]
    good = subprocess.run([*command, "--season", small.season], capture_output=True, text=True, check=False)
    assert good.returncode == 0
    assert json.loads(good.stdout)["out"] == str(tmp_path / "s.json")
    bad = subprocess.run([*command, "--season", "x"], capture_output=True, text=True, check=False)
    assert bad.returncode == 2
    assert json.loads(bad.stdout)["exit_code"] == 2
    usage = subprocess.run(
        [*command[:1], "scenes", "--no-such-option"], capture_output=True, text=True, check=False
    )
    assert usage.returncode == 2
    assert "Traceback" not in usage.stderr


def test_a_result_that_cannot_be_written_is_told(small: Demo) -> None:
    command = [Path(sys.executable).parent / "phusa", "status", small.config]
    with Path("/dev/full").open("w") as full:
        end = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert end.returncode == 1
    assert end.stderr == "phusa: the result cannot be written: No space left on device\n"


def test_sigterm_ends_a_run_with_its_message_and_no_scratch(small: Demo) -> None:
    command = [Path(sys.executable).parent / "phusa", "run", small.config, "--season", small.season, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "map: " not in (line := process.stderr.readline()):
        assert line, "ended before it mapped"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "interrupted" in json.loads(out)["error"]
    assert not list((small.config.parent / "store" / "work").glob("*/scratch/*"))
