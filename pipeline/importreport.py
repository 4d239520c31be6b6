"""The import report: JSON for programs, and a page in Vietnamese and English for the people who sent the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from pipeline.files import json_text, write_aside

_PAGE = """<!doctype html>
<html lang="vi"><head><meta charset="utf-8"><title>Kiểm tra mẫu đất / Soil samples checked</title>
<style>body{font-family:sans-serif;margin:2em;max-width:75em}table{border-collapse:collapse;margin:1em 0}
td,th{border:1px solid #bbb;padding:.25em .5em;text-align:left;vertical-align:top}th{background:#eee}
.en{color:#555;font-size:.9em}</style></head><body>
<h1>Kiểm tra mẫu đất <span class="en">/ Soil samples checked</span></h1>
<table>
<tr><th>Số dòng <span class="en">/ rows</span><td>{{ r.rows }}
<tr><th>Nhận nguyên <span class="en">/ accepted as they stand</span><td>{{ r.accepted }}
<tr><th>Nhận sau khi sửa <span class="en">/ mended</span><td>{{ r.mended }}
<tr><th>Từ chối <span class="en">/ refused</span><td>{{ r.refused }}
<tr><th>Điểm để học <span class="en">/ sites</span><td>{{ r.sites }}
</table>
{% for u in r.get("unknown_layers", []) %}<p><b>{{ u.layer }}</b>: không biết ở {{ u.sites }} điểm, {{ u.beyond }} nằm ngoài lớp
<span class="en">/ not known at {{ u.sites }} sites, {{ u.beyond }} of them beyond it (terrain.collar_km)</span>: {{ u.samples | join(", ") }}</p>
{% endfor %}
{% for f in r.files %}<h2>{{ f.file }}</h2>
<p>{{ f.format }}{% for k in ("encoding", "separator", "sheet", "layer", "crs") if f[k] %} · {{ k }}: <code>{{ f[k] }}</code>{% endfor %}
 · {{ f.accepted }} + {{ f.mended }} + {{ f.refused }} = {{ f.rows }}</p>
<table><tr><th>Cột <span class="en">/ column</span><th>Hiểu là <span class="en">/ taken for</span>
{% for h, t in f.columns.items() %}<tr><td>{{ h }}<td>{{ t }}{% endfor %}</table>
{% if f.ignored_columns %}<p>Không đọc <span class="en">/ not read</span>: {{ f.ignored_columns | join(", ") }}</p>{% endif %}
{% if f.assumed %}<p>Giả định <span class="en">/ assumed</span>:</p><ul>{% for a in f.assumed %}<li>{{ a }}{% endfor %}</ul>{% endif %}
{% endfor %}
{% for title, rows in (("Từ chối / Refused", r.refusals), ("Đã sửa / Mended", r.mends)) if rows %}
<h2>{{ title }}</h2>
<table><tr><th>Dòng <span class="en">/ row</span><th>Mẫu <span class="en">/ sample</span><th>Quy tắc <span class="en">/ rule</span><th>Lý do <span class="en">/ reason</span>
{% for x in rows %}<tr><td title="{{ x.file }}">{{ x.row }}<td>{{ x.sample_id }}<td>{{ x.rule }}<td>{{ x.reason_vi }}<br><span class="en">{{ x.reason }}</span>
{% endfor %}</table>{% endfor %}
</body></html>
"""


def page(report: dict[str, Any]) -> str:
    """The report as one HTML page, which asks for no other file."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    shown = dict.fromkeys(("encoding", "separator", "sheet", "layer", "crs"), "")
    files = [
        shown | f | {"separator": {"\t": "TAB"}.get(f.get("separator", ""), f.get("separator", ""))}
        for f in report["files"]
    ]
    return environment.from_string(_PAGE).render(r=report | {"files": files}) + "\n"


def write(path: Path, report: dict[str, Any]) -> Path:
    """Write the JSON to ``path`` and the page beside it; gives the page's path."""
    beside = path.resolve().with_suffix(".html" if path.suffix.lower() != ".html" else ".readable.html")
    write_aside(path, json_text(report))
    write_aside(beside, page(report))
    return beside
