"""What other programs read of a product: STAC fields, styles, ISO metadata, overviews, versions."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mapped import SEASON, publish, target
from numpy.typing import NDArray
from rio_cogeo import cog_validate

from pipeline import overviews, stac
from pipeline.grid import Tile
from pipeline.product import NODATA
from pipeline.stores.folder import FolderStore

AREA = shapely.box(105.40, 10.00, 105.47, 10.06)


def layers(tile: Tile) -> dict[str, NDArray[Any]]:
    """Values that change over the tile, and every reason."""
    rows, columns = tile.geobox.shape
    y, x = np.mgrid[:rows, :columns]
    ramp = (x + y) / (rows + columns)
    made = {
        "class": 1 + (x // 7 + y // 5) % 4, "risk": ramp, "estimate": 16 * ramp, "lower": 10 * ramp,
        "upper": 20 * ramp, "applicability": (x > 100) * 1, "clear_dates": x % 9, "p4": ramp, "p8": ramp / 2,
        "reason": np.where(y < 40, 2 + (x // 30) % 4, 0),
    }  # fmt: skip
    return made | {f"p_{c}": ramp / 4 for c in ("none", "slight", "moderate", "heavy")}


@pytest.fixture(scope="module", params=["degradation", "salinity"])
def cog(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp(request.param), AREA, request.param, layers)[0]


@pytest.fixture
def item(cog: Path) -> dict[str, Any]:
    return dict(json.loads(cog.with_suffix(".json").read_text(encoding="utf-8")))


# --- the COG -----------------------------------------------------------------------------------


def test_every_cog_of_a_release_passes_rio_cogeo(cog: Path) -> None:
    cogs = sorted([*cog.parent.glob("*.tif"), *cog.parent.glob("*.tiff")])
    assert len(cogs) == (2 if "degradation" in cog.name else 1)
    for path in cogs:
        valid, errors, warnings = cog_validate(str(path), strict=True)
        assert valid, (errors, warnings)
        with rasterio.open(path) as file:
            assert file.overviews(1)


def plainly(pixels: NDArray[Any], step: int, coded: bool) -> NDArray[Any]:
    """Mode or mean of each cell, written out pixel by pixel."""
    rows, columns = (-(-n // step) for n in pixels.shape)
    made = np.full((rows, columns), NODATA, pixels.dtype)
    for i in range(rows):
        for j in range(columns):
            cell = pixels[i * step : (i + 1) * step, j * step : (j + 1) * step]
            known = [int(v) for v in cell.ravel() if v != NODATA]
            if known and coded:
                made[i, j] = min(set(known), key=lambda c: (-known.count(c), c))
            elif known:
                made[i, j] = math.floor(sum(known) / len(known) + 0.5)
    return made


@given(
    hnp.arrays(np.int16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=19),
               elements=st.sampled_from([NODATA, -7, 0, 1, 2, 3, 32767])),
    st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None, derandomize=True)
def test_overviews_are_modes_of_codes_and_means_of_values(pixels: NDArray[np.int16], coded: bool) -> None:
    steps = [2, 4, 8]
    for step, made in zip(steps, overviews.reduce(pixels, steps, NODATA, coded), strict=True):
        assert np.array_equal(made, plainly(pixels, step, coded))


def test_overviews_in_the_file_follow_the_band(cog: Path) -> None:
    with rasterio.open(cog) as file:
        full, names, codes = file.read(), file.descriptions, ("class", "applicability", "reason")
        step = file.overviews(1)[0]
    with rasterio.open(cog, overview_level=0) as file:
        small = file.read()
    for name, whole, reduced in zip(names, full, small, strict=True):
        part = whole[: 60 * step, : 60 * step]
        assert np.array_equal(reduced[:60, :60], plainly(part, step, name in codes)), name


def test_a_map_that_one_tile_shows_has_no_overview() -> None:
    assert overviews.factors((512, 300)) == []
    assert overviews.factors((513, 300)) == [2]
    assert overviews.factors((10980, 10980)) == [2, 4, 8, 16, 32]


@pytest.mark.parametrize("cog", ["degradation"], indirect=True)
def test_the_map_of_classes_has_its_colour_table(cog: Path) -> None:
    with rasterio.open(cog.with_name(f"{cog.stem}.class.tiff")) as file:
        codes, colours = file.read(1), file.colormap(1)
        assert (file.count, file.dtypes[0], file.nodata) == (1, "uint8", 0)
        assert file.colorinterp[0].name == "palette"
    with rasterio.open(cog) as file:
        expected = file.read(1)
    assert np.array_equal(codes, np.where(expected == NODATA, 0, expected))
    for each in target("degradation").classes:
        assert "#{:02X}{:02X}{:02X}".format(*colours[each.code][:3]) == each.colour
        assert colours[each.code][3] == 255


# --- STAC --------------------------------------------------------------------------------------


def test_bands_say_what_is_stored(cog: Path, item: dict[str, Any]) -> None:
    bands = item["assets"]["map"]["bands"]
    with rasterio.open(cog) as file:
        pixels = file.read(masked=True)
        assert [b["name"] for b in bands] == list(file.descriptions)
        assert [b.get("raster:scale", 1) for b in bands] == list(file.scales)
        assert {b["nodata"] for b in bands} == {file.nodata}
        assert {b["raster:spatial_resolution"] for b in bands} == {file.transform.a}
    for band, own in zip(bands, pixels, strict=True):
        known, told = own.compressed().astype(np.float64), band["statistics"]
        assert told["count"] == len(known)
        assert told["valid_percent"] == pytest.approx(100 * len(known) / own.size)
        if "classification:classes" in band:
            for each in band["classification:classes"]:
                assert each["count"] == (known == each["value"]).sum()
                assert each["percentage"] == pytest.approx(100 * (known == each["value"]).mean())
                assert len(bytes.fromhex(each["color_hint"])) == 3
                assert each["name"] and each["title"] and each["description"]
            assert sum(c["count"] for c in band["classification:classes"]) == len(known)
        else:
            assert (told["minimum"], told["maximum"]) == (known.min(), known.max())
            assert told["mean"] == pytest.approx(known.mean(), rel=1e-12)
            assert told["stddev"] == pytest.approx(known.std(), rel=1e-9)


def test_item_names_its_extensions_and_only_those(item: dict[str, Any]) -> None:
    """Which field belongs to which extension is written here from the extensions' own texts."""
    owner = {
        "proj": "projection/v2.0.0", "raster": "raster/v2.0.0", "classification": "classification/v2.0.0",
        "file": "file/v2.1.0", "processing": "processing/v1.2.0",
    }  # fmt: skip
    used = {name.split(":")[0] for name in fields(item) if ":" in name} - {"phusa"}
    expected = {f"https://stac-extensions.github.io/{owner[u]}/schema.json" for u in used}
    assert set(item["stac_extensions"]) == expected | {
        "https://stac-extensions.github.io/version/v1.2.0/schema.json"
    }
    p = item["properties"]
    assert p["proj:code"] == "EPSG:32648"
    assert len(p["proj:transform"]) == 6
    assert p["proj:bbox"][0] == p["proj:transform"][2]
    assert p["processing:level"] == "L4" and "Phù Sa" in p["processing:lineage"]
    assert p["version"] == "1"


def fields(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield name
            yield from fields(part)
    elif isinstance(value, list):
        for part in value:
            yield from fields(part)


def test_every_asset_is_a_file_with_its_digest_and_size(cog: Path, item: dict[str, Any]) -> None:
    import hashlib

    assert {"map", "palette", "metadata"} <= item["assets"].keys()
    for name, asset in item["assets"].items():
        path = cog.parent / asset["href"].removeprefix("./")
        content = path.read_bytes()
        # multihash: code 0x12 is SHA-256, 0x20 its length of 32 bytes
        assert asset["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest(), name
        assert asset["file:size"] == len(content)
        assert asset["type"] and asset["title"] and asset["roles"]


def test_release_has_no_file_that_its_sums_do_not_cover(cog: Path) -> None:
    sums = (cog.parent / "SHA256SUMS").read_text(encoding="utf-8")
    listed = {line.partition("  ")[2] for line in sums.splitlines()}
    assert listed == {p.name for p in cog.parent.iterdir()} - {"SHA256SUMS"}


def test_a_changed_style_is_told_by_verify(tmp_path: Path) -> None:
    path = publish(tmp_path, AREA, "salinity", layers)[0]
    store = FolderStore(tmp_path / "store", "delta")
    assert store.verify() == []
    assert store.published(SEASON)[0].intact
    style = path.with_name(f"{path.stem}.qml")
    style.write_text(style.read_text(encoding="utf-8").replace("viridis", "").replace("8 dS/m", "9 dS/m"))
    assert any(style.name in fault for fault in store.verify())
    assert not store.published(SEASON)[0].intact


def test_versions_lead_back_and_stay(tmp_path: Path) -> None:
    first = publish(tmp_path, AREA, "salinity", layers)[0]
    before = {p.name: p.read_bytes() for p in first.parent.iterdir()}
    second = publish(tmp_path, AREA, "salinity", lambda t: layers(t) | {"estimate": layers(t)["upper"]})[0]
    assert second.parent != first.parent
    told = json.loads(second.with_suffix(".json").read_text(encoding="utf-8"))
    links = {link["rel"]: link["href"] for link in told["links"]}
    assert told["properties"]["version"] == "2"
    assert (second.parent / links["predecessor-version"]).resolve() == first.with_suffix(".json").resolve()
    history = json.loads((second.parent / links["version-history"]).read_text(encoding="utf-8"))
    assert [link["title"] for link in history["links"] if link["rel"] == "child"] == ["1", "2"]
    assert {p.name: p.read_bytes() for p in first.parent.iterdir()} == before, "a release never changes"
    again = publish(tmp_path, AREA, "salinity", layers)[0]
    assert again == first
    assert {p.name: p.read_bytes() for p in first.parent.iterdir()} == before
    assert FolderStore(tmp_path / "store", "delta").verify() == []


def test_a_release_that_is_made_good_keeps_its_number(tmp_path: Path) -> None:
    path = publish(tmp_path, AREA, "salinity", layers)[0]
    publish(tmp_path, AREA, "salinity", lambda t: layers(t) | {"estimate": layers(t)["upper"]})
    before = (path.parent / "SHA256SUMS").read_bytes()
    (path.parent / "collection.json").write_text("{", encoding="utf-8")
    assert publish(tmp_path, AREA, "salinity", layers)[0] == path
    assert (path.parent / "SHA256SUMS").read_bytes() == before


# --- styles ------------------------------------------------------------------------------------


def test_styles_name_bands_that_are_there_and_every_class(cog: Path, item: dict[str, Any]) -> None:
    bands = item["assets"]["map"]["bands"]
    groups = {name.removeprefix("qml_") for name in item["assets"] if name.startswith("qml_")}
    assert groups == {name.removeprefix("sld_") for name in item["assets"] if name.startswith("sld_")}
    first = "class" if "degradation" in cog.name else "value"
    assert groups == {first, "probability", "applicability", "clear_dates", "reason"}
    assert item["assets"][f"qml_{first}"]["href"] == f"./{cog.stem}.qml"
    for group in groups:
        qgis = ET.parse(cog.parent / item["assets"][f"qml_{group}"]["href"]).getroot()
        style = qgis.find("pipe/rasterrenderer")
        assert style is not None
        band = bands[int(style.attrib["band"]) - 1]
        sld = ET.parse(cog.parent / item["assets"][f"sld_{group}"]["href"]).getroot()
        name = {"s": "http://www.opengis.net/sld"}
        assert sld.attrib["version"] == "1.0.0"
        assert sld.findtext(".//s:SourceChannelName", namespaces=name) == style.attrib["band"]
        entries = sld.findall(".//s:ColorMapEntry", name)
        if "classification:classes" in band:
            assert style.attrib["type"] == "paletted"
            shown = {e.attrib["value"]: e for e in style.findall("colorPalette/paletteEntry")}
            for each in band["classification:classes"]:
                one = shown[str(each["value"])]
                assert one.attrib["label"] == each["title"]
                assert one.attrib["color"] == f"#{each['color_hint'].lower()}"
            assert {float(e.attrib["quantity"]) for e in entries} == {float(v) for v in shown}
        else:
            assert style.attrib["type"] == "singlebandpseudocolor"
            values = [float(e.attrib["value"]) for e in style.findall(".//item")]
            assert values == sorted(set(values)) and len(values) > 1
            assert [float(e.attrib["quantity"]) for e in entries] == pytest.approx(values)


@pytest.mark.parametrize("cog", ["salinity"], indirect=True)
def test_breaks_of_a_quantity_stand_at_its_thresholds(cog: Path) -> None:
    qgis = ET.parse(cog.with_suffix(".qml"))
    assert [float(e.attrib["value"]) for e in qgis.iter("item")] == [0, 2, 4, 8, 16]
    labels = [e.attrib["label"] for e in qgis.iter("item")]
    assert labels[2] == "4 dS/m"


# --- ISO 19115-3 -------------------------------------------------------------------------------

MD = {
    prefix: f"http://standards.iso.org/iso/19115/-3/{prefix}/{number}"
    for prefix, number in (("mdb", "2.0"), ("cit", "2.0"), ("gco", "1.0"), ("mri", "1.0"), ("gex", "1.0"),
                           ("mcc", "1.0"), ("mrl", "2.0"), ("mrs", "1.0"), ("mco", "1.0"), ("lan", "1.0"))
}  # fmt: skip

#: What ISO 19115-1 asks of every dataset, and where it stands.
REQUIRED = [
    "mdb:metadataIdentifier//gco:CharacterString",
    "mdb:defaultLocale/lan:PT_Locale/lan:language",
    "mdb:metadataScope//mcc:MD_ScopeCode",
    "mdb:contact/cit:CI_Responsibility/cit:party/cit:CI_Organisation/cit:name/gco:CharacterString",
    "mdb:dateInfo/cit:CI_Date/cit:dateType/cit:CI_DateTypeCode",
    "mdb:identificationInfo/mri:MD_DataIdentification/mri:citation/cit:CI_Citation/cit:title/gco:CharacterString",
    "mdb:identificationInfo/mri:MD_DataIdentification/mri:abstract/gco:CharacterString",
    "mdb:identificationInfo/mri:MD_DataIdentification/mri:topicCategory/mri:MD_TopicCategoryCode",
    "mdb:identificationInfo//mco:useLimitation/gco:CharacterString",
    "mdb:resourceLineage/mrl:LI_Lineage/mrl:statement/gco:CharacterString",
    "mdb:referenceSystemInfo/mrs:MD_ReferenceSystem/mrs:referenceSystemIdentifier//gco:CharacterString",
]


def test_iso_record_holds_what_the_standard_requires(cog: Path, item: dict[str, Any]) -> None:
    root = ET.parse(cog.with_name(f"{cog.stem}.iso19115-3.xml")).getroot()
    assert root.tag == f"{{{MD['mdb']}}}MD_Metadata"
    for path in REQUIRED:
        found = root.find(path, MD)
        assert found is not None, path
    sides = {
        e.tag.split("}")[1]: float(e[0].text or "")
        for e in root.find(".//gex:EX_GeographicBoundingBox", MD) or ()
    }
    period = root.find(".//gex:EX_TemporalExtent", MD)
    assert period is not None and "".join(period.itertext()).split() == [str(SEASON.start), str(SEASON.end)]
    west, south, east, north = item["bbox"]
    assert sides == pytest.approx({
        "westBoundLongitude": west, "eastBoundLongitude": east,
        "southBoundLatitude": south, "northBoundLatitude": north,
    })  # fmt: skip
    text = "".join(root.itertext())
    assert target(item["properties"]["phusa:target"]).title.vi in text
    assert item["assets"]["map"]["file:checksum"][4:] in text
    assert "chưa được kiểm chứng" in text


def test_iso_record_is_read_by_owslib(cog: Path, item: dict[str, Any]) -> None:
    iso3 = pytest.importorskip("owslib.iso3")
    from owslib.etree import etree

    root = etree.fromstring(cog.with_name(f"{cog.stem}.iso19115-3.xml").read_bytes())
    read = iso3.MD_Metadata(root)
    assert read.identifier == f"{item['collection']}/{item['id']}"
    assert read.hierarchy == "dataset"
    assert read.referencesystem.code == "32648"
    about = read.identification[0]
    assert item["id"] in about.uricode
    assert float(about.bbox.minx) == pytest.approx(item["bbox"][0])
    bands = [b["name"] for b in item["assets"]["map"]["bands"]]
    assert read.distribution.online[0].url == f"./{cog.name}"
    assert len(bands) == len(
        root.findall(f".//{{{'http://standards.iso.org/iso/19115/-3/mrc/2.0'}}}attribute")
    )


def test_extension_ids_are_stated_once() -> None:
    assert len(set(stac.EXTENSIONS)) == len(stac.EXTENSIONS)
