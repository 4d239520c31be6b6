"""Every rule by which a row is mended or refused, in English and Vietnamese."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: Rule -> (English, Vietnamese) reason; the names in braces are filled from the row.
REFUSALS: dict[str, tuple[str, str]] = {
    # the row itself
    "cell-count": ("{found} cells, the header has {expected}", "{found} ô, tiêu đề có {expected} cột"),
    "bad-quotes": ("the quotes do not close", "dấu ngoặc kép không khép lại"),
    "summary-row": (
        "the row is a summary ({found!r}), no sample",
        "dòng tổng hợp ({found!r}), không phải mẫu",
    ),
    "duplicate-row": ("the same as row {row}, which is kept", "trùng hệt dòng {row}, dòng đó được giữ"),
    "duplicate-id": (
        "sample_id {id!r} stands in row {row} too, of another place or day",
        "mã mẫu {id!r} đã có ở dòng {row}, khác nơi hoặc khác ngày",
    ),
    "conflicting-repeats": (
        "{target} is {found} here and {other} in row {row}, same place, day and depth: none is taken",
        "{target} là {found} ở đây nhưng {other} ở dòng {row}, cùng nơi, ngày và độ sâu: không lấy dòng nào",
    ),
    # place
    "no-place": ("{name} is '', expected a number", "{name} trống, cần một số"),
    "bad-place": ("{name} is {found!r}, {expected}", "{name} là {found!r}, không đọc được thành tọa độ"),
    "bad-minutes": (
        "{name} is {found!r}; minutes and seconds are below 60",
        "{name} là {found!r}; phút và giây phải nhỏ hơn 60",
    ),
    "hemisphere": (
        "{name} is {found!r}; {expected}",
        "{name} là {found!r}; chữ chỉ hướng không rõ hoặc trái dấu",
    ),
    "lost-decimal-point": (
        "{name} is {found}; a degree has lost its decimal point",
        "{name} là {found}; số độ bị mất dấu thập phân",
    ),
    "outside-globe": (
        "place {x:g}, {y:g} is outside longitudes -180..180, latitudes -80..84{more}",
        "tọa độ {x:g}, {y:g} nằm ngoài kinh độ -180..180, vĩ độ -80..84",
    ),
    "null-island": ("the place is 0, 0: the receiver had no fix", "tọa độ 0, 0: máy chưa bắt được vệ tinh"),
    "in-the-sea": (
        "place {x:.5f}, {y:.5f} lies in the sea, {km:.0f} km from the land",
        "điểm {x:.5f}, {y:.5f} nằm ngoài biển, cách đất liền {km:.0f} km",
    ),
    "abroad": (
        "place {x:.5f}, {y:.5f} lies abroad, {km:.0f} km from Viet Nam and the region",
        "điểm {x:.5f}, {y:.5f} nằm ở nước ngoài, cách Việt Nam và vùng lập bản đồ {km:.0f} km",
    ),
    "no-crs": (
        "metres {x:g}, {y:g} without a reference system; state crs in a column or in the config",
        "tọa độ mét {x:g}, {y:g} không có hệ quy chiếu; hãy ghi crs trong cột hoặc trong cấu hình",
    ),
    "unknown-crs": (
        "crs {found!r} is not a known reference system such as EPSG:32648",
        "crs {found!r} không phải hệ quy chiếu đã biết như EPSG:32648",
    ),
    "no-meridian": (
        "crs {found!r} in metres needs its central meridian or zone, such as VN-2000 105°45' or EPSG:9210",
        "crs {found!r} tính bằng mét cần kinh tuyến trục hoặc múi, ví dụ VN-2000 105°45' hoặc EPSG:9210",
    ),
    "no-datum": (
        "crs {found!r} does not say its datum: WGS 84 and VN-2000 lie 225 m apart",
        "crs {found!r} không nói rõ hệ gốc: WGS 84 và VN-2000 lệch nhau 225 m",
    ),
    "deprecated-crs": (
        "crs {found!r} (EPSG:6956 to 6959) has a wrong false easting and was withdrawn; "
        "EPSG:5896, 5897, 5898 and 9205 to 9218 are right",
        "crs {found!r} (EPSG:6956 đến 6959) sai hằng số cộng và đã bị bãi bỏ; "
        "đúng là EPSG:5896, 5897, 5898 và 9205 đến 9218",
    ),
    "crs-mismatch": (
        "the place is in {found}, and crs {crs!r} in {expected}",
        "tọa độ và hệ quy chiếu {crs!r} không cùng loại: một bên là độ, một bên là mét",
    ),
    "place-conflict": (
        "the row gives two places, {metres:.0f} m apart: {name}",
        "dòng này cho hai vị trí cách nhau {metres:.0f} m: {name}",
    ),
    "gps-accuracy": (
        "the place is known to {found:g} m only; expected {limit:g} or better",
        "vị trí chỉ chính xác đến {found:g} m; cần {limit:g} m hoặc tốt hơn",
    ),
    "bad-geometry": (
        "the geometry is a {found}; expected a point or polygon",
        "hình học là {found}; cần điểm hoặc vùng",
    ),
    "narrow-polygon": (
        "nothing of the polygon is {metres:g} m inside its edge: every pixel there is mixed",
        "khoanh đất không có chỗ nào cách mép {metres:g} m: điểm ảnh nào cũng lẫn",
    ),
    # date
    "no-date": ("date is '', expected YYYY-MM-DD or D/M/YYYY", "ngày trống, cần NĂM-THÁNG-NGÀY hoặc N/T/NĂM"),
    "bad-date": (
        "date is {found!r}, expected YYYY-MM-DD or D/M/YYYY",
        "ngày là {found!r}, cần NĂM-THÁNG-NGÀY hoặc N/T/NĂM",
    ),
    "ambiguous-date": (
        "date is {found!r}, and other rows of the file have the month first",
        "ngày là {found!r}, mà dòng khác trong tệp ghi tháng trước",
    ),
    "outside-season": (
        "date {found} is not in season {season!r} ({start} to {end})",
        "ngày {found} không thuộc vụ {season!r} ({start} đến {end})",
    ),
    "outside-every-season": (
        "date {found} is in no season of the config: {seasons}",
        "ngày {found} không thuộc vụ nào trong cấu hình: {seasons}",
    ),
    # depth
    "bad-depth": (
        "depth is {found!r}, expected such as 0-20 (cm) with the top above the bottom",
        "độ sâu là {found!r}, cần dạng 0-20 (cm), mặt trên nhỏ hơn mặt dưới",
    ),
    "depth-became-date": (
        "depth is {found!r}: a spreadsheet made a date of it",
        "độ sâu là {found!r}: bảng tính đã đổi thành ngày",
    ),
    "below-depth": (
        "layer {top:g}-{bottom:g} cm lies below the {wanted} cm that the map is of",
        "tầng {top:g}-{bottom:g} cm nằm dưới độ sâu {wanted} cm của bản đồ",
    ),
    "depth-gap": (
        "between the layers of this place {top:g}-{bottom:g} cm was not sampled",
        "giữa các tầng của điểm này thiếu {top:g}-{bottom:g} cm",
    ),
    "depth-overlap": (
        "layer {top:g}-{bottom:g} cm overlaps that of row {row}",
        "tầng {top:g}-{bottom:g} cm chồng lên tầng ở dòng {row}",
    ),
    # value
    "no-value": ("no value of {names}", "không có giá trị {names}"),
    "bad-value": ("{name}: {why}", "{name}: giá trị {found!r} không hợp lệ"),
    "ambiguous-number": (
        "{name} is {found!r}: a thousand or a fraction?",
        "{name} là {found!r}: hàng nghìn hay phần thập phân?",
    ),
    "below-detection": (
        "{name} is {found!r}: below detection is no number",
        "{name} là {found!r}: dưới ngưỡng phát hiện, không phải một số",
    ),
    "above-range": (
        "{name} is {found!r}: beyond the meter's range is no number",
        "{name} là {found!r}: vượt thang đo, không phải một số",
    ),
    "broken-cell": (
        "{name} is {found!r}: the spreadsheet's own error",
        "{name} là {found!r}: lỗi của chính bảng tính",
    ),
    "no-unit": (
        "{name} has no unit: {why}; write it in the header, a unit column or units in the config",
        "{name} không có đơn vị; hãy ghi ở tiêu đề, cột đơn vị hoặc units trong cấu hình",
    ),
    "unknown-unit": (
        "{name}: unit {found!r} cannot be made {expected}",
        "{name}: đơn vị {found!r} không đổi được sang {expected}",
    ),
    "no-extract": (
        "{name} is of an unknown extract: write paste (ECe), 1:5 or the like in the header, a method column or "
        "extract in the config",
        "{name} không rõ dịch chiết; hãy ghi bão hòa (ECe), 1:5... ở tiêu đề, cột phương pháp hoặc extract",
    ),
    "unknown-extract": (
        "extract {found!r} has no formula to ECe; known: paste, 1:1, 1:2, 1:2.5, 1:3, 1:5",
        "dịch chiết {found!r} không có công thức sang ECe; đã biết: bão hòa, 1:1, 1:2, 1:2.5, 1:3, 1:5",
    ),
    "unknown-error": (
        "extract {found!r} has one formula to ECe and no known error",
        "dịch chiết {found!r} chỉ có một công thức sang ECe và không rõ sai số",
    ),
    "impossible-value": (
        "{name} is {found:g} {unit}; possible are {low:g} to {high:g}",
        "{name} là {found:g} {unit}; chỉ có thể từ {low:g} đến {high:g}",
    ),
    "water-sample": (
        "the row is of water ({found!r}), not of soil",
        "dòng này là mẫu nước ({found!r}), không phải đất",
    ),
    "bad-probability": (
        "inclusion_probability is {found!r}; expected above 0 and at most 1",
        "xác suất chọn mẫu là {found!r}; cần lớn hơn 0 và không quá 1",
    ),
    # images, at the site's pixel
    "no-clear-date": ("no clear image in season {season!r}", "không có ảnh quang mây trong vụ {season!r}"),
    "imagery-lost": ("the images there could not be read", "không đọc được ảnh tại đó"),
}

MENDS: dict[str, tuple[str, str]] = {
    "swapped-lonlat": (
        "longitude and latitude stood in each other's place",
        "kinh độ và vĩ độ bị đổi chỗ",
    ),
    "swapped-xy": (
        "x was the northing and y the easting, as Vietnamese surveyors write",
        "x là tọa độ bắc và y là tọa độ đông, theo lối ghi trắc địa Việt Nam",
    ),
    "swapped-columns": (
        "the hemisphere letters {found} show that the columns are swapped",
        "chữ chỉ hướng {found} cho thấy hai cột bị đổi chỗ",
    ),
    "polygon-mended": ("the polygon crossed itself", "đường bao khoanh đất tự cắt"),
    "month-first-date": ("date {found!r} has the month first", "ngày {found!r} ghi tháng trước"),
    "serial-date": (
        "date {found!r} is a spreadsheet's day number",
        "ngày {found!r} là số ngày của bảng tính",
    ),
    "two-digit-year": ("date {found!r} has a year of two digits", "ngày {found!r} có năm hai chữ số"),
    "mixed-decimal": (
        "{name} is {found!r}: another decimal sign than the file's",
        "{name} là {found!r}: dấu thập phân khác với tệp",
    ),
    "unit-in-cell": (
        "{name} is {found!r}: the unit stood in the cell",
        "{name} là {found!r}: đơn vị ghi trong ô",
    ),
    "placeholder": (
        "{name} is {found!r}, which stands for not measured",
        "{name} là {found!r}, nghĩa là không đo",
    ),
    "unaccented-class": (
        "{name} is {found!r}, read without its marks",
        "{name} là {found!r}, đọc theo chữ không dấu",
    ),
    "unknown-texture": (
        "texture {found!r} is unknown: every texture of a formula counts",
        "thành phần cơ giới {found!r} không rõ: tính theo mọi loại đất",
    ),
    "ece-converted": (
        "EC {found:g} {unit} of extract {extract} became ECe {ece:.3g} dS/m, error of its logarithm {sd}",
        "EC {found:g} {unit} của dịch chiết {extract} đổi thành ECe {ece:.3g} dS/m, sai số của logarit {sd}",
    ),
    "depth-from-surface": (
        "depth {found!r} is read as from the surface to it",
        "độ sâu {found!r} hiểu là từ mặt đất đến đó",
    ),
    "depth-weighted": (
        "layers {found} were averaged by thickness over {wanted} cm",
        "các tầng {found} được lấy trung bình theo bề dày trong {wanted} cm",
    ),
    "repeat-averaged": (
        "measured again in row {row}: averaged",
        "đo lặp lại ở dòng {row}: lấy trung bình",
    ),
    "broken-letters": (
        "letters were lost in the file's encoding: {found!r}",
        "mất chữ do bảng mã của tệp: {found!r}",
    ),
}


@dataclass(frozen=True)
class Finding:
    """What a rule says of one row."""

    rule: str
    reason: str
    reason_vi: str


def refusal(rule: str, **found: Any) -> Finding:
    """The finding of a rule of ``REFUSALS``."""
    english, vietnamese = REFUSALS[rule]
    return Finding(rule, english.format(**found), vietnamese.format(**found))


def mend(rule: str, **found: Any) -> Finding:
    """The finding of a rule of ``MENDS``."""
    english, vietnamese = MENDS[rule]
    return Finding(rule, english.format(**found), vietnamese.format(**found))


class Refused(ValueError):
    """A row that cannot be used, by a rule of ``REFUSALS``."""

    def __init__(self, rule: str, **found: Any) -> None:
        self.finding = refusal(rule, **found)
        super().__init__(self.finding.reason)
