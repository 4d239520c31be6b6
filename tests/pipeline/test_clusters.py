"""A season on clusters that are not at hand: the wheel, SLURM's commands by two small programs, Kubernetes' files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from distributed.cli import dask_scheduler, dask_worker

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "configs" / "operators"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the unpacked wheel, as pip would lay it out."""
    folder = tmp_path_factory.mktemp("wheel")
    command = ["pip", "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "--quiet", "-w", str(folder)]
    told = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    (made,) = folder.glob("phusa-*.whl")
    with zipfile.ZipFile(made) as file:
        file.extractall(folder / "site")
    return folder / "site"


def python(code: str, path: Path, **more: str) -> str:
    """What a program prints that finds this wheel and no checkout."""
    environment = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "PHUSA_CACHE_DIR")}
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=path.parent,
        env=environment | {"PYTHONPATH": str(path)} | more,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    return told.stdout


def test_the_wheel_carries_all_that_the_program_reads(wheel: Path) -> None:
    """Every file of the packages, and the configs; and what reads them finds them there."""
    for name in ("pipeline", "features", "models"):
        here = {
            p.relative_to(ROOT)
            for p in (ROOT / name).rglob("*")
            if p.is_file() and "__pycache__" not in p.parts
        }
        there = {p.relative_to(wheel) for p in (wheel / name).rglob("*") if p.is_file()}
        assert here - there == set()
    configs = {
        p.relative_to(ROOT / "configs") for p in (ROOT / "configs").rglob("*") if p.suffix not in (".pyc", "")
    }
    assert {p for p in configs if not (wheel / "pipeline" / "configs" / p).is_file()} == set()
    told = python(
        """
import json
from pipeline import boundaries, config, legends, version
from importlib import import_module
from pipeline.demo import settings
from pipeline.imports import land
from pipeline.stores import schema
print(json.dumps({
    "code": version.digest(), "number": version.number(), "pipeline": config.__file__,
    "files": [str(p) for p in (config.PROVIDERS_FILE, boundaries.FOLDER, legends.LEGENDS_FOLDER, land.FILE,
                               settings.FILE, import_module("pipeline.demo.build").REGION)],
    "schema": len(schema.migrations()),
}))
""",
        wheel,
    )
    found = json.loads(told)
    assert Path(found["pipeline"]).is_relative_to(wheel)
    assert [p for p in found["files"] if not Path(p).is_relative_to(wheel) or not Path(p).exists()] == []
    from pipeline import version
    from pipeline.stores import schema

    assert found["schema"] == len(schema.migrations()) > 0
    assert found["code"] == version.digest()  # a product made there is the product made here
    assert found["number"] == "0.1.0"


SBATCH = """#!/bin/bash
# Runs a job at once, in a session of its own and with nothing of this environment, as --export=NONE says.
grep -q '^#SBATCH --export=NONE$' "${@: -1}" || exit 1
job=%(folder)s/job.$$
cp "${@: -1}" $job
setsid env -i PATH=/usr/bin:/bin HOME=%(folder)s PHUSA_CACHE_DIR=%(cache)s PYTHONPATH=%(site)s \\
  bash $job </dev/null >$job.log 2>&1 &
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/bash
for id; do kill -- -$id; done
"""
DRIVE = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("slurm", sys.argv[1])
slurm = importlib.util.module_from_spec(spec)
spec.loader.exec_module(slurm)
slurm.CORES, slurm.MEMORY = 1, "3GB"
sys.argv[1:] = sys.argv[2:]
slurm.main()
"""


def test_a_season_runs_on_slurm_from_the_wheel_to_the_same_bytes(
    wheel: Path, quick_region: Path, tmp_path: Path
) -> None:
    """SLURMCluster asks for jobs as ever; the driver and the jobs' workers have the wheel and no checkout."""
    folder, commands = tmp_path / "region", tmp_path / "bin"
    shutil.copytree(quick_region, folder, ignore=shutil.ignore_patterns("store"))
    commands.mkdir()
    own = {"folder": tmp_path, "cache": os.environ["PHUSA_CACHE_DIR"], "site": wheel}
    for name, text in (("sbatch", SBATCH % own), ("scancel", SCANCEL)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    (script,) = wheel.glob("pipeline/configs/operators/slurm.py")
    environment = {
        "PATH": f"{commands}:/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(wheel),
        "PHUSA_CACHE_DIR": os.environ["PHUSA_CACHE_DIR"], "AWS_SECRET_ACCESS_KEY": "hidden",
    }  # fmt: skip
    command = [sys.executable, "-c", DRIVE, script, folder / "demo.yaml", "2025-dry", "1", "--bundle",
               folder / "model", "--json"]  # fmt: skip
    told = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path, timeout=300
    )
    logs = "".join(p.read_text(errors="replace") for p in tmp_path.glob("job.*.log"))
    assert told.returncode == 0, told.stderr + logs
    made = json.loads(told.stdout)
    assert made["changed"]
    products = sorted(Path(p) for p in made["products"])
    assert len(products) == 2
    for product in products:
        (expected,) = (quick_region / "store" / "releases").rglob(product.name)
        assert product.read_bytes() == expected.read_bytes()
    (journal,) = (folder / "store" / "work").rglob("*.jsonl")
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    assert events[0]["threads"] == 1
    assert {e["process"].split()[1] for e in events if e["event"] == "block"}.isdisjoint(
        {str(events[0]["pid"])}
    )
    jobs = [int(p.name.partition(".")[2]) for p in tmp_path.glob("job.[0-9]*") if p.suffix != ".log"]
    assert len(jobs) == 1
    text = (tmp_path / f"job.{jobs[0]}").read_text()
    assert "hidden" not in text


def test_the_slurm_job_holds_no_credentials_and_states_its_memory() -> None:
    told = subprocess.run(
        [sys.executable, FILES / "slurm.py", "--show"], capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": "/tmp", "PHUSA_DSN": "postgresql://u:secret@x/y"},
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    script = told.stdout
    assert "secret" not in script
    assert "#SBATCH --export=NONE" in script
    assert "#SBATCH --cpus-per-task=16" in script
    assert "#SBATCH --mem=60G" in script
    assert "--nworkers 16" in script
    assert "--nthreads 1" in script
    assert "--memory-limit 3.73GiB" in script
    assert (
        "--local-directory ${TMPDIR:-/tmp}" in script
    )  # where SLURM sets none, an empty word would eat the next
    assert f"{sys.executable} -m distributed.cli.dask_worker" in script


def pods(name: str) -> dict[str, dict[str, Any]]:
    """Part -> its pod, of the objects in a file."""
    found = {}
    for thing in yaml.safe_load_all((FILES / name).read_text()):
        if thing["kind"] == "DaskCluster":
            assert thing["apiVersion"] == "kubernetes.dask.org/v1"
            found |= {part: thing["spec"][part]["spec"] for part in ("scheduler", "worker")}
            name_of, selector = thing["metadata"]["name"], thing["spec"]["scheduler"]["service"]["selector"]
            assert selector == {"dask.org/cluster-name": name_of, "dask.org/component": "scheduler"}
        elif "template" in thing.get("spec", {}):
            template = thing["spec"]["template"]
            found[template["metadata"]["labels"]["part"]] = template["spec"]
            if thing["kind"] == "Deployment":
                assert thing["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
    return found


@pytest.mark.parametrize("name", ["kubernetes.yaml", "kubernetes-operator.yaml"])
def test_pods_are_one_wheel_that_share_a_store_and_only_the_driver_gets_the_database(name: str) -> None:
    parts = {part: (spec["containers"][0], spec) for part, spec in pods(name).items()}
    assert set(parts) == {"scheduler", "worker", "driver"}
    secrets = {part: "secretKeyRef" in json.dumps(spec) for part, (_, spec) in parts.items()}
    assert secrets == {"scheduler": False, "worker": False, "driver": True}
    assert len({container["image"] for container, _ in parts.values()}) == 1
    assert all(spec["automountServiceAccountToken"] is False for _, spec in parts.values())
    mounts = {part: [m["mountPath"] for m in c.get("volumeMounts", [])] for part, (c, _) in parts.items()}
    assert mounts["worker"][0] == mounts["driver"][0]
    words = {part: c.get("command") or c["args"] for part, (c, _) in parts.items()}
    limit = words["worker"][words["worker"].index("--memory-limit") + 1]
    assert limit.replace("iB", "i") == parts["worker"][0]["resources"]["limits"]["memory"]
    for part, command in (("worker", dask_worker.main), ("scheduler", dask_scheduler.main)):
        assert words[part][:2] == ["dask", part]
        known = {
            option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        assert {word for word in words[part] if word.startswith("--")} <= known
