"""The field form of a campaign as XLSForm, for KoBo and ODK: what it exports, `phusa samples` reads as it is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path

import geopandas
import xlsxwriter

from models import textures
from models.targets import Target
from pipeline.files import aside
from pipeline.imports.values import is_ece

LANGUAGES = ("Tiếng Việt (vi)", "English (en)")
_SURVEY = (
    "type", "name", *(f"label::{n}" for n in LANGUAGES), *(f"hint::{n}" for n in LANGUAGES), "required", "relevant",
    "constraint", *(f"constraint_message::{n}" for n in LANGUAGES), "appearance", "default", "parameters",
)  # fmt: skip
_CHOICES = ("list_name", "name", *(f"label::{n}" for n in LANGUAGES), "lat", "lon")
#: Units and extracts by names that stand in a form and that the importer reads.
UNITS = {"uS_cm": "µS/cm", "mS_cm": "mS/cm", "dS_m": "dS/m"}
EXTRACTS = {
    "ECe_sat": ("Bão hòa (ECe)", "Saturated paste (ECe)"), "EC_ratio1-5": ("1:5", "1:5"),
    "EC_ratio1-2.5": ("1:2,5", "1:2.5"), "EC_ratio1-1": ("1:1", "1:1"),
}  # fmt: skip

Question = dict[str, str]


def write(
    points: geopandas.GeoDataFrame,
    targets: Sequence[Target],
    path: Path,
    title: tuple[str, str],
    day: dt.date,
) -> None:
    """The form for ``points`` (name, lon, lat) and ``targets``; ``title`` in Vietnamese and English.

    The same points and targets give the same bytes.
    """
    survey = list(_questions(targets))
    choices = list(_lists(points, targets))
    settings = {
        "form_title": f"{title[0]} / {title[1]}", "form_id": "phusa_next_samples", "version": f"{day:%Y%m%d}",
        "default_language": LANGUAGES[0],
    }  # fmt: skip
    with aside(path) as temporary:
        book = xlsxwriter.Workbook(str(temporary), {"strings_to_formulas": False, "strings_to_urls": False})
        book.set_properties({"created": dt.datetime(day.year, day.month, day.day)})
        for name, columns, rows in (
            ("survey", _SURVEY, survey),
            ("choices", _CHOICES, choices),
            ("settings", tuple(settings), [settings]),
        ):
            sheet = book.add_worksheet(name)
            sheet.write_row(0, 0, columns)
            for k, row in enumerate(rows, start=1):
                sheet.write_row(k, 0, [row.get(c, "") for c in columns])
        book.close()


def _question(kind: str, name: str, vi: str, en: str, **more: str) -> Question:
    found = {"type": kind, "name": name, f"label::{LANGUAGES[0]}": vi, f"label::{LANGUAGES[1]}": en}
    for key, value in more.items():
        if key in ("hint", "constraint_message"):
            for language, text in zip(LANGUAGES, value.split(" / "), strict=True):
                found[f"{key}::{language}"] = text
        else:
            found[key] = value
    return found


def _questions(targets: Sequence[Target]) -> Iterator[Question]:
    """Names of questions are the importer's own terms."""
    yield {"type": "start", "name": "start"}
    yield {"type": "end", "name": "end"}
    yield _question("begin_group", "site", "Điểm lấy mẫu", "Site", appearance="field-list")
    yield _question(
        "select_one points",
        "sample_id",
        "Điểm theo kế hoạch",
        "Planned point",
        required="yes",
        appearance="minimal",
    )
    yield _question("date", "date", "Ngày lấy mẫu", "Sampling date", required="yes", default="today()", constraint=". <= today()",
                    constraint_message="Ngày không được ở tương lai / The day cannot lie ahead")  # fmt: skip
    yield _question("geopoint", "gps", "Vị trí thực tế (đứng tại hố lấy mẫu)", "True place (stand at the pit)", required="yes",
                    hint="Chờ sai số dưới 10 m / Wait until the accuracy is below 10 m")  # fmt: skip
    yield _question("text", "group", "Số hiệu khoanh đất (nếu có)", "Survey polygon (if any)")
    yield _question("end_group", "site", "", "")
    yield _question("begin_group", "soil", "Đất", "Soil")
    yield _question("decimal", "depth_top", "Độ sâu trên (cm)", "Upper depth (cm)", required="yes", default="0", constraint=". >= 0 and . < 200",
                    constraint_message="Từ 0 đến 200 cm / 0 to 200 cm")  # fmt: skip
    yield _question("decimal", "depth_bottom", "Độ sâu dưới (cm)", "Lower depth (cm)", required="yes", default="20",
                    constraint=". > ${depth_top} and . <= 200",
                    constraint_message="Phải lớn hơn độ sâu trên / Must be below the upper depth")  # fmt: skip
    yield _question("select_one textures", "texture", "Thành phần cơ giới", "Texture", appearance="minimal")
    yield _question("select_multiple covers", "cover", "Lớp phủ hiện tại", "Land cover now")
    if any(is_ece(t) for t in targets):
        yield _question("decimal", "ec", "Độ dẫn điện đo được", "Measured conductivity", constraint=". > 0",
                        constraint_message="Phải lớn hơn 0 / Must be above 0")  # fmt: skip
        yield _question(
            "select_one units", "unit", "Đơn vị đo", "Unit", required="yes", relevant="${ec} != ''"
        )
        yield _question(
            "select_one extracts",
            "extract",
            "Dịch chiết (tỷ lệ đất:nước)",
            "Extract (soil to water)",
            required="yes",
            relevant="${ec} != ''",
        )
    for target in targets:
        if target.kind == "class":
            yield _question(
                f"select_one {target.value_column}_classes",
                target.value_column,
                target.title.vi,
                target.title.en,
            )
        elif not is_ece(target):
            yield _question(
                "decimal",
                target.value_column,
                f"{target.title.vi} ({target.unit})",
                f"{target.title.en} ({target.unit})",
            )
    yield _question("image", "photo", "Ảnh", "Photo", parameters="max-pixels=1600")
    yield _question("text", "remark", "Ghi chú", "Remark")
    yield _question("end_group", "soil", "", "")


def _lists(points: geopandas.GeoDataFrame, targets: Sequence[Target]) -> Iterator[Question]:
    def choice(group: str, name: str, vi: str, en: str) -> Question:
        return {"list_name": group, "name": name, f"label::{LANGUAGES[0]}": vi, f"label::{LANGUAGES[1]}": en}

    for p in points.itertuples():
        label = f"{p.name} ({p.lat:.5f}, {p.lon:.5f})"
        yield choice("points", str(p.name), label, label) | {"lat": f"{p.lat:.7f}", "lon": f"{p.lon:.7f}"}
    for texture in textures.TEXTURES:
        yield choice("textures", texture.name.replace(" ", "_"), texture.vi, texture.name)
    for name, vi, en in (
        ("rice", "Lúa", "Rice"), ("upland", "Cây hằng năm khác", "Other annual crops"), ("orchard", "Cây lâu năm", "Perennial crops"),
        ("fallow", "Đất trống", "Bare or fallow"), ("pond", "Ao nuôi", "Pond"), ("other", "Khác", "Other"),
    ):  # fmt: skip
        yield choice("covers", name, vi, en)
    for name, shown in UNITS.items():
        yield choice("units", name, shown, shown)
    for name, (vi, en) in EXTRACTS.items():
        yield choice("extracts", name, vi, en)
    for target in targets:
        for c in target.classes:
            yield choice(f"{target.value_column}_classes", c.name, c.title.vi, c.title.en)
