"""ModelBundle: a trained model as text and JSON, with the features that made it. No pickle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from features.spec import FeatureSpec
from models import forest_kernels
from models.applicability import Applicability
from models.boosting import steps
from models.forest import Forest, ForestGroup
from models.layers import class_layers, listed, quantity_layers
from models.targets import Target
from models.uncertainty import Calibration, ClassCalibration, Distribution

#: Pixels predicted at a time; bounds the memory of a block's prediction.
STRIP_PIXELS = 1 << 18

#: The file of the training rows that the dissimilarity index is measured from.
APPLICABILITY = "applicability.json"
FORMAT = "phusa-bundle-2"
#: Objectives of boosters that are ours; the scale booster's own has no name in LightGBM.
OBJECTIVES = {"class": ("multiclass num_class:",), "estimate": ("regression",), "scale": ("", "regression")}
#: Of the boosters of ordered classes.
ORDERED = ("binary sigmoid:1",)


class BundleError(ValueError):
    """A folder does not hold a whole, unchanged bundle."""


@dataclass(frozen=True)
class ModelBundle:
    """Boosters (LightGBM text), the features they need, the target they predict, how their scores become
    probabilities, where they may be used, and a card."""

    target: Target
    spec: FeatureSpec
    boosters: Mapping[str, str]
    """``estimate`` and ``scale``, or ``class`` -> LightGBM model text."""
    card: Mapping[str, Any]
    """How it was made: samples, seasons, versions, and how its uncertainty may be read."""
    calibration: Calibration | ClassCalibration
    applicability: Applicability | None = None
    """None where training samples cannot tell known ground from unknown."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything that a prediction depends on, and the card."""
        return hashlib.sha256(self._json().encode()).hexdigest()

    def _json(self) -> str:
        content = {
            "format": FORMAT,
            "target": self.target.dump(),
            "spec": json.loads(self.spec.to_json()),
            "card": dict(self.card),
            "calibration": self.calibration.dump(),
            "applicability": _sha256(self._applicability_text()),
            "boosters": {name: _sha256(text) for name, text in sorted(self.boosters.items())},
        }
        return json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True)

    def _applicability_text(self) -> str:
        return json.dumps(None if self.applicability is None else self.applicability.dump()) + "\n"

    def save(self, folder: Path | str, beside: Mapping[str, str] | None = None) -> None:
        """Write aside, then rename. Replaces an older bundle, never another kind of folder.

        ``beside``: file name -> text of more that lies in the folder and takes no part in the digest.
        """
        folder = Path(folder)
        if folder.exists() and not _replaceable(folder):
            raise BundleError(f"{folder} holds something that is not a bundle; name another folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        texts = {f"{name}.txt": text for name, text in self.boosters.items()}
        for name, text in {**(beside or {}), **texts}.items():
            (aside / name).write_text(text, encoding="utf-8")
        (aside / APPLICABILITY).write_text(self._applicability_text(), encoding="utf-8")
        content = json.loads(self._json()) | {"digest": self.digest}
        (aside / "bundle.json").write_text(
            json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8"
        )
        if folder.exists():
            old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
            folder.rename(old)
            aside.rename(folder)
            shutil.rmtree(old)
        else:
            aside.rename(folder)

    @classmethod
    def load(cls, folder: Path | str) -> ModelBundle:
        """Read and check a bundle. Raises BundleError naming the file that is missing or changed."""
        path = Path(folder) / "bundle.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise BundleError(f"{path} has format {content['format']!r}, not {FORMAT!r}; train it again")
            expected = dict(content["boosters"])
            boosters = {
                name: (path.parent / f"{Path(name).name}.txt").read_text(encoding="utf-8")
                for name in expected
            }
            around = (path.parent / APPLICABILITY).read_text(encoding="utf-8")
            bundle = cls._parse(content, boosters, json.loads(around))
            digest, around_digest = content["digest"], content["applicability"]
        except BundleError:
            raise
        except FileNotFoundError as error:
            raise BundleError(f"no bundle at {folder}: {error.filename} is missing") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BundleError(f"{path} is not a bundle: {type(error).__name__}: {error}") from None
        for name, text in boosters.items():
            if _sha256(text) != expected[name]:
                raise BundleError(f"{path.parent / name}.txt was changed since it was trained")
        if _sha256(around) != around_digest:
            raise BundleError(f"{path.parent / APPLICABILITY} was changed since it was trained")
        if bundle.digest != digest or set(boosters) != set(bundle.target.boosters):
            raise BundleError(f"{path} was changed since it was trained")
        return bundle

    @classmethod
    def _parse(cls, content: dict[str, Any], boosters: dict[str, str], around: Any) -> ModelBundle:
        target = Target.model_validate(content["target"])
        kind: type[Calibration | ClassCalibration] = (
            ClassCalibration if target.kind == "class" else Calibration
        )
        return cls(
            target,
            FeatureSpec.from_json(json.dumps(content["spec"])),
            boosters,
            dict(content["card"]),
            kind.parse(content["calibration"]),
            None if around is None else Applicability.parse(around),
        )

    @property
    def nbytes(self) -> int:
        """Memory of the trees in bytes, once they predict."""
        return self._forests.nbytes

    def made_from(self, spec: FeatureSpec) -> bool:
        """True where the features are all of ``spec``, or those that selection took from it."""
        if not self.target.selection.most:
            return self.spec.digest == spec.digest
        return all(feature in spec.features for feature in self.spec.features)

    @cached_property
    def _forests(self) -> ForestGroup:
        """In the order of ``target.boosters``. Raises BundleError for an objective that is not ours."""
        forests = Forest.share([self.boosters[name] for name in self.target.boosters])
        for name, objective in zip(self.target.boosters, forests.objectives, strict=True):
            ours = ORDERED if self.target.ordered else OBJECTIVES[name]
            scaled = "sqrt" in objective or "average_output" in objective
            known = any(objective == o or (o and objective.startswith(o)) for o in ours)
            if scaled or not known:
                raise BundleError(
                    f"booster {name!r} has objective {objective!r}; expected {' or '.join(map(repr, ours))}"
                )
        return forests

    def predict(
        self, cube: NDArray[np.float32], out: dict[str, NDArray[np.float32]] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """Layers of a float32 cube (feature, y, x) in the order of ``spec``: {layer: (y, x)}.

        A pixel that ``known`` does not vouch for is NaN in every layer. Regression layers are in the
        target's unit, ``estimate`` the median of the predictive distribution; probabilities in 0..1;
        ``class`` holds codes; ``applicability`` is 1 inside the area of applicability, 0 outside, NaN where
        the bundle has none. ``out`` is filled if given.
        Raises ValueError where the cube has not the spec's number of features.
        """
        if cube.ndim != 3 or cube.shape[0] != len(self.spec.names):
            raise ValueError(f"cube is {cube.shape}; expected ({len(self.spec.names)}, y, x)")
        shape = cube.shape[1:]
        out = out if out is not None else {n: np.empty(shape, np.float32) for n in self.target.layers}
        rows = max(1, STRIP_PIXELS // max(1, shape[1]))
        for start in range(0, shape[0], rows):
            strip = cube[:, start : start + rows]
            pixels = strip.reshape(len(strip), -1).T
            for name, values in self.predict_rows(pixels).items():
                out[name][start : start + rows] = values.reshape(strip.shape[1:])
        return out

    def known(self, X: NDArray[np.float32]) -> NDArray[np.bool_]:
        """True for rows of features (row, feature) that the model can judge.

        A feature that was whole in training must be there: LightGBM would take its NaN for 0.
        """
        may_lack = np.isin(self.spec.names, list(self.card.get("features_with_gaps", ())))
        gaps = np.isnan(X)
        unknown = gaps[:, ~may_lack].any(axis=1) | gaps.all(axis=1)
        return np.asarray(~unknown, np.bool_)

    def predict_rows(self, X: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Layers of rows of features (row, feature): {layer: (row,)}; NaN where not ``known``."""
        known = self.known(X)
        rows = X if known.all() else X[known]  # sparing a copy where it can
        raw = dict(zip(self.target.boosters, self._raw(rows), strict=True))
        layers = self._classes(raw) if self.target.kind == "class" else self._quantity(raw)
        layers["applicability"] = self._inside(rows)
        full = {name: np.full(len(X), np.nan, np.float32) for name in layers}
        for name, values in layers.items():
            full[name][known] = values
        return full

    def expected(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """What the boosters of the target say before calibration of rows of features (row, feature): the mean
        in learning units (row,), or class probabilities by rising code (row, class). NaN where not ``known``."""
        known = self.known(X)
        raw = dict(zip(self.target.boosters, self._raw(X[known]), strict=True))
        if self.target.kind == "regression":
            own = raw["estimate"]
        else:
            own = self._probability(raw)[:, np.argsort(listed(self.target))]
        full = np.full((len(X), *own.shape[1:]), np.nan)
        full[known] = own
        return full

    def contributions(self, X: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        """TreeSHAP (Lundberg et al. 2020) of rows of features (row, feature), by LightGBM itself.

        {booster: (row, feature + 1)}, for ``class`` (row, class, feature + 1) with classes by rising code,
        but for each ``above_...`` of ordered classes (row, feature + 1).
        What each feature adds to the raw score of the row, last the score that is expected without
        knowing any; they sum to the raw score. Raw scores are in the target's unit, in its logarithm for
        transform log, and before the softmax for classes, the
        logit of being above for ordered ones. NaN where not ``known``.
        """
        known = self.known(X)
        rows = np.ascontiguousarray(X[known])
        width = len(self.spec.names) + 1
        found = {}
        for name in self.target.boosters:
            shape = (len(self.target.classes), width) if name == "class" else (width,)
            full = np.full((len(X), *shape), np.nan)
            if len(rows):  # LightGBM refuses an empty matrix
                booster = lightgbm.Booster(model_str=self.boosters[name])
                values = np.asarray(booster.predict(rows, pred_contrib=True, num_threads=1))
                full[known] = values.reshape(len(rows), *shape)
            found[name] = full
        return found

    def _raw(self, X: NDArray[np.float32]) -> list[NDArray[np.float64]]:
        """What each booster predicts, in the order of ``target.boosters``: (row,) or (row, class).

        The same bits as LightGBM: of regression and quantile always, of class probabilities where
        LightGBM takes ``exp`` from the C library, as on Linux; elsewhere they differ in the last bits.
        """
        raw = self._forests.predict_raw(X)
        if self.target.kind == "class" and not self.target.ordered:
            forest_kernels.softmax(raw[0])
        return raw

    def distribution(self, X: NDArray[np.float32]) -> Distribution:
        """Predictive distributions of the soil's own value at rows of features (row, feature).

        Means, other intervals and exceedances are read from it. NaN where not ``known``. Raises
        ValueError for a target of classes.
        """
        if not isinstance(self.calibration, Calibration):
            raise ValueError(f"target {self.target.name!r} is of classes; it has no distribution of values")
        known = self.known(X)
        full = np.full((2, len(X)), np.nan)
        full[:, known] = self._raw(X[known])
        return self.calibration.about_soil(*full)

    def _classes(self, raw: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float32]]:
        assert isinstance(self.calibration, ClassCalibration)
        return class_layers(self.target, self.calibration.apply(self._probability(raw)))

    def _probability(self, raw: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """(row, class) in the target's order, not yet calibrated."""
        if self.target.ordered:
            return steps(expit(np.stack([raw[name] for name in self.target.boosters], axis=1)))
        return np.asarray(raw["class"][:, listed(self.target)])

    def _quantity(self, raw: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float32]]:
        assert isinstance(self.calibration, Calibration)
        return quantity_layers(self.target, self.calibration.about_soil(raw["estimate"], raw["scale"]))

    def _inside(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.applicability is None:
            return np.full(len(rows), np.nan, np.float32)
        used = list(self.applicability.used)
        counts = np.zeros_like(rows)  # gaps in features that do not count are no gaps
        counts[:, used] = rows[:, used]
        return self.applicability.inside(counts).astype(np.float32)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _replaceable(folder: Path) -> bool:
    """An empty folder or an older bundle."""
    if not folder.is_dir():
        return False
    try:
        content = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
        return str(content.get("format")).startswith("phusa-bundle-")
    except FileNotFoundError:
        return not any(folder.iterdir())
    except (OSError, ValueError, AttributeError):
        return False
