"""What is mapped: a measured quantity or a set of classes, defined only by a config file."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StringConstraints, field_validator, model_validator

from models.gate import Gate
from models.settings import (
    ApplicabilitySettings,
    BoosterSettings,
    FoldSettings,
    SelectionSettings,
    Settings,
    TuningSettings,
)

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Colour = Annotated[str, StringConstraints(pattern=r"^#[0-9A-Fa-f]{6}$")]


#: Settings that bundles of format 2 did not have at first, of a target and of its booster.
LATER = ("ordered", "selection", "tuning", "applicability", "gate")
LATER_MODEL = ("l2", "monotone", "balance")


class Title(Settings):
    """A name for readers."""

    vi: str = Field(min_length=1)
    en: str = Field(min_length=1)


class MapClass(Settings):
    """One class of a classified map."""

    code: int = Field(ge=1, le=254)
    name: Name
    title: Title
    colour: Colour


class Target(Settings):
    """One map theme. ``kind: class`` needs ``classes``; ``kind: regression`` needs ``unit``."""

    name: Name
    kind: Literal["class", "regression"]
    title: Title
    column: str = ""
    """Column of the sample file; the target's name if absent."""
    status: Literal["verified", "unverified"] = "unverified"
    """Whether classes and thresholds come from a verified legal or scientific source."""
    source: str = ""
    classes: tuple[MapClass, ...] = ()
    ordered: bool = False
    """Classes are degrees of one thing, listed from least to most: what is learnt is whether each is passed
    (Frank & Hall 2001, doi:10.1007/3-540-44795-4_13)."""
    bad_classes: tuple[Name, ...] = ()
    """Classes whose probabilities add up to ``risk``."""
    unit: str = ""
    transform: Literal["none", "log"] = "none"
    """``log``: the model learns log(value); its estimate, carried back, is a median."""
    interval: float = Field(0.9, gt=0.5, lt=1)
    """Nominal coverage of lower..upper."""
    thresholds: tuple[float, ...] = ()
    """Rising values in ``unit``; for each, the probability that it is exceeded is mapped."""
    shares: tuple[float, ...] = ()
    """True share of each class in the mapped area, in the order of ``classes``, where samples were drawn
    at other rates; else samples are taken as they fall."""
    scale: float = Field(0.01, gt=0)
    """Step of the stored integers of a regression product, in ``unit``."""
    model: BoosterSettings = BoosterSettings()
    folds: FoldSettings = FoldSettings()
    selection: SelectionSettings = SelectionSettings()
    tuning: TuningSettings = TuningSettings()
    applicability: ApplicabilitySettings = ApplicabilitySettings()
    gate: Gate = Gate()

    @field_validator("scale")
    @classmethod
    def _finite(cls, value: float) -> float:
        if not value < float("inf"):
            raise ValueError("must be finite")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Target:
        if self.kind == "class":
            self._check_classes()
        elif self.classes or self.bad_classes or self.shares or self.ordered or self.model.balance:
            raise ValueError("kind regression takes no classes")
        elif not self.unit:
            raise ValueError("kind regression needs a unit, such as dS/m")
        self._check_thresholds()
        if misfits := self.gate.misfits(self.kind, self.transform):
            raise ValueError(f"gate: kind {self.kind}, transform {self.transform} has no {misfits}")
        return self

    def _check_thresholds(self) -> None:
        if self.kind == "class" and self.thresholds:
            raise ValueError("kind class takes no thresholds")
        if not all(abs(t) < float("inf") for t in self.thresholds):
            raise ValueError(f"thresholds must be finite: {list(self.thresholds)}")
        names = [f"{t:g}" for t in self.thresholds]
        if list(self.thresholds) != sorted(self.thresholds) or len(set(names)) < len(names):
            raise ValueError(f"thresholds must rise, and differ in 6 digits: {list(self.thresholds)}")

    def _check_classes(self) -> None:
        if len(self.classes) < 2:
            raise ValueError("kind class needs at least two classes")
        for key in ("code", "name"):
            values = [getattr(c, key) for c in self.classes]
            if len(set(values)) < len(values):
                raise ValueError(f"two classes share a {key}: {values}")
        if len(set(self.bad_classes)) < len(self.bad_classes):
            raise ValueError(f"bad_classes names a class twice: {list(self.bad_classes)}")
        unknown = set(self.bad_classes) - {c.name for c in self.classes}
        if unknown:
            raise ValueError(f"bad_classes names {sorted(unknown)}; known: {[c.name for c in self.classes]}")
        if self.shares and (len(self.shares) != len(self.classes) or not all(s > 0 for s in self.shares)):
            raise ValueError(f"shares are {list(self.shares)}; expected {len(self.classes)} numbers above 0")
        if self.transform != "none" or self.unit:
            raise ValueError("kind class takes neither unit nor transform")
        if self.model.monotone and not self.ordered:
            raise ValueError("monotone says which way a target goes; classes need ordered: true for it")

    @property
    def value_column(self) -> str:
        """Column of the sample file that holds this target's values."""
        return self.column or self.name

    @property
    def codes(self) -> dict[str, int]:
        """Class name -> code."""
        return {c.name: c.code for c in self.classes}

    @property
    def boosters(self) -> tuple[str, ...]:
        """Names of the boosters that a model of this target needs: ``estimate scale`` of a quantity, ``class``
        of classes, or of ordered ones ``above_<class>`` for each but the last."""
        if self.ordered:
            return tuple(f"above_{c.name}" for c in self.classes[:-1])
        return ("class",) if self.kind == "class" else ("estimate", "scale")

    @property
    def exceedances(self) -> dict[str, float]:
        """Layer of an exceedance probability -> its threshold."""
        return {f"p{t:g}": t for t in self.thresholds}

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that a model of this target predicts, in product order."""
        if self.kind == "regression":
            return ("estimate", "lower", "upper", *self.exceedances, "applicability")
        risk = ("risk",) if self.bad_classes else ()
        return ("class", *risk, *(f"p_{c.name}" for c in self.classes), "applicability")

    def _texts(self) -> dict[str, int]:
        """What may stand in a sample file for each class -> its code.

        Names and codes always; a title where no other class has it.
        """
        titles = [(t.strip(), c.code) for c in self.classes for t in {c.title.vi, c.title.en}]
        found = {t: code for t, code in titles if {k for u, k in titles if u == t} == {code}}
        return found | {str(c.code): c.code for c in self.classes} | self.codes

    def read(self, text: str) -> float:
        """A sample's value from its text: class code or number. Raises ValueError saying what is allowed."""
        text = text.strip()
        if self.kind == "class":
            by_text = self._texts()
            if text not in by_text:
                raise ValueError(f"class {text!r} is not one of {', '.join(self.codes)}")
            return float(by_text[text])
        if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text):
            raise ValueError(f"{text!r} is not a number")
        value = float(text)
        if not abs(value) < float("inf"):
            raise ValueError(f"{text!r} is not a finite number")
        if self.transform == "log" and value <= 0:
            raise ValueError(f"{text} is not above 0, which transform log needs")
        return value

    def check_values(self, y: NDArray[np.float64], every_class: bool = False) -> None:
        """Raises ValueError where samples' values (row,), codes for classes, are not such as can be learnt."""
        if self.kind == "class":
            strange = sorted(set(y.tolist()) - {float(c.code) for c in self.classes})
            if strange:
                raise ValueError(
                    f"target {self.name!r}: {strange[0]:g} is no class code; known: {self.codes}"
                )
            absent = [c.name for c in self.classes if not (y == c.code).any()]
            if absent and every_class:
                raise ValueError(f"target {self.name!r}: no sample of class {', '.join(absent)}")
            return
        if not np.isfinite(y).all():
            raise ValueError(f"target {self.name!r}: a sample's value is not finite")
        if self.transform == "log" and y.min() <= 0:
            raise ValueError(f"target {self.name!r}: {y.min():g} is not above 0, which transform log needs")
        if np.ptp(y) == 0:
            raise ValueError(f"target {self.name!r}: all {len(y)} samples have the value {y[0]:g}")

    def dump(self) -> dict[str, Any]:
        """The target as values that JSON holds; settings that came later are left out where they are the
        usual ones, so that older bundles keep their digest."""
        content = self.model_dump(mode="json")
        for part, settings, later in ((content, self, LATER), (content["model"], self.model, LATER_MODEL)):
            for name in later:
                if getattr(settings, name) == type(settings).model_fields[name].get_default(
                    call_default_factory=True
                ):
                    del part[name]
        return content
