"""Files -> sheets: a header and numbered rows of cells, whatever the format, encoding and separator.

The format is told by content, not by name. A cell that is broken breaks its own row and no other.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError
from pipeline.imports.rules import Finding, mend, refusal
from pipeline.imports.spellings import Cell, tidy

MAX_BYTES = 500_000_000
SEPARATORS = ",;\t|"
#: Lines above the header that a laboratory's title may take.
_TITLE_LINES = 30
#: Header -> whether it names a place: how the header is told from titles.
IsHeader = Callable[[list[str]], bool]


@dataclass(frozen=True)
class Row:
    """One row of a sheet."""

    number: int
    """Line of a text file or workbook, the header's being 1 where nothing stands above; id of a feature."""
    cells: list[Cell]
    """As many as the header has; text, or what the file types itself. "" is an empty one."""
    shape: BaseGeometry | None = None
    refused: Finding | None = None
    mends: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Sheet:
    """A table as it stands in a file."""

    path: Path
    header: list[str]
    rows: list[Row]
    crs: str = ""
    """Reference system of the shapes, as the file states it."""
    about: dict[str, Any] = field(default_factory=dict)
    """How the file was read: format, encoding, separator, sheet or layer."""


def read(path: Path, is_header: IsHeader, layer: str = "") -> Sheet:
    """The table of a CSV, XLSX, GeoPackage or GeoJSON file; ``layer`` names a sheet or layer.

    Raises InputError where the file holds none.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such sample file")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: {path.stat().st_size} bytes; a sample file has at most {MAX_BYTES}")
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"PK\3\4"):
        return _workbook(path, is_header, layer)
    if start == b"SQLite format 3\0":
        return _features(path, layer)
    if start.startswith(b"\xd0\xcf\x11\xe0"):
        raise InputError(f"{path}: an old .xls workbook; save it as .xlsx")
    raw = path.read_bytes()
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and _is_geojson(raw):
        return _features(path, layer)
    return _text(path, raw, is_header)


def spread(sheet: Sheet) -> Sheet:
    """A sheet of one observation a row (GloSIS, ISO 28258) with a column for each observed property; others as
    they are."""
    names = {"".join(c for c in h.casefold() if c.isalnum()): k for k, h in enumerate(sheet.header)}
    if not {"observedproperty", "result"} <= set(names):
        return sheet
    what, value = names["observedproperty"], names["result"]
    found = list(
        dict.fromkeys(str(r.cells[what]) for r in sheet.rows if r.cells[what] != "" and not r.refused)
    )
    rows = [
        replace(r, cells=[*r.cells, *(r.cells[value] if str(r.cells[what]) == n else "" for n in found)])
        for r in sheet.rows
    ]
    return replace(sheet, header=[*sheet.header, *found], rows=rows)


# --- text --------------------------------------------------------------------------------------------


def _text(path: Path, raw: bytes, is_header: IsHeader) -> Sheet:
    text, encoding = decode(path, raw)
    text = text.removeprefix("\ufeff")
    first, _, rest = text.partition("\n")
    skipped = 0
    if first.strip().casefold().startswith("sep=") and len(first.strip()) == 5:
        text, skipped = rest, 1
    separator = _separator(text)
    lines = list(_records(text, separator, skipped))
    if len(lines) < 2:
        raise InputError(f"{path}: no row below the header")
    top = next((k for k, (_, c, _) in enumerate(lines[:_TITLE_LINES]) if c and is_header(c)), 0)
    if lines[top][2] is not None:
        raise InputError(f"{path}: line {lines[top][0]}: not a CSV table: the quotes do not close")
    header = lines[top][1]
    while header and not header[-1] and len(header) > 1:
        header = header[:-1]
    if len(lines) == top + 1:
        raise InputError(f"{path}: no row below the header")
    rows = [_row(number, cells, fault, header) for number, cells, fault in lines[top + 1 :]]
    if all(r.refused and r.refused.rule == "bad-quotes" for r in rows):
        raise InputError(f"{path}: line {rows[0].number}: not a CSV table: the quotes do not close")
    about = {"format": "CSV", "encoding": encoding, "separator": separator, "header_line": lines[top][0]}
    about |= _title(c for _, cells, _ in lines[:top] for c in cells)
    return Sheet(path, header, rows, about=about)


def _row(number: int, cells: list[str], fault: Finding | None, header: list[str]) -> Row:
    while len(cells) > len(header) and not cells[-1]:  # spreadsheets leave separators at the end
        cells = cells[:-1]
    if fault is None and len(cells) != len(header):
        fault = refusal("cell-count", found=len(cells), expected=len(header))
    lost = next((c for c in cells if "\ufffd" in c), None)
    mends = (mend("broken-letters", found=lost),) if lost and not fault else ()
    return Row(
        number, [*cells[: len(header)], *[""] * (len(header) - len(cells))], refused=fault, mends=mends
    )


def decode(path: Path, raw: bytes) -> tuple[str, str]:
    """Text and its encoding: UTF-8, UTF-16, or Windows-1258, whose marks stand behind their letters.

    UTF-8 that was once read as Windows-1252 is turned back. Raises InputError for a binary file.
    """
    for mark, name in ((b"\xff\xfe\0\0", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if raw.startswith(mark) and len(raw) % 2 == 0:
            return _decoded(path, raw, name), name
    if raw.startswith(b"\xef\xbb\xbf"):
        return raw[3:].decode("utf-8", "replace"), "utf-8-sig"
    if b"\0" in raw[:4096]:
        pairs = raw[:4096]
        wide = {"utf-16-le": pairs[1::2], "utf-16-be": pairs[::2]}
        for name, zeros in wide.items():
            if zeros and zeros.count(0) > 0.4 * len(zeros):
                return _decoded(path, raw, name), name
        raise InputError(f"{path}: not text, expected CSV, XLSX or GeoPackage (is it a binary file?)")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return _not_utf8(path, raw)
    if any(mark in text for mark in ("á»", "áº", "Ä‘", "Ã¡", "Ã¢", "Æ°")):
        try:
            return text.encode("cp1252").decode("utf-8"), "utf-8 read as windows-1252, turned back"
        except UnicodeError:
            pass
    return text, "utf-8"


def _decoded(path: Path, raw: bytes, name: str) -> str:
    try:
        return raw.decode(name)
    except UnicodeDecodeError:
        raise InputError(f"{path}: not {name} text, expected CSV (is it a binary file?)") from None


def _not_utf8(path: Path, raw: bytes) -> tuple[str, str]:
    """Windows-1258, or UTF-8 of which a few cells were broken."""
    mended = raw.decode("utf-8", "replace")
    good = sum(ord(c) > 127 for c in mended) - mended.count("\ufffd")
    if good > 3 * mended.count("\ufffd"):
        return mended, "utf-8, broken in places"
    try:
        text = raw.decode("cp1258")
    except UnicodeDecodeError:
        raise InputError(f"{path}: neither UTF-8 nor Windows-1258 text (is it a binary file?)") from None
    if any(ord(c) < 32 and c not in "\t\r\n" for c in text):
        raise InputError(f"{path}: not text, expected CSV (is it a binary file?)")
    return text, "windows-1258"


def _separator(text: str) -> str:
    """The separator that cuts most lines into the same number of cells, two or more."""
    lines = [line for line in text.splitlines()[:200] if line.strip()]
    best, score = ",", (0.0, 0)
    for separator in SEPARATORS:
        counts = [len(_cells(line, separator) or line.split(separator)) for line in lines]
        usual = max(set(counts), key=lambda n: (counts.count(n) if n > 1 else 0, n), default=1)
        found = (counts.count(usual) / len(counts) if usual > 1 else 0.0, usual)
        if usual > 1 and (found[0] > score[0] + 0.2 or (found[0] > score[0] - 0.2 and usual > score[1])):
            best, score = separator, found
    return best


def _cells(line: str, separator: str) -> list[str] | None:
    """Cells of one line; None where its quotes do not close."""
    try:
        rows = list(csv.reader([line], delimiter=separator, strict=True))
    except csv.Error:
        return None
    return rows[0] if rows else []


def _records(text: str, separator: str, skipped: int) -> Iterator[tuple[int, list[str], Finding | None]]:
    """(line, cells, fault) of each record that is not empty.

    A cell may hold line breaks, but a quote that never closes must not swallow the rows below: a record
    of several lines counts only where it has as many cells as the first; else each line stands for itself.
    """
    lines = io.StringIO(text, newline="").readlines()
    width, k = 0, 0
    while k < len(lines):
        cells, used = _record(lines, k, separator, width)
        number = k + 1 + skipped
        k += used
        if cells is None:
            yield number, [tidy(lines[k - used])], refusal("bad-quotes")
        elif any(c.strip() for c in cells):
            width = width or len(cells)
            yield number, [tidy(c) for c in cells], None


def _record(lines: list[str], start: int, separator: str, width: int) -> tuple[list[str] | None, int]:
    """Cells of the record that starts at a line, and how many lines it takes."""
    single = _cells(lines[start].rstrip("\r\n"), separator)
    if single is not None:
        return single, 1
    for end in range(start + 2, min(start + 50, len(lines)) + 1):
        joined = "".join(lines[start:end]).rstrip("\r\n")
        try:
            rows = list(csv.reader(io.StringIO(joined, newline=""), delimiter=separator, strict=True))
        except csv.Error:
            continue
        if len(rows) == 1 and (not width or len(rows[0]) == width):
            return rows[0], end - start
    return None, 1


# --- workbooks ---------------------------------------------------------------------------------------


def _workbook(path: Path, is_header: IsHeader, wanted: str) -> Sheet:
    import openpyxl

    try:
        with path.open("rb") as file:  # by its content: the name may say anything
            book = openpyxl.load_workbook(file, data_only=True)
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, TypeError) as error:
        raise InputError(f"{path}: not an XLSX workbook: {error}") from None
    names = [s.title for s in book.worksheets]
    if wanted and wanted not in names:
        raise InputError(f"{path} has no sheet {wanted!r}; found {', '.join(names)}")
    with_header = []
    for sheet in book.worksheets if not wanted else [book[wanted]]:
        cells = [
            (number, [_typed(c) for c in row])
            for number, row in enumerate(sheet.iter_rows(values_only=True), start=1)
            if any(c is not None and str(c).strip() for c in row)
        ]
        heads = [k for k, (_, c) in enumerate(cells[:_TITLE_LINES]) if is_header([str(v) for v in c])]
        if heads or wanted:
            with_header.append((sheet.title, cells, heads[0] if heads else 0))
    if not with_header:
        raise InputError(f"{path}: no sheet has a header with places; found sheets {', '.join(names)}")
    title, cells, top = with_header[0]
    header = [tidy(str(c)) for c in cells[top][1]] if cells else []
    while header and not header[-1]:
        header = header[:-1]
    if len(cells) <= top + 1:
        raise InputError(f"{path}: no row below the header")
    rows = [
        Row(number, row[: len(header)])
        for number, row in cells[top + 1 :]
        if any(c != "" for c in row[: len(header)])
    ]
    others = [s for s, _, _ in with_header[1:]]
    about: dict[str, Any] = {"format": "XLSX", "sheet": title, "header_line": cells[top][0]}
    about |= _title(str(c) for _, row in cells[:top] for c in row)
    return Sheet(path, header, rows, about=about | ({"sheets_not_read": others} if others else {}))


def _title(texts: Iterable[str]) -> dict[str, str]:
    """What stands above the header; it may state the reference system."""
    said = " ".join(t for t in texts if t)
    return {"title": said[:500]} if said else {}


def _typed(value: Any) -> Cell:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return float(value) if np.isfinite(value) else str(value)
    if isinstance(value, dt.datetime | dt.date):
        return value
    return tidy(str(value))


# --- features ----------------------------------------------------------------------------------------


def _is_geojson(raw: bytes) -> bool:
    try:
        return isinstance(json.loads(raw.decode("utf-8-sig")), dict)
    except ValueError:
        return False


def _features(path: Path, wanted: str) -> Sheet:
    name = _layer(path, wanted)
    try:
        frame = pyogrio.read_dataframe(path, layer=name, fid_as_index=True)
    except Exception as error:  # GDAL raises many kinds
        raise InputError(f"{path} cannot be read: {error}") from None
    if frame.empty:
        raise InputError(f"{path}: layer {name!r} has no row")
    spatial = "geometry" in frame
    columns = [c for c in frame.columns if c != "geometry"]
    header = [tidy(str(c)) for c in columns]
    shapes = list(np.asarray(frame.geometry.array)) if spatial else [None] * len(frame)
    values = [frame[c].tolist() for c in columns]
    rows = [
        Row(int(number), [_attribute(v[k]) for v in values], shapes[k])
        for k, number in enumerate(frame.index)
    ]
    crs = frame.crs.to_wkt() if spatial and frame.crs is not None else ""
    if spatial and frame.crs is not None and (code := frame.crs.to_epsg(min_confidence=100)):
        crs = f"EPSG:{code}"
    kind = "GeoPackage" if path.open("rb").read(6) == b"SQLite" else "GeoJSON"
    return Sheet(path, header, rows, crs, {"format": kind, "layer": name})


def _layer(path: Path, wanted: str) -> str:
    try:
        layers = pyogrio.list_layers(path)
    except Exception as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    names = [str(n) for n, _ in layers]
    if wanted:
        if wanted not in names:
            raise InputError(f"{path} has no layer {wanted!r}; found {', '.join(names)}")
        return wanted
    spatial = [str(n) for n, kind in layers if kind] or names
    if len(spatial) != 1:
        raise InputError(f"{path} has the layers {', '.join(names)}; say which by `layer` in the config")
    return spatial[0]


def _attribute(value: Any) -> Cell:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if hasattr(value, "to_pydatetime"):
        return "" if str(value) == "NaT" else _typed(value.to_pydatetime())
    if isinstance(value, np.generic):
        return _typed(value.item())
    return _typed(value)
