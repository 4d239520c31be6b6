"""One driver a season, whoever dies holding the lock."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline import driverlock
from pipeline.driverlock import HeldError, hold, holder, lock_file
from pipeline.season import Season

SEASON = Season("2025-dry", dt.date(2024, 12, 1), dt.date(2025, 4, 30))
CHILD = """
import sys, time, datetime as dt
from pathlib import Path
from pipeline.driverlock import hold
from pipeline.season import Season
season = Season("2025-dry", dt.date(2024, 12, 1), dt.date(2025, 4, 30))
with hold(Path(sys.argv[1]), season):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def child(work: Path, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(work), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_driver_is_told_who_holds_it_and_a_killed_one_is_taken_over(tmp_path: Path) -> None:
    first = child(tmp_path, 60)
    with pytest.raises(HeldError) as caught, hold(tmp_path, SEASON):
        pass
    assert f"process {first.pid} on {os.uname().nodename}, since 20" in str(caught.value)
    assert caught.value.exit_code == 1
    told = holder(tmp_path, SEASON)
    assert told is not None
    assert told.pid == first.pid
    first.kill()
    first.wait()
    assert holder(tmp_path, SEASON) is None
    with hold(tmp_path, SEASON):
        now = holder(tmp_path, SEASON)
        assert now is not None
        assert now.pid == os.getpid()
        with hold(tmp_path, SEASON):  # a driver's own step
            pass
        assert lock_file(tmp_path, SEASON).exists()
    assert not list(tmp_path.rglob("*"))


def test_another_thread_is_another_driver(tmp_path: Path) -> None:
    told: list[str] = []

    def second() -> None:
        try:
            with hold(tmp_path, SEASON):
                pass
        except HeldError as error:
            told.append(str(error))

    with hold(tmp_path, SEASON):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(told) == 1


def test_another_machines_lock_holds_while_it_is_touched(tmp_path: Path) -> None:
    path = lock_file(tmp_path, SEASON)
    path.parent.mkdir()
    other = {"host": "node7", "pid": os.getpid(), "since": "2025-01-01T00:00:00+00:00", "token": "t",
             "machine": "node7 boot pid", "started": "1"}  # fmt: skip
    path.write_text(json.dumps(other))
    with pytest.raises(HeldError, match="node7"), hold(tmp_path, SEASON):
        pass
    old = time.time() - driverlock.STALE_S - 5
    os.utime(path, (old, old))
    with hold(tmp_path, SEASON):
        pass
    assert not path.exists()


def test_a_process_number_that_was_used_again_is_not_the_holder(tmp_path: Path) -> None:
    with hold(tmp_path, SEASON):
        content = json.loads(lock_file(tmp_path, SEASON).read_text())
    path = lock_file(tmp_path, SEASON)
    path.parent.mkdir()
    path.write_text(json.dumps(content | {"started": "5"}))
    with hold(tmp_path, SEASON):
        pass


def test_of_many_that_find_a_dead_lock_one_at_a_time_takes_it(tmp_path: Path) -> None:
    dead = child(tmp_path, 60)
    dead.kill()
    dead.wait()
    inside: list[int] = []
    most: list[int] = []

    def drive() -> None:
        for _ in range(30):
            try:
                with hold(tmp_path, SEASON):
                    inside.append(1)
                    most.append(len(inside))
                    time.sleep(0.002)
                    inside.pop()
                    return
            except HeldError:
                time.sleep(0.01)

    threads = [threading.Thread(target=drive) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most
    assert set(most) == {1}


SLEEPER = """
import sys, datetime as dt
from pathlib import Path
from pipeline import driverlock
from pipeline.season import Season
season = Season("2025-dry", dt.date(2024, 12, 1), dt.date(2025, 4, 30))
driverlock._machine = lambda: "node7 boot pid"
driverlock.BEAT_S = 0.02
path = driverlock.lock_file(Path(sys.argv[1]), season)
with driverlock.hold(Path(sys.argv[1]), season):
    for _ in range(2):
        print("check" if driverlock.held(path) else "lost", flush=True)
        sys.stdin.readline()
    try:
        driverlock.check(path)
    except driverlock.LostError as error:
        print(error, flush=True)
"""


def test_a_driver_that_slept_finds_its_lock_taken_and_leaves_it_alone(tmp_path: Path) -> None:
    """SIGSTOP on "another machine", until its silence is long enough; then it wakes up."""
    asleep = subprocess.Popen([sys.executable, "-c", SLEEPER, str(tmp_path)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True, bufsize=1)  # fmt: skip
    assert asleep.stdin is not None
    assert asleep.stdout is not None
    assert asleep.stdout.readline() == "check\n"
    asleep.send_signal(signal.SIGSTOP)
    path = lock_file(tmp_path, SEASON)
    with pytest.raises(HeldError, match="since"), hold(tmp_path, SEASON):
        pass
    old = time.time() - driverlock.STALE_S - 5
    os.utime(path, (old, old))
    with hold(tmp_path, SEASON):
        os.utime(path, (old, old))
        asleep.send_signal(signal.SIGCONT)
        asleep.stdin.write("\n")
        assert asleep.stdout.readline() == "lost\n"
        time.sleep(0.2)  # several of its beats
        assert path.stat().st_mtime == pytest.approx(old)  # we do not look alive by it
        assert driverlock.held(path)
        asleep.stdin.write("\n")
        told = asleep.stdout.readline()
        assert f"held by process {os.getpid()} on" in told
        assert asleep.wait(20) == 0
        assert driverlock.held(path)  # it took nothing away at its end
    assert not path.exists()


def test_who_wakes_up_while_its_lock_is_taken_keeps_it_or_knows(tmp_path: Path) -> None:
    path = lock_file(tmp_path, SEASON)
    with hold(tmp_path, SEASON):
        mine = driverlock._read(path)
        assert mine is not None
        mark = driverlock._mark(path, mine.token)
        mark.touch()  # somebody is about to take it
        assert not driverlock.held(path)
        mark.unlink()
        assert driverlock.held(path)
        driverlock._bury(path, mine)  # who found it silent, and looks again after the mark: it was touched
        assert driverlock.held(path)
        path.unlink()
        with pytest.raises(driverlock.LostError, match="which is gone"):
            driverlock.check(path)
