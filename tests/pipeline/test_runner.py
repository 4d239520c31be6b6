from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dask
import daskcluster
import pytest
import rasterio
import yaml
from distributed import Client
from support import (
    Phusa,
    count_running,
    environment_of_worker,
    halve,
    resources_of_worker,
    running,
    whoami,
)

from pipeline import runner
from pipeline.demo import Demo
from pipeline.errors import InputError, PhusaError
from pipeline.scenes import Scene, Scenes

SECRETS = {
    "PHUSA_DSN": "postgresql://u:secret@127.0.0.1/x", "PGPASSWORD": "secret", "AWS_SECRET_ACCESS_KEY": "key",
    "AWS_REGION": "us-west-2",
}  # fmt: skip


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Dask scheduler with two workers, which were started with credentials."""
    with daskcluster.start(tmp_path_factory.mktemp("dask"), 2, SECRETS) as cluster:
        yield cluster.address


@pytest.fixture(scope="module")
def processes() -> Iterator[Client]:
    """Spawned workers of a driver that has credentials, for images in no bucket."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        with runner.cluster("processes", keys=False) as client:
            yield client


@pytest.fixture(params=["threads", "processes", "tcp"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    if request.param == "processes":
        yield request.getfixturevalue("processes")
        return
    where = request.getfixturevalue("scheduler") if request.param == "tcp" else "threads"
    with runner.cluster(where) as made:
        yield made


def test_a_failed_task_is_a_value_and_the_rest_go_on(client: Client) -> None:
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
def test_a_scheduler_that_is_none_is_told(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "CONNECT", "1s")
    with pytest.raises(InputError, match="scheduler"), runner.cluster(address):
        pass


def test_workers_of_a_cluster_drop_the_databases_credentials_as_a_driver_connects(
    scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were started with some (``scheduler``)."""
    with runner.cluster(scheduler) as client:
        for pid, environment in client.run(environment_of_worker).values():
            assert b"PGPASSWORD=secret" in Path(f"/proc/{pid}/environ").read_bytes()
            assert not [name for name in environment if name.startswith(("PHUSA_DSN", "PG"))]
            assert environment["AWS_SECRET_ACCESS_KEY"] == "key"


def test_spawned_workers_hold_no_credentials_but_the_images_also_when_they_start_again(
    processes: Client,
) -> None:
    seen = dict(processes.run(environment_of_worker).values())
    assert len(seen) == len(processes.ncores())
    os.kill(next(iter(seen)), signal.SIGKILL)
    assert all(runner.execute(processes, whoami, range(5)))
    end = time.monotonic() + 60
    while not (again := dict(processes.run(environment_of_worker).values())).keys() - seen.keys():
        assert time.monotonic() < end
        time.sleep(0.1)
    for pid, environment in (*seen.items(), *again.items()):
        assert pid != os.getpid()
        assert not [n for n in environment if n in SECRETS and n != "AWS_REGION"]
        assert environment["AWS_REGION"] == "us-west-2"
    for pid in again:
        assert b"secret" not in Path(f"/proc/{pid}/environ").read_bytes()
        assert b"key" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_keys_of_buckets_pass_where_images_lie_in_some_and_the_drivers_own_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    with runner._without_credentials(keys=True):
        assert {n for n in SECRETS if n in os.environ} == {"AWS_REGION", "AWS_SECRET_ACCESS_KEY"}
    with runner._without_credentials(keys=False):
        assert {n for n in SECRETS if n in os.environ} == {"AWS_REGION"}
    assert {n: os.environ[n] for n in SECRETS} == SECRETS
    here = Scene(
        "s", "sentinel-2-l2a", "c", "2025-01-01T03:00:00Z", "POINT (0 0)", (("red", "https://x/y"),), None
    )
    there = replace(here, alternates=(replace(here, assets=(("red", "s3://eodata/y"),)),))
    assert not Scenes("s", {}, (here,), ()).in_buckets
    assert Scenes("s", {}, (here, there), ()).in_buckets


def test_blocks_in_flight_are_bounded_by_memory(scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with runner.cluster("threads") as client:
        # Now and then the client keeps the scheduler's totals without its workers.
        monkeypatch.setattr(client, "scheduler_info", lambda **_: {"workers": {}})
        (worker,) = runner.workers(client)
        have, cores = worker["resources"][runner.MEMORY], worker["nthreads"]
        assert runner.slots(client, 0) == cores
        assert runner.slots(client, have * 0.9) == 1
        with pytest.raises(InputError, match=r"a block may need .* GB and a worker has .* GB.*block_px"):
            runner.slots(client, have * 1.1)
    with runner.cluster(scheduler) as client:
        rooms = [w["resources"][runner.MEMORY] for w in runner.workers(client)]
        assert len(rooms) == 2
        assert runner.slots(client, max(rooms)) >= 1
        with pytest.raises(InputError, match=r"lower region\.grid\.block_px"):
            runner.slots(client, 1.1 * max(rooms))


def test_no_more_run_at_a_time_than_the_scheduler_may_place() -> None:
    with runner.cluster("threads") as client:
        (worker,) = runner.workers(client)
        have = worker["resources"][runner.MEMORY]
        running.clear()
        flow: runner.Flow[int, int] = runner.Flow(client, lambda: 8)
        for k in range(6):
            flow.add(runner.Call(k, count_running, (), peak_bytes=0.6 * have))
        assert {o.result for o in flow} == {1}


def test_a_flow_that_stops_ends_what_is_in_flight() -> None:
    with runner.cluster("threads") as client:
        flow: runner.Flow[int, int] = runner.Flow(client, lambda: 2)
        for k in range(10):
            flow.add(runner.Call(k, whoami))
        done = []
        for outcome in flow:
            done.append(outcome.task)
            if len(done) == 3:
                left = flow.stop()
        assert sorted(done + [call.task for call in left]) == list(range(10))
        assert 3 <= len(done) <= 5


def test_workers_that_are_gone_are_told_and_waited_for_and_new_ones_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newcomer knows its memory, and holds none of it for tasks of the dead; then the scheduler dies."""
    monkeypatch.setattr(runner, "LOOK_S", 0.2)
    peak, told, said = 1e9, [], []
    monkeypatch.setattr(runner.log, "warning", lambda text, *values: said.append(text % values))
    with daskcluster.start(tmp_path, 1) as made, runner.cluster(made.address) as client:
        flow: runner.Flow[int, int] = runner.Flow(client, lambda: 4, told.append)
        for task in range(5):
            flow.add(runner.Call(task, whoami, (), peak))
        outcomes = iter(flow)
        first = next(outcomes)
        made.processes[1].kill()
        begun = threading.Timer(1, made.worker)
        begun.start()
        rest = list(outcomes)
        assert sorted(o.task for o in [first, *rest]) == list(range(5))
        assert all(rest)
        assert first.result == made.processes[1].pid
        assert rest[-1].result == made.processes[2].pid
        assert told == [0, 1]
        assert said[-2:] == [
            "no worker is left that could go on; waiting up to 600 s for one", "workers are there again: 1"
        ]  # fmt: skip
        (seen,) = runner.workers(client)
        assert seen["resources"] == {runner.MEMORY: runner.USABLE * 2e9}
        (own,) = client.run(resources_of_worker).values()
        assert own == [seen["resources"], seen["resources"]]

        endless: runner.Flow[int, int] = runner.Flow(client, lambda: runner.flight(client, peak))
        for task in range(1000):
            endless.add(runner.Call(task, whoami, (), peak))
        outcomes = iter(endless)
        assert next(outcomes).result == made.processes[2].pid
        assert endless.limit == runner.AHEAD
        made.worker()
        while next(outcomes).result != made.processes[3].pid:  # who joins gets work
            assert made.processes[3].poll() is None
        while endless.limit < 2 * runner.AHEAD:  # workers are counted a moment later; it ends with the tasks
            next(outcomes)
        made.processes[0].kill()
        with pytest.raises(PhusaError, match=r"scheduler is gone.*run the same command again"):
            list(outcomes)


def test_workers_that_do_not_come_back_end_the_run(
    tmp_path: Path, phusa: Phusa, demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LOOK_S", 0.1)
    with daskcluster.start(tmp_path, 0) as made:
        answer = phusa("features", demo.config, "--season", demo.season, "--out", tmp_path / "f", "--scheduler",
                       made.address, "--wait-for-workers", "200ms", "--json")  # fmt: skip
        assert answer.code == 1
        assert "has had no worker for 0 s" in answer.json["error"]
        made.worker()
        with dask.config.set({runner.WAIT: "30s"}), runner.cluster(made.address) as client:
            outcomes = runner.execute(client, whoami, range(1000))
            next(outcomes)
            made.processes[1].kill()
            with (
                dask.config.set({runner.WAIT: "1s"}),
                pytest.raises(PhusaError, match=r"no worker.*run the same"),
            ):
                list(outcomes)


@pytest.mark.parametrize("wait", ["soon", "ten", "5 parsecs"])
def test_a_wait_that_is_no_time_is_refused(wait: str, phusa: Phusa) -> None:
    answer = phusa("run", "x.yaml", "--season", "s", "--wait-for-workers", wait)
    assert (answer.code, "as 90s, 10m or 24h" in answer.err) == (2, True)


def test_threads_processes_and_a_cluster_make_the_same_bytes(
    demo: Demo, scheduler: str, phusa: Phusa, tmp_path: Path
) -> None:
    content = yaml.safe_load(demo.config.read_text(encoding="utf-8"))
    content |= {
        "features": ["ndvi_p10", "vv_mean", "slope"],
        "targets": [],
        "samples": [],
        "evaluate_on": None,
    }
    demo.config.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")
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
