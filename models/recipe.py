"""How a model is made of samples: which features, and by which settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.samples import SampleTable
from models.settings import BoosterSettings
from models.targets import Target


@dataclass(frozen=True)
class Recipe:
    """Features and booster settings, after selection and tuning."""

    features: tuple[str, ...]
    model: BoosterSettings
    about: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """How they were found."""

    def apply(self, table: SampleTable, target: Target) -> tuple[SampleTable, Target]:
        """The table with only these features, and the target with these settings.

        Raises ValueError where the table lacks a feature.
        """
        return table.select(self.features), target.model_copy(update={"model": self.model})

    @classmethod
    def given(cls, table: SampleTable, target: Target) -> Recipe:
        """All of the table's features and the target's own settings."""
        return cls(table.spec.names, target.model)

    def dump(self) -> dict[str, Any]:
        """As values that JSON holds."""
        return {
            "features": list(self.features),
            "model": self.model.model_dump(mode="json"),
            **self.about,
        }

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> Recipe:
        """Back from ``dump``."""
        about = {k: v for k, v in content.items() if k not in ("features", "model")}
        return cls(tuple(content["features"]), BoosterSettings.model_validate(content["model"]), about)
