"""The region config: one typed file that says what is mapped, from what, when and into which store."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import rasterio
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    PrivateAttr,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from rasterio.errors import RasterioError
from shapely.geometry.base import BaseGeometry

from features.bands import BANDS, DEM, RADAR, REGION_LAYERS
from features.indices import INDICES
from features.spec import FeatureSpec
from models.samples import PLACE_COLUMNS
from models.settings import Settings
from models.targets import Target
from pipeline import yamlfile
from pipeline.area import Box, read_area
from pipeline.errors import InputError
from pipeline.imports import crs as systems
from pipeline.ownindices import Name, OwnIndex, named
from pipeline.prices import Prices
from pipeline.providers import ApiProvider, StaticProvider
from pipeline.season import Season
from pipeline.sensors import How, SensorName
from pipeline.shipped import CONFIGS
from pipeline.stores.settings import FolderSettings, PostgisSettings, usable

PROVIDERS_FILE = CONFIGS / "providers.yaml"


def _beside(path: Path, info: ValidationInfo) -> Path:
    """Paths are relative to the config file."""
    base: Path = (info.context or {}).get("folder", Path())
    return (base / usable(path)).resolve()


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    return path


FilePath = Annotated[Path, AfterValidator(_beside)]
ExistingFile = Annotated[FilePath, AfterValidator(_existing)]


class Grid(Settings):
    """The map grid."""

    crs: Literal["utm"] = "utm"
    resolution_m: Literal[10, 20] = 10
    block_px: int = Field(2048, ge=16, le=10980)


def _raster(path: Path) -> Path:
    """Opened as GeoTIFF whatever its name: other drivers could point anywhere."""
    try:
        with rasterio.open(path, driver="GTiff") as file:
            if file.crs is None:
                raise ValueError(f"{path.name} has no coordinate reference system")
            if np.dtype(file.dtypes[0]).kind not in "ui":
                raise ValueError(
                    f"{path.name} holds {file.dtypes[0]}; expected whole numbers, the class codes"
                )
    except RasterioError as error:
        raise ValueError(f"{path.name} cannot be read as a GeoTIFF: {error}") from None
    return path


class Mask(Settings):
    """A raster of land use: only pixels of ``classes`` are mapped."""

    path: Annotated[ExistingFile, AfterValidator(_raster)]
    classes: tuple[int, ...] = Field(min_length=1)
    version: str = ""

    @model_validator(mode="after")
    def _possible(self) -> Mask:
        with rasterio.open(self.path, driver="GTiff") as file:
            limits = np.iinfo(file.dtypes[0])
        strange = [c for c in self.classes if not max(0, limits.min) <= c <= limits.max]
        if strange:
            raise ValueError(
                f"class {strange[0]} cannot stand in {self.path.name}, which holds {limits.dtype}"
            )
        return self


def _area(value: Any, info: ValidationInfo) -> Box | Path:
    """A box or the path of a file; either must hold an area on the globe."""
    if isinstance(value, str) and value:
        area: Box | Path = _beside(Path(value), info)
    elif isinstance(value, list) and len(value) == 4 and all(_is_number(v) for v in value):
        area = (float(value[0]), float(value[1]), float(value[2]), float(value[3]))
    else:
        raise ValueError(
            f"found {value!r}; expected [west, south, east, north] in degrees, or the path of a .geojson "
            "or .gpkg file"
        )
    read_area(area)
    return area


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class Region(Settings):
    """Where."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$")]
    area: Annotated[Box | Path, PlainValidator(_area)]
    grid: Grid = Grid()
    mask: Mask | None = None

    @property
    def geometry(self) -> BaseGeometry:
        """The area in WGS 84."""
        return read_area(self.area)


def _named_provider(value: Any, info: ValidationInfo) -> Any:
    """A provider's name stands for its entry in configs/providers.yaml; a catalogue path is relative
    to the config file."""
    if isinstance(value, str):
        known = yamlfile.read(PROVIDERS_FILE)
        if value not in known:
            raise ValueError(
                f"unknown provider; known: {', '.join(known)}, or one given inline with kind static or api"
            )
        return known[value]
    if isinstance(value, dict) and value.get("kind") == "static" and isinstance(value.get("catalog"), str):
        catalog = value["catalog"]
        if catalog and "://" not in catalog:
            catalog = str(_beside(Path(catalog), info))
        return {**value, "catalog": catalog}
    return value


class SourceSettings(Settings):
    """One sensor from one provider."""

    sensor: SensorName
    provider: Annotated[
        Annotated[StaticProvider | ApiProvider, Field(discriminator="kind")],
        BeforeValidator(_named_provider),
    ]
    fallback: (
        Annotated[
            Annotated[StaticProvider | ApiProvider, Field(discriminator="kind")],
            BeforeValidator(_named_provider),
        ]
        | None
    ) = None
    """Provider of the same product, read where the first one's catalogue or files fail."""
    max_cloud_percent: float = Field(100, ge=0, le=100)

    @model_validator(mode="after")
    def _offered(self) -> SourceSettings:
        if not self.provider.collections_of(self.sensor):
            raise ValueError(f"convention {self.provider.convention} has no collection of {self.sensor}")
        if self.fallback and not self.fallback.collections_of(self.sensor):
            raise ValueError(f"fallback: convention {self.fallback.convention} has no {self.sensor}")
        if self.sensor == RADAR and self.fallback and self.fallback.convention != self.provider.convention:
            raise ValueError(
                f"fallback: {self.fallback.convention} makes {self.sensor} otherwise than "
                f"{self.provider.convention}; one product a model, never mixed"
            )
        return self


class CloudSettings(Settings):
    """How Sentinel-2's cloud mask is used."""

    dilate_m: float = Field(60, ge=0, le=2000)
    """Cloud and shadow are grown by this radius."""
    probability_percent: float = Field(65, gt=0, le=101)
    """Pixels of at least this cloud probability are cloud too, where the provider has one; 101: never."""


class SpeckleSettings(Settings):
    """How Sentinel-1's speckle is smoothed."""

    filter: Literal["lee"]
    radius_px: int = Field(3, ge=1, le=15)
    looks: float = Field(4.4, gt=0)
    """Equivalent number of looks: 4.4 of interferometric wide swaths in high resolution."""


def _day(value: Any) -> Any:
    """YAML's own dates or text; a bare number would be taken for seconds since 1970."""
    day = dt.date.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(day, dt.date) or not 1970 <= day.year <= 2200:
        raise ValueError("expected a day such as 2025-04-30, from 1970 to 2200")
    return day


class Layer(Settings):
    """A raster of the region's own: its name is a feature."""

    path: ExistingFile
    kind: Literal["class", "value"]
    """Classes keep their codes (nearest pixel); values are interpolated (bilinear)."""

    @field_validator("path")
    @classmethod
    def _geotiff(cls, path: Path) -> Path:
        try:
            with rasterio.open(path, driver="GTiff") as file:
                if file.crs is None:
                    raise ValueError(f"{path.name} has no coordinate reference system")
        except RasterioError as error:
            raise ValueError(f"{path.name} cannot be read as a GeoTIFF: {error}") from None
        return path


def _places(path: Path) -> Path:
    """A raster or vector file that distances are taken to."""
    if path.suffix.lower() not in (".geojson", ".json", ".gpkg", ".tif", ".tiff"):
        raise ValueError(f"{path.name} is not .geojson, .gpkg or .tif")
    return path


class TerrainSettings(Settings):
    """How the layers are made that need ground far from a pixel."""

    channels: Annotated[ExistingFile, AfterValidator(_places)] | None = None
    """Rivers and canals: vectors, or a raster whose pixels above 0 are channels."""
    channels_km2: float = Field(1, gt=0)
    """Without ``channels``: a channel begins where this area drains through a pixel."""
    coast: Annotated[ExistingFile, AfterValidator(_places)] | None = None
    """The coast: lines, the edges of polygons, or a raster whose pixels above 0 are sea."""
    collar_km: float = Field(5, ge=0, le=100)
    """Ground around the area that takes part."""
    resolution_m: float = Field(30, ge=10, le=1000)


class SeasonSettings(Settings):
    """First and last day of a season, both included."""

    start: Annotated[dt.date, BeforeValidator(_day)]
    end: Annotated[dt.date, BeforeValidator(_day)]


class SampleFile(Settings):
    """A table of sites measured in one season."""

    file: FilePath
    season: Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, int) else v)] = ""
    """Empty: each row belongs to the season that holds its date."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Header in the file -> our name, for odd headers."""
    crs: str = ""
    """Reference system of places that do not state their own, such as EPSG:9210 or VN-2000 105°45'."""
    units: dict[str, str] = Field(default_factory=dict)
    """Header in the file, or our name -> unit, where the file does not state it."""
    extract: str = ""
    """Extract of conductivities, such as 1:5, where the file does not state it."""
    layer: str = ""
    """Sheet of a workbook, layer of a GeoPackage."""
    depth_cm: tuple[float, float] = (0, 30)
    """Depth that is mapped; layers of a profile are averaged over it."""
    edge_m: float = Field(15, ge=0, le=500)
    """Points in a survey polygon keep this distance from its edge."""
    project: str = ""
    """Survey project under which the database keeps the samples; the file's name if absent."""
    licence: str = ""
    """How far the database tells where the samples lie; ``confidential`` if nothing is said."""
    province: str = ""
    """Of all samples; that of the zones' boundaries, or none, if absent. Columns of the file go before."""
    procedures: dict[str, str] = Field(default_factory=dict)
    """Target or its column -> GloSIS procedure by which it was measured, such as pHH2O_ratio1-2.5."""

    @field_validator("crs")
    @classmethod
    def _known_crs(cls, value: str) -> str:
        if value:
            systems.parse(value)
        return value

    @field_validator("depth_cm")
    @classmethod
    def _layer_of_soil(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] < value[1] <= 1000:
            raise ValueError("expected the upper and the lower end in cm, such as [0, 30]")
        return value


def _target(value: Any, info: ValidationInfo) -> Target:
    if not isinstance(value, str):
        raise ValueError("expected the path of a target file")
    try:
        return yamlfile.parse(Target, _beside(Path(value), info))
    except InputError as error:
        raise ValueError(str(error)) from None


def _spec(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, FeatureSpec):
        return value
    if "indices" not in info.data:
        raise ValueError("not read, since indices has a fault")
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError("expected a list of feature names, such as [ndvi_p50, vv_mean]")
    known = {**INDICES, **named(info.data["indices"])}
    layers = info.data.get("layers", {})
    return FeatureSpec.parse(value, known, windows=info.data.get("windows", {}), layers=layers)


def _layer_name(name: str) -> str:
    if name in {*BANDS, *REGION_LAYERS, *INDICES}:
        raise ValueError(f"{name!r} is taken; expected another name")
    return name


LayerName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$"), AfterValidator(_layer_name)]


class ZoneSettings(Settings):
    """Areas by administrative unit that are published with each season."""

    boundaries: ExistingFile
    """Units made by `phusa zones import`."""
    date: dt.date | None = None
    """The units of this day; of each season's last day if absent."""
    range_km: float | None = Field(None, gt=0)
    """Range of the correlation of the maps' errors; as the models tell it if absent."""


class QualitySettings(Settings):
    """Limits beyond which a season is not published; what is absent is only told."""

    seam_score: float | None = Field(None, gt=0)
    """Step over an edge of blocks, granules, zones or orbits, in standard deviations of the steps beside it."""
    drift: float | None = Field(None, gt=0)
    """Population stability index of a feature, mapped ground against training rows."""
    change_percent: float | None = Field(None, ge=0, le=100)
    """Share of the ground whose class changed since the season before, or whose value left its interval."""
    unknown_percent: float | None = Field(None, ge=0, le=100)
    """Share of the ground that is unknown to the model: not mapped for it, or outside its applicability."""

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return any(v is not None for v in self.model_dump().values())


#: Distances that may be taken to a file, and its key of ``terrain``.
_NAMED = {"distance_to_channels": "channels", "distance_to_coast": "coast"}


class Config(Settings):
    """A region config."""

    region: Region
    sources: tuple[SourceSettings, ...] = Field(min_length=1)
    clouds: CloudSettings = CloudSettings()
    speckle: SpeckleSettings | None = None
    max_loss_percent: float = Field(5, ge=0, le=100)
    seasons: dict[str, Season] = Field(min_length=1)
    indices: dict[Name, OwnIndex] = Field(default_factory=dict)
    """The region's own indices, usable in ``features`` beside the canon's."""
    windows: dict[str, str] = Field(default_factory=dict)
    """Name -> rule that a date must meet at a pixel, for features such as ``swir16_p50@bare``."""
    layers: dict[LayerName, Layer] = Field(default_factory=dict)
    """Name -> raster of the region's own, usable in ``features`` by its bare name."""
    terrain: TerrainSettings = TerrainSettings()
    features: Annotated[FeatureSpec, BeforeValidator(_spec)]
    targets: tuple[Annotated[Target, BeforeValidator(_target)], ...] = ()
    samples: tuple[SampleFile, ...] = ()
    evaluate_on: SampleFile | None = None
    zones: ZoneSettings | None = None
    quality: QualitySettings = QualitySettings()
    rates: Prices | None = None
    """What core-hours, traffic and disk cost: `phusa forecast` then tells money."""
    store: Annotated[FolderSettings | PostgisSettings, Field(discriminator="kind")] | None = None
    _file: Path = PrivateAttr(default=Path("."))

    @field_validator("seasons", mode="before")
    @classmethod
    def _seasons(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError("expected season names with their start and end")
        return {n: _season(n, v) for n, v in value.items()}

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        sensors = [s.sensor for s in self.sources]
        if len(set(sensors)) < len(sensors):
            raise ValueError(f"sources: a sensor is given twice: {sensors}; one product a model, never mixed")
        self.need(self.features)
        names = [t.name for t in self.targets]
        if len(set(names)) < len(names):
            raise ValueError(f"targets: a name is given twice: {names}")
        taken = {*PLACE_COLUMNS, *self.features.names} & set(names)
        if taken:
            raise ValueError(
                f"targets: {sorted(taken)[0]!r} is the name of another column of the sample table"
            )
        for entry in (*self.samples, *([self.evaluate_on] if self.evaluate_on else [])):
            if entry.season and entry.season not in self.seasons:
                raise ValueError(
                    f"season {entry.season!r} of {entry.file.name} is unknown; known: {', '.join(self.seasons)}"
                )
        return self

    @property
    def how(self) -> How:
        """What is done to pixels as they are read."""
        percent, lee = self.clouds.probability_percent, self.speckle
        return How(percent, lee.radius_px, lee.looks) if lee else How(percent)

    @property
    def radar_product(self) -> str | None:
        """Which Sentinel-1 product the region's features are made of: its convention and collections."""
        for source in self.sources:
            if source.sensor == RADAR:
                provider = source.provider
                return f"{provider.convention}: {', '.join(provider.collections_of(RADAR))}"
        return None

    def need(self, spec: FeatureSpec) -> None:
        """Raises ValueError where ``sources`` lack a sensor of ``spec``."""
        have = {s.sensor for s in self.sources}
        for feature in spec.features:
            name = feature.parsed.bands[0]
            if name in self.layers or (name in _NAMED and getattr(self.terrain, _NAMED[name])):
                continue
            if name not in BANDS and name not in ("twi", "distance_to_channels"):
                key = f"terrain.{_NAMED[name]}" if name in _NAMED else f"layers.{name}"
                raise ValueError(f"feature {name} needs {key}, which the config does not name")
            sensor = BANDS.get(name, DEM)
            if sensor not in have:
                raise ValueError(
                    f"feature {feature.name} needs sensor {sensor}; sources have {', '.join(sorted(have))}"
                )

    @classmethod
    def read(cls, path: Path | str) -> Config:
        """Raises InputError with one line a fault: file, key, what was found, what is allowed."""
        path = Path(path)
        folder = path.resolve().parent
        config = yamlfile.parse(cls, path, {"folder": folder})
        if config.store is not None:
            config = config.model_copy(update={"store": config.store.beside(folder)})
        config._file = path
        return config

    def season(self, name: str) -> Season:
        """The season called ``name``. Raises InputError with the known ones."""
        if name not in self.seasons:
            raise InputError(f"{self._file}: unknown season {name!r}; known: {', '.join(self.seasons)}")
        return self.seasons[name]

    def target(self, name: str) -> Target:
        """The target called ``name``. Raises InputError with the known ones."""
        for target in self.targets:
            if target.name == name:
                return target
        known = ", ".join(t.name for t in self.targets) or "none, the key targets is empty"
        raise InputError(f"{self._file}: unknown target {name!r}; known: {known}")


def _season(name: str, value: Any) -> Season:
    if not name.strip() or not name.isprintable():
        raise ValueError(f"{name!r} is no season name; expected text such as 2025-dry")
    try:
        settings = SeasonSettings.model_validate(value)
    except ValidationError as error:
        faults = []
        for fault in error.errors(include_url=False):
            place = ".".join(str(part) for part in (name, *fault["loc"]))
            found = "" if fault["type"] == "missing" else f"found {str(fault['input'])!r}; "
            faults.append(f"{place}: {found}{fault['msg']}")
        raise ValueError("; ".join(faults) + "; a season has start and end, such as 2025-04-30") from None
    return Season(name, settings.start, settings.end)
