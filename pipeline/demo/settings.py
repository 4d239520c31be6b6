"""What of the demonstration may be chosen; configs/demo.yaml holds the usual choice."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.settings import Settings
from pipeline.shipped import CONFIGS

FILE = CONFIGS / "demo.yaml"


class Simulation(Settings):
    """A simulated delta. The same settings give the same files."""

    seed: int = Field(1, ge=0)
    size_px: int = Field(256, ge=64, le=4000, multiple_of=4)
    """Side of the square world in pixels of 10 m."""
    sites: int = Field(160, ge=4)
    """Soil samples to train on."""
    reference_sites: int = Field(80, ge=4)
    """Soil samples drawn by strata, never trained on."""
    optical_dates: int = Field(8, ge=1, le=60)
    radar_dates: int = Field(6, ge=1, le=60)
    convention: Literal["earth-search", "planetary-computer"] = "earth-search"
    quick: bool = False
    """Few trees and two folds: to look at the chain, not at the scores."""
