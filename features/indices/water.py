"""Open water, flooding, turbidity and algae."""

from __future__ import annotations

from features.indices.entry import ANY, ONE, POSITIVE, Index

CANON = (
    Index("ndwi", "(green - nir) / (green + nir)", "water", ONE, "McFeeters 1996, doi:10.1080/01431169608948714", "Normalized Difference Water Index"),
    Index("mndwi", "(green - swir16) / (green + swir16)", "water", ONE, "Xu 2006, doi:10.1080/01431160600589179", "Modified Normalized Difference Water Index"),
    Index("andwi", "(blue + green + red - nir - swir16 - swir22) / (blue + green + red + nir + swir16 + swir22)", "water", ONE, "Rad et al. 2021, doi:10.1016/j.envsoft.2021.105030", "Augmented Normalized Difference Water Index"),
    Index("aweinsh", "4 * (green - swir16) - 0.25 * nir + 2.75 * swir22", "water", (-4.25, 6.75), "Feyisa et al. 2014, doi:10.1016/j.rse.2013.08.029", "Automated Water Extraction Index"),
    Index("aweish", "blue + 2.5 * green - 1.5 * (nir + swir16) - 0.25 * swir22", "water", (-3.25, 3.5), "Feyisa et al. 2014, doi:10.1016/j.rse.2013.08.029", "Automated Water Extraction Index with Shadows Elimination"),
    Index("fai", "nir - red - (swir16 - red) * (832.8 - 664.6) / (1613.7 - 664.6)", "water", ONE, "Hu 2009, doi:10.1016/j.rse.2009.05.012", "Floating Algae Index"),
    Index("fdi", "nir - (rededge2 + 10 * (swir16 - rededge2) * (832.8 - 664.6) / (1613.7 - 664.6))", "water", (-1.774, 1.774), "Biermann et al. 2020, doi:10.1038/s41598-020-62298-z", "Floating Debris Index"),
    Index("fwei", "((blue + green + red) / 3 - nir) / ((blue + green + red) / 3 + nir)", "water", ONE, "Farhadi et al. 2024, doi:10.1007/s00477-024-02660-z", "Flood/Water Extraction Index"),
    Index("mbwi", "2 * green - red - nir - swir16 - swir22", "water", (-4.0, 2.0), "Wang et al. 2018, doi:10.1016/j.jag.2018.01.018", "Multi-Band Water Index"),
    Index("muwir", "-4 * ((blue - green) / (blue + green)) + 2 * ((green - nir) / (green + nir)) + 2 * ((green - swir22) / (green + swir22)) - (green - swir16) / (green + swir16)", "water", (-8.846, 8.848), "Wang et al. 2018, doi:10.3390/rs10101643", "Revised Multi-Spectral Water Index"),
    Index("ndci", "(rededge1 - red) / (rededge1 + red)", "water", ONE, "Mishra & Mishra 2012, doi:10.1016/j.rse.2011.10.016", "Normalized Difference Chlorophyll Index"),
    Index("ndponi", "(swir16 - green) / (swir16 + green)", "water", ONE, "Lacaux et al. 2007, doi:10.1016/j.rse.2006.07.012", "Normalized Difference Pond Index"),
    Index("ndvimndwi", "(nir - red) / (nir + red) - (green - swir16) / (green + swir16)", "water", (-2.0, 2.0), "Zhou et al. 2015, doi:10.1007/978-3-662-45737-5_51", "NDVI-MNDWI Model"),
    Index("nwi", "(blue - (nir + swir16 + swir22)) / (blue + (nir + swir16 + swir22))", "water", ONE, "Ding 2009, doi:10.11873/j.issn.1004-0323.2009.2.167", "New Water Index"),
    Index("osi", "(green + red) / blue", "water", POSITIVE, "Rajendran et al. 2021, doi:10.1016/j.mex.2021.101327", "Oil Spill Index"),
    Index("s2wi", "(rededge1 - swir22) / (rededge1 + swir22)", "water", ONE, "Jiang et al. 2021, doi:10.3390/w13121647", "Sentinel-2 Water Index"),
    Index("scowi", "blue + 2 * (green - nir) - 0.75 * swir16 - 0.5 * swir22", "water", (-3.25, 3.0), "Bergsma et al. 2024, doi:10.3390/rs16152795", "Subtractive Coastal Water Index"),
    Index("srwi", "(green + blue - (nir + swir16)) / (green + blue + (nir + swir16))", "water", ONE, "Chrysostomou et al. 2026, doi:10.1038/s41598-025-34720-x", "Symbolic Regression Water Index"),
    Index("swm", "(blue + green) / (nir + swir16)", "water", POSITIVE, "Milczarek et al. 2017, https://eoscience.esa.int/landtraining2017/files/posters/MILCZAREK.pdf", "Sentinel Water Mask"),
    Index("triwi", "2.84 * (rededge1 - rededge2) / (green + swir22) + (1.25 * (green - blue) - (nir - blue)) / (nir + 1.25 * green - 0.25 * blue)", "water", ANY, "Niu et al. 2022, doi:10.3390/rs14215289", "Triangle Water Index"),
    Index("wi1", "(green - swir22) / (green + swir22)", "water", ONE, "Viaña-Borja & Ortega-Sánchez 2019, doi:10.3390/rs11182186", "Water Index 1"),
    Index("wi2", "(blue - swir22) / (blue + swir22)", "water", ONE, "Viaña-Borja & Ortega-Sánchez 2019, doi:10.3390/rs11182186", "Water Index 2"),
    Index("wi2015", "1.7204 + 171 * green + 3 * red - 70 * nir - 45 * swir16 - 71 * swir22", "water", (-184.28, 175.73), "Fisher et al. 2016, doi:10.1016/j.rse.2015.12.055", "Water Index 2015"),
    Index("wri", "(green + red) / (nir + swir16)", "water", POSITIVE, "Shen & Li 2010, doi:10.1109/GEOINFORMATICS.2010.5567762", "Water Ratio Index"),
)  # fmt: skip
