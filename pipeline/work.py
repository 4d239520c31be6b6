"""How much there is to do in a block, told from its scenes' records and the region's own mask: no image is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace

import shapely
from shapely.geometry.base import BaseGeometry

from features.bands import BANDS, DEM, OPTICAL, RADAR
from features.spec import FeatureSpec
from pipeline.grid import lonlat_box
from pipeline.mapping import TILE_PX, BlockTask, ground_of, window
from pipeline.scenes import Scene
from pipeline.sensors import SENSORS
from pipeline.strips import STRIP_PIXELS

#: Bands of Sentinel-2 whose pixels are 10 m wide; the others' are 20 m.
_FINE = {"blue", "green", "red", "nir"}
#: Bytes of one number as it is delivered.
_NUMBER = {OPTICAL: 2, RADAR: 4, DEM: 4}
#: Of the mask, every so-many-th pixel is looked at.
_STEP = 4
#: What a process holds besides a block: the interpreter, libraries, compiled kernels.
PROCESS_BYTES = 600e6


@dataclass(frozen=True)
class Work:
    """Amounts that time and bytes grow with; they add up over blocks."""

    blocks: float = 0
    reads: float = 0
    """Bands of scenes, the scene classification among them."""
    raw_mb: float = 0
    """Numbers under the block in those files, before compression, in MB."""
    remote_mb: float = 0
    """Those of them that come over the network."""
    stack_mpx: float = 0
    """Ground x dates x bands, in millions: what features are computed from."""
    out_mpx: float = 0
    """Pixels x bands of the blocks' results, in millions."""
    products: float = 0
    """COGs to encode."""
    cog_mpx: float = 0
    """Pixels x bands of those, in millions: a tile's frame holds more than its blocks."""

    def __add__(self, other: Work) -> Work:
        return Work(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def of_products(pixels: Iterable[tuple[int, int]]) -> Work:
    """The work of COGs of (pixels, bands) each."""
    return total(Work(products=1, cog_mpx=px * bands / 1e6) for px, bands in pixels)


def total(parts: Iterable[Work]) -> Work:
    """The sum of parts."""
    return sum(parts, Work())


def bands_by_sensor(specs: Sequence[FeatureSpec]) -> dict[str, list[str]]:
    """Sensor -> the bands that any of ``specs`` reads of it."""
    found: dict[str, list[str]] = {}
    for band in sorted({band for spec in specs for band in spec.bands if band in BANDS}):
        found.setdefault(BANDS[band], []).append(band)
    return found


def of_block(task: BlockTask, specs: Sequence[FeatureSpec], layers: int) -> Work:
    """The work of one block whose products have ``layers`` bands together."""
    outline = lonlat_box(task.geobox)
    px = task.geobox.shape.x * task.geobox.shape.y
    metres = abs(task.geobox.affine.a)
    ground, read = _ground(task)
    if not ground:
        return Work(1, out_mpx=layers * px / 1e6)
    reads = raw = remote = stack = 0.0
    for sensor, bands in bands_by_sensor(specs).items():
        mine = [s for s in task.scenes if s.sensor == sensor]
        if sensor == OPTICAL:
            mine = [s for s in mine if s.epsg in (None, task.geobox.crs.epsg)]  # type: ignore[union-attr]
        files = _files(sensor, bands)
        number = sum(_NUMBER[sensor] * (metres / size) ** 2 for size in files)
        for scene in mine:
            share = _share(scene, outline)
            reads += len(files)
            mine_mb = share * read * number / 1e6
            raw += mine_mb
            remote += mine_mb if any("://" in address for _, address in scene.assets) else 0.0
            stack += share * ground * (1 if SENSORS[sensor].timeless else len(bands)) / 1e6
    return Work(1, reads, raw, remote, stack, layers * px / 1e6)


def _ground(task: BlockTask) -> tuple[float, float]:
    """Pixels that are mapped, and those of the part of the block that is read for them."""
    if task.mask is None:
        px = task.geobox.shape.x * task.geobox.shape.y
        return task.area.area / task.geobox.affine.a**2, px
    coarse = replace(task, geobox=task.geobox.zoom_out(_STEP))
    ground = ground_of(coarse)
    part = ground[window(ground, TILE_PX // _STEP)]
    return float(ground.sum() * _STEP**2), float(part.size * _STEP**2)


def _files(sensor: str, bands: Sequence[str]) -> list[float]:
    """Pixel size in metres of each file that is read of one scene."""
    if sensor == OPTICAL:
        return [10.0 if band in _FINE else 20.0 for band in bands] + [
            20.0 * 2**0.5
        ]  # SCL is one byte a pixel
    return [10.0] * len(bands) if sensor == RADAR else [30.0]


def _share(scene: Scene, outline: BaseGeometry) -> float:
    """Part of a block's outline that a scene's footprint covers."""
    if shapely.covers(scene.geometry, outline):
        return 1.0
    return float(shapely.intersection(scene.geometry, outline).area / outline.area)


def peak_bytes(task: BlockTask, specs: Sequence[FeatureSpec], layers: int) -> float:
    """Memory that mapping a block may take at its peak, beside ``PROCESS_BYTES``.

    The stack of all dates, one read on its way, what is stored of every target and once more while it is
    written, and a strip: its pixels, features, scores and layers.
    """
    px = task.geobox.shape.x * task.geobox.shape.y
    stack = 0.0
    for sensor, bands in bands_by_sensor(specs).items():
        dates = len({s.pass_key for s in task.scenes if s.sensor == sensor})
        if SENSORS[sensor].timeless:
            stack += 4 * len(bands) + 12
        else:
            stack += dates * (_NUMBER[sensor] * len(bands) + (0.5 if sensor == OPTICAL else 0))
    strip = stack + 12 * max((len(spec.names) for spec in specs), default=0) + 100 * layers
    return float(px * (stack + 20 + 4 * layers) + STRIP_PIXELS * strip)
