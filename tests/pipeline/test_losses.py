"""Lost reads and failed blocks: told, bounded, mended by a later run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chain import archive, run, trained
from support import Phusa

from pipeline.demo import Demo


def test_loss_beyond_the_limit_publishes_nothing(small: Demo, phusa: Phusa, tmp_path: Path) -> None:
    bundles = trained(phusa, small, tmp_path)
    for path in archive(small, "S2A*/nir.tif")[:6]:
        path.write_bytes(b"II*\0broken")
    for command in ("map", "run"):
        answer = run(phusa, small, *bundles, command=command)
        assert answer.code == 4
        assert "max_loss_percent is 5" in answer.json["error"]
        assert "nir" in answer.err
    out = tmp_path / "features"
    assert run(phusa, small, "--out", out, command="features").code == 4
    # what was refused, and why, is told; no pixel of it is left
    assert {p.name for p in out.rglob("*")} == {"ledger.parquet", "ledger.json"}
    assert run(phusa, small, command="publish").code == 4
    assert not (small.config.parent / "store" / "catalog.json").exists()


def test_loss_within_the_limit_is_published_and_told_and_mended_later(
    small: Demo, phusa: Phusa, tmp_path: Path
) -> None:
    bundles = trained(phusa, small, tmp_path)
    victim = archive(small, "S2A_48PXS*/nir.tif")[0]
    content = victim.read_bytes()
    victim.unlink()
    lossy = run(phusa, small, *bundles)
    assert lossy.code == 0, lossy.err
    assert 0 < lossy.json["loss_percent"] <= 5
    assert any(victim.parent.name in key for key in lossy.json["lost"])
    item = json.loads(Path(lossy.json["products"][0]).with_suffix(".json").read_text())
    assert item["properties"]["phusa:lost_reads"] > 0
    victim.write_bytes(content)
    whole = run(phusa, small, *bundles)
    assert whole.json["loss_percent"] == 0
    assert whole.json["computed"] > 0
    assert run(phusa, small, *bundles).json["computed"] == 0


def test_few_lost_reads_that_take_all_ground_publish_nothing(
    small: Demo, phusa: Phusa, tmp_path: Path
) -> None:
    """One elevation model is one read of hundreds, and without it no pixel has a slope."""
    bundles = trained(phusa, small, tmp_path)
    for path in archive(small, "DEM*/data.tif"):
        path.unlink()
    for command in ("map", "run", "publish"):
        answer = run(phusa, small, *(bundles if command != "publish" else ()), command=command)
        assert answer.code == 4, answer.out
        assert "of the ground cannot be mapped" in answer.json["error"]
    assert run(phusa, small, "--out", tmp_path / "f", command="features").code == 4


def test_a_failed_block_fails_its_tile_only(
    small: Demo, phusa: Phusa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline import mapping

    bundles = trained(phusa, small, tmp_path)
    real = mapping.map_block

    def faulty(task: mapping.BlockTask, models: Any) -> mapping.BlockResult:
        if task.name.startswith("48PYS"):
            raise RuntimeError("a fault of ours")
        return real(task, models)

    with monkeypatch.context() as patch:
        patch.setattr(mapping, "map_block", faulty)
        answer = run(phusa, small, *bundles)
    assert answer.code == 1
    assert {Path(p).name for p in answer.json["products"]} == {"48PXS_salinity.tif", "48PXS_degradation.tif"}
    assert {f["tile"] for f in answer.json["failed"]} == {"48PYS"}
    status = phusa("status", small.config, "--json").json["seasons"][small.season]
    assert [f["product"] for f in status["failed"]] == ["48PYS_salinity", "48PYS_degradation"]
    assert "a fault of ours" in status["failed"][0]["error"]
    assert run(phusa, small, command="publish").code == 1
    rest = run(phusa, small, *bundles)
    assert (rest.code, rest.json["computed"], rest.json["skipped"]) == (0, 2, 2)
