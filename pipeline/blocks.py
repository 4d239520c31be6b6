"""Blocks that are done: one GeoTIFF and one record for each block and target, kept in the work folder.

A block's key digests all that its pixels depend on, so what is stored is done, whatever else of the
season changed since. Workers write both files aside and rename them; the record comes last and says that
the block is whole. A GeoTIFF is named by its content too: a worker that was cut off from its images, and
given up, cannot put its poorer block in the place of a good one that somebody counts on. All of it may be
deleted: it costs only the work of making it again.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import resource
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from pyproj import Geod

from models.bundle import ModelBundle
from pipeline import mapping, product, stages
from pipeline.errors import IntegrityError
from pipeline.files import aside, json_text, sha256, write_aside
from pipeline.ledger import USED, Entry
from pipeline.mapping import BlockResult, BlockTask
from pipeline.product import Product, TileWriter
from pipeline.season import Season
from pipeline.stack import Loss

_TIFF = {"driver": "GTiff", "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "zstd",
         "zstd_level": 1, "predictor": 2, "num_threads": 1}  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """What is known of a stored block, its pixels apart."""

    block: str
    key: str
    sha256: str
    """Of its GeoTIFF."""
    reads: int
    losses: tuple[Loss, ...]
    ground_px: int
    failed_px: int
    mapped_px: int
    clear_dates: float
    """Mean over the ground; 0 where there is none."""
    bytes: int
    """Size of the GeoTIFF."""
    ledger: tuple[Entry, ...]
    features: tuple[tuple[int, ...], ...] = ()
    """Mapped pixels of a sample in each bin of the model's features, (feature, bin)."""

    def dump(self) -> str:
        """As JSON."""
        return json_text(asdict(self))

    @classmethod
    def read(cls, path: Path) -> Facts:
        """Raises OSError, or ValueError where the file is no such record."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            lines = (e | {"date": dt.date.fromisoformat(e["date"])} for e in content.pop("ledger"))
            losses = (Loss(**loss) for loss in content.pop("losses"))
            features = tuple(tuple(row) for row in content.pop("features", ()))
            return cls(
                **content, features=features, losses=tuple(losses), ledger=tuple(Entry(**e) for e in lines)
            )
        except (TypeError, KeyError) as error:
            raise ValueError(f"{path}: {type(error).__name__}: {error}") from None


@dataclass(frozen=True)
class Job:
    """One block for a worker: the task, and where each target's model lies and its result goes."""

    task: BlockTask
    targets: tuple[tuple[str, str, str], ...]
    """(key, path of the result without suffix, folder of the trained model), one a target of the task."""

    @property
    def name(self) -> str:
        """The block's name."""
        return self.task.name


@dataclass(frozen=True)
class Made:
    """What a worker says of a block that it has stored."""

    facts: tuple[Facts, ...]
    """One a target."""
    seconds: dict[str, tuple[float, float]]
    """Stage -> (wall, processor)."""
    process: str
    """Names the process, whose network bytes were ``brought[0]`` before and ``brought[1]`` after."""
    brought: tuple[int, int]
    local_bytes: int
    """Estimate of what was read from files of this file system."""
    peak_bytes: int
    """Most memory that the process ever held."""


def folder(work: Path, season: Season) -> Path:
    """Where a season's blocks are kept."""
    return work / "blocks" / season.slug


def place(blocks: Path, block: str, target: str, key: str) -> Path:
    """Path of one block of one target, without suffix."""
    return blocks / f"{block}_{target}_{key[:20]}"


def stored(path: Path, key: str, lossy: bool = False) -> Facts | None:
    """What is stored at ``path``, if it is of this key, and (unless ``lossy``) nothing was lost for it."""
    try:
        facts = Facts.read(path.with_name(f"{path.name}.json"))
    except (OSError, ValueError):
        return None
    if facts.key != key or (facts.losses and not lossy):
        return None
    return facts if tif(path, facts.sha256).is_file() else None


def tif(path: Path, digest: str) -> Path:
    """The GeoTIFF of SHA-256 ``digest`` of the block at ``path``."""
    return path.with_name(f"{path.name}-{digest[:12]}.tif")


def make(job: Job) -> Made:
    """Map a block and store it, target by target. Runs on workers."""
    before = stages.brought()
    with stages.measured() as seconds:
        with stages.getting_ready():
            bundles = [_bundle(where) for _, _, where in job.targets]
        result = mapping.map_block(job.task, bundles)
        with stages.stage("store"):
            facts = tuple(
                _store(job.task, result, bundle, key, Path(path))
                for bundle, (key, path, _) in zip(bundles, job.targets, strict=True)
            )
    return Made(
        facts, dict(seconds), _process(), (before, stages.brought()), local_bytes(job.task, result.ledger),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )  # fmt: skip


@lru_cache(maxsize=8)
def _bundle(path: str) -> ModelBundle:
    """A model of this path: the name of its folder is its digest."""
    return ModelBundle.load(path)


@lru_cache(maxsize=1)
def _process() -> str:
    return f"{os.uname().nodename} {os.getpid()} {uuid.uuid4().hex[:8]}"


def _store(task: BlockTask, result: BlockResult, bundle: ModelBundle, key: str, path: Path) -> Facts:
    pixels = result.arrays[bundle.target.name]
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}.tmp.tif")
    temporary.parent.mkdir(parents=True, exist_ok=True)
    try:
        write(temporary, pixels)
        digest, size = sha256(temporary), temporary.stat().st_size
        os.replace(temporary, tif(path, digest))
    finally:
        temporary.unlink(missing_ok=True)
    bands = [band.name for band in product.bands_of(bundle.target)]
    reason = pixels[bands.index("reason")]
    ground = (reason != product.OUTSIDE) & (reason != product.MASKED)
    dates = pixels[bands.index("clear_dates")][ground]
    counts = result.features.get(bundle.target.name, np.zeros((0, 0), np.int64))
    facts = Facts(
        task.name, key, digest, result.reads, result.losses, result.ground_px, result.failed_px,
        int((reason == product.MAPPED).sum()), round(float(dates.mean()), 3) if dates.size else 0.0,
        size, result.ledger, tuple(map(tuple, counts.tolist())),
    )  # fmt: skip
    write_aside(path.with_name(f"{path.name}.json"), facts.dump())
    return facts


def write(path: Path, pixels: NDArray[np.int16]) -> None:
    """One block's pixels, (band, y, x), as a GeoTIFF without a place."""
    count, height, width = pixels.shape
    with rasterio.open(path, "w", count=count, height=height, width=width, dtype="int16", **_TIFF) as file:
        file.write(pixels)


#: Where a stored block lies (without suffix), its first (row, column) in the tile, its SHA-256.
Piece = tuple[str, tuple[int, int], str]


@dataclass(frozen=True)
class Assembled:
    """A COG that a worker made."""

    path: str
    seconds: tuple[float, float]
    """(wall, processor), what it took to get ready apart."""
    ready: tuple[float, float]
    bytes: int


def assemble(made: Product, pieces: Sequence[Piece], out: str) -> Assembled:
    """Put the stored ``pieces`` of a tile together as the COG ``out``.

    Runs on workers. Raises IntegrityError where a block is not what its record says; it is then made
    again by the next run.
    """
    with stages.measured() as seconds, stages.stage("encode"), aside(Path(out)) as temporary:
        writer = TileWriter(made, temporary.with_name(f"{temporary.name}.scratch.tif"))
        try:
            for path, offset, digest in pieces:
                writer.write(offset, _read(Path(path), digest))
            writer.finish(temporary)
        finally:
            writer.scratch.unlink(missing_ok=True)
    return Assembled(out, seconds["encode"], seconds[stages.READY], Path(out).stat().st_size)


def _read(path: Path, digest: str) -> NDArray[np.int16]:
    file_path = tif(path, digest)
    try:
        if sha256(file_path) != digest:
            raise ValueError("its SHA-256 is not that of its record")
        with rasterio.open(file_path) as file:
            pixels: NDArray[np.int16] = file.read()
            return pixels
    except (OSError, ValueError) as error:
        path.with_name(f"{path.name}.json").unlink(missing_ok=True)
        raise IntegrityError(f"{file_path}: {error}; run again: the block is made anew") from None


def sweep(blocks: Path) -> None:
    """Remove what killed workers left half written."""
    for path in blocks.rglob(".*.tmp*"):
        path.unlink(missing_ok=True)


def prune(blocks: Path, keep: Iterable[Path], targets: Iterable[str]) -> None:
    """Remove the blocks of ``targets`` that no run needs any more: those of other keys than ``keep``."""
    names = set()
    for path in keep:
        record = path.with_name(f"{path.name}.json")
        with suppress(OSError, ValueError):
            names |= {record, tif(path, Facts.read(record).sha256)}
    for path in blocks.rglob("*"):
        old = any(f"_{target}_" in path.name for target in targets) and path not in names
        if path.is_file() and old:
            path.unlink(missing_ok=True)


_EARTH = Geod(ellps="WGS84")


def local_bytes(task: BlockTask, ledger: Sequence[Entry]) -> int:
    """Size of the files that were read, each by the share of its footprint that the block covers.

    An estimate: how the bytes lie in a file is not looked at. Remote files count 0 here.
    """
    scenes = {scene.id: scene for scene in task.scenes}
    area = abs(task.geobox.affine.a * task.geobox.affine.e) * task.geobox.shape.x * task.geobox.shape.y
    total = 0.0
    for line in ledger:
        scene = scenes.get(line.scene)
        address = scene.urls.get(line.band, "") if scene else ""
        if not scene or not address or line.state not in ("read", USED) or "://" in address:
            continue
        with suppress(OSError):
            size = Path(address).stat().st_size
            total += size * min(1.0, area / max(1.0, _area_m2(scene.footprint)))
    return round(total)


@lru_cache(maxsize=1024)
def _area_m2(footprint: str) -> float:
    return abs(float(_EARTH.geometry_area_perimeter(shapely.from_wkt(footprint))[0]))
