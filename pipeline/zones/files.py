"""Tables as files: CSV, XLSX, GeoPackage and Parquet, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import geopandas
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pyogrio

from pipeline.errors import InputError
from pipeline.files import aside

KINDS = (".csv", ".xlsx", ".gpkg", ".parquet")
#: Rows that a sheet of Excel can hold, the heading among them.
SHEET_ROWS = 1_048_576


def check(path: Path) -> None:
    """Raises InputError where the name's ending is of no kind we write, or its library is absent."""
    if path.suffix.lower() not in KINDS:
        raise InputError(f"{path}: expected a name that ends in {', '.join(KINDS)}")
    if path.suffix.lower() == ".xlsx":
        _xlsxwriter()


def write(chunks: Iterable[pd.DataFrame], path: Path, headings: dict[str, str], stamp: str) -> int:
    """Write tables of one kind one below the other; returns the number of rows.

    Headings are given to CSV and XLSX, which people read, and to GeoPackage and Parquet as well. A column
    ``geometry`` (WGS 84) goes to GeoPackage and Parquet alone. ``stamp`` is the day that GeoPackage notes.
    """
    check(path)
    kind = path.suffix.lower()
    rows = 0

    def counted() -> Iterator[pd.DataFrame]:
        nonlocal rows
        for chunk in chunks:
            rows += len(chunk)
            yield chunk.rename(columns=headings)

    with aside(path) as temporary:
        {".csv": _csv, ".xlsx": _xlsx, ".gpkg": _gpkg, ".parquet": _parquet}[kind](
            counted(), temporary, stamp
        )
    return rows


def _plain(chunk: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(chunk.drop(columns="geometry", errors="ignore"))


def _csv(chunks: Iterable[pd.DataFrame], path: Path, stamp: str) -> None:
    """UTF-8 with its mark, without which Excel spoils Vietnamese letters."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        for number, chunk in enumerate(chunks):
            _plain(chunk).to_csv(file, index=False, header=not number, lineterminator="\n")


def _xlsxwriter() -> Any:
    try:
        import xlsxwriter
    except ImportError:
        raise InputError(
            "writing .xlsx needs the package xlsxwriter; choose .csv, .gpkg or .parquet"
        ) from None
    return xlsxwriter


def _xlsx(chunks: Iterable[pd.DataFrame], path: Path, stamp: str) -> None:
    book = _xlsxwriter().Workbook(str(path), {"constant_memory": True, "nan_inf_to_errors": False})
    year, month, day = (int(v) for v in stamp.split("-"))
    book.set_properties({"created": pd.Timestamp(year, month, day).to_pydatetime()})
    sheet = book.add_worksheet("Phù Sa")
    head = book.add_format({"bold": True, "text_wrap": True, "valign": "top", "bottom": 1})
    whole, part, text = (book.add_format({"num_format": f}) for f in ("#,##0", "0.00", "@"))
    row = 0
    for chunk in chunks:
        plain = _plain(chunk)
        if not row:
            sheet.freeze_panes(1, 0)
            sheet.set_column(0, len(plain.columns) - 1, 18)
            sheet.set_row(0, 60)
            sheet.write_row(0, 0, list(plain.columns), head)
            sheet.autofilter(0, 0, 0, len(plain.columns) - 1)
            row = 1
        if row + len(plain) > SHEET_ROWS:
            raise InputError(
                f"a sheet holds {SHEET_ROWS - 1} rows and there are more; choose .csv, .gpkg or .parquet"
            )
        for values in plain.itertuples(index=False, name=None):
            for column, value in enumerate(values):
                if pd.isna(value):
                    continue
                if isinstance(value, str):
                    sheet.write_string(row, column, value, text)
                else:
                    sheet.write_number(row, column, value, part if isinstance(value, float) else whole)
            row += 1
    book.close()


def _gpkg(chunks: Iterable[pd.DataFrame], path: Path, stamp: str) -> None:
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": f"{stamp}T00:00:00.000Z"})
    try:
        for number, chunk in enumerate(chunks):
            frame = geopandas.GeoDataFrame(chunk, crs=4326) if "geometry" in chunk else chunk
            pyogrio.write_dataframe(
                frame, path, layer="zones", driver="GPKG", append=bool(number), promote_to_multi=True
            )
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


def _parquet(chunks: Iterable[pd.DataFrame], path: Path, stamp: str) -> None:
    """GeoParquet 1.1 with a geometry of WKB in WGS 84."""
    writer = None
    try:
        for chunk in chunks:
            table = _arrow(chunk)
            writer = writer or pyarrow.parquet.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table.cast(writer.schema))
    finally:
        if writer:
            writer.close()


def _arrow(chunk: pd.DataFrame) -> pa.Table:
    if "geometry" not in chunk:
        return pa.Table.from_pandas(chunk, preserve_index=False)
    frame = geopandas.GeoDataFrame(chunk, crs=4326)
    table = pa.table(frame.to_arrow(index=False, geometry_encoding="WKB"))
    about = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {"geometry": {"encoding": "WKB", "geometry_types": []}},
    }
    import json

    return table.replace_schema_metadata({b"geo": json.dumps(about).encode()})
