"""Reference systems as surveyors write them."""

from __future__ import annotations

import math
import re
from functools import lru_cache

import pyproj

from pipeline.imports.rules import Refused
from pipeline.imports.spellings import angle, plain
from pipeline.vn2000 import TM3, UTM, VN2000, WITHDRAWN, operation


@lru_cache(maxsize=256)
def parse(text: str) -> pyproj.CRS:
    """The reference system of a text: an EPSG code, a name, "VN-2000 105°45'", "VN2000 UTM 48N", WKT.

    Raises Refused: unknown, withdrawn, or wanting its datum or central meridian.
    """
    spelled = " ".join(text.split())
    codes = re.findall(r"(?i)(?:epsg|srid)\D{0,5}(?:0/)?(\d{4,5})\b", spelled) or re.findall(
        r"^(\d{4,6})(?:\.0)?$", spelled
    )
    if codes and not spelled.startswith(("PROJCRS", "GEOGCRS", "PROJCS", "GEOGCS", "COMPD", "BOUNDCRS")):
        return _epsg(int(codes[-1]), text)
    words = plain(spelled)
    if re.search(r"vn ?2000|viet ?nam 2000", words) and "[" not in spelled:
        return _vn2000(spelled, words)
    if re.fullmatch(
        r"(he )?(toa do )?wgs ?(19)?84( 4326)?( lat lon| geographic)?|gps|crs84|ogc crs84", words
    ):
        return pyproj.CRS.from_epsg(4326)
    if found := re.fullmatch(r"wgs ?(?:19)?84 (?:/ )?utm (?:zone |mui )?(\d{1,2}) ?([ns])?", words):
        return pyproj.CRS.from_epsg((32700 if found[2] == "s" else 32600) + int(found[1]))
    if re.fullmatch(
        r"utm (?:zone |mui )?\d{1,2} ?[ns]?|utm|(?:ktt |kinh tuyen truc )?10\d( \d\d)?( 00)?", words
    ):
        raise Refused("no-datum", found=text)
    try:
        found_crs = pyproj.CRS.from_user_input(spelled)
    except pyproj.exceptions.CRSError:
        raise Refused("unknown-crs", found=text) from None
    return _checked(found_crs, text)


def _epsg(code: int, text: str) -> pyproj.CRS:
    if code in WITHDRAWN:
        raise Refused("deprecated-crs", found=text)
    try:
        return _checked(pyproj.CRS.from_epsg(code), text)
    except pyproj.exceptions.CRSError:
        raise Refused("unknown-crs", found=text) from None


def _checked(crs: pyproj.CRS, text: str) -> pyproj.CRS:
    if crs.to_epsg() in WITHDRAWN or (crs.is_deprecated and is_vn2000(crs)):
        raise Refused("deprecated-crs", found=_short(text))
    if not (crs.is_projected or crs.is_geographic):
        raise Refused("unknown-crs", found=_short(text))
    looks_tm3 = (
        crs.is_projected
        and crs.coordinate_operation is not None
        and any(
            p.name.startswith("Scale factor") and float(p.value) == 0.9999
            for p in crs.coordinate_operation.params
        )
    )
    # TM-3 is VN-2000's own grid; a file that gives it on WGS 84, or names no datum, lost the 225 m.
    if looks_tm3 and not is_vn2000(crs) and not crs.is_bound and crs.to_epsg(min_confidence=100) is None:
        raise Refused("no-datum", found=_short(text))
    return crs


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def _vn2000(spelled: str, words: str) -> pyproj.CRS:
    if named := re.search(r"\b(?:zone|mui) (481|482|491)\b", words):
        return pyproj.CRS.from_epsg({"481": 5896, "482": 5897, "491": 5898}[named[1]])
    rest = re.sub(r"(?i)vn[-_ ]?2000|viet\s*nam\s*2000", " ", spelled)
    if found := re.search(r"(?i)utm\D*?(48|49)|(?:zone|mui|múi)\s*(?:6\D*)?(48|49)\s*n?\b", rest):
        return pyproj.CRS.from_epsg(UTM[int(found[1] or found[2])])
    rest = re.sub(
        r"(?i)tm[-_ ]?3|(?:mui|múi|zone)\s*(?:chi[eế]u\s*)?3\s*(?:°|độ|do)?|3\s*(?:°|độ)\s*(?!\d)", " ", rest
    )
    if found := re.search(r"10[2-9](?:\s*[°ºđo.,:\-]?\s*[\d.,'’′\"]*)", rest):
        degrees = _meridian(found[0])
        if degrees not in TM3:
            raise Refused("unknown-crs", found=spelled)
        return pyproj.CRS.from_epsg(TM3[degrees])
    if re.search(r"[1-9]", rest):
        raise Refused("no-meridian", found=spelled)
    return pyproj.CRS.from_epsg(VN2000)


def _meridian(text: str) -> float:
    """105-45, 105°45', 105.75, 105 45, 105.45 (of which only minutes make a meridian), 10545."""
    text = text.strip(" .,:-")
    if found := re.fullmatch(r"(10\d)[-_ ]?(\d\d)", text):
        return int(found[1]) + int(found[2]) / 60
    try:
        degrees = angle(text).degrees
    except ValueError:
        return math.nan
    return round(degrees, 6)


def is_vn2000(crs: pyproj.CRS) -> bool:
    """Whether the datum is VN-2000."""
    base = crs.geodetic_crs
    return base is not None and "VN-2000" in f"{base.name} {base.datum.name if base.datum else ''}".replace(
        "VN_2000", "VN-2000"
    )


@lru_cache(maxsize=256)
def _steps(wkt: str) -> tuple[pyproj.Transformer, ...]:
    crs = pyproj.CRS.from_wkt(wkt)
    source = crs.source_crs if crs.is_bound and crs.source_crs is not None else crs
    if not is_vn2000(source):
        return (pyproj.Transformer.from_crs(crs, 4326, always_xy=True),)
    pinned = operation(VN2000, 4326)
    if source.is_geographic:
        return (pinned,)
    return (pyproj.Transformer.from_crs(source, source.geodetic_crs, always_xy=True), pinned)


def to_wgs84(crs: pyproj.CRS, x: float, y: float) -> tuple[float, float]:
    """(lon, lat) in WGS 84 of a place in x, y order; VN-2000 by the pinned operation. inf where there is none."""
    for step in _steps(crs.to_wkt()):
        x, y = step.transform(x, y)
    return float(x), float(y)
