"""What operators are given: logs, metrics, the report, and files that start a season."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import geopandas
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from support import Phusa, free_port

from pipeline import journal, telling
from pipeline.config import Config
from pipeline.demo import Demo
from pipeline.errors import InputError

FILES = Path(__file__).resolve().parents[2] / "configs" / "operators"
BLOCK: dict[str, Any] = {
    "event": "block", "seconds": 2.0, "block": "48PXS/0-0", "reads": 40, "lost": 1, "local_bytes": 1000,
    "process": "p", "brought": [100, 350], "peak_bytes": 5e8, "stages": {"total": [3.0, 2.0], "load": [1.0, 0.5]},
}  # fmt: skip
EVENTS: list[dict[str, Any]] = [
    {"event": "start", "seconds": 0.0, "blocks": 3, "workers": 4},
    BLOCK,
    BLOCK | {"brought": [300, 500], "peak_bytes": 4e8},
    {"event": "failed", "block": "48PXS/0-1", "error": "ValueError: x", "seconds": 3.0},
    {"event": "workers", "seconds": 3.5, "workers": 0},
    {
        "event": "tile",
        "seconds": 4.0,
        "product": "48PXS_salinity",
        "stages": {"encode": [2.0, 1.5], "put": [0.1, 0.0]},
    },
    {"event": "end", "seconds": 5.0, "state": "failed"},
]


def values(text: str) -> dict[tuple[str, ...], float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels.pop("region") == "delta"
            assert sample.labels.pop("season") == "2025-dry"
            found[sample.name, *sorted(sample.labels.values())] = sample.value
    return found


def test_metrics_in_a_file_and_over_http_say_what_happened(tmp_path: Path) -> None:
    meters, file, port = telling.Meters("delta", "2025-dry"), tmp_path / "node" / "phusa.prom", free_port()
    with telling.prometheus(meters, file, port) as hear:
        hear(EVENTS[0])
        assert values(file.read_text())["phusa_running",] == 1
        for event in EVENTS[1:]:
            hear(event)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            served = values(answer.read().decode())
    stored = values(file.read_text())
    assert served == stored
    expected = {
        ("phusa_blocks",): 3, ("phusa_workers",): 0, ("phusa_blocks_mapped_total",): 2, ("phusa_failures_total",): 1, ("phusa_reads_total",): 80,
        ("phusa_reads_lost_total",): 2, ("phusa_products_stored_total",): 1, ("phusa_network_bytes",): 400,
        ("phusa_local_bytes_total",): 2000, ("phusa_worker_peak_bytes",): 5e8, ("phusa_running",): 0,
        ("phusa_last_run_success",): 0, ("phusa_stage_seconds_total", "cpu", "total"): 4, ("phusa_stage_seconds_total", "encode", "wall"): 2,
    }  # fmt: skip
    assert {k: stored[k] for k in expected} == expected


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    port, meters = free_port(), telling.Meters("delta", "2025-dry")
    with (
        telling.prometheus(meters, None, port),
        pytest.raises(InputError, match="--metrics-port"),
        telling.prometheus(meters, None, port),
    ):
        pass


def test_a_full_disk_beside_does_not_end_a_run(tmp_path: Path) -> None:
    place = tmp_path / "node"
    with telling.prometheus(telling.Meters("delta", "2025-dry"), place / "phusa.prom", None) as hear:
        hear(EVENTS[0])
        shutil.rmtree(place)
        for event in EVENTS[1:]:
            hear(event)


def test_logs_are_lines_of_json_that_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "log" / "run.jsonl"
    for _ in range(2):
        with telling.json_lines(path, "delta", "2025-dry") as tell:
            for event in EVENTS:
                tell(event)
            logging.getLogger("pipeline.reads").warning("lost %s", "nir")
        logging.getLogger("pipeline.reads").warning("nobody listens any more")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 2 * (len(EVENTS) + 1)
    assert {line["region"] for line in lines} == {"delta"}
    levels = [line["level"] for line in lines[: len(EVENTS) + 1]]
    assert levels == ["info", "info", "info", "error", "warning", "info", "warning", "warning"]
    assert lines[len(EVENTS)]["message"] == "lost nir"


class Page(HTMLParser):
    """Texts and tags of a page; raises where a tag is not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        for name, value in attrs:
            assert name not in ("src", "href"), f"the page needs {value}"
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_run_tells_its_operators_and_reports_on_itself(demo: Demo, phusa: Phusa, tmp_path: Path) -> None:
    for path in (demo.config.parent / "targets").glob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        content["model"] |= {"trees": 10}
        path.write_text(yaml.safe_dump(content, allow_unicode=True))
    content = yaml.safe_load(demo.config.read_text())
    content["rates"] = {"currency": "VND", "core_hour": 900}
    content["region"]["grid"]["block_px"] = 64
    demo.config.write_text(yaml.safe_dump(content, sort_keys=False))
    page, season = tmp_path / "r.html", ("--season", demo.season)
    answer = phusa("report", demo.config, *season, "--out", page, "--json")
    assert (answer.code, page.exists()) == (2, False)
    assert "has not been mapped" in answer.json["error"]

    table = tmp_path / "t.parquet"
    assert phusa("samples", demo.config, "--out", table).code == 0
    bundles: list[object] = []
    for target in ("salinity", "degradation"):
        made = phusa("train", demo.config, "--target", target, "--samples", table, "--out", tmp_path / target)
        assert made.code == 0, made.err
        bundles += ["--bundle", tmp_path / target]
    log, metrics = tmp_path / "log.jsonl", tmp_path / "phusa.prom"
    stopped = phusa("map", demo.config, *season, *bundles, "--budget-hours", 1e-6, "--log-json", log,
                    "--metrics", metrics, "--json")  # fmt: skip
    assert stopped.code == 1
    assert (stopped.json["stopped"], stopped.json["blocks_left"] > 0) == ("budget", True)
    assert json.loads(log.read_text().splitlines()[-1])["state"] == "budget"
    assert "phusa_last_run_success" in metrics.read_text()
    assert phusa("publish", demo.config, *season).code == 1  # products are missing

    blocks = tmp_path / "blocks.gpkg"
    answer = phusa("report", demo.config, *season, "--out", page, "--blocks", blocks, "--json")
    assert answer.code == 0, answer.err
    states = answer.json["states"]
    assert states["budget"] == 2 * stopped.json["blocks_left"]
    frame = geopandas.read_file(blocks)
    assert frame.groupby("state").size().to_dict() == states
    done = frame[frame.state == "stored"]
    assert (done.reads > 0).all()
    assert (done.seconds > 0).all()
    assert done.clear_dates.between(0, 10).all()
    assert frame.crs.to_epsg() == 4326

    assert phusa("map", demo.config, *season, *bundles, "--json").code == 0
    assert phusa("report", demo.config, *season, "--out", page).code == 0
    read = Page()
    read.feed(page.read_text(encoding="utf-8"))
    assert read.open == []
    assert read.seen.count("svg") == 2
    assert read.seen.count("path") == 2 * frame.block.nunique()
    for words in (
        "đã xong · done",
        "Chi phí so với dự báo",
        "money, VND",
        "Time by stage",
        "stopped by its budget",
        "hoàn thành",
    ):
        assert words in read.text
    assert Config.read(demo.config).rates is not None


def lives(group: int) -> bool:
    """Whether a process group has a process."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_ctrl_c_on_a_terminal_reaches_workers_too_and_ends_all_of_it(
    quick_region: Path, tmp_path: Path
) -> None:
    """SIGINT to the whole process group, as a terminal sends it."""
    folder = tmp_path / "region"
    shutil.copytree(quick_region, folder, ignore=shutil.ignore_patterns("store"))
    config = folder / "demo.yaml"
    content = yaml.safe_load(config.read_text())
    content["region"]["grid"]["block_px"] = 16
    config.write_text(yaml.safe_dump(content, sort_keys=False))
    program = [sys.executable, "-c", "from pipeline.cli import main; main()"]
    command = [*program, "run", config, "--season", "2025-dry", "--bundle", folder / "model", "--scheduler",
               "processes", "--json"]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    while "map: " not in (line := process.stderr.readline()):
        assert line, "ended before it mapped"
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, json.loads(out)["error"][:11]) == (1, "interrupted")
    assert "Traceback" not in err
    end = time.monotonic() + 20
    while lives(process.pid):  # no worker is left
        assert time.monotonic() < end
        time.sleep(0.1)
    work = folder / "store" / "work" / "demo-simulated"
    assert not list(work.glob("scratch/*"))
    assert not list(work.glob("locks/*"))
    (told,) = journal.all_of(work)
    assert told.end is not None
    assert told.end["state"] == journal.INTERRUPTED
    assert 0 < len(told.blocks) < told.start["blocks"]


def test_the_units_are_what_systemd_accepts(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    for unit in ("phusa-season@.service", "phusa-season@.timer"):
        text = (FILES / unit).read_text().replace("/opt/phusa/.venv/bin/phusa", sys.executable)
        (tmp_path / unit).write_text(text)
    command = [
        "systemd-analyze",
        "verify",
        "--man=no",
        str(tmp_path / "phusa-season@2026-dry.timer"),
        str(tmp_path / "phusa-season@2026-dry.service"),
    ]
    for unit in ("timer", "service"):
        shutil.copy(tmp_path / f"phusa-season@.{unit}", tmp_path / f"phusa-season@2026-dry.{unit}")
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "phusa-season" not in told.stderr
    assert told.returncode == 0, told.stderr
    when = next(
        x.partition("=")[2]
        for x in (FILES / "phusa-season@.timer").read_text().splitlines()
        if x.startswith("OnCalendar")
    )
    told = subprocess.run(["systemd-analyze", "calendar", when], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert "Sat *-01,02,03,04,05,12-* 20:00:00" in told.stdout


def options_of(phusa: Phusa, command: str) -> set[str]:
    return {word.strip(",") for word in phusa(command, "--help").out.split() if word.startswith("--")}


@pytest.mark.parametrize(
    "name", ["phusa-season@.service", "crontab", "kubernetes.yaml", "kubernetes-operator.yaml"]
)
def test_what_is_started_has_options_that_exist(name: str, phusa: Phusa) -> None:
    text, seen = (FILES / name).read_text(), 0
    for line in text.splitlines():
        words = re.sub(r'[,"\[\]]', " ", line).split()
        for k, word in enumerate(words[1:], 1):
            if words[k - 1].endswith("phusa") and word in ("run", "report"):
                seen += 1
                assert {w for w in words[k:] if w.startswith("--")} <= options_of(phusa, word), line
    assert seen


def test_the_cron_line_is_of_six_fields_and_a_user_and_hands_the_environment_on(tmp_path: Path) -> None:
    lines = [
        x
        for x in (FILES / "crontab").read_text().splitlines()
        if x and x[0] not in "#" and "=" not in x.split()[0]
    ]
    assert len(lines) == 1
    assert lines[0].split()[:6] == ["0", "20", "*", "12,1-5", "6", "phusa"]
    program, variables = tmp_path / "phusa", tmp_path / "environment"
    program.write_text(f'#!/bin/sh\necho "$PHUSA_DSN" "$@" >{tmp_path}/told\n')
    program.chmod(0o755)
    variables.write_text("PHUSA_DSN=postgresql://u@h/d\n")
    command = lines[0].split(None, 6)[6].replace("/opt/phusa/.venv/bin/phusa", str(program))
    command = command.replace("/etc/phusa/environment", str(variables))
    subprocess.run(["/bin/sh", "-c", command], check=True, env={"PATH": "/usr/bin:/bin"})
    assert (
        (tmp_path / "told").read_text().startswith("postgresql://u@h/d run /etc/phusa/region.yaml --season")
    )
