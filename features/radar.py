"""Dual-polarised radar indices from intensities alone: VV and VH as linear gamma0 power.

Ground range products carry no phase, so the measures of Bhogapurapu et al. are made of q = vh / vv,
held at most 1. Their angle theta_c = arctan((1 - q)^2 / (1 - q + q^2)) falls as q rises, so it orders
pixels as m_c does and is left out. ``indices.py`` takes its radar entries from here.
"""

from __future__ import annotations

_Q = "min(vh / vv, 1)"
_LN_2, _LN_10 = "0.6931471805599453", "2.302585092994046"
_SHARE = (0.0, 1.0)
_ANY = (float("-inf"), float("inf"))
_DESCRIPTORS = "Bhogapurapu et al. 2021, doi:10.1016/j.isprsjprs.2021.05.013"
_DPRVIC = "Bhogapurapu et al. 2022, doi:10.1016/j.rse.2022.112900"
_DECIBEL = "decibels of one date; for decibels of a season's power name a statistic such as vv_meandb"

#: (name, formula, range, citation) of each index.
RADAR_INDICES = (
    ("mc", f"(1 - {_Q}) / (1 + {_Q})", _SHARE, _DESCRIPTORS),
    (
        "hc",
        f"(log(1 + {_Q}) - {_Q} / (1 + {_Q}) * log({_Q})) / {_LN_2}",
        _SHARE,
        _DESCRIPTORS,
    ),
    ("dprvic", f"{_Q} * ({_Q} + 3) / ({_Q} + 1) ** 2", _SHARE, _DPRVIC),
    ("vv_db", f"10 * log(vv) / {_LN_10}", _ANY, _DECIBEL),
    ("vh_db", f"10 * log(vh) / {_LN_10}", _ANY, _DECIBEL),
)
