"""Writes docs/indices.md from the canon: ``python docs/indices.py``. A test fails where the page is stale."""

from __future__ import annotations

import re
from pathlib import Path

from features import ALIASES, INDICES

HEAD = """# The canon of indices

Made by `python docs/indices.py`; do not edit. `phusa indices` lists, filters and explains the same.

Bands are surface reflectance from 0 to 1 (common names; `nir` is B08, `nir08` is B8A) or gamma0 power. A feature is
`<index>_<statistic>`, as in `crsi_p50`. One name has one formula and one formula one name. The range is what
reflectance from 0 to 1 can give: it is told, never used to clip. A zero denominator, a negative root and an
unseen band give NaN. A region config adds its own:

```yaml
indices:
  shrimp_pond: {formula: (green - swir22) / (red + 0.1), range: [-1, 5], domain: water, citation: our field notes 2026}
features: [shrimp_pond_max, ndvi_p50]
```
"""

TAIL = """
## Names that mislead

Many names are used for several formulas. What a paper means by a name is in this table; the index is found here
by the name on the right. Look salinity indices up by formula, never by name: the NDSI, BI, NDTI and SI of other
software are not those of the salinity papers, and S1 to S6 of Abbas & Khan are `si7` to `si12`.

| elsewhere | here | as used by |
|---|---|---|
"""

LEFT_OUT = """
## What was left out of the Awesome Spectral Indices catalogue (spyndex 0.12), and why

* Other bands: what needs an aerosol, water vapour, thermal or yellow band or MODIS' narrow green (CCI, CSIT, DBI, EBBI,
  mND705, mSR705, NBLI, NBRT1 to 3, NBUI, NDBaI, NDISI, NDVIT, NPCI, NSTv1 and 2, SAVIT, SIPI, VI6T and kin).
* Free parameters: kernel indices (kNDVI and kin: a length scale); the soil line of a site (ATSAVI, TSAVI, WDVI, SAVI2);
  a constant fitted to each scene or month (RWI, NDVI4RE, RVI4RE, SAVI4RE, NDTI4RE, SNDTI4RE, STI4RE; NIRvH2; NDWIns,
  on whose constant the catalogue's editions differ); incoming radiation (NIRvP).
* Not the paper's formula: ARVI and SARVI of the catalogue have the blue-red difference with the wrong sign (the paper's
  ARVI is `iavi` here), BAIM has a misplaced bracket.
* Snow and clouds: the mask removes clouds before indices, and there is no snow to map.

Constants are the papers', not the catalogue's one default a letter: L = 0.5 (`savi`, `gsavi`, `mnli`, `ibi`) and 0.6 (`sndti`),
alpha = 0.74 (`ndpi`, `snirvndpi`). Wavelengths in `fai`, `fdi`, `ndgi`, `dviplus` and `crswir` are Sentinel-2A's.
"""


def page() -> str:
    parts = [HEAD]
    for domain in dict.fromkeys(index.domain for index in INDICES.values()):
        parts.append(
            f"\n## {domain.capitalize()}\n\n| index | formula | range | citation |\n|---|---|---|---|\n"
        )
        for index in INDICES.values():
            if index.domain == domain:
                low, high = (f"{bound:.5g}".replace("inf", "∞") for bound in index.range)
                name = f"**{index.name}** {index.title}"
                parts.append(
                    f"| {name} | `{index.formula}` | {low} to {high} | {_linked(index.citation)} |\n"
                )
    parts.append(TAIL)
    for name, meant in ALIASES.items():
        parts.extend(f"| {name} | `{a.index}` | {_linked(a.paper)} |\n" for a in meant)
    return "".join([*parts, LEFT_OUT])


def _linked(citation: str) -> str:
    """The citation with its DOI or address as a link."""
    found = re.search(r"(doi:|https?://)(\S+)", citation)
    if not found:
        return citation
    scheme, rest = found.groups()
    target = "https://doi.org/" + rest if scheme == "doi:" else scheme + rest
    target = target.replace("<", "%3C").replace(">", "%3E").replace("(", "%28").replace(")", "%29")
    label = rest if scheme == "doi:" else "link"
    return citation.replace(found[0], f"[{label}]({target})").replace("<", "&lt;").replace(">", "&gt;")


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(page(), encoding="utf-8")
