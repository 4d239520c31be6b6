"""A small SIMULATED coast whose truth is known: for a first look and for the tests.

It is simple on purpose (linear mixing of four endmembers); nothing made from it says anything of
real soil, and every file, record and table made from it is labelled SIMULATED.
"""

from pipeline.demo.build import Demo, build

__all__ = ["Demo", "build"]
