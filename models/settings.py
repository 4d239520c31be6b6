"""Settings of learning, kept beside the code that obeys them."""

from __future__ import annotations

from typing import Any

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
    seed: int = Field(1, ge=0)

    def parameters(self) -> dict[str, Any]:
        """LightGBM parameters; the same data give the same trees, whatever the machine's cores."""
        return {
            "num_leaves": self.leaves,
            "learning_rate": self.learning_rate,
            "min_data_in_leaf": self.min_leaf,
            "feature_fraction": self.feature_fraction,
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
