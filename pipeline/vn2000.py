"""VN-2000, Viet Nam's own reference system, and the one way between it and WGS 84.

EPSG registers two operations between them that differ by 0.8 m in the Mekong Delta; software takes now one,
now the other. Here it is always 6960, "VN-2000 to WGS 84 (2)", made for all the land, 1 m.
"""

from __future__ import annotations

import pyproj
from pyproj.transformer import TransformerGroup

from pipeline.errors import InputError

VN2000 = 4756
#: Central meridian in degrees -> EPSG of VN-2000 / TM-3 (k 0.9999, false easting 500 km).
TM3 = {
    102.0: 5896, 103.0: 9205, 104.0: 9206, 104.5: 9207, 104.75: 9208, 105.0: 5897, 105.5: 9209, 105.75: 9210,
    106.0: 9211, 106.25: 9212, 106.5: 9213, 107.0: 9214, 107.25: 9215, 107.5: 9216, 107.75: 5899, 108.0: 5898,
    108.25: 9217, 108.5: 9218,
}  # fmt: skip
#: Zone -> EPSG of VN-2000 / UTM.
UTM = {48: 3405, 49: 3406}
#: All projected ones.
SYSTEMS = frozenset({*UTM.values(), *TM3.values()})
#: Registered with a false easting of 0 where 500 000 m is meant, and withdrawn.
WITHDRAWN = frozenset({6956, 6957, 6958, 6959})
OPERATION = "EPSG:6960"
NAME = "VN-2000 to WGS 84 (2)"


def operation(source: int, target: int) -> pyproj.Transformer:
    """Between a WGS 84 system and a VN-2000 one by the pinned operation, x before y. Raises InputError."""
    group = TransformerGroup(source, target, always_xy=True)
    for transformer in group.transformers:
        if NAME in transformer.description:
            return transformer
    raise InputError(f"this PROJ knows no {OPERATION} ({NAME}) from EPSG:{source} to EPSG:{target}")
