"""Settings of learning, kept beside the code that obeys them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Settings(BaseModel):
    """Base of all settings: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _yes_is_no_number(cls, values: Any) -> Any:
        """YAML reads yes and true as truth values, and those would pass as 1."""
        for name, field in cls.model_fields.items() if isinstance(values, dict) else ():
            value = values.get(name)
            parts = value if isinstance(value, list) else [value]
            if field.annotation is not bool and any(isinstance(part, bool) for part in parts):
                raise ValueError(f"{name} is {str(value).lower()}, which is no number and no text")
        return values


class BoosterSettings(Settings):
    """Size and speed of the gradient-boosted trees (LightGBM)."""

    trees: int = Field(300, ge=1, le=5000)
    leaves: int = Field(15, ge=2, le=255)
    learning_rate: float = Field(0.05, gt=0, le=1)
    min_leaf: int = Field(10, ge=1)
    """Smallest number of samples in a leaf."""
    feature_fraction: float = Field(0.8, gt=0, le=1)
    l2: float = Field(0, ge=0, lt=float("inf"))
    """Shrinks the values of leaves."""
    monotone: dict[str, Literal[-1, 1]] = Field(default_factory=dict)
    """Feature name -> 1 where the target may only rise with it, -1 where it may only fall."""
    balance: float = Field(0, ge=0, le=1)
    """Class imbalance: samples weigh (1 / frequency of their class) to this power; 0 as they are, 1 all
    classes alike. Calibration on samples that weigh the same gives probabilities back their true rates."""
    seed: int = Field(1, ge=0)

    def parameters(self, names: Sequence[str] = ()) -> dict[str, Any]:
        """LightGBM parameters for features called ``names``; the same data give the same trees, whatever the
        machine's cores."""
        signs = [self.monotone.get(name, 0) for name in names]
        return {
            "num_leaves": self.leaves,
            "learning_rate": self.learning_rate,
            "min_data_in_leaf": self.min_leaf,
            "feature_fraction": self.feature_fraction,
            "lambda_l2": self.l2,
            **({"monotone_constraints": signs} if any(signs) else {}),
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": 1,
            "verbosity": -1,
        }


class FoldSettings(Settings):
    """Cross-validation."""

    count: int = Field(5, ge=2, le=50)
    block_m: float = Field(1000, gt=0)
    """Side of the square blocks of spatial folds: samples nearer than this are not independent."""
    seed: int = Field(1, ge=0)


class TuningSettings(Settings):
    """Search for better booster settings on the folds (Optuna's TPE: Bergstra et al. 2011)."""

    trials: int = Field(0, ge=0, le=1000)
    """Settings that are tried, the target's own among them; 0 or 1 takes these as they are."""
    time_limit_s: float | None = Field(None, gt=0)
    """Stops the search early; how far it comes then depends on the machine, and the card says so."""
    seed: int = Field(1, ge=0)


class SelectionSettings(Settings):
    """Forward feature selection on the folds (Meyer et al. 2018, doi:10.1016/j.envsoft.2017.12.001)."""

    most: int = Field(0, ge=0, le=100)
    """Features that are chosen at most; 0 takes all of the config's."""
    candidates: int = Field(15, ge=2, le=100)
    """Features that are tried: those of greatest gain in a model of all. All their pairs are fitted first."""

    @model_validator(mode="after")
    def _pairs(self) -> SelectionSettings:
        if self.most == 1:
            raise ValueError("most is 1; expected 0 (no selection) or 2 and more, as pairs are tried first")
        return self


class ApplicabilitySettings(Settings):
    """The area of applicability."""

    max_rows: int = Field(5000, ge=10)
    """Training rows that pixels are compared with, at most: each costs time wherever a map is made."""
