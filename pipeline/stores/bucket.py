"""An S3 bucket that holds what is published, for readers who have no access to the store's own folder.

Objects are written whole or not at all (S3 has no half objects), each with its SHA-256, and only where they
are not there already. What makes a publication visible is sent last. Credentials come from the environment
(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, or whatever else boto3 finds), never from a config.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import InputError, PhusaError

_TYPES = {
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".json": "application/json",
    ".xml": "application/xml",
    ".qml": "application/xml",
    ".sld": "application/vnd.ogc.sld+xml",
    ".parquet": "application/vnd.apache.parquet",
    ".gpkg": "application/geopackage+sqlite3",
}
_SHA = "sha256"
_STORE = "store"


class Bucket:
    """Objects below ``s3://<bucket>/<prefix>``."""

    def __init__(self, address: str, endpoint: str | None = None, store: str = "") -> None:
        """``store`` marks what is sent: a sweep leaves alone what another store has sent."""
        try:
            import boto3
            from botocore.config import Config
        except ImportError as error:
            raise InputError(f"a store in a bucket needs the extra s3: {error}") from None
        name, _, prefix = address.removeprefix("s3://").partition("/")
        self.address, self.name, self.prefix = address.rstrip("/"), name, prefix.strip("/")
        self.endpoint, self.store = endpoint or "", store
        own = Config(connect_timeout=10, read_timeout=60, retries={"max_attempts": 4, "mode": "standard"})
        with self._told():
            self._s3: Any = boto3.Session().client(  # the default session keeps old credentials
                "s3", endpoint_url=endpoint, config=own, region_name=None if endpoint is None else "us-east-1"
            )

    def url(self, key: str) -> str:
        """Address of an object, as GDAL and STAC readers take it."""
        return f"{self.address}/{key}"

    def send(self, path: Path, key: str, digest: str) -> bool:
        """Put a file of SHA-256 ``digest`` there; False where it is there already."""
        if self._stated(key) == (digest, path.stat().st_size):
            return False
        self.put(path, key, digest)
        return True

    def put(self, path: Path, key: str, digest: str) -> None:
        """Put a file of SHA-256 ``digest`` there, over what is there."""
        kind = _TYPES.get(path.suffix, "application/octet-stream")
        marks = {_SHA: digest} | ({_STORE: self.store} if self.store else {})
        with self._told():
            self._s3.upload_file(
                str(path), self.name, self._key(key),
                ExtraArgs={"Metadata": marks, "ContentType": kind},
            )  # fmt: skip

    def faults(self, expected: Mapping[str, str]) -> Iterator[str]:
        """One line for each object (key -> SHA-256) that is missing or not what it should be; reads them all."""
        yield from (f"{self.url(key)}: {fault}" for key, fault in self.damaged(expected))

    def damaged(self, expected: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """The key of each such object, and what is wrong with it."""
        for key, digest in expected.items():
            found = self._digest(key)
            if found is None:
                yield key, "missing"
            elif found != digest:
                yield key, f"its SHA-256 is not {digest}, as published"

    def keys(self, folder: str) -> list[str]:
        """All keys below ``folder``."""
        head, found = f"{self._key(folder.strip('/'))}/", []
        with self._told():
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=head):
                found += [str(o["Key"])[len(self._key("")) :] for o in page.get("Contents", ())]
        return sorted(found)

    def marks(self, key: str) -> tuple[str, str]:
        """SHA-256 that an object was sent with, and the store that sent it; "" where it does not say."""
        marks: dict[str, str] = {}
        with self._told(absent=True):
            marks = self._s3.head_object(Bucket=self.name, Key=self._key(key))["Metadata"]
        return marks.get(_SHA, ""), marks.get(_STORE, "")

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are not there are no fault."""
        for key in keys:
            with self._told():
                self._s3.delete_object(Bucket=self.name, Key=self._key(key))

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def _stated(self, key: str) -> tuple[str, int] | None:
        """SHA-256 that an object was sent with, and its size; None where there is none."""
        stated = None
        with self._told(absent=True):
            found = self._s3.head_object(Bucket=self.name, Key=self._key(key))
            stated = found["Metadata"].get(_SHA, ""), int(found["ContentLength"])
        return stated

    def _digest(self, key: str) -> str | None:
        """SHA-256 of what an object holds; None where there is none."""
        digest = None
        with self._told(absent=True):
            made = hashlib.sha256()
            for part in self._s3.get_object(Bucket=self.name, Key=self._key(key))["Body"].iter_chunks(
                1 << 20
            ):
                made.update(part)
            digest = made.hexdigest()
        return digest

    @contextmanager
    def _told(self, absent: bool = False) -> Iterator[None]:
        """S3's errors as ours; with ``absent``, an object that is not there ends the block without one."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        try:
            yield
        except NoCredentialsError:
            raise InputError(
                f"{self.address}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from None
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if absent and code in ("404", "NoSuchKey", "NotFound"):
                return
            if code in ("403", "AccessDenied", "NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
                raise InputError(f"{self.address}: the bucket refuses: {code}") from None
            raise PhusaError(f"{self.address}: {code or error}; run again") from None
        except (BotoCoreError, Boto3Error) as error:
            raise PhusaError(f"{self.address}: {' '.join(str(error).split())}; run again") from None
