"""What the columns of a sheet mean: Vietnamese and English headers, those of KoBo and ODK, units inside them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.readings import parse_extract, parts
from models.targets import Target
from pipeline.errors import InputError
from pipeline.imports.spellings import plain, tidy, unit

#: Our terms -> headers that mean them, without marks and small letters; the first is the surest.
TERMS: dict[str, tuple[str, ...]] = {
    "sample_id": (
        "sample id", "so hieu mau", "ma mau", "ky hieu mau", "ten mau", "ma so mau", "mau so", "so mau", "id mau",
        "sample code", "sample no", "sample number", "sample", "sampleid", "mamau", "sohieumau", "kyhieumau",
        "ky hieu", "so hieu", "ma so", "site id", "ma diem", "so hieu diem", "point id", "plot id",
        "profile id", "profile", "ma phau dien", "so hieu phau dien", "phau dien",
    ),
    "date": (
        "date", "ngay lay mau", "ngay thu mau", "ngay khao sat", "thoi gian lay mau", "sampling date", "sample date",
        "date sampled", "collection date", "survey date", "ngaylaymau", "ngay lay", "ngay", "thoi gian", "resulttime",
        "phenomenontime", "day",
    ),
    "lon": (
        "lon", "longitude", "long", "kinh do", "kinhdo", "kd", "lng", "x lon", "kinh do e", "kinh do d", "longitude e",
        "decimallongitude", "lon dd", "long dd", "toa do kinh do", "gps longitude", "kinh do dd", "lon wgs84",
        "longitude wgs84", "kinh do wgs84", "longtitude",
    ),
    "lat": (
        "lat", "latitude", "vi do", "vido", "vd", "y lat", "vi do n", "vi do b", "latitude n", "decimallatitude",
        "lat dd", "toa do vi do", "gps latitude", "vi do dd", "lat wgs84", "latitude wgs84", "vi do wgs84",
    ),
    "x": (
        "x", "easting", "east", "toa do x", "x m", "toa do dong", "utm x", "x utm", "xcoord", "x coord", "e", "toadox",
        "x coordinate", "utm e", "x vn2000", "x vn 2000", "toa do x m", "point x", "vn2000 x",
    ),
    "y": (
        "y", "northing", "north", "toa do y", "y m", "toa do bac", "utm y", "y utm", "ycoord", "y coord", "n", "toadoy",
        "y coordinate", "utm n", "y vn2000", "y vn 2000", "toa do y m", "point y", "vn2000 y",
    ),
    "crs": (
        "crs", "epsg", "srid", "he toa do", "he quy chieu", "he qui chieu", "he toa do quy chieu", "datum",
        "coordinate system", "epsg code", "toa do he", "spatial reference",
    ),
    "meridian": ("kinh tuyen truc", "ktt", "central meridian", "kinh tuyen trung tam", "mui chieu", "zone", "mui"),
    "geopoint": (
        "geopoint", "gps", "toa do", "coordinates", "location", "vi tri", "toa do gps", "lat lon", "latlon", "geom",
        "geolocation", "coordinate", "toa do diem", "vi tri lay mau", "toado", "geometry",
    ),
    "accuracy": (
        "accuracy", "gps accuracy", "gps precision", "precision", "sai so gps", "do chinh xac", "sai so vi tri",
        "do chinh xac gps", "do chinh xac m", "sai so m",
    ),
    "group": (
        "group", "khoanh dat", "ma khoanh dat", "so hieu khoanh dat", "khoanh", "ma khoanh", "so khoanh",
        "so thu tu khoanh dat", "polygon", "polygon id", "polygonid", "parcel", "field id", "stt khoanh dat", "cluster",
    ),
    "depth": (
        "depth", "do sau", "tang dat", "do sau lay mau", "tang", "do sau tang dat", "layer", "sampling depth", "tang mau",
        "do sau tang", "depth range", "do day tang", "horizon depth",
    ),
    "depth_top": (
        "depth top", "top", "upper depth", "upperdepth", "do sau tren", "do sau tu", "tu do sau", "top depth", "tu", "depth from",
        "depth upper", "mat tren", "can tren",
    ),
    "depth_bottom": (
        "depth bottom", "bottom", "lower depth", "lowerdepth", "do sau duoi", "do sau den", "den do sau", "bottom depth", "den",
        "depth to", "depth lower", "mat duoi", "can duoi",
    ),
    "ec": (
        "ec", "electrical conductivity", "do dan dien", "conductivity", "eleccond", "do dan dien ec", "dan dien",
        "electricalconductivityproperty", "soil ec", "ec dat", "gia tri ec",
    ),
    "ece": ("ece", "ec e", "ecse", "ec sat", "ece sat", "ec paste", "ec bao hoa", "do man ece", "do dan dien bao hoa"),
    "unit": ("unit", "don vi", "don vi do", "donvi", "units", "ec unit", "don vi ec", "dvt", "unitofmeasure"),
    "extract": (
        "extract", "phuong phap ec", "phuong phap", "dich chiet", "ty le chiet", "ti le chiet", "ec method", "method",
        "phuong phap do", "phuong phap phan tich", "extraction ratio", "ratio", "soil water ratio", "procedure",
        "ty le dat nuoc", "ti le dat nuoc", "usedprocedure", "analytical method",
    ),
    "texture": (
        "texture", "thanh phan co gioi", "sa cau", "co gioi", "soil texture", "tpcg", "texture class", "loai dat theo co gioi",
    ),
    "clay": ("clay", "set", "ham luong set", "ty le set", "clay content"),
    "humus": ("humus", "om", "mun", "chat huu co", "organic matter", "ham luong mun", "som"),
    "medium": ("medium", "loai mau", "sample type", "moi truong", "doi tuong mau", "sampletype"),
    "stratum": ("stratum", "strata", "lop phan tang", "phan tang"),
    "inclusion_probability": (
        "inclusion probability", "xac suat chon", "xac suat chon mau", "inclusionprobability", "pi",
    ),
    "laboratory": ("laboratory", "phong thi nghiem", "lab", "don vi phan tich", "co quan phan tich"),
    "province": ("province", "tinh", "ten tinh", "tinh thanh", "tinh tp", "tinh thanh pho", "tinh thanh pho tp"),
    "licence": ("licence", "license", "giay phep", "giay phep du lieu", "data licence", "data license"),
    "project": ("project", "du an", "ten du an", "project name", "survey project"),
}  # fmt: skip
#: Headers that may mean a term where nothing better does.
WEAK: dict[str, tuple[str, ...]] = {
    "sample_id": (
        "name", "ten", "ten diem", "diem lay mau", "diem", "site", "ma", "code", "id", "instanceid", "key", "uuid",
    ),
    "date": ("today", "begintime", "time", "start"),
}  # fmt: skip
#: Rank from which a header is weak.
WEAK_RANK = 100
_BY_HEADER = {
    h: (term, rank + least)
    for table, least in ((WEAK, WEAK_RANK), (TERMS, 1))
    for term, known in table.items()
    for rank, h in enumerate(known)
}
#: ODK Central and Briefcase write a place as <question>-Latitude, KoBo as _<question>_latitude.
_GPS = re.compile(r"(?i)^_?(.*?)[_\-:. ](latitude|longitude|altitude|precision|accuracy)$")
_GPS_TERMS = {"latitude": "lat", "longitude": "lon", "precision": "accuracy", "accuracy": "accuracy"}
#: Columns that field forms add and that mean nothing of the soil.
_META = re.compile(
    r"(?i)^(?:meta[/\-].*|formhub/.*|_(?:submission_time|validation_status|notes|status|submitted_by|tags|index|version|"
    r"geolocation|attachments|parent_.*|xform_id_string|bamboo_dataset_id)|__version__|deviceid|end|"
    r"subscriberid|simserial|phonenumber|username|submissiondate|submitterid|submittername|attachmentspresent|"
    r"attachmentsexpected|reviewstate|devicesid|edits|formversion)$"
)


@dataclass(frozen=True)
class Column:
    """One column that is understood."""

    index: int
    header: str
    term: str
    rank: int
    """0: said by the config or our own name; above, how sure the header is."""
    unit: str = ""
    extract: str = ""
    """Extract that the header names: ``paste`` or ``1:n``; "" where it does not."""
    own: bool = False
    """The config's or the target's own name stands there, capitals aside: its unit is the target's."""


@dataclass(frozen=True)
class Columns:
    """The columns of a sheet by term, those of targets under the target's own column name."""

    by_term: Mapping[str, Column]
    ignored: tuple[str, ...]
    choices: tuple[str, ...] = ()
    """Columns of single choices of a multiple-choice question, which another column holds whole."""

    def __contains__(self, term: object) -> bool:
        return term in self.by_term

    def without(self, term: str) -> Columns:
        """The columns with that of one term not read."""
        left = {t: c for t, c in self.by_term.items() if t != term}
        return Columns(left, (*self.ignored, self.by_term[term].header), self.choices)

    def about(self) -> dict[str, Any]:
        """What each column was taken for, as the report tells it."""
        told = {
            c.header: c.term
            + (f" in {c.unit}" if c.unit else "")
            + (f" of extract {c.extract}" if c.extract else "")
            for c in sorted(self.by_term.values(), key=lambda c: c.index)
        }
        return {"columns": told, "ignored_columns": [*self.ignored, *self.choices]}


def recognise(header: Sequence[str], given: Mapping[str, str], targets: Sequence[Target] = ()) -> Columns:
    """The meaning of each header. Raises InputError where two columns are surely the same, or a given one is absent.

    ``given`` maps headers to our names, as the config does; it wins over what a header seems to be.
    """
    names = [tidy(h) for h in header]
    given = {tidy(h): name for h, name in given.items()}
    absent = [h for h in given if h not in names]
    if absent:
        raise InputError(
            f"found columns {', '.join(names)[:300]}; samples.columns in the config names {absent[0]!r}"
        )
    parents = {n for n in names if n}
    found: dict[str, Column] = {}
    choices: list[str] = []
    for index, name in enumerate(names):
        above = name.rpartition("/")[0]
        if name not in given and above and above in parents:
            choices.append(name)
            continue
        column = _column(index, name, given, targets)
        if column is None:
            continue
        known = found.get(column.term)
        if known and known.rank == column.rank == 0:
            raise InputError(f"found columns {', '.join(names)[:300]}; two of them are {column.term!r}")
        if known is None or column.rank < known.rank:
            found[column.term] = column
    used = {c.index for c in found.values()}
    ignored = [n for k, n in enumerate(names) if k not in used and n and n not in choices]
    return Columns(found, tuple(ignored), tuple(choices))


def _column(index: int, name: str, given: Mapping[str, str], targets: Sequence[Target]) -> Column | None:
    bare, spelled_unit, extract = split(name)
    if name in given:
        return Column(index, name, given[name], 0, spelled_unit, extract, own=True)
    exact = {t.value_column for t in targets} | set(TERMS) - {"ec"}
    if name in exact:
        return Column(index, name, name, 0, spelled_unit, own=True)
    if not name or _META.match(name):
        return None
    last = re.split(r"[/]|::", bare)[-1].strip()
    if gps := _GPS.match(last):
        term = _GPS_TERMS.get(gps[2].casefold())
        return Column(index, name, term, 3) if term else None
    for target in targets:
        titles = [t for title in (target.title.vi, target.title.en) for t in (title, split(title)[0])]
        labels = {plain(text) for text in (target.value_column, target.name, *titles)}
        question = re.split(r"[-.]", last)[-1]
        if plain(last) in labels or plain(question) in labels:
            own = target.value_column.casefold() in (last.casefold(), question.casefold())
            return Column(index, name, target.value_column, 1, spelled_unit, extract, own)
    return _known(index, name, last, spelled_unit, extract)


def _known(index: int, name: str, last: str, spelled_unit: str, extract: str) -> Column | None:
    """By the table of terms: the whole name first, then what is left without a form's group before ``-``."""
    for text, penalty in ((last, 0), (re.split(r"[-.]", last)[-1], 50)):
        words = "sample" if text.casefold() == "mẫu" else plain(text)  # màu, a colour, is no sample
        if words.startswith("ec ") and extract:
            words = "ec"
        if words in _BY_HEADER:
            term, rank = _BY_HEADER[words]
            if term in ("x", "y") and spelled_unit not in ("", "m"):
                return None  # N (%) is nitrogen, no northing
            if term == "ece" or (term == "ec" and extract == "paste"):
                return Column(index, name, "ece", rank + penalty, spelled_unit, "paste")
            return Column(index, name, term, rank + penalty, spelled_unit, extract if term == "ec" else "")
    return None


_RATIO = re.compile(
    r"(?i)(?<![\d.])(?:tỷ lệ|tỉ lệ|ratio)?[\s_]*1\s*[:/\-_ ]\s*(10|[1-5](?:[.,]5)?)(?:\s*w\s*/?\s*v|\s*h2o)?(?!\d)"
)
_BRACKETS = re.compile(r"[(\[（]([^)\]）]*)[)\]）]")


def split(header: str) -> tuple[str, str, str]:
    """(name, unit, extract) of a header such as "EC 1:5 (µS/cm)", "ece_dS_m" or "Độ dẫn điện, mS/cm"."""
    text, found, extract = tidy(header), "", ""
    conducts = re.search(r"(?i)\bec|ec[\d_ (]|dẫn điện|dan dien|conduct", text) is not None
    for inside in _BRACKETS.findall(text):
        pieces = [p.strip() for p in re.split(r"[;,]|\bở\b|\bat\b|@", inside)]
        named = [unit(p) for p in pieces if unit(p)]
        found = found or (named[0] if named else "")
        lengths = [p for p in pieces if plain(p) in ("m", "cm", "mm")]
        found = found or (plain(lengths[0]) if lengths else "")
    if conducts and (ratio := _RATIO.search(text)):
        extract = parse_extract(f"1:{ratio[1].replace(',', '.')}")
        text = text[: ratio.start()] + " " + text[ratio.end() :]
    elif conducts and re.search(r"(?i)bão hòa|bão hoà|bao hoa|saturat|paste|\becse\b|\bece\b", text):
        extract = "paste"
    bare = _BRACKETS.sub(" ", text).strip(" ,;:_")
    if not found:
        for cut in (r"[,;]\s*", r"\s+", r"_"):
            parts_of = re.split(cut, bare)
            tails = [(k, unit(" ".join(parts_of[k:]))) for k in range(1, len(parts_of))]
            hit = next(((k, u) for k, u in tails if u and not (u == "S/m" and cut == "_")), None)
            if hit:
                stop = len(re.split(cut, bare)[0])
                pieces_before = re.split(rf"({cut})", bare)[: 2 * hit[0] - 1]
                bare, found = "".join(pieces_before) or bare[:stop], hit[1]
                break
    bare = re.sub(r"(?i)[\s,;]*(?:hệ\s*)?(?:vn[-_ ]?2000|wgs[-_ ]?84).*$", "", bare)
    return bare.strip(" ,;:_"), found, extract


def extract_of(text: str) -> str:
    """Extract that a method's text names: ``paste``, ``1:n``, or "" where it names none.

    "EC1:5", "1/5", "tỷ lệ 1:5 (đất:nước)", "GloSIS EC_ratio1-5", "bão hòa", "ECe".
    """
    words = tidy(text)
    direct = parse_extract(words)
    if direct == "paste" or parts(direct) == parts(direct):
        return direct
    if ratio := re.search(r"1\s*[:/\-]\s*(10|[1-5](?:[.,]5)?)(?!\d)", words):
        return parse_extract(f"1:{ratio[1].replace(',', '.')}")
    if re.search(r"(?i)\bece\b|ece[_ ]|bão hòa|bão hoà|bao hoa|saturat|paste", words):
        return "paste"
    return ""


def names_a_place(header: Sequence[str]) -> bool:
    """Whether a line is a header: it has columns of a place."""
    try:
        found = recognise(header, {})
    except InputError:
        return True
    return is_place(found)


def is_place(columns: Columns) -> bool:
    """Whether the columns give a place."""
    return (
        {"lon", "lat"} <= set(columns.by_term) or {"x", "y"} <= set(columns.by_term) or "geopoint" in columns
    )
