"""What the tests share: a small simulated coast, and real servers on this machine."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from chain import quick
from click.testing import CliRunner
from hypothesis import settings
from support import Answer, Phusa, free_port, wait_for

from pipeline import learning
from pipeline.cli import main
from pipeline.config import Config
from pipeline.demo import Demo, build
from pipeline.sampling import read_table
from pipeline.stores import schema

SIZE = 160

# CI tries the same cases every time: a run that fails by chance tells nobody what changed.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")


@pytest.fixture(scope="session", autouse=True)
def kernel_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compiled kernels go to a folder of this run, so that the tests compile what they test."""
    os.environ["PHUSA_CACHE_DIR"] = str(tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="session")
def original_demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return build(tmp_path_factory.mktemp("demo"), seed=7, size=SIZE, sites=90, optical_dates=5, radar_dates=3)


@pytest.fixture
def demo(original_demo: Demo, tmp_path: Path) -> Demo:
    """A copy of the demonstration that a test may spoil."""
    folder = tmp_path / "demo"
    shutil.copytree(original_demo.config.parent, folder)
    return Demo(folder / "demo.yaml", original_demo.season, folder / "truth", original_demo.world)


@pytest.fixture
def phusa() -> Phusa:
    """Run a command in this process: ``phusa("scenes", config, "--season", "x")``."""

    def run(*arguments: object) -> Answer:
        result = CliRunner().invoke(main, [str(a) for a in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.exit_code, result.stdout, result.stderr)

    return run


QUICK = """
name: salinity
kind: regression
title: {vi: Độ mặn của đất, en: Soil salinity}
unit: dS/m
column: ece
transform: log
model: {trees: 8, leaves: 4, min_leaf: 5, seed: 1}
folds: {count: 3, block_m: 400}
"""


def call(command: list[object]) -> None:
    result = CliRunner().invoke(main, [str(word) for word in command])
    assert result.exit_code == 0, result.stderr


@pytest.fixture(scope="session")
def quick_region(original_demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a demonstration whose season is mapped and published with one quick model of two features."""
    folder = tmp_path_factory.mktemp("mapped") / "demo"
    shutil.copytree(original_demo.config.parent, folder)
    config, season, table = folder / "demo.yaml", original_demo.season, folder / "table.parquet"
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    content |= {"features": ["ndvi_p50", "slope"], "targets": ["quick.yaml"], "indices": {}, "windows": {}}
    config.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")
    (folder / "quick.yaml").write_text(QUICK, encoding="utf-8")
    call(["samples", config, "--out", table])
    settings = Config.read(config)
    # Too few trees to be admitted by `train`; they are enough to make a map of.
    model = learning.fit(read_table(table), settings.target("salinity"), settings.region.geometry)
    model.save(folder / "model")
    call(["map", config, "--season", season, "--bundle", folder / "model"])
    call(["publish", config, "--season", season])
    return folder


# --- PostgreSQL --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def binaries() -> Path:
    """Where PostgreSQL's programs are."""
    homes = sorted(Path("/usr/lib/postgresql").glob("*/lib/postgis_raster-3.so"))
    if not homes:
        pytest.fail("PostgreSQL with PostGIS is missing; `make test` installs it or says how")
    return homes[-1].parents[1] / "bin"


@pytest.fixture(scope="session")
def postgres(binaries: Path) -> Iterator[str]:
    """A private PostgreSQL cluster with PostGIS; yields its address without a database name."""
    with cluster(binaries) as address:
        yield address


@pytest.fixture
def other_cluster(binaries: Path) -> Iterator[str]:
    """Another one, empty."""
    with cluster(binaries) as address:
        yield address


@contextmanager
def cluster(binaries: Path) -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="phusa-pg-"))
    # PostgreSQL refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    run: dict[str, Any] = {"user": user, "group": pwd.getpwnam(user).pw_gid} if user else {}
    data, port = folder / "data", free_port()
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "phusa", "-A", "trust", "--no-sync", "-E", "UTF8"],
        check=True, capture_output=True, cwd=folder, **run,
    )  # fmt: skip
    server = subprocess.Popen(
        [binaries / "postgres", "-D", data, "-p", str(port), "-k", folder, "-c", "fsync=off",
         "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=60"],
        cwd=folder, stderr=subprocess.DEVNULL, **run,
    )  # fmt: skip
    address = f"postgresql://phusa@127.0.0.1:{port}"
    try:
        for _ in range(200):
            try:
                psycopg.connect(f"{address}/postgres").close()
                break
            except psycopg.OperationalError:
                time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def template(postgres: str) -> str:
    """Name of a database with today's schema; tests clone it."""
    with psycopg.connect(f"{postgres}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE phusa_template")
    schema.migrate(f"{postgres}/phusa_template")
    return "phusa_template"


@pytest.fixture
def dsn(postgres: str, template: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a fresh database of the test's own, in PHUSA_DSN too."""
    name = f"t{time.monotonic_ns()}"
    with psycopg.connect(f"{postgres}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    address = f"{postgres}/{name}"
    monkeypatch.setenv("PHUSA_DSN", address)
    yield address
    with psycopg.connect(f"{postgres}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


# --- S3 ---------------------------------------------------------------------------------------


S3_KEY, S3_SECRET = "right", "secret"


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a SeaweedFS of this run that knows one key."""
    folder = tmp_path_factory.mktemp("weed")
    (folder / "data").mkdir()
    # Who may do all makes a bucket by writing into it, and S3 does not: the tests' key may not.
    users = [("admin", "admin", ["Admin"]), (S3_KEY, S3_SECRET, ["Read", "Write", "List"])]
    known = [
        {"name": key, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
        for key, secret, actions in users
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": known}))
    ports = {
        name: free_port()
        for name in ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port",
                     "filer.port.grpc", "s3.port", "s3.port.grpc")
    }  # fmt: skip
    server = subprocess.Popen(
        [
            Path(sys.executable).with_name("weed"), "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-s3",
            *(f"-{name}={port}" for name, port in ports.items()), "-s3.port.iceberg=0", "-s3.port.lance=0",
            f"-s3.config={folder / 's3.json'}", "-volume.max=20", "-master.volumeSizeLimitMB=64",
        ],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = f"http://127.0.0.1:{ports['s3.port']}"
    try:
        _until_it_keeps(address)
        yield address
    finally:
        server.kill()  # asked kindly, it takes half a minute
        server.wait(20)


def _until_it_keeps(address: str) -> None:
    """The server takes objects some seconds after its start."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3", endpoint_url=address, aws_access_key_id="admin", aws_secret_access_key="admin",
        region_name="us-east-1", config=Config(retries={"max_attempts": 0}),
    )  # fmt: skip
    last: Exception | None = None
    for _ in range(120):
        try:
            for name in ("phusa", "eodata"):
                client.put_object(Bucket=name, Key="ready", Body=b"1")
            return
        except (BotoCoreError, ClientError) as error:
            last = error
            time.sleep(0.5)
    raise RuntimeError(f"SeaweedFS at {address} took no object: {last}")


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Settings of a place in a bucket that is the test's own; credentials are in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", S3_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", S3_SECRET)
    return {"bucket": f"s3://phusa/{time.monotonic_ns()}/maps", "endpoint": s3_server}


# --- HTTP --------------------------------------------------------------------------------------

_FILES = """
import sys, uvicorn
from starlette.applications import Starlette
from starlette.staticfiles import StaticFiles
app = Starlette()
app.mount("/", StaticFiles(directory=sys.argv[1]))
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error")
"""


@pytest.fixture(scope="session")
def file_server(original_demo: Demo) -> Iterator[str]:
    """The demonstration's folder over HTTP, with range requests."""
    port = free_port()
    server = subprocess.Popen([sys.executable, "-c", _FILES, original_demo.config.parent, str(port)])
    address = f"http://127.0.0.1:{port}"
    wait_for(f"{address}/area.geojson", server)
    yield address
    server.terminate()
    server.wait(20)


@pytest.fixture(scope="session")
def stac_api(postgres: str, template: str, original_demo: Demo, file_server: str) -> Iterator[str]:
    """A real STAC API (stac-fastapi on pgSTAC) that offers the demonstration's archive."""
    with psycopg.connect(f"{postgres}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE stac_api TEMPLATE {template}")
    _load_items(f"{postgres}/stac_api", original_demo.config.parent / "archive", f"{file_server}/archive")
    port, address = free_port(), psycopg.conninfo.conninfo_to_dict(f"{postgres}/stac_api")
    env = os.environ | {
        "PGHOST": str(address["host"]), "PGPORT": str(address["port"]), "PGUSER": "phusa",
        "PGPASSWORD": "x", "PGDATABASE": "stac_api", "ENABLE_TRANSACTIONS_EXTENSIONS": "FALSE",
    }  # fmt: skip
    command = [
        "-m",
        "uvicorn",
        "stac_fastapi.pgstac.app:create_app",
        "--factory",
        "--port",
        str(port),
        "--log-level",
        "error",
    ]
    server = subprocess.Popen([sys.executable, *command], env=env)
    wait_for(f"http://127.0.0.1:{port}/", server)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait(20)


def _load_items(address: str, archive: Path, base: str) -> None:
    with psycopg.connect(address) as connection:
        connection.execute("SET search_path TO pgstac, public")
        for path in sorted(archive.glob("*.json")):
            collection = json.loads(path.read_text())
            if collection["type"] != "Collection":
                continue
            connection.execute("SELECT upsert_collection(%s)", (json.dumps(collection | {"links": []}),))
            for link in collection["links"]:
                item = json.loads((archive / link["href"]).read_text())
                for asset in item["assets"].values():
                    asset["href"] = f"{base}/{item['id']}/{asset['href'].removeprefix('./')}"
                connection.execute("SELECT upsert_item(%s)", (json.dumps(item | {"links": []}),))


@pytest.fixture
def small(demo: Demo) -> Demo:
    """The demonstration with few trees."""
    quick(demo)
    return demo
