"""Sentinel-1 in power; VV and VH of one relative orbit.

Ground range products carry no phase, so the measures of Bhogapurapu et al. are made of q = vh / vv, held
at most 1. Their angle theta_c = arctan((1 - q)^2 / (1 - q + q^2)) falls as q rises, so it orders pixels as
m_c does and is left out.
"""

from __future__ import annotations

from features.indices.entry import ANY, POSITIVE, SHARE, Index

_Q = "min(vh, vv) / vv"
_LN_2, _LN_10 = "0.6931471805599453", "2.302585092994046"
_DECIBEL = "Ulaby & Long 2014, Microwave Radar and Radiometric Remote Sensing"

CANON = (
    Index("vh_vv", "vh / vv", "radar", POSITIVE, "Vreugdenhil et al. 2018, doi:10.3390/rs10091396", "Cross ratio"),
    Index("rvi", "4 * vh / (vv + vh)", "radar", (0.0, 4.0), "Nasirzadehdizaji et al. 2019, doi:10.3390/app9040655", "Radar Vegetation Index (dual-pol)"),
    Index("dprvic", f"{_Q} * ({_Q} + 3) / ({_Q} + 1) ** 2", "radar", SHARE, "Bhogapurapu et al. 2022, doi:10.1016/j.rse.2022.112900", "Dual-pol Radar Vegetation Index of GRD"),
    Index("mc", f"(1 - {_Q}) / (1 + {_Q})", "radar", SHARE, "Bhogapurapu et al. 2021, doi:10.1016/j.isprsjprs.2021.05.013", "Pseudo-polarimetric purity"),
    Index("hc", f"(log(1 + {_Q}) - {_Q} / (1 + {_Q}) * log({_Q})) / {_LN_2}", "radar", SHARE, "Bhogapurapu et al. 2021, doi:10.1016/j.isprsjprs.2021.05.013", "Pseudo-polarimetric entropy"),
    Index("vv_db", f"10 * log(vv) / {_LN_10}", "radar", ANY, _DECIBEL, "VV in decibels of one date (vv_meandb: decibels of the season's mean power)"),
    Index("vh_db", f"10 * log(vh) / {_LN_10}", "radar", ANY, _DECIBEL, "VH in decibels of one date (vh_meandb: decibels of the season's mean power)"),
)  # fmt: skip
