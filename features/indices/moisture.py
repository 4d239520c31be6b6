"""Water in leaves and in the upper soil."""

from __future__ import annotations

from math import inf

from features.indices.entry import ANY, ONE, POSITIVE, Index

CANON = (
    Index("ndmi", "(nir - swir16) / (nir + swir16)", "moisture", ONE, "Wilson & Sader 2002, doi:10.1016/S0034-4257(01)00318-2", "Normalized Difference Moisture Index"),
    Index("dswi2", "swir16 / green", "moisture", POSITIVE, "Apan et al. 2004, doi:10.1080/01431160310001618031", "Disease-Water Stress Index 2"),
    Index("dswi3", "swir16 / red", "moisture", POSITIVE, "Apan et al. 2004, doi:10.1080/01431160310001618031", "Disease-Water Stress Index 3"),
    Index("dswi5", "(nir + green) / (swir16 + red)", "moisture", POSITIVE, "Apan et al. 2004, doi:10.1080/01431160310001618031", "Disease-Water Stress Index 5"),
    Index("gvmi", "(nir + 0.1 - (swir22 + 0.02)) / (nir + 0.1 + (swir22 + 0.02))", "moisture", (-0.823, 0.966), "Ceccato et al. 2002, doi:10.1016/S0034-4257(02)00037-8", "Global Vegetation Moisture Index"),
    Index("mlswi26", "(1 - nir - swir16) / (1 - nir + swir16)", "moisture", ONE, "Kwak et al. 2015, doi:10.3390/rs71215805", "Modified Land Surface Water Index (MODIS Bands 2 and 6)"),
    Index("mlswi27", "(1 - nir - swir22) / (1 - nir + swir22)", "moisture", ONE, "Kwak et al. 2015, doi:10.3390/rs71215805", "Modified Land Surface Water Index (MODIS Bands 2 and 7)"),
    Index("msi", "swir16 / nir", "moisture", POSITIVE, "Hunt & Rock 1989, doi:10.1016/0034-4257(89)90046-1", "Moisture Stress Index"),
    Index("nddi", "((nir - red) / (nir + red) - (green - nir) / (green + nir)) / ((nir - red) / (nir + red) + (green - nir) / (green + nir))", "moisture", ANY, "Gu et al. 2007, doi:10.1029/2006GL029127", "Normalized Difference Drought Index"),
    Index("nmdi", "(nir - (swir16 - swir22)) / (nir + (swir16 - swir22))", "moisture", ANY, "Wang & Qu 2007, doi:10.1029/2007GL031021", "Normalized Multi-band Drought Index"),
    Index("nsdsi1", "(swir16 - swir22) / swir16", "moisture", (-inf, 1.0), "Yue et al. 2019, doi:10.1016/j.isprsjprs.2019.06.012", "Normalized Shortwave-Infrared Difference Bare Soil Moisture Index 1"),
    Index("nsdsi2", "(swir16 - swir22) / swir22", "moisture", (-1.0, inf), "Yue et al. 2019, doi:10.1016/j.isprsjprs.2019.06.012", "Normalized Shortwave-Infrared Difference Bare Soil Moisture Index 2"),
)  # fmt: skip
