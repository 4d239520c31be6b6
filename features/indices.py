"""The canon: one line an index. Bands are surface reflectance (0-1) or gamma0 power (linear)."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Index:
    """A spectral or radar index."""

    name: str
    formula: str
    domain: str
    """vegetation, water, soil, salinity, moisture or radar."""
    range: tuple[float, float]
    """Values a real surface can take: metadata, never clips."""
    citation: str


_ONE = (-1.0, 1.0)
_POSITIVE = (0.0, float("inf"))
_ANY = (float("-inf"), float("inf"))

_CANON = (
    Index("ndvi", "(nir - red) / (nir + red)", "vegetation", _ONE, "Rouse et al. 1974"),
    Index("evi", "2.5 * (nir - red) / (nir + 6 * red - 7.5 * blue + 1)", "vegetation", _ANY, "Huete et al. 2002, doi:10.1016/S0034-4257(02)00096-2"),
    Index("savi", "1.5 * (nir - red) / (nir + red + 0.5)", "vegetation", (-1.5, 1.5), "Huete 1988, doi:10.1016/0034-4257(88)90106-X"),
    Index("msavi", "0.5 * (2 * nir + 1 - sqrt((2 * nir + 1) ** 2 - 8 * (nir - red)))", "vegetation", _ONE, "Qi et al. 1994, doi:10.1016/0034-4257(94)90134-1"),
    Index("gndvi", "(nir - green) / (nir + green)", "vegetation", _ONE, "Gitelson et al. 1996, doi:10.1016/S0034-4257(96)00072-7"),
    Index("ndre", "(nir - rededge1) / (nir + rededge1)", "vegetation", _ONE, "Gitelson & Merzlyak 1994, doi:10.1016/S0176-1617(11)81633-0"),
    Index("ndwi", "(green - nir) / (green + nir)", "water", _ONE, "McFeeters 1996, doi:10.1080/01431169608948714"),
    Index("mndwi", "(green - swir16) / (green + swir16)", "water", _ONE, "Xu 2006, doi:10.1080/01431160600589179"),
    Index("ndmi", "(nir - swir16) / (nir + swir16)", "moisture", _ONE, "Gao 1996, doi:10.1016/S0034-4257(96)00067-3"),
    Index("ndti", "(swir16 - swir22) / (swir16 + swir22)", "soil", _ONE, "van Deventer et al. 1997"),
    Index("bsi", "((swir16 + red) - (nir + blue)) / ((swir16 + red) + (nir + blue))", "soil", _ONE, "Rikimaru et al. 2002"),
    Index("bi", "sqrt(red ** 2 + nir ** 2)", "soil", (0.0, 2.0**0.5), "Khan et al. 2001"),
    Index("si1", "sqrt(green * red)", "salinity", _POSITIVE, "Khan et al. 2001"),
    Index("si2", "sqrt(green ** 2 + red ** 2 + nir ** 2)", "salinity", _POSITIVE, "Douaoui et al. 2006, doi:10.1016/j.geoderma.2005.10.009"),
    Index("si3", "sqrt(green ** 2 + red ** 2)", "salinity", _POSITIVE, "Douaoui et al. 2006, doi:10.1016/j.geoderma.2005.10.009"),
    Index("crsi", "sqrt((red * nir - green * blue) / (red * nir + green * blue))", "salinity", (0.0, 1.0), "Scudiero et al. 2015, doi:10.1016/j.rse.2015.08.026"),
    Index("vssi", "2 * green - 5 * (red + nir)", "salinity", _ANY, "Dehni & Lounis 2012, doi:10.1016/j.proeng.2012.01.1193"),
    Index("vh_vv", "vh / vv", "radar", _POSITIVE, "Vreugdenhil et al. 2018, doi:10.3390/rs10091396"),
    Index("rvi", "4 * vh / (vv + vh)", "radar", (0.0, 4.0), "Nasirzadehdizaji et al. 2019, doi:10.3390/app9040655"),
)  # fmt: skip

#: Lower-case name -> Index.
INDICES = MappingProxyType({index.name: index for index in _CANON})
