"""Salt at the surface and salt stress of the canopy."""

from __future__ import annotations

from features.indices.entry import ANY, ONE, POSITIVE, SHARE, Index

CANON = (
    Index("ndsi", "(red - nir) / (red + nir)", "salinity", ONE, "Khan et al. 2005, doi:10.1016/j.agwat.2004.09.038", "Normalized Difference Salinity Index (= -ndvi)"),
    Index("si1", "sqrt(green * red)", "salinity", SHARE, "Douaoui et al. 2006, doi:10.1016/j.geoderma.2005.10.009", "Salinity Index 1"),
    Index("si2", "sqrt(green ** 2 + red ** 2 + nir ** 2)", "salinity", (0.0, 3.0**0.5), "Douaoui et al. 2006, doi:10.1016/j.geoderma.2005.10.009", "Salinity Index 2"),
    Index("si3", "sqrt(green ** 2 + red ** 2)", "salinity", (0.0, 2.0**0.5), "Douaoui et al. 2006, doi:10.1016/j.geoderma.2005.10.009", "Salinity Index 3"),
    Index("si4", "swir16 / swir22", "salinity", POSITIVE, "Bannari et al. 2008, doi:10.1080/00103620802432717", "Salinity Index 4"),
    Index("si7", "blue / red", "salinity", POSITIVE, "Abbas & Khan 2007, MODSIM 2007, 2632-2638", "Salinity Index 7 (S1)"),
    Index("si8", "(blue - red) / (blue + red)", "salinity", ONE, "Abbas & Khan 2007, MODSIM 2007, 2632-2638", "Salinity Index 8 (S2)"),
    Index("si9", "green * red / blue", "salinity", POSITIVE, "Abbas & Khan 2007, MODSIM 2007, 2632-2638", "Salinity Index 9 (S3)"),
    Index("si10", "sqrt(blue * red)", "salinity", SHARE, "Abbas & Khan 2007, MODSIM 2007, 2632-2638", "Salinity Index 10 (S4)"),
    Index("si11", "blue * red / green", "salinity", POSITIVE, "Abbas & Khan 2007, MODSIM 2007, 2632-2638", "Salinity Index 11 (S5)"),
    Index("si12", "red * nir / green", "salinity", POSITIVE, "Abbas & Khan 2007, MODSIM 2007, 2632-2638", "Salinity Index 12 (S6)"),
    Index("si13", "sqrt(red * nir)", "salinity", SHARE, "in Rani et al. 2022, doi:10.1007/s12517-022-09682-3", "Salinity Index 13"),
    Index("si14", "100 * red / nir", "salinity", POSITIVE, "Tripathi et al. 1997, ACRS 1997", "Salinity Index 14"),
    Index("crsi", "sqrt((red * nir - green * blue) / (red * nir + green * blue))", "salinity", SHARE, "Scudiero et al. 2015, doi:10.1016/j.rse.2015.08.026", "Canopy Response Salinity Index"),
    Index("cosri", "(blue + green) / (red + nir) * (nir - red) / (nir + red)", "salinity", ANY, "Fernández-Buces et al. 2006, doi:10.1016/j.jaridenv.2005.08.005", "Combined Spectral Response Index"),
    Index("vssi", "2 * green - 5 * (red + nir)", "salinity", (-10.0, 2.0), "Dehni & Lounis 2012, doi:10.1016/j.proeng.2012.01.1193", "Vegetation Soil Salinity Index"),
    Index("nsi", "(swir16 - swir22) / (swir16 - nir)", "salinity", ANY, "in Rani et al. 2022, doi:10.1007/s12517-022-09682-3", "Normalized Salinity Index"),
    Index("siaster", "(swir16 - nir) / (swir16 + swir22)", "salinity", ANY, "in Rani et al. 2022, doi:10.1007/s12517-022-09682-3", "Salinity Index of ASTER bands"),
    Index("sit", "nir / swir16", "salinity", POSITIVE, "in Rani et al. 2022, doi:10.1007/s12517-022-09682-3", "Salinity Index T"),
    Index("sssi1", "swir16 - swir22", "salinity", ONE, "Bannari et al. 2008, doi:10.1080/00103620802432717", "Soil Salinity and Sodicity Index 1"),
    Index("sssi2", "(swir16 * swir22 - swir22 ** 2) / swir16", "salinity", ANY, "Bannari et al. 2008, doi:10.1080/00103620802432717", "Soil Salinity and Sodicity Index 2"),
)  # fmt: skip
