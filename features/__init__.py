"""Floor 1, arithmetic: band stacks in, feature cubes out. Knows no file, no network, no model."""

from features.bands import BANDS
from features.compute import block, cube
from features.indices import ALIASES, INDICES, Index
from features.spec import Feature, FeatureSpec

__all__ = ["ALIASES", "BANDS", "INDICES", "Feature", "FeatureSpec", "Index", "block", "cube"]
