"""Fire scars, straw burning included."""

from __future__ import annotations

from math import inf

from features.indices.entry import ONE, POSITIVE, Index

CANON = (
    Index("bai", "1 / ((0.1 - red) ** 2 + (0.06 - nir) ** 2)", "burn", (0.590, inf), "Martín & Chuvieco 1998, https://digital.csic.es/bitstream/10261/6426/1/Martin_Isabel_Serie_Geografica.pdf", "Burned Area Index"),
    Index("bais2", "(1 - sqrt(rededge2 * rededge3 * nir08 / red)) * ((swir22 - nir08) / sqrt(swir22 + nir08) + 1)", "burn", (-inf, 2.0), "Filipponi 2018, doi:10.3390/ecrs-2-05177", "Burned Area Index for Sentinel 2"),
    Index("csi", "nir / swir22", "burn", POSITIVE, "Smith et al. 2005, doi:10.1016/j.rse.2005.04.014", "Char Soil Index"),
    Index("mirbi", "10 * swir22 - 9.8 * swir16 + 2", "burn", (-7.8, 12.0), "Trigg & Flasse 2001, doi:10.1080/01431160110053185", "Mid-Infrared Burn Index"),
    Index("nbr", "(nir - swir22) / (nir + swir22)", "burn", ONE, "García & Caselles 1991, doi:10.1080/10106049109354290", "Normalized Burn Ratio"),
    Index("nbrplus", "(swir22 - nir08 - green - blue) / (swir22 + nir08 + green + blue)", "burn", ONE, "Alcaras et al. 2022, doi:10.3390/rs14071727", "Normalized Burn Ratio Plus"),
    Index("nbrswir", "(swir22 - swir16 - 0.02) / (swir22 + swir16 + 0.1)", "burn", (-0.929, 0.892), "Liu et al. 2020, doi:10.1080/22797254.2020.1738900", "Normalized Burn Ratio SWIR"),
)  # fmt: skip
