"""What a unit of computing costs, as the region config says it."""

from __future__ import annotations

from pydantic import Field

from models.settings import Settings


class Prices(Settings):
    """What a unit costs: the key ``rates`` of a region config."""

    currency: str = Field(min_length=1, max_length=8)
    core_hour: float = Field(0, ge=0)
    network_gb: float = Field(0, ge=0)
    """Money for each GB that comes over the network."""
    disk_gb: float = Field(0, ge=0)
    """Money for each GB that a season adds to the disk, for as long as it is kept."""
