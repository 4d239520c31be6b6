"""Numbers, degrees, days, depths and units in the spellings of the field; nothing here knows a file."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

#: What a cell holds: text, or what a workbook or GeoPackage types itself.
Cell = str | float | dt.date | dt.datetime

#: Texts and numbers that say "not measured". ("nan" is no such text: no laboratory writes it.)
PLACEHOLDERS = frozenset(
    {"na", "n/a", "#n/a", "null", "-", "--", "–", "—", ".", "?", "nd", "n.d.", "không đo", "không có",
     "khong do", "khong co"}
)  # fmt: skip
SENTINELS = frozenset({-9999.0, -999.0, -99.0, -99999.0, -32768.0, 1e20, 9999.0, 99999.0, 999999.0})
SPREADSHEET_ERRORS = frozenset({"#ref!", "#value!", "#div/0!", "#name?", "#num!", "#null!"})

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_GROUPED = re.compile(r"[+-]?\d{1,3}([ .,'\u00a0\u202f’])\d{3}(?:\1\d{3})*(?:[.,]\d+)?")
_MINUS = str.maketrans({"−": "-", "–": "-", "‒": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " "})


class Ambiguous(ValueError):
    """A text with two readings."""


def tidy(text: str) -> str:
    """Composed letters (macOS and Windows-1258 write letter and mark, which look alike and differ), no blanks
    at the ends."""
    return unicodedata.normalize("NFC", text).replace("\ufeff", "").strip()


def plain(text: str) -> str:
    """A name for comparison: small, without marks, words of letters and digits parted by single blanks."""
    letters = unicodedata.normalize("NFKD", text.casefold().replace("đ", "d"))
    letters = "".join(c for c in letters if not unicodedata.combining(c))
    return " ".join(re.findall(r"[a-z0-9]+", letters))


Decimal = Literal[".", ",", ""]


def decimal_sign(texts: list[str]) -> Decimal:
    """The decimal sign that a file's numbers show; "" where none does. One with three digits behind shows none."""
    votes = {".": 0, ",": 0}
    for text in texts:
        found = re.fullmatch(r"[+-]?\d*([.,])(\d+)", text.strip())
        if found and len(found[2]) != 3:
            votes[found[1]] += 1
        elif grouped := re.fullmatch(r"[+-]?\d{1,3}(?:([.,])\d{3})+([.,])\d+", text.strip()):
            votes[grouped[2]] += grouped[1] != grouped[2]
    if not votes["."] and not votes[","]:
        return ""
    return "." if votes["."] >= votes[","] else ","


def number(text: str, sign: Decimal = "", degrees: bool = False) -> float:
    """A number with either decimal sign; ``sign`` is the file's.

    Three digits behind one sign that is not the file's could be thousands: Ambiguous, but for ``degrees``,
    which have no thousands. Raises ValueError for what is no number.
    """
    spelled = text.translate(_MINUS).strip()
    if spelled.count(",") + spelled.count(".") <= 1:
        other = "," if sign == "." else "."
        grouped = re.fullmatch(r"[+-]?[1-9]\d{0,2}([.,])\d{3}", spelled)
        if grouped and not degrees and (grouped[1] == "," if not sign else grouped[1] == other):
            raise Ambiguous(text)
        spelled = spelled.replace(",", ".")
    elif _GROUPED.fullmatch(spelled):
        last = max(spelled.rfind(","), spelled.rfind("."))
        first = next(c for c in spelled if not c.isdigit() and c not in "+-")
        whole, fraction = (spelled[:last], spelled[last + 1 :]) if spelled[last] != first else (spelled, "")
        spelled = re.sub(r"[ .,'\u00a0\u202f’]", "", whole) + (f".{fraction}" if fraction else "")
    spelled = re.sub(r"(?<=\d)[ '’](?=\d{3}(?:\D|$))", "", spelled)
    if not _NUMBER.fullmatch(spelled):
        raise ValueError(text)
    return float(spelled)


# --- degrees ---------------------------------------------------------------------------------------

#: Letter or word of a hemisphere -> axis and sign. N is north in English and south (Nam) in Vietnamese.
HEMISPHERES: dict[str, tuple[Literal["lon", "lat"], int]] = {
    "n": ("lat", 1), "north": ("lat", 1), "b": ("lat", 1), "bac": ("lat", 1), "vb": ("lat", 1), "vdb": ("lat", 1),
    "s": ("lat", -1), "south": ("lat", -1), "nam": ("lat", -1),
    "e": ("lon", 1), "east": ("lon", 1), "d": ("lon", 1), "dong": ("lon", 1), "kdd": ("lon", 1),
    "w": ("lon", -1), "west": ("lon", -1), "t": ("lon", -1), "tay": ("lon", -1),
}  # fmt: skip
_MARKS = {
    "°": r"°|º|˚|o(?=\s*\d)|⁰|độ|do\b|deg\.?|d(?=\s*\d)|đ(?=\s*\d)",
    "'": r"'|’|′|‘|`|´|phút|phut\b|min\.?|m(?=\s*\d|\b)|p(?=\s*\d|\b)",
    '"': r"\"|”|″|“|''|’’|′′|giây|giay\b|sec\.?|g\b|s(?=\s*$)",
}


@dataclass(frozen=True)
class Angle:
    """Degrees with what the text says of hemisphere: the letter, or "" where it has none."""

    degrees: float
    letter: str = ""

    @property
    def axis(self) -> str:
        """``lon``, ``lat`` or "" """
        return HEMISPHERES[plain(self.letter)][0] if self.letter else ""


def angle(text: str, sign: Decimal = "") -> Angle:
    """Degrees in decimal or in degrees, minutes and seconds, with a hemisphere's letter before or behind.

    Raises ValueError: "minutes" where they are 60 and more, "sign" where sign and letter disagree.
    """
    spelled = unicodedata.normalize("NFC", text).translate(_MINUS).strip()
    letter, body = _hemisphere(spelled)
    try:
        value = number(body, sign, degrees=True)
    except ValueError:
        value = _sexagesimal(body)
    if letter:
        if value < 0 or body.lstrip().startswith("-"):
            raise ValueError("sign")
        value *= HEMISPHERES[plain(letter)][1]
    return Angle(value, letter)


def _hemisphere(text: str) -> tuple[str, str]:
    word = r"[^\W\d_]+"
    text = re.sub(
        r"(?i)\b(?:vĩ|kinh)\s*(?:độ|tuyến)\s*:?|\b(?:lat|lon|long)(?:itude)?\b\.?\s*:?", "", text
    ).strip()
    ends = (rf"(.*?[\d\"'”″’′°º˚.])\s*({word})\.?", rf"(.*\d\s*(?:s|g|sec|giây))\s+({word})\.?")
    for pattern in (rf"({word})[\s.:]*([-+]?\d.*)", *ends):
        found = re.fullmatch(pattern, text, re.DOTALL)
        if not found:
            continue
        letter, body = (found[1], found[2]) if found[1][0].isalpha() else (found[2], found[1])
        if plain(letter) in HEMISPHERES and not (letter == "s" and not re.search(r"[°'\"]", body)):
            return letter, body
    return "", text


def _sexagesimal(text: str) -> float:
    spelled = text.strip().casefold()
    negative = spelled.startswith("-")
    spelled = re.sub(r"(?<=\d)-(?=\d)", " ", spelled.lstrip("+-").strip())
    for mark in ('"', "'", "°"):
        spelled = re.sub(_MARKS[mark], f" {mark} ", spelled)
    parts = re.findall(r"\d+(?:[.,]\d+)?|[°'\"]|:|[^\s]", spelled)
    numbers = [p for p in parts if p[0].isdigit()]
    marks = [p for p in parts if not p[0].isdigit()]
    order = [m for m in marks if m != ":"]
    wanted = ["°", "'", '"'][: len(order)]
    double = [*order[:2], '"'] if order[2:] == ["'", "'"] else order
    if not 2 <= len(numbers) <= 3 and not (len(numbers) == 1 and order == ["°"]):
        raise ValueError(text)
    if double != wanted[: len(double)] or any(("." in n or "," in n) for n in numbers[:-1]):
        raise ValueError(text)
    values = [float(n.replace(",", ".")) for n in numbers] + [0.0, 0.0]
    if values[1] >= 60 or values[2] >= 60:
        raise ValueError("minutes")
    total = values[0] + values[1] / 60 + values[2] / 3600
    return -total if negative else total


_PAIR = re.compile(r"\s*[;|\n]\s*|\s*,\s+|\s+/\s+|\s*,\s*(?=[NSEWBĐDT-]?\s*\d+\.)")


def pair(text: str, sign: Decimal = "") -> tuple[Angle, Angle, float | None]:
    """Latitude, longitude and accuracy in metres of one text: "10.5, 105.3", "10°30'B; 105°18'Đ", or the
    geopoint of a field form, "10.5 105.3 2.0 4.5". Letters may turn the order; without, latitude is first.

    Raises ValueError.
    """
    spelled = text.strip().strip("()[]")
    fields = spelled.split()
    if len(fields) in (2, 3, 4) and all(_NUMBER.fullmatch(f) for f in fields):
        accuracy = float(fields[3]) if len(fields) == 4 else None
        return Angle(float(fields[0])), Angle(float(fields[1])), accuracy
    halves = [h for h in _PAIR.split(spelled) if h]
    if len(halves) != 2:
        found = re.fullmatch(r"(.+?[NSBĐEWTnsbđewt]\w*)[\s,]+(.+)", spelled)
        found = found or re.fullmatch(r"([NSBĐEWT]\s*\d.*?)[\s,]+([NSBĐEWT]\s*\d.*)", spelled)
        halves = [found[1], found[2]] if found else []
    if len(halves) != 2:
        raise ValueError(text)
    first, second = (angle(h, sign) for h in halves)
    if first.axis == "lon" or second.axis == "lat":
        first, second = second, first
    return first, second, None


# --- days ------------------------------------------------------------------------------------------

_MONTHS = {
    name[:size]: k
    for k, name in enumerate(
        ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
         "november", "december"), start=1,
    )
    for size in (3, 4, len(name))
}  # fmt: skip
#: Day 0 of spreadsheets (1900 system, with its leap day that never was).
_EPOCH = dt.date(1899, 12, 30)


@dataclass(frozen=True)
class Day:
    """A day and how its text was read."""

    day: dt.date
    reading: Literal["plain", "day-first", "month-first", "either", "serial"] = "plain"
    short_year: bool = False


def day(cell: Cell) -> Day:
    """A day: ISO (with time or without), day first, in words, or a spreadsheet's number.

    ``either``: both orders are possible, and the day is read first. Raises ValueError.
    """
    if isinstance(cell, dt.datetime):
        return Day(cell.date())
    if isinstance(cell, dt.date):
        return Day(cell)
    if isinstance(cell, float):
        return _serial(cell)
    text = cell.strip()
    if re.fullmatch(r"\d{5}(\.\d+)?", text):
        return _serial(float(text))
    if found := re.fullmatch(r"(\d{4})[/.](\d{1,2})[/.](\d{1,2})(?:[ T].*)?", text):
        return Day(dt.date(*(int(p) for p in found.groups())))
    if found := re.fullmatch(
        r"(\d{1,2})\s*[/.\-]\s*(\d{1,2})\s*[/.\-]\s*(\d{4}|\d{2})(?:[ ,T]+\d{1,2}[:h].*)?", text
    ):
        return _ordered(found[1], found[2], found[3])
    words = plain(text)
    vietnamese = re.fullmatch(r"(?:ngay )?(\d{1,2}) thang (\d{1,2}) (?:nam )?(\d{4})", words)
    if vietnamese:
        return Day(dt.date(int(vietnamese[3]), int(vietnamese[2]), int(vietnamese[1])))
    for pattern, places in (
        (r"(\d{1,2}) ([a-z]+) (\d{4}|\d{2})", (3, 2, 1)),
        (r"([a-z]+) (\d{1,2}) (\d{4})", (3, 1, 2)),
    ):
        english = re.fullmatch(pattern, words)
        if english and english[places[1]] in _MONTHS:
            year = int(english[3]) + (2000 if len(english[3]) == 2 else 0)
            found_day = dt.date(year, _MONTHS[english[places[1]]], int(english[places[2]]))
            return Day(found_day, short_year=len(english[3]) == 2)
    return Day(dt.datetime.fromisoformat(text).date())


def _serial(value: float) -> Day:
    if not 25569 <= value <= 73050:  # 1970 to 2100
        raise ValueError(str(value))
    return Day(_EPOCH + dt.timedelta(days=int(value)), "serial")


def _ordered(first: str, second: str, year: str) -> Day:
    a, b, y, short = int(first), int(second), int(year), len(year) == 2
    y += 2000 if short else 0
    if b > 12:
        return Day(dt.date(y, a, b), "month-first", short)
    return Day(dt.date(y, b, a), "day-first" if a > 12 or a == b else "either", short)


# --- depths ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """A layer of soil in cm below the surface."""

    top: float
    bottom: float
    surface: bool = False
    """One number was given, the lower end."""


def layer(cell: Cell, unit: str = "cm") -> Layer:
    """A layer such as "0-20", "0 – 20 cm", "0 đến 20", "0,2-0,4 m". Raises ValueError; TypeError for a date."""
    if isinstance(cell, dt.date):
        raise TypeError(str(cell))
    if isinstance(cell, float):
        return Layer(0.0, _positive(cell) * _CM[unit], surface=True)
    words = unicodedata.normalize("NFC", cell).translate(_MINUS).casefold().strip()
    found = re.fullmatch(
        r"(?:từ\s+)?(\d+(?:[.,]\d+)?)\s*(cm|m|mm)?\s*(?:-|->|to|đến|den|tới|~|÷|\.\.+)\s*(\d+(?:[.,]\d+)?)\s*(cm|m|mm)?",
        words,
    )
    if found:
        scale = _CM[found[4] or found[2] or unit]
        top, bottom = (float(found[k].replace(",", ".")) * scale for k in (1, 3))
        if not top < bottom <= 1000:
            raise ValueError(cell)
        return Layer(round(top, 3), round(bottom, 3))
    single = re.fullmatch(r"(\d+(?:[.,]\d+)?)\s*(cm|m|mm)?", words)
    if single:
        return Layer(
            0.0, _positive(float(single[1].replace(",", "."))) * _CM[single[2] or unit], surface=True
        )
    raise ValueError(cell)


_CM = {"cm": 1.0, "m": 100.0, "mm": 0.1}


def _positive(value: float) -> float:
    if not 0 < value <= 1000:
        raise ValueError(str(value))
    return value


# --- units -----------------------------------------------------------------------------------------

_UNIT_SPELLINGS = (
    (r"(deci|d) ?s(iemens)? ?(/|per|p)? ?m ?(-1|\^-1)?", "dS/m"),
    (r"(milli|m) ?s(iemens)? ?(/|per|p)? ?cm ?(-1|\^-1)?", "mS/cm"),
    (r"(micro|u|mic|mc) ?s(iemens)? ?(/|per|p)? ?cm ?(-1|\^-1)?", "µS/cm"),
    (r"(milli|m) ?mhos? ?(/|per|p)? ?cm ?(-1|\^-1)?", "mmho/cm"),
    (r"(micro|u) ?mhos? ?(/|per|p)? ?cm ?(-1|\^-1)?", "umho/cm"),
    (r"(milli|m) ?s(iemens)? ?(/|per|p)? ?m ?(-1|\^-1)?", "mS/m"),
    (r"s(iemens)? ?(/|per|p)? ?m ?(-1|\^-1)?", "S/m"),
    (r"(%|percent|phan tram|pct)", "%"),
    (r"(g ?(/|per)? ?kg ?(-1)?|‰|permille|phan nghin|g/1000 ?g)", "g/kg"),
    (r"(mg ?(/|per)? ?kg ?(-1)?|ppm)", "mg/kg"),
    (r"(cmol ?(\(?(\+|c)\)?)? ?(/|per)? ?kg ?(-1)?|meq ?(/|per)? ?100 ?g|ldl ?/? ?100 ?g|me ?/ ?100 ?g)", "cmol/kg"),
)  # fmt: skip
#: Families of units that turn into each other: size of each in the first one.
FAMILIES: tuple[dict[str, float], ...] = (
    {"dS/m": 1.0, "mS/cm": 1.0, "mmho/cm": 1.0, "µS/cm": 1e-3, "umho/cm": 1e-3, "mS/m": 1e-2, "S/m": 10.0},
    {"%": 1.0, "g/kg": 0.1, "mg/kg": 1e-4},
    {"cmol/kg": 1.0},
    {"t/ha": 1.0},
)


def unit(text: str) -> str:
    """One spelling of a unit, "" where the text is none: "µS cm⁻¹", "uS/cm" and "microS/cm" are µS/cm."""
    folded = unicodedata.normalize("NFKC", text).strip().strip("()[]").replace("μ", "u").replace("µ", "u")
    # M is mega and m milli, but no soil has megasiemens; D likewise.
    folded = re.sub(r"[._*·⋅\s]+", " ", folded.replace("−", "-").casefold()).strip()
    folded = folded.replace("đ", "d")
    for pattern, name in _UNIT_SPELLINGS:
        if re.fullmatch(pattern, folded):
            return name
    return "t/ha" if re.fullmatch(r"(t|tan|tấn) ?/? ?ha(/| )?(yr|nam|năm)?", folded) else ""


def factor(source: str, target: str) -> float:
    """What a value in ``source`` is multiplied by to be in ``target``. Raises ValueError."""
    target = unit(target) or target
    if source == target:
        return 1.0
    for family in FAMILIES:
        if source in family and target in family:
            return family[source] / family[target]
    raise ValueError(f"unit {source!r} cannot be made {target}")


def with_unit(text: str) -> tuple[str, str]:
    """A cell's number and the unit written behind it, "" where there is none."""
    found = re.fullmatch(r"\s*([+-]?[\d.,]+(?:[eE][+-]?\d+)?)\s*([^\d\s].*)", text)
    name = unit(found[2]) if found else ""
    return (found[1], name) if found and name else (text, "")
