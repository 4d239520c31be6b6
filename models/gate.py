"""What a model must reach to be used, and what it must be better than."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from models.settings import Settings

Baseline = Literal["mean", "linear", "forest"]
OfQuantity = Literal[
    "r2", "concordance", "rmse", "mae", "bias", "rpiq", "interval_score", "coverage",
    "log_r2", "log_concordance", "log_rmse", "log_bias",
]  # fmt: skip
OfClasses = Literal["accuracy", "kappa", "brier"]
Measure = OfQuantity | OfClasses
Bound = Annotated[float, Field(allow_inf_nan=False)]


class Bounds(Settings):
    """Bounds of measures; ``log_...`` are of the logarithm, for a target that learns it."""

    minimum: dict[Measure, Bound] = Field(default_factory=dict)
    maximum: dict[Measure, Bound] = Field(default_factory=dict)

    def missed(self, scores: Mapping[str, Any], of: str) -> list[str]:
        """A sentence for each bound that ``scores`` do not keep: which, what was found and what is wanted."""
        wrong = []
        for sign, word, bounds in ((1, "at least", self.minimum), (-1, "at most", self.maximum)):
            for name, bound in bounds.items():
                found = measure(scores, name)
                if found is None or sign * found < sign * bound:
                    shown = "not known" if found is None else f"{found:.4g}"
                    wrong.append(f"{name} of {of} is {shown}; wanted {word} {bound:g}")
        return wrong

    def names(self) -> set[str]:
        """Measures that are asked for."""
        return {*self.minimum, *self.maximum}


class Gate(Bounds):
    """Bounds of the scores on spatial folds, and what else a model must pass before it is written."""

    beats: tuple[Baseline, ...] = get_args(Baseline)
    """Baselines on the same folds. The model must be better than the mean by 1 % of its error; neither a
    linear model nor a random forest may be better than it by the paired test, the linear one not by 5 % either:
    what folds differ by within that is luck."""
    left_out_season: Bounds = Bounds()
    """Bounds of the scores on seasons that were left out; where samples are of several."""
    significance: float = Field(0.05, gt=0, lt=0.5)
    """Level of the one-sided paired test that tells better from luck."""

    @model_validator(mode="after")
    def _once(self) -> Gate:
        if len(set(self.beats)) < len(self.beats):
            raise ValueError(f"beats names a baseline twice: {list(self.beats)}")
        return self

    def misfits(self, kind: str, transform: str) -> list[str]:
        """Measures that a target of this kind does not have."""
        known = set(get_args(OfClasses if kind == "class" else OfQuantity))
        if transform != "log":
            known = {name for name in known if not name.startswith("log_")}
        return sorted((self.names() | self.left_out_season.names()) - known)


def measure(scores: Mapping[str, Any], name: str) -> float | None:
    """A score by its name in a gate; None where it is not known."""
    if name.startswith("log_"):
        scores, name = scores.get("log", {}), name.removeprefix("log_")
    value = scores.get(name)
    return None if value is None or value != value else float(value)


def missed(gate: Gate, judged: Mapping[str, Any]) -> list[str]:
    """Why a model with these scores (``models.judge``) is refused, a sentence each; empty where it is not."""
    wrong = gate.missed(judged["spatial"], "spatial folds")
    for name in gate.beats:
        found = judged["baselines"][name]
        if not found["beaten"]:
            same = "on the same spatial folds"
            numbers = f"{found['error_of']} {found['error']:.4g}, the model's is {found['model_error']:.4g}"
            if name != "mean":
                wrong.append(f"{found['what']} is better {same}: {numbers} (p = {found['p_value']:.2g})")
            else:
                wrong.append(f"{found['what']} is as good {same}: {numbers}; wanted at least 1 % less")
    if "season" in judged:
        wrong += gate.left_out_season.missed(judged["season"], "left-out seasons")
    return wrong
