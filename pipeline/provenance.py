"""What a product was made from, kept so that it can be made again: by digests, in the store's own folder.

    provenance/scenes/<digest>.json     the images of a tile
    provenance/bundles/<digest>/        trained models
    provenance/areas/<digest>.wkb       the mapped area of a tile, in its UTM zone
    provenance/rasters/<digest>.tif     masks of land use, and layers that are features

A product's recipe, ``<product>.provenance`` beside its COG, names them. Nothing here is overwritten.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from models.bundle import BundleError, ModelBundle
from pipeline import scenes
from pipeline.errors import InputError, IntegrityError
from pipeline.files import aside, sha256
from pipeline.grid import Tile
from pipeline.raster import LayerFile
from pipeline.scenes import Scene, Scenes

FORMAT = "phusa-provenance-1"
FOLDER = "provenance"


def setup(
    tile: Tile, block_px: int, settings: Mapping[str, Any], layers: Sequence[LayerFile] = ()
) -> dict[str, Any]:
    """What the config says of one tile's products: ``settings`` of the season, where, and own layers."""
    return {
        "settings": dict(settings),
        "tile": tile.name,
        "epsg": tile.epsg,
        "shape": list(tile.geobox.shape.yx),
        "transform": list(tile.geobox.affine)[:6],
        "anchor": list(tile.anchor),
        "area": area_digest(tile),
        "block_px": block_px,
        "layers": [[x.name, x.resampling, x.digest, sha256(Path(x.path))] for x in layers],
    }


def settings_of(setup: Mapping[str, Any]) -> dict[str, Any]:
    """What a product's key digests of the config and the region's own layers."""
    layers = {name: digest for name, _, digest, _ in setup["layers"]}
    return dict(setup["settings"]) | ({"layers": layers} if layers else {})


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 over JSON-able content, in any order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _area(tile: Tile) -> bytes:
    return bytes(shapely.to_wkb(tile.area))


def area_digest(tile: Tile) -> str:
    """SHA-256 over the area as it is kept."""
    return hashlib.sha256(_area(tile)).hexdigest()


class Vault:
    """The kept inputs of a store."""

    def __init__(self, store: Path) -> None:
        self.folder = store / FOLDER

    @classmethod
    def of(cls, product: Path) -> Vault:
        """The vault of the store that holds ``product``. Raises InputError where there is none above it."""
        for folder in product.resolve().parents:
            if (folder / FOLDER / "bundles").is_dir():
                return cls(folder)
        raise InputError(
            f"{product}: no folder {FOLDER} in the store above it, which `phusa map` keeps what products "
            "were made from in; name the store by --store"
        )

    def keep_tile(self, tile: Tile, here: Sequence[Scene], found: Scenes) -> None:
        """Keep the images and the area of a tile."""
        path = self._path("scenes", f"{scenes.digest(here)}.json")
        if not path.exists():
            Scenes(found.season, found.provider, tuple(here), ()).write(path)
        path = self._path("areas", f"{area_digest(tile)}.wkb")
        if not path.exists():
            with aside(path) as temporary:
                temporary.write_bytes(_area(tile))

    def keep_bundle(self, bundle: ModelBundle) -> None:
        """Keep a trained model."""
        path = self._path("bundles", bundle.digest)
        if not path.exists():
            with aside(path) as temporary:
                bundle.save(temporary)

    def keep_raster(self, file: Path) -> None:
        """Keep a mask or a layer; where the file system can, as a second name of the same file."""
        path = self._path("rasters", f"{sha256(file)}.tif")
        if not path.exists():
            with aside(path) as temporary:
                try:
                    os.link(file, temporary)
                except OSError:
                    shutil.copyfile(file, temporary)

    def scenes(self, name: str) -> Scenes:
        """The images of ``digest``. Raises InputError where they are gone, IntegrityError where changed."""
        path = self._have("scenes", f"{name}.json", "list of images")
        try:
            found = Scenes.read(path)
        except InputError as error:
            raise IntegrityError(str(error)) from None
        _unchanged(path, scenes.digest(found.kept), name)
        return found

    def bundle(self, name: str) -> ModelBundle:
        """The trained model of a digest; raises as ``scenes``."""
        path = self._have("bundles", name, "trained model")
        try:
            found = ModelBundle.load(path)
        except BundleError as error:
            raise IntegrityError(str(error)) from None
        _unchanged(path, found.digest, name)
        return found

    def area(self, name: str) -> BaseGeometry:
        """The area of a digest, in its UTM zone; raises as ``scenes``."""
        path = self._have("areas", f"{name}.wkb", "mapped area")
        _unchanged(path, sha256(path), name)
        return shapely.from_wkb(path.read_bytes())

    def raster(self, name: str) -> Path:
        """The file of a mask or layer of a digest; raises as ``scenes``."""
        path = self._have("rasters", f"{name}.tif", "mask or layer")
        _unchanged(path, sha256(path), name)
        return path

    def _path(self, kind: str, name: str) -> Path:
        folder = self.folder / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def _have(self, kind: str, name: str, what: str) -> Path:
        path = self.folder / kind / name
        if not path.exists():
            raise InputError(f"the {what} that the product was made from is gone: {path}")
        return path


def _unchanged(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise IntegrityError(f"{path} was changed: its digest is {found}, expected {expected}")


def read(path: Path) -> dict[str, Any]:
    """The recipe of a product at ``path``: its COG, its item, or the recipe itself. Raises InputError."""
    stem = path.name
    for suffix in (".provenance", ".json", ".tif"):
        stem = stem.removesuffix(suffix)
    recipe = path.with_name(f"{stem}.provenance")
    try:
        content = dict(json.loads(recipe.read_text(encoding="utf-8")))
        if content["format"] != FORMAT:
            raise ValueError(f"format is {content['format']!r}, expected {FORMAT!r}")
        _typed(content, {"season": list, "setup": dict, "provenance": dict, "product": dict, "sha256": str})
    except FileNotFoundError:
        raise InputError(f"{path}: no record of how it was made; expected {recipe}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{recipe} is no record of how a product was made: {error}") from None
    return content | {"cog": recipe.with_name(f"{stem}.tif")}


def _typed(content: Mapping[str, Any], kinds: Mapping[str, Callable[..., Any]]) -> None:
    for name, kind in kinds.items():
        if not isinstance(content[name], kind):  # type: ignore[arg-type]
            raise TypeError(f"{name} is {content[name]!r:.60}")
