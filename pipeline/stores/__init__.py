"""Where products live. Two kinds, one contract (``contract.Store``)."""

from __future__ import annotations

from pipeline.stores.bucket import Bucket
from pipeline.stores.contract import Event, Record, Release, Store, official_on, work_folder
from pipeline.stores.folder import FolderStore
from pipeline.stores.settings import FolderSettings, PostgisSettings

__all__ = [
    "Event",
    "FolderSettings",
    "PostgisSettings",
    "Record",
    "Release",
    "Store",
    "official_on",
    "open_store",
    "work_folder",
]


def open_store(settings: FolderSettings | PostgisSettings, region: str, dsn: str | None = None) -> Store:
    """The store of ``settings`` for one region; ``dsn`` is needed by PostGIS.

    Raises InputError where it cannot be reached or lacks its schema.
    """
    bucket = Bucket(settings.bucket, settings.endpoint) if settings.bucket else None
    if isinstance(settings, FolderSettings):
        return FolderStore(settings.path, region, settings.review, bucket)
    from pipeline.stores.postgis import PostgisStore  # psycopg is an optional extra

    return PostgisStore.open(settings.path, region, dsn, settings.review, settings.pixels, bucket)
