"""Sentinel-1 in power; VV and VH of one relative orbit."""

from __future__ import annotations

from features.indices.entry import POSITIVE, Index

CANON = (
    Index("vh_vv", "vh / vv", "radar", POSITIVE, "Vreugdenhil et al. 2018, doi:10.3390/rs10091396", "Cross ratio"),
    Index("rvi", "4 * vh / (vv + vh)", "radar", (0.0, 4.0), "Nasirzadehdizaji et al. 2019, doi:10.3390/app9040655", "Radar Vegetation Index (dual-pol)"),
)  # fmt: skip
