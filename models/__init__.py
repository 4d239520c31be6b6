"""Floor 2, learning: tables and cubes in, models, scores and layers out. Knows no file format of maps."""

from models.bundle import BundleError, ModelBundle
from models.samples import SampleTable
from models.targets import Target

__all__ = ["BundleError", "ModelBundle", "SampleTable", "Target"]
