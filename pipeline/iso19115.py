"""Metadata of a product in ISO 19115-3 (XML schemas of 2018), Vietnamese with English beside it.

Dates are those of the season, so that the same map has the same record; when it was published is told by
its release.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

from models.targets import Title
from pipeline.product import Product
from pipeline.statistics import BandStatistics

_ISO = "http://standards.iso.org/iso/19115/-3/"
NAMESPACES = {
    "mdb": f"{_ISO}mdb/2.0",
    "cit": f"{_ISO}cit/2.0",
    "gex": f"{_ISO}gex/1.0",
    "lan": f"{_ISO}lan/1.0",
    "mcc": f"{_ISO}mcc/1.0",
    "mco": f"{_ISO}mco/1.0",
    "mrc": f"{_ISO}mrc/2.0",
    "mrd": f"{_ISO}mrd/1.0",
    "mri": f"{_ISO}mri/1.0",
    "mrl": f"{_ISO}mrl/2.0",
    "mrs": f"{_ISO}mrs/1.0",
    "msr": f"{_ISO}msr/2.0",
    "gco": f"{_ISO}gco/1.0",
    "gml": "http://www.opengis.net/gml/3.2",
    "xsi": "http://www.w3.org/2001/XMLSchema-instance",
}
_CODES = "http://standards.iso.org/iso/19115/resources/Codelists/cat/codelists.xml"
SIMULATED = Title(vi="DỮ LIỆU MÔ PHỎNG, không phải đo đạc.", en="SIMULATED data, not a measurement.")
UNVERIFIED = Title(
    vi="Lớp và ngưỡng chưa được kiểm chứng với văn bản pháp lý.",
    en="Classes and thresholds are not verified against a legal source.",
)
NO_LIMIT = Title(vi="Không có hạn chế đặc biệt.", en="No particular limitation.")


def record(product: Product, item: dict[str, Any], statistics: list[BandStatistics]) -> str:
    """The XML text of a product's record; ``item`` is its STAC item."""
    title = _title(product)
    root = _tag(
        "mdb:MD_Metadata",
        _tag("mdb:metadataIdentifier", _identifier(f"{item['collection']}/{item['id']}")),
        _tag("mdb:defaultLocale", _locale("vi", "vie")),
        _tag("mdb:metadataScope", _tag("mdb:MD_MetadataScope", _tag("mdb:resourceScope", _scope()))),
        _tag("mdb:contact", _responsible("pointOfContact")),
        _tag("mdb:dateInfo", _date(product.season.end.isoformat(), "creation")),
        _tag("mdb:metadataStandard", _citation(Title(vi="ISO 19115-3", en="ISO 19115-3"))),
        _tag("mdb:otherLocale", _locale("en", "eng")),
        _tag("mdb:spatialRepresentationInfo", _grid(product)),
        _tag("mdb:referenceSystemInfo", _reference_system(product)),
        _tag("mdb:identificationInfo", _identification(product, item, title)),
        _tag("mdb:contentInfo", _content(product, statistics)),
        _tag("mdb:distributionInfo", _distribution(item)),
        _tag("mdb:resourceLineage", _lineage(product, item)),
    )
    for prefix, address in NAMESPACES.items():
        root.set(f"xmlns:{prefix}", address)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _title(product: Product) -> Title:
    name, place, season = product.target.title, product.id.tile, product.season
    made = Title(vi=f"{name.vi}, ô {place}, mùa {season}", en=f"{name.en}, tile {place}, season {season}")
    if product.provenance.get("simulated"):
        return Title(vi=f"MÔ PHỎNG {made.vi}", en=f"SIMULATED {made.en}")
    return made


def _tag(name: str, *children: ET.Element | str | None, **attributes: str) -> ET.Element:
    """An element with child elements or a text; children that are None are left out."""
    made = ET.Element(name, {k.replace("__", ":"): v for k, v in attributes.items()})
    for child in children:
        if isinstance(child, str):
            made.text = child
        elif child is not None:
            made.append(child)
    return made


def _text(text: str) -> ET.Element:
    return _tag("gco:CharacterString", text)


def _free(name: str, title: Title) -> ET.Element:
    """A text in Vietnamese with its English translation."""
    english = _tag("lan:LocalisedCharacterString", title.en, locale="#en")
    return _tag(
        name,
        _text(title.vi),
        _tag("lan:PT_FreeText", _tag("lan:textGroup", english)),
        xsi__type="lan:PT_FreeText_PropertyType",
    )


def _code(name: str, value: str) -> ET.Element:
    kind = name.split(":")[1]
    return _tag(name, value, codeList=f"{_CODES}#{kind}", codeListValue=value)


def _identifier(code: str, space: str = "") -> ET.Element:
    return _tag(
        "mcc:MD_Identifier",
        _tag("mcc:code", _text(code)),
        _tag("mcc:codeSpace", _text(space)) if space else None,
    )


def _locale(short: str, language: str) -> ET.Element:
    return _tag(
        "lan:PT_Locale",
        _tag("lan:language", _code("lan:LanguageCode", language)),
        _tag("lan:characterEncoding", _code("lan:MD_CharacterSetCode", "utf8")),
        id=short,
    )


def _scope() -> ET.Element:
    return _code("mcc:MD_ScopeCode", "dataset")


def _responsible(role: str) -> ET.Element:
    party = _tag("cit:CI_Organisation", _tag("cit:name", _text("Phù Sa")))
    return _tag(
        "cit:CI_Responsibility",
        _tag("cit:role", _code("cit:CI_RoleCode", role)),
        _tag("cit:party", party),
    )


def _date(day: str, kind: str) -> ET.Element:
    return _tag(
        "cit:CI_Date",
        _tag("cit:date", _tag("gco:Date", day)),
        _tag("cit:dateType", _code("cit:CI_DateTypeCode", kind)),
    )


def _citation(title: Title, day: str = "", identifier: str = "") -> ET.Element:
    return _tag(
        "cit:CI_Citation",
        _free("cit:title", title),
        _tag("cit:date", _date(day, "creation")) if day else None,
        _tag("cit:identifier", _identifier(identifier)) if identifier else None,
    )


def _grid(product: Product) -> ET.Element:
    rows, columns = product.geobox.shape
    axes = [
        _tag(
            "msr:axisDimensionProperties",
            _tag(
                "msr:MD_Dimension",
                _tag("msr:dimensionName", _code("msr:MD_DimensionNameTypeCode", name)),
                _tag("msr:dimensionSize", _tag("gco:Integer", str(size))),
                _tag("msr:resolution", _tag("gco:Measure", f"{abs(product.geobox.affine.a):g}", uom="m")),
            ),
        )
        for name, size in (("row", rows), ("column", columns))
    ]
    return _tag(
        "msr:MD_GridSpatialRepresentation",
        _tag("msr:numberOfDimensions", _tag("gco:Integer", "2")),
        *axes,
        _tag("msr:cellGeometry", _code("msr:MD_CellGeometryCode", "area")),
        _tag("msr:transformationParameterAvailability", _tag("gco:Boolean", "true")),
    )


def _reference_system(product: Product) -> ET.Element:
    code = str(product.geobox.crs.epsg)  # type: ignore[union-attr]
    return _tag(
        "mrs:MD_ReferenceSystem",
        _tag("mrs:referenceSystemIdentifier", _identifier(code, "EPSG")),
        _tag("mrs:referenceSystemType", _code("mrs:MD_ReferenceSystemTypeCode", "projected")),
    )


def _identification(product: Product, item: dict[str, Any], title: Title) -> ET.Element:
    target = product.target
    source = f" {target.source}." if target.source else ""
    abstract = Title(
        vi=f"Bản đồ «{target.title.vi}» theo mùa, suy ra từ ảnh vệ tinh và mẫu đất, kèm độ bất định.{source}",
        en=f"Seasonal map of “{target.title.en}” from satellite images and soil samples, with its "
        f"uncertainty.{source}",
    )
    words = [Title(vi="đất", en="soil"), target.title, Title(vi="viễn thám", en="remote sensing")]
    return _tag(
        "mri:MD_DataIdentification",
        _tag("mri:citation", _citation(title, product.season.end.isoformat(), item["id"])),
        _free("mri:abstract", abstract),
        _tag("mri:status", _code("mcc:MD_ProgressCode", "completed")),
        _tag("mri:pointOfContact", _responsible("processor")),
        _tag("mri:spatialRepresentationType", _code("mcc:MD_SpatialRepresentationTypeCode", "grid")),
        _tag(
            "mri:spatialResolution",
            _tag(
                "mri:MD_Resolution",
                _tag("mri:distance", _tag("gco:Distance", f"{abs(product.geobox.affine.a):g}", uom="m")),
            ),
        ),
        _tag("mri:topicCategory", _tag("mri:MD_TopicCategoryCode", "geoscientificInformation")),
        _tag("mri:extent", _extent(product, item)),
        _tag("mri:descriptiveKeywords", _tag("mri:MD_Keywords", *(_free("mri:keyword", w) for w in words))),
        _tag("mri:resourceConstraints", _constraints(product)),
        _tag("mri:defaultLocale", _locale("vi-data", "vie")),
    )


def _extent(product: Product, item: dict[str, Any]) -> ET.Element:
    west, south, east, north = item["bbox"]
    sides = (
        ("westBoundLongitude", west), ("eastBoundLongitude", east),
        ("southBoundLatitude", south), ("northBoundLatitude", north),
    )  # fmt: skip
    box = _tag(
        "gex:EX_GeographicBoundingBox",
        *(_tag(f"gex:{name}", _tag("gco:Decimal", f"{value:.7f}")) for name, value in sides),
    )
    period = _tag(
        "gml:TimePeriod",
        _tag("gml:beginPosition", product.season.start.isoformat()),
        _tag("gml:endPosition", product.season.end.isoformat()),
        gml__id="season",
    )
    return _tag(
        "gex:EX_Extent",
        _tag("gex:geographicElement", box),
        _tag("gex:temporalElement", _tag("gex:EX_TemporalExtent", _tag("gex:extent", period))),
    )


def _constraints(product: Product) -> ET.Element:
    limits = [SIMULATED] if product.provenance.get("simulated") else []
    limits += [UNVERIFIED] if product.target.status == "unverified" else []
    return _tag("mco:MD_Constraints", *(_free("mco:useLimitation", text) for text in limits or [NO_LIMIT]))


def _content(product: Product, statistics: list[BandStatistics]) -> ET.Element:
    """What each band holds; extremes are as stored, the scale carries them to the unit."""
    bands = []
    for number, (band, known) in enumerate(zip(product.bands, statistics, strict=True), 1):
        unit = _tag(
            "gml:UnitDefinition",
            _tag("gml:identifier", band.unit or "1", codeSpace="http://unitsofmeasure.org"),
            gml__id=f"unit{number}",
        )
        sample = _tag(
            "mrc:MD_SampleDimension",
            _tag(
                "mrc:sequenceIdentifier",
                _tag("gco:MemberName", _tag("gco:aName", _text(band.name)), _type_name()),
            ),
            _tag("mrc:name", _identifier(band.name)),
            _real("mrc:maxValue", known.maximum),
            _real("mrc:minValue", known.minimum),
            _tag("mrc:units", unit),
            _real("mrc:scaleFactor", band.scale),
            _real("mrc:offset", 0),
        )
        bands.append(_tag("mrc:attribute", sample))
    group = _tag(
        "mrc:MD_AttributeGroup",
        _tag("mrc:contentType", _code("mrc:MD_CoverageContentTypeCode", _content_type(product))),
        *bands,
    )
    return _tag(
        "mrc:MD_CoverageDescription",
        _tag("mrc:attributeDescription", _tag("gco:RecordType", product.target.name)),
        _tag("mrc:attributeGroup", group),
    )


def _content_type(product: Product) -> str:
    return "thematicClassification" if product.target.kind == "class" else "physicalMeasurement"


def _type_name() -> ET.Element:
    name = _tag("gco:TypeName", _tag("gco:aName", _text("int16")))
    return _tag("gco:attributeType", name)


def _real(name: str, value: float | None) -> ET.Element | None:
    return None if value is None else _tag(name, _tag("gco:Real", f"{value:.10g}"))


def _distribution(item: dict[str, Any]) -> ET.Element:
    asset = item["assets"]["map"]
    cog = Title(vi="GeoTIFF tối ưu cho đám mây", en="Cloud-optimised GeoTIFF")
    online = _tag(
        "cit:CI_OnlineResource",
        _tag("cit:linkage", _text(asset["href"])),
        _tag("cit:protocol", _text("WWW:DOWNLOAD-1.0-http--download")),
        _tag("cit:name", _text(asset["title"])),
        _tag("cit:description", _text(f"SHA-256 {asset['file:checksum'][4:]}")),
    )
    return _tag(
        "mrd:MD_Distribution",
        _tag(
            "mrd:distributionFormat",
            _tag("mrd:MD_Format", _tag("mrd:formatSpecificationCitation", _citation(cog))),
        ),
        _tag(
            "mrd:transferOptions",
            _tag("mrd:MD_DigitalTransferOptions", _tag("mrd:onLine", online)),
        ),
    )


def _lineage(product: Product, item: dict[str, Any]) -> ET.Element:
    made = product.provenance
    told = [item["properties"]["processing:lineage"]]
    told += [
        f"{name}: {made[name]}." for name in ("scenes_digest", "bundle", "config", "code") if made.get(name)
    ]
    told += [
        f"Sentinel-1, orbit {s['orbit']}, {s['band']}: {s['second']} differs from {s['first']} by "
        f"{s['step_db']:+.2f} dB (p = {s['p']:g})."
        for s in made.get("radar_steps", ())
        if s["matters"]
    ]
    sources = [
        _tag(
            "mrl:source",
            _tag("mrl:LI_Source", _tag("mrl:description", _text(f"{sensor}, {address}"))),
        )
        for sensor, address in sorted(made.get("providers", {}).items())
    ]
    return _tag(
        "mrl:LI_Lineage",
        _tag("mrl:statement", _text(" ".join(told))),
        _tag("mrl:scope", _tag("mcc:MD_Scope", _tag("mcc:level", _scope()))),
        *sources,
    )
