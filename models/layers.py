"""What is read from calibrated probabilities: the layers of a map, by name."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.targets import Target
from models.uncertainty import Distribution


def listed(target: Target) -> NDArray[np.intp]:
    """Number by rising code of each class, in the order in which the target lists them."""
    codes = [c.code for c in target.classes]
    return np.searchsorted(sorted(codes), codes)


def quantity_layers(target: Target, found: Distribution) -> dict[str, NDArray[np.float32]]:
    """Layers of a quantity, all read from one distribution a row: {layer: (row,)}."""
    lower, upper = found.interval(target.interval)
    layers = {"estimate": found.median, "lower": lower, "upper": upper}
    layers |= {name: found.above(threshold) for name, threshold in target.exceedances.items()}
    return {name: values.astype(np.float32) for name, values in layers.items()}


def class_layers(target: Target, probability: NDArray[np.float64]) -> dict[str, NDArray[np.float32]]:
    """Layers of classes from calibrated probability (row, class), in the target's order: {layer: (row,)}."""
    codes = np.array([c.code for c in target.classes], np.float32)
    column = {c.name: probability[:, k].astype(np.float32) for k, c in enumerate(target.classes)}
    layers = {"class": codes[probability.argmax(axis=1)]}
    if target.bad_classes:
        risk = np.sum([column[n] for n in target.bad_classes], axis=0, dtype=np.float32)
        layers["risk"] = np.minimum(risk, np.float32(1))
    return layers | {f"p_{c.name}": column[c.name] for c in target.classes}
