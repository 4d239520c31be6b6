from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import rasterio
from support import (
    Phusa,
    count_running,
    environment_of_worker,
    free_port,
    halve,
    running,
    wait_for_port,
    whoami,
)

from pipeline import runner
from pipeline.demo import Demo
from pipeline.errors import InputError, PhusaError


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
    wait_for_port(port)
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


def test_workers_hold_no_credentials_of_the_database(scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHUSA_DSN", "postgresql://u:secret@127.0.0.1/x")
    monkeypatch.setenv("PGPASSWORD", "secret")
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    for where in ("processes", scheduler):
        with runner.cluster(where) as client:
            for pid, environment in client.run(environment_of_worker).values():
                assert pid != os.getpid()
                assert not [name for name in environment if name.startswith(("PHUSA_DSN", "PG"))]
                if where == "processes":
                    assert environment["AWS_REGION"] == "us-west-2"
                    assert b"secret" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert os.environ["PGPASSWORD"] == "secret"  # the driver's own come back
    assert os.environ["PHUSA_DSN"]


def test_a_worker_that_starts_again_holds_none_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHUSA_DSN", "postgresql://u:secret@127.0.0.1/x")
    with runner.cluster("processes") as client:
        first = {pid for pid, _ in client.run(environment_of_worker).values()}
        os.kill(next(iter(first)), signal.SIGKILL)
        assert all(runner.execute(client, whoami, range(5)))
        end = time.monotonic() + 60
        now = client.run(environment_of_worker).values()
        while {pid for pid, _ in now} <= first:
            assert time.monotonic() < end
            time.sleep(0.2)
            now = client.run(environment_of_worker).values()
        assert all("PHUSA_DSN" not in environment for _, environment in now)


def test_blocks_in_flight_are_bounded_by_memory(scheduler: str) -> None:
    with runner.cluster("threads") as client:
        (worker,) = client.scheduler_info()["workers"].values()
        have, cores = worker["resources"][runner.MEMORY], worker["nthreads"]
        assert runner.slots(client, 0) == cores
        assert runner.slots(client, have * 0.9) == 1
        with pytest.raises(InputError, match=r"a block may need .* GB and a worker has .* GB.*block_px"):
            runner.slots(client, have * 1.1)
    with runner.cluster(scheduler) as client:
        rooms = [w["resources"][runner.MEMORY] for w in client.scheduler_info()["workers"].values()]
        assert len(rooms) == 2
        assert runner.slots(client, max(rooms)) >= 1
        with pytest.raises(InputError, match=r"lower region\.grid\.block_px"):
            runner.slots(client, 1.1 * max(rooms))


def test_no_more_run_at_a_time_than_the_scheduler_may_place() -> None:
    with runner.cluster("threads") as client:
        (worker,) = client.scheduler_info()["workers"].values()
        have = worker["resources"][runner.MEMORY]
        running.clear()
        flow: runner.Flow[int, int] = runner.Flow(client, 8)
        for k in range(6):
            flow.add(runner.Call(k, count_running, (), peak_bytes=0.6 * have))
        assert {o.result for o in flow} == {1}


def test_a_flow_that_stops_ends_what_is_in_flight() -> None:
    with runner.cluster("threads") as client:
        flow: runner.Flow[int, int] = runner.Flow(client, 2)
        for k in range(10):
            flow.add(runner.Call(k, whoami))
        done = []
        for outcome in flow:
            done.append(outcome.task)
            if len(done) == 3:
                left = flow.stop()
        assert sorted(done + [call.task for call in left]) == list(range(10))
        assert 3 <= len(done) <= 5


def test_a_scheduler_that_dies_is_told(tmp_path: Path) -> None:
    port = free_port()
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
    work = [sys.executable, "-m", "distributed.cli.dask_worker", f"tcp://127.0.0.1:{port}", "--nthreads", "1",
            "--no-nanny", "--no-dashboard", "--local-directory", str(tmp_path)]  # fmt: skip
    env = os.environ | {
        "PYTHONPATH": f"{Path(__file__).parents[1] / 'support'}:{os.environ.get('PYTHONPATH', '')}"
    }
    processes = [
        subprocess.Popen(c, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
        for c in (start, work)
    ]
    try:
        wait_for_port(port)
        with runner.cluster(f"tcp://127.0.0.1:{port}") as client:
            outcomes = runner.execute(client, whoami, range(1000))
            next(outcomes)
            processes[0].kill()
            with pytest.raises(PhusaError, match=r"scheduler is gone.*run the same command again"):
                list(outcomes)
    finally:
        for process in processes:
            process.kill()
            process.wait(20)


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
