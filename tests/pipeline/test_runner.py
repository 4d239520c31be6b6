from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import rasterio
from support import Phusa, free_port, halve, whoami

from pipeline import runner
from pipeline.demo import Demo
from pipeline.errors import InputError


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Dask scheduler and two workers, processes of their own over TCP."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "support")}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": env}
    folder = tmp_path_factory.mktemp("dask")
    start = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-dashboard",
    ]
    work = [
        sys.executable,
        "-m",
        "distributed.cli.dask_worker",
        address,
        "--nthreads",
        "1",
        "--no-nanny",
        "--no-dashboard",
        "--local-directory",
        str(folder),
    ]
    processes = [subprocess.Popen(c, **quiet) for c in (start, work, work)]  # type: ignore[call-overload]
    yield address
    for process in processes:
        process.kill()
    for process in processes:
        process.wait(20)


@pytest.mark.parametrize("kind", ["threads", "processes", "tcp"])
def test_a_failed_task_is_a_value_and_the_rest_go_on(kind: str, request: pytest.FixtureRequest) -> None:
    where = request.getfixturevalue("scheduler") if kind == "tcp" else kind
    with runner.cluster(where) as client:
        results = {o.task: o for o in runner.execute(client, halve, range(30), 2)}
        assert {t: o.result for t, o in results.items()} == {t: t / 2 for t in range(30)}
        failed = list(runner.execute(client, halve, [1, 2], 0))
        assert [bool(o) for o in failed] == [False, False]
        assert failed[0].error == "ZeroDivisionError: division by zero"
        assert list(runner.execute(client, halve, [], 1)) == []


def test_two_worker_processes_share_the_work(scheduler: str) -> None:
    with runner.cluster(scheduler) as client:
        pids = {o.result for o in runner.execute(client, whoami, range(20))}
    assert len(pids) == 2
    assert os.getpid() not in pids


@pytest.mark.parametrize("address", ["threds", "http://127.0.0.1:80", "", "tcp://127.0.0.1:1"])
def test_a_scheduler_that_is_none_is_told(address: str) -> None:
    with pytest.raises(InputError, match="scheduler"), runner.cluster(address):
        pass


def test_threads_processes_and_a_cluster_make_the_same_bytes(
    demo: Demo, scheduler: str, phusa: Phusa, tmp_path: Path
) -> None:
    features = {}
    for where in ("threads", "processes", scheduler):
        out = tmp_path / where.replace(":", "").replace("/", "")
        answer = phusa(
            "features", demo.config, "--season", demo.season, "--out", out, "--scheduler", where, "--json"
        )
        assert answer.code == 0, answer.err
        files = [Path(f) for f in answer.json["files"]]
        assert [f.name for f in files] == ["48PXS.tif", "48PYS.tif"]
        features[where] = [f.read_bytes() for f in files]
    assert features["threads"] == features["processes"] == features[scheduler]
    with rasterio.open(files[0]) as file:
        assert file.dtypes[0] == "float32"
        assert file.descriptions[0] == "ndvi_p10"
