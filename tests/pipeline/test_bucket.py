"""What is published in an S3 bucket: whole, checked, made good, and never shown before it is all there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pystac
import pytest
import rasterio
import shapely
from mapped import SEASON, products
from numpy.typing import NDArray
from pydantic import ValidationError
from rasterio.session import AWSSession
from support import Phusa

from pipeline.errors import InputError, PhusaError
from pipeline.grid import Tile
from pipeline.stores import FolderSettings, PostgisSettings, Store, open_store
from pipeline.stores.bucket import Bucket
from pipeline.stores.postgis import PostgisStore

AREA = shapely.box(105.42, 10.01, 105.43, 10.02)


def layers(value: float) -> Callable[[Tile], dict[str, NDArray[Any]]]:
    return lambda tile: {
        "estimate": np.full(tile.geobox.shape.yx, value),
        "reason": np.zeros(tile.geobox.shape.yx),
    }


def publish(store: Store, folder: Path, value: float) -> Path:
    records = [store.put(p, cog) for p, cog in products(folder, AREA, "salinity", layers(value))]
    return store.publish(SEASON, records).records[0].path


def objects(bucket: dict[str, str]) -> dict[str, bytes]:
    """Everything in the bucket below the prefix, by key."""
    s3, name = client(bucket)
    prefix = bucket["bucket"].removeprefix(f"s3://{name}/") + "/"
    found = s3.list_objects_v2(Bucket=name, Prefix=prefix).get("Contents", [])
    return {
        o["Key"].removeprefix(prefix): s3.get_object(Bucket=name, Key=o["Key"])["Body"].read() for o in found
    }


def client(bucket: dict[str, str]) -> tuple[Any, str]:
    s3 = boto3.client("s3", endpoint_url=bucket["endpoint"], region_name="us-east-1")
    return s3, bucket["bucket"].removeprefix("s3://").partition("/")[0]


@pytest.fixture
def store(bucket: dict[str, str], tmp_path: Path) -> Store:
    return open_store(FolderSettings(kind="folder", path=tmp_path / "store", **bucket), "delta")


def test_the_bucket_is_a_whole_catalogue_of_what_is_published(
    store: Store, bucket: dict[str, str], tmp_path: Path
) -> None:
    cog = publish(store, tmp_path, 4.0)
    held = objects(bucket)
    for path in cog.parent.iterdir():
        assert held[path.relative_to(store.path).as_posix()] == path.read_bytes()
    assert held["catalog.json"] == (store.path / "catalog.json").read_bytes()
    for key, content in held.items():  # opened from a copy, as a reader would
        (tmp_path / "copy" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / key).write_bytes(content)
    items = list(pystac.Catalog.from_file(str(tmp_path / "copy" / "catalog.json")).get_items(recursive=True))
    assert [i.id for i in items] == [f"{SEASON.slug}_{cog.stem}"]
    assert store.verify() == []


def test_a_killed_publication_shows_the_old_season_and_the_next_one_the_new(
    store: Store, bucket: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store, tmp_path, 4.0)
    before = objects(bucket)
    send, sent = Bucket.send, [0]

    def count(self: Bucket, *what: Any) -> bool:
        sent[0] += 1
        return send(self, *what)

    monkeypatch.setattr(Bucket, "send", count)
    publish(store, tmp_path, 9.0)
    sends = sent[0]
    assert sends > 10
    assert objects(bucket)["catalog.json"] != before["catalog.json"]
    for stop in (0, sends // 2, sends - 1):
        value = 20.0 + stop
        shown = objects(bucket)["catalog.json"]
        left = [stop]

        def die(self: Bucket, *what: Any, left: list[int] = left) -> bool:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return send(self, *what)

        monkeypatch.setattr(Bucket, "send", die)
        with pytest.raises(KeyboardInterrupt):
            publish(store, tmp_path, value)
        assert objects(bucket)["catalog.json"] == shown
        complete(objects(bucket))
        monkeypatch.setattr(Bucket, "send", send)
        publish(store, tmp_path, value)
        complete(objects(bucket))
        assert store.verify() == []


def complete(held: dict[str, bytes]) -> None:
    """All that the catalogue leads to is there."""
    for link in json.loads(held["catalog.json"])["links"]:
        if link["rel"] == "child":
            folder = link["href"].removeprefix("./").rpartition("/")[0]
            names = [line.partition("  ")[2] for line in held[f"{folder}/SHA256SUMS"].decode().splitlines()]
            assert names and all(f"{folder}/{name}" in held for name in names)


@pytest.mark.parametrize("kind", ["folder", "postgis"])
def test_a_lost_or_altered_object_is_named_and_made_good(
    kind: str, bucket: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "folder":
        store = open_store(FolderSettings(kind="folder", path=tmp_path / "store", **bucket), "delta")
    else:
        dsn = request.getfixturevalue("dsn")
        store = open_store(PostgisSettings(kind="postgis", path=tmp_path / "store", **bucket), "delta", dsn)
    cog = publish(store, tmp_path, 4.0)
    assert store.verify() == []
    s3, name = client(bucket)
    prefix = bucket["bucket"].removeprefix(f"s3://{name}/")
    key = f"{prefix}/{cog.relative_to(store.path).as_posix()}"
    whole = s3.get_object(Bucket=name, Key=key)
    content = bytearray(whole["Body"].read())
    content[-1] ^= 1
    s3.put_object(Bucket=name, Key=key, Body=bytes(content), Metadata=whole["Metadata"])
    assert [f for f in store.verify() if cog.name in f and "SHA-256" in f and "s3://" in f]
    s3.delete_object(Bucket=name, Key=key)
    assert [f for f in store.verify() if cog.name in f and "missing" in f]
    publish(store, tmp_path, 4.0)
    assert store.verify() == []
    store.close()


def test_items_of_the_database_lead_into_the_bucket(bucket: dict[str, str], tmp_path: Path, dsn: str) -> None:
    store = open_store(PostgisSettings(kind="postgis", path=tmp_path / "store", **bucket), "delta", dsn)
    cog = publish(store, tmp_path, 4.0)
    href = store.published(SEASON)[0].item["assets"]["map"]["href"]
    assert href == f"{bucket['bucket']}/{cog.relative_to(store.path).as_posix()}"
    host = bucket["endpoint"].removeprefix("http://")
    session = AWSSession(aws_access_key_id="right", aws_secret_access_key="secret", region_name="us-east-1")
    with (
        rasterio.Env(session, AWS_S3_ENDPOINT=host, AWS_HTTPS="NO", AWS_VIRTUAL_HOSTING="FALSE"),
        rasterio.open(href) as remote,
        rasterio.open(cog) as local,
    ):
        assert np.array_equal(remote.read(1), local.read(1))
    store.close()


def test_without_credentials_nothing_is_published_and_the_reason_told(
    bucket: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    store = open_store(FolderSettings(kind="folder", path=tmp_path / "store", **bucket), "delta")
    with pytest.raises(InputError, match="AWS_ACCESS_KEY_ID"):
        publish(store, tmp_path, 4.0)


def test_a_bucket_that_is_not_there_is_told(bucket: dict[str, str], tmp_path: Path) -> None:
    other = bucket | {"bucket": "s3://nosuchbucket"}
    store = open_store(FolderSettings(kind="folder", path=tmp_path / "store", **other), "delta")
    with pytest.raises(PhusaError, match="nosuchbucket"):
        publish(store, tmp_path, 4.0)


@pytest.mark.parametrize("address", ["http://x/y", "s3://", "s3://UPPER", "s3:/x", "s3://key:secret@bucket"])
def test_an_address_that_is_no_bucket_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="bucket"):
        FolderSettings(kind="folder", path=Path("store"), bucket=address)


def test_what_a_killed_put_left_in_the_bucket_is_told_and_swept(
    bucket: dict[str, str], tmp_path: Path, dsn: str, phusa: Phusa, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else goes: no object of a release or a draft, of another prefix, region, or database."""
    store = open_store(PostgisSettings(kind="postgis", path=tmp_path / "store", **bucket), "delta", dsn)
    publish(store, tmp_path, 4.0)
    for product, cog in products(tmp_path, AREA, "salinity", layers(5.0)):
        store.put(product, cog)  # a draft
    whole = objects(bucket)
    with monkeypatch.context() as patch:
        patch.setattr(PostgisStore, "_insert", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        for product, cog in products(tmp_path, AREA, "salinity", layers(9.0)):
            with pytest.raises(KeyboardInterrupt):
                store.put(product, cog)
    orphans = objects(bucket).keys() - whole.keys()
    assert len(orphans) > 3
    s3, name = client(bucket)
    prefix = bucket["bucket"].removeprefix(f"s3://{name}/")
    strange = "products/delta/strange.txt"
    s3.put_object(Bucket=name, Key=f"{prefix}/{strange}", Body=b"x")
    kept = {
        "products/delta-2/x.tif",
        "products/north/x.tif",
        "catalog.json",
        "notes/x",
        "products/delta/theirs.tif",
    }
    for key in kept:
        marks = {"store": "another"} if "theirs" in key else {}
        s3.put_object(Bucket=name, Key=f"{prefix}/{key}", Body=b"x", Metadata=marks)
    s3.put_object(Bucket=name, Key=f"{prefix}-2/products/delta/x.tif", Body=b"x")
    told = phusa("db", "check", "--json")
    assert told.code == 5
    for key in orphans | {strange}:
        assert f"{bucket['bucket']}/{key}: no product in the database has this object" in told.json["error"]
    assert not [key for key in kept if key in told.json["error"]]
    assert phusa("db", "check", "--repair").code == 0
    assert objects(bucket).keys() == whole.keys() | kept
    assert s3.head_object(Bucket=name, Key=f"{prefix}-2/products/delta/x.tif")
    assert phusa("db", "check").code == 0
    store.close()


def test_lost_and_damaged_objects_are_sent_again_from_whole_files(
    bucket: dict[str, str], tmp_path: Path, dsn: str, phusa: Phusa, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(PostgisSettings(kind="postgis", path=tmp_path / "store", **bucket), "delta", dsn)
    publish(store, tmp_path, 4.0)
    publish(store, tmp_path, 9.0)  # of superseded releases too
    s3, name = client(bucket)
    prefix = bucket["bucket"].removeprefix(f"s3://{name}/")
    before = objects(bucket)
    lost, spoilt = sorted(key for key in before if key.endswith(".tif"))
    s3.delete_object(Bucket=name, Key=f"{prefix}/{lost}")
    marks = s3.head_object(Bucket=name, Key=f"{prefix}/{spoilt}")["Metadata"]
    s3.put_object(Bucket=name, Key=f"{prefix}/{spoilt}", Body=before[spoilt][:-1] + b"!", Metadata=marks)
    for answer in (phusa("db", "check", "--json").json["error"], "\n".join(store.verify())):
        assert f"{lost}: missing" in answer
        assert f"{spoilt}: its SHA-256 is not" in answer
    repaired = phusa("db", "check", "--repair", "--json")
    assert repaired.code == 0, repaired.err
    assert objects(bucket) == before
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    answer = phusa("db", "check", "--json")
    assert (answer.code, "its objects were not checked" in answer.json["error"]) == (5, True)
    store.close()


def test_a_bucket_that_is_named_later_gets_what_was_made_before(
    bucket: dict[str, str], tmp_path: Path, dsn: str
) -> None:
    plain = open_store(PostgisSettings(kind="postgis", path=tmp_path / "store"), "delta", dsn)
    records = [plain.put(p, cog) for p, cog in products(tmp_path, AREA, "salinity", layers(4.0))]
    plain.close()
    store = open_store(PostgisSettings(kind="postgis", path=tmp_path / "store", **bucket), "delta", dsn)
    store.publish(SEASON, records)
    assert store.verify() == []
    assert {key.rpartition("/")[2] for key in objects(bucket)} == {
        p.name for p in records[0].path.parent.iterdir()
    }
    store.close()
