"""Targets: what a config may say, and how a sample's text becomes a value."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models import Target

TITLE = {"vi": "Độ mặn", "en": "Salinity"}


def classes(*codes: int) -> list[dict[str, Any]]:
    return [
        {"code": c, "name": f"c{c}", "title": {"vi": f"lớp {c}", "en": f"class {c}"}, "colour": "#12aBcF"}
        for c in codes
    ]


def regression(**more: Any) -> Target:
    return Target.model_validate({"name": "ece", "kind": "regression", "title": TITLE, "unit": "dS/m"} | more)


def classified(*codes: int, **more: Any) -> Target:
    return Target.model_validate(
        {"name": "land", "kind": "class", "title": TITLE, "classes": classes(*(codes or (30, 10, 20)))} | more
    )


def test_a_regression_predicts_an_estimate_and_its_interval() -> None:
    assert regression().layers == ("estimate", "lower", "upper", "applicability")
    thresholds = regression(thresholds=[0.75, 2, 4])
    assert thresholds.layers == ("estimate", "lower", "upper", "p0.75", "p2", "p4", "applicability")
    assert thresholds.exceedances == {"p0.75": 0.75, "p2": 2, "p4": 4}


def test_a_class_target_predicts_class_risk_and_probabilities_in_its_own_order() -> None:
    assert classified(bad_classes=["c10"]).layers == (
        "class",
        "risk",
        "p_c30",
        "p_c10",
        "p_c20",
        "applicability",
    )


def test_without_bad_classes_there_is_no_risk() -> None:
    assert classified().layers == ("class", "p_c30", "p_c10", "p_c20", "applicability")


def test_a_name_of_exceedance_is_of_a_regression() -> None:
    assert classified(shares=[2, 1, 1]).shares == (2, 1, 1)
    assert classified().exceedances == {}


def test_codes_are_those_of_the_classes() -> None:
    assert classified().codes == {"c30": 30, "c10": 10, "c20": 20}


def test_the_column_is_the_name_unless_given() -> None:
    assert regression().value_column == "ece"
    assert regression(column="EC 1:5").value_column == "EC 1:5"


@pytest.mark.parametrize(
    "target", [regression(transform="log", interval=0.8), classified(bad_classes=["c20"])]
)
def test_a_target_survives_its_dump(target: Target) -> None:
    assert Target.model_validate(target.dump()) == target


def test_a_target_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        regression().unit = "g/kg"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"unit": ""}, "needs a unit"),
        ({"classes": classes(1, 2)}, "kind regression takes no classes"),
        ({"bad_classes": ["c1"]}, "kind regression takes no classes"),
        ({"kind": "ranking"}, "class.*regression"),
        ({"name": "Ece"}, "pattern"),
        ({"name": "a b"}, "pattern"),
        ({"name": "../ece"}, "pattern"),
        ({"name": "ece\n"}, "pattern"),
        ({"name": ""}, "pattern"),
        ({"name": "a" * 41}, "pattern"),
        ({"title": {"en": "only"}}, "vi"),
        ({"title": {"vi": "", "en": "x"}}, "at least 1 character"),
        ({"interval": 0.5}, "greater than 0.5"),
        ({"interval": 1}, "less than 1"),
        ({"interval": float("nan")}, "interval"),
        ({"scale": 0}, "greater than 0"),
        ({"scale": float("inf")}, "must be finite"),
        ({"scale": float("nan")}, "scale"),
        ({"transform": "sqrt"}, "none.*log"),
        ({"status": "official"}, "verified"),
        ({"thresholds": [4, 2]}, "must rise"),
        ({"thresholds": [4, 4.0000001]}, "differ in 6 digits"),
        ({"thresholds": [float("nan")]}, "must be finite"),
        ({"shares": [0.5, 0.5]}, "kind regression takes no classes"),
        ({"exceed": [4]}, "Extra inputs are not permitted"),
        ({"model": {"trees": 0}}, "trees"),
        ({"model": {"depth": 3}}, "Extra inputs are not permitted"),
        ({"folds": {"count": 1}}, "count"),
        ({"folds": {"block_m": 0}}, "block_m"),
    ],
)
def test_an_unfit_regression_is_refused_with_the_reason(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        regression(**more)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"classes": []}, "at least two classes"),
        ({"thresholds": [4]}, "kind class takes no thresholds"),
        ({"shares": [0.5, 0.5]}, r"shares are \[0\.5, 0\.5\]; expected 3 numbers above 0"),
        ({"shares": [0.5, 0.5, 0]}, "expected 3 numbers above 0"),
        ({"classes": classes(1)}, "at least two classes"),
        ({"classes": classes(1, 1)}, "two classes share a code"),
        ({"classes": [*classes(1), classes(2)[0] | {"name": "c1"}]}, "two classes share a name"),
        ({"bad_classes": ["c11"]}, r"bad_classes names \['c11'\]; known: \['c30', 'c10', 'c20'\]"),
        ({"unit": "dS/m"}, "neither unit nor transform"),
        ({"transform": "log"}, "neither unit nor transform"),
        ({"classes": classes(0, 1)}, "greater than or equal to 1"),
        ({"classes": classes(1, 255)}, "less than or equal to 254"),
        ({"classes": [*classes(1), classes(2)[0] | {"colour": "red"}]}, "pattern"),
        ({"classes": [*classes(1), classes(2)[0] | {"name": "A"}]}, "pattern"),
    ],
)
def test_an_unfit_class_target_is_refused_with_the_reason(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        classified(**more)


def test_a_bad_class_named_twice_is_refused() -> None:
    """Its probability would be counted twice, and risk would pass 1."""
    with pytest.raises(ValidationError):
        classified(bad_classes=["c10", "c10"])


# --- reading values ---------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["c10", "10", "lớp 10", "class 10", "  c10\t"])
def test_a_class_is_read_by_name_code_or_title(text: str) -> None:
    assert classified().read(text) == 10


@pytest.mark.parametrize("text", ["", "c11", "11", "1", "10.0", "C10", "nan", "None"])
def test_an_unknown_class_is_refused_with_those_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="is not one of c30, c10, c20"):
        classified().read(text)


@pytest.mark.parametrize(
    "second",
    [
        {"vi": "khác", "en": "class 1"},  # the title of the first class
        {"vi": "khác", "en": "c1"},  # its name
        {"vi": "1", "en": "other"},  # its code
    ],
    ids=["title", "name", "code"],
)
def test_a_text_that_fits_two_classes_is_never_read_as_the_wrong_one(second: dict[str, str]) -> None:
    """Refusing the target or the text is right; names and codes may also simply win over titles."""
    rows = [*classes(1), classes(2)[0] | {"title": second}]
    text = second["en"] if second["vi"] != "1" else "1"
    try:
        found = classified(classes=rows).read(text)
    except ValueError:
        return
    assert found == 1 and text != "class 1"


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_as_it_prints(value: float) -> None:
    assert regression().read(repr(value)) == value
    assert regression().read(f" {value!r}\n") == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("+3.5", 3.5), ("-2", -2), (".5", 0.5), ("5.", 5), ("1e3", 1000), ("1.5E-2", 0.015)],
)
def test_plain_ways_to_write_a_number_are_read(text: str, value: float) -> None:
    assert regression().read(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "abc",
        "nan",
        "inf",
        "-inf",
        "NaN",
        "1_000",
        "1,5",
        "1 000",
        "0x1F",
        "1e",
        "--1",
        ".",
        "<0.1",
        "3 dS/m",
    ],
)
def test_what_is_not_a_plain_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a number"):
        regression().read(text)


def test_a_number_beyond_float_is_refused() -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        regression().read("1e400")


@pytest.mark.parametrize("text", ["0", "-0.0", "-1", "1e-400"])
def test_a_logarithm_needs_a_value_above_zero(text: str) -> None:
    with pytest.raises(ValueError, match="not above 0"):
        regression(transform="log").read(text)
    assert regression().read(text) <= 0


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.text(max_size=12))
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    for target in (regression(), classified()):
        try:
            value = target.read(text)
        except ValueError:
            continue
        assert abs(value) < float("inf")
