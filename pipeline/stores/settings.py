"""Settings of the stores; apart from the stores so that reading a config opens no database driver."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, StringConstraints

from models.settings import Settings


def usable(path: Path) -> Path:
    """A path that can be one. Raises ValueError."""
    if "\0" in str(path) or str(path) in ("", "."):
        raise ValueError("expected a path")
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"no such user: {path.parts[0]}") from None


class _StoreSettings(Settings):
    path: Annotated[Path, AfterValidator(usable)]
    review: bool = False
    """Whether a second person must review what is published."""
    bucket: (
        Annotated[str, StringConstraints(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,62}(/[A-Za-z0-9_./-]*)?$")]
        | None
    ) = None
    """s3://bucket/prefix to which what is published goes too; credentials come from the environment."""
    endpoint: str | None = None
    """Address of the S3 service, where it is not Amazon's."""

    def beside(self, folder: Path) -> _StoreSettings:
        """The same with its path relative to ``folder`` made absolute."""
        return self.model_copy(update={"path": (folder / self.path).resolve()})


class FolderSettings(_StoreSettings):
    """A folder of COGs, STAC items, one stac-geoparquet and one GeoPackage."""

    kind: Literal["folder"]


class PostgisSettings(_StoreSettings):
    """PostGIS with pgSTAC; the DSN comes from PHUSA_DSN. COGs lie in the folder ``path``."""

    kind: Literal["postgis"]
    path: Annotated[Path, AfterValidator(usable)] = Path("store")
    pixels: Literal["in_database", "out_of_database"] = "in_database"
    """Whether raster rows hold the pixels, or say where in the COG they are."""
