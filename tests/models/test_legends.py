"""Class schemes: bounds, refusals, and that one value has other words in other schemes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from models.legends import NODATA, Scheme


def scheme(**changed: Any) -> dict[str, Any]:
    title = {"vi": "Mặn", "en": "Saline"}
    classes = [
        {"code": 1, "name": "low", "below": 2, "title": title, "colour": "#000000"},
        {"code": 7, "name": "high", "title": title, "colour": "#FFFFFF"},
    ]
    base: dict[str, Any] = {
        "name": "s",
        "title": title,
        "quantity": "ece",
        "unit": "dS/m",
        "status": "unverified",
        "source": "here",
        "classes": classes,
    }
    return base | changed


def test_a_bound_belongs_to_the_class_above_it_and_nan_to_none() -> None:
    found = Scheme.model_validate(scheme())
    codes = found.classify([[np.nextafter(2, 0), 2.0], [np.nan, -0.1]])
    assert codes.tolist() == [[1, 7], [NODATA, 1]] and codes.dtype == np.uint8
    assert (found.of(1.9).name, found.of(2.0).name) == ("low", "high")
    with pytest.raises(ValueError, match="NaN"):
        found.of(float("nan"))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (lambda c: [c[0], c[1] | {"below": 5}], "no upper end"),
        (lambda c: [c[0] | {"below": None}, c[1]], "needs its upper end"),
        (lambda c: [c[0], c[0] | {"code": 2, "name": "b"}, c[1]], "rising"),
        (lambda c: [c[0], c[1] | {"code": 1}], "share a code"),
        (lambda c: [c[0], c[1] | {"name": "low"}], "share a name"),
        (lambda c: [c[0] | {"below": float("nan")}, c[1]], "finite"),
        (lambda c: c[1:], "at least 2"),
    ],
)
def test_a_scheme_with_gaps_is_refused(classes: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Scheme.model_validate(scheme(classes=classes(scheme()["classes"])))


def test_a_scheme_says_where_it_comes_from() -> None:
    for key in ("status", "source", "unit"):
        with pytest.raises(ValidationError):
            Scheme.model_validate({k: v for k, v in scheme().items() if k != key})
