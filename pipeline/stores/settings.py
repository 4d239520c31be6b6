"""Settings of the stores; apart from the stores so that reading a config opens no database driver."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from models.settings import Settings


class _StoreSettings(Settings):
    path: Path

    def beside(self, folder: Path) -> _StoreSettings:
        """The same with its path relative to ``folder`` made absolute."""
        return self.model_copy(update={"path": (folder / self.path.expanduser()).resolve()})


class FolderSettings(_StoreSettings):
    """A folder of COGs, STAC items, one stac-geoparquet and one GeoPackage."""

    kind: Literal["folder"]
    path: Path


class PostgisSettings(_StoreSettings):
    """PostGIS with pgSTAC; the DSN comes from PHUSA_DSN. COGs lie in the folder ``path``."""

    kind: Literal["postgis"]
    path: Path = Path("store")
