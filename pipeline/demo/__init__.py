"""A SIMULATED delta whose truth is known: for a first look, for the tests, and for honest scores.

Physically based where that matters (PROSAIL canopies, wet and salty soil, the Maas-Hoffman response, the
water-cloud model, clouds that a scene classification partly misses); nothing made from it says
anything of real soil, and every file, record and table made from it is labelled SIMULATED.
"""

from pipeline.demo.build import Demo, build, write
from pipeline.demo.settings import Simulation

__all__ = ["Demo", "Simulation", "build", "write"]
