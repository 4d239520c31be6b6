"""What the last run of a season planned, and what failed: known later without any network."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline import layers
from pipeline.config import Config
from pipeline.errors import IntegrityError
from pipeline.files import json_text, sha256, write_aside
from pipeline.learning import bundle_folder
from pipeline.plan import area_digest, product_settings
from pipeline.season import Season


@dataclass(frozen=True)
class RunState:
    """One season's last run."""

    season: str
    inputs: str
    """``inputs_digest`` at that time."""
    planned: tuple[tuple[str, str, str], ...]
    """(tile, target, key)."""
    failed: tuple[tuple[str, str, str], ...]
    """(tile, target, error)."""

    def write(self, work: Path, season: Season) -> None:
        """Replace the state of an earlier run."""
        write_aside(_path(work, season), json_text(asdict(self)))

    @classmethod
    def read(cls, work: Path, season: Season) -> RunState | None:
        """None where the season was never mapped. Raises IntegrityError where the file is damaged."""
        path = _path(work, season)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            planned = tuple((str(t), str(g), str(k)) for t, g, k in content["planned"])
            failed = tuple((str(t), str(g), str(e)) for t, g, e in content["failed"])
            return cls(str(content["season"]), str(content["inputs"]), planned, failed)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(
                f"{path} is not the state of a run ({type(error).__name__}: {error}); run `phusa map` again"
            ) from None


def inputs_digest(config: Config, season: Season, work: Path) -> str:
    """Digest of a season's inputs that can be told offline: the config, and the models in the store.

    Scenes are not among them: new ones need a search.
    """
    inputs = (
        product_settings(config, season)
        | layers.settings(config)
        | {
            "area": area_digest(config.region.geometry),
            "resolution_m": config.region.grid.resolution_m,
            "features": config.features.digest,
            "targets": [target.dump() for target in config.targets],
            "models": [_model(bundle_folder(work, target.name)) for target in config.targets],
        }
    )
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _model(folder: Path) -> str:
    """Content of a trained model, "" where there is none; bundle.json states the digests of the rest."""
    path = folder / "bundle.json"
    return sha256(path) if path.is_file() else ""


def _path(work: Path, season: Season) -> Path:
    return work / "runs" / f"{season.slug}.json"
