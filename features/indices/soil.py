"""Bare, tilled and built-up ground."""

from __future__ import annotations

from features.indices.entry import ANY, ONE, POSITIVE, SHARE, Index

CANON = (
    Index("ndti", "(swir16 - swir22) / (swir16 + swir22)", "soil", ONE, "van Deventer et al. 1997, PERS 63(1), 87-93", "Normalized Difference Tillage Index"),
    Index("bsi", "((swir16 + red) - (nir + blue)) / ((swir16 + red) + (nir + blue))", "soil", ONE, "Rikimaru et al. 2002, Tropical Ecology 43(1), 39-47", "Bare Soil Index"),
    Index("bi", "sqrt(red ** 2 + nir ** 2)", "soil", (0.0, 2.0**0.5), "Khan et al. 2005, doi:10.1016/j.agwat.2004.09.038", "Brightness Index"),
    Index("barei", "red + swir16 - nir", "soil", (-1.0, 2.0), "Lin et al. 2005, doi:10.1109/IGARSS.2005.1525743", "Bareness Index"),
    Index("bitm", "sqrt((blue ** 2 + green ** 2 + red ** 2) / 3)", "soil", SHARE, "Mathieu et al. 1998, doi:10.1016/S0034-4257(98)00030-3", "Landsat TM-based Brightness Index"),
    Index("bixs", "sqrt((green ** 2 + red ** 2) / 2)", "soil", SHARE, "Mathieu et al. 1998, doi:10.1016/S0034-4257(98)00030-3", "SPOT HRV XS-based Brightness Index"),
    Index("blfei", "((green + red + swir22) / 3 - swir16) / ((green + red + swir22) / 3 + swir16)", "soil", ONE, "Bouhennache et al. 2019, doi:10.1080/10106049.2018.1497094", "Built-Up Land Features Extraction Index"),
    Index("brba", "red / swir16", "soil", POSITIVE, "Muhammad 2012, https://www.omicsonline.org/scientific-reports/JGRS-SR136.pdf", "Band Ratio for Built-up Area"),
    Index("dbsi", "(swir16 - green) / (swir16 + green) - (nir - red) / (nir + red)", "soil", (-2.0, 2.0), "Rasul et al. 2018, doi:10.3390/land7030081", "Dry Bareness Index"),
    Index("embi", "((swir16 - swir22 - nir) / (swir16 + swir22 + nir) + 0.5 - (green - swir16) / (green + swir16) - 0.5) / ((swir16 - swir22 - nir) / (swir16 + swir22 + nir) + 0.5 + (green - swir16) / (green + swir16) + 1.5)", "soil", ONE, "Zhao & Zhu 2022, doi:10.1016/j.jag.2022.102703", "Enhanced Modified Bare Soil Index"),
    Index("ibi", "((swir16 - nir) / (swir16 + nir) - (1.5 * (nir - red) / (nir + red + 0.5) + (green - swir16) / (green + swir16)) / 2) / ((swir16 - nir) / (swir16 + nir) + (1.5 * (nir - red) / (nir + red + 0.5) + (green - swir16) / (green + swir16)) / 2)", "soil", ANY, "Xu 2008, doi:10.1080/01431160802039957", "Index-Based Built-Up Index"),
    Index("mbi", "(swir16 - swir22 - nir) / (swir16 + swir22 + nir) + 0.5", "soil", (-0.5, 1.5), "Nguyen et al. 2021, doi:10.3390/land10030231", "Modified Bare Soil Index"),
    Index("nbai", "(swir22 - swir16 / green) / (swir22 + swir16 / green)", "soil", ONE, "Muhammad 2012, https://www.omicsonline.org/scientific-reports/JGRS-SR136.pdf", "Normalized Built-up Area Index"),
    Index("ndbi", "(swir16 - nir) / (swir16 + nir)", "soil", ONE, "Zha et al. 2003, doi:10.1080/01431160304987", "Normalized Difference Built-Up Index"),
    Index("ndsoi", "(swir22 - green) / (swir22 + green)", "soil", ONE, "Deng et al. 2015, doi:10.1016/j.jag.2015.02.010", "Normalized Difference Soil Index"),
    Index("pisi", "0.8192 * blue - 0.5735 * nir + 0.075", "soil", (-0.5, 0.896), "Tian et al. 2018, doi:10.3390/rs10101521", "Perpendicular Impervious Surface Index"),
    Index("ri", "(red - green) / (red + green)", "soil", ONE, "Escadafal & Huete 1991, https://www.documentation.ird.fr/hor/fdi:34390", "Redness Index"),
    Index("ri4xs", "red ** 2 / green ** 4", "soil", POSITIVE, "Mathieu et al. 1998, doi:10.1016/S0034-4257(98)00030-3", "SPOT HRV XS-based Redness Index 4"),
    Index("sndti", "1.6 * (swir16 - swir22) / (swir16 + swir22 + 0.6)", "soil", ONE, "Ren et al. 2018, doi:10.1080/22797254.2017.1418186", "Soil-Adjusted Normalized Difference Tillage Index"),
    Index("ui", "(swir22 - nir) / (swir22 + nir)", "soil", ONE, "Kawamura et al. 1996, https://www.isprs.org/proceedings/XXXI/congress/part7/321_XXXI-part7.pdf", "Urban Index"),
    Index("vibi", "(nir - red) / (nir + red) / ((nir - red) / (nir + red) + (swir16 - nir) / (swir16 + nir))", "soil", ANY, "Stathakis et al. 2012, doi:10.1080/01431161.2012.687842", "Vegetation Index Built-up Index"),
)  # fmt: skip
