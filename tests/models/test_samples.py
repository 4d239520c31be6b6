"""SampleTable: what it refuses, how rows are taken, and what its digest covers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from features import FeatureSpec
from models import SampleTable
from models.samples import PLACE_COLUMNS

SPEC = FeatureSpec.parse(["ndvi_p50", "swir16_mean", "slope"])


def frame(n: int = 6, **more: Any) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {
        "sample_id": [f"s{k}" for k in range(n)],
        "group": "",
        "season": "2025-dry",
        "date": "2025-02-01",
        "lon": rng.uniform(105, 106, n),
        "lat": rng.uniform(9, 10, n),
        "epsg": 32648,
        "x": rng.uniform(5e5, 6e5, n),
        "y": rng.uniform(1e6, 1.1e6, n),
        "ece": rng.gamma(2, 2, n),
    }
    features = {name: rng.normal(size=n).astype(np.float32) for name in SPEC.names}
    return pd.DataFrame(columns | features | more)


def test_features_come_in_the_order_of_the_spec() -> None:
    rows = frame()
    table = SampleTable(rows[sorted(rows.columns)], SPEC)
    assert table.X.dtype == np.float32 and table.X.shape == (6, 3)
    for k, name in enumerate(SPEC.names):
        np.testing.assert_array_equal(table.X[:, k], rows[name])


def test_a_missing_feature_value_stays_nan() -> None:
    assert np.isnan(SampleTable(frame(slope=np.nan), SPEC).X[:, 2]).all()


@pytest.mark.parametrize("column", [*PLACE_COLUMNS, *SPEC.names])
def test_a_missing_column_is_named(column: str) -> None:
    with pytest.raises(ValueError, match=rf"lacks column\(s\) \['{column}'\]"):
        SampleTable(frame().drop(columns=column), SPEC)


def test_a_table_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="no row"):
        SampleTable(frame().iloc[:0], SPEC)


def test_measured_keeps_the_rows_that_have_the_value() -> None:
    table = SampleTable(frame(ece=[1.0, np.nan, 0.0, np.nan, 5.0, -1.0]), SPEC).measured("ece")
    assert table.frame.sample_id.tolist() == ["s0", "s2", "s4", "s5"]
    assert table.frame.index.tolist() == [0, 1, 2, 3]
    assert table.y("ece").tolist() == [1, 0, 5, -1] and table.y("ece").dtype == np.float64
    assert len(table) == 4


def test_a_target_that_was_never_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="no column 'ph'"):
        SampleTable(frame(), SPEC).measured("ph")
    with pytest.raises(ValueError):
        SampleTable(frame(ece=np.nan), SPEC).measured("ece")


def test_take_gives_rows_in_the_order_asked_for() -> None:
    table = SampleTable(frame(), SPEC)
    taken = table.take(np.array([4, 0, 4]))
    assert taken.frame.sample_id.tolist() == ["s4", "s0", "s4"]
    assert taken.frame.index.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(taken.X, table.X[[4, 0, 4]])


def test_taking_and_measuring_leave_the_table_as_it_was() -> None:
    rows = frame(ece=[1.0, np.nan, 0.0, np.nan, 5.0, -1.0])
    before = rows.copy()
    table = SampleTable(rows, SPEC)
    measured, taken = table.measured("ece").frame, table.take(np.array([0, 1])).frame
    measured["ece"] = taken["x"] = 0.0
    pd.testing.assert_frame_equal(rows, before)


def test_equal_tables_have_equal_digests_whatever_their_index() -> None:
    table = SampleTable(frame(), SPEC)
    assert SampleTable(frame(), SPEC).digest == table.digest
    assert SampleTable(frame().set_index(pd.Index(range(10, 16))), SPEC).digest == table.digest
    assert table.take(np.arange(6)).digest == table.digest


@pytest.mark.parametrize("column", [*PLACE_COLUMNS, "ece", *SPEC.names])
def test_the_digest_covers_every_cell(column: str) -> None:
    rows = frame()
    old = rows[column].iloc[3]
    new = f"{old}!" if isinstance(old, str) else old + 1
    changed = frame(**{column: [new if k == 3 else v for k, v in enumerate(rows[column])]})
    assert SampleTable(changed, SPEC).digest != SampleTable(rows, SPEC).digest


def test_the_digest_covers_the_last_bit_of_a_feature() -> None:
    rows = frame()
    nudged = rows.slope.to_numpy().copy()
    nudged[0] = np.nextafter(nudged[0], np.float32(np.inf))
    assert SampleTable(frame(slope=nudged), SPEC).digest != SampleTable(rows, SPEC).digest


def test_the_digest_covers_the_order_of_rows_and_the_spec() -> None:
    table = SampleTable(frame(), SPEC)
    assert table.take(np.arange(6)[::-1]).digest != table.digest
    assert SampleTable(frame(), FeatureSpec.parse(SPEC.names[::-1])).digest != table.digest
    assert SampleTable(frame(), FeatureSpec.parse(SPEC.names[:2])).digest != table.digest


def test_the_error_of_samples_is_read_in_the_units_that_are_learnt() -> None:
    own, shared = np.arange(6) / 10, 0.2
    table = SampleTable(
        frame(ece_log_variance_own=own, ece_log_variance_shared=shared, ece_variance_own=9.0), SPEC
    )
    np.testing.assert_array_equal(table.error_variance("ece", log=True), [own, np.full(6, 0.2)])
    np.testing.assert_array_equal(table.error_variance("ece", log=False), [np.full(6, 9.0), np.zeros(6)])


def test_a_reference_sample_is_never_learnt_from() -> None:
    table = SampleTable(frame(), SPEC)
    assert table.to_learn_from is table
    mixed = SampleTable(frame(inclusion_probability=[0.1, *[np.nan] * 5]), SPEC)
    assert list(mixed.to_learn_from.frame["sample_id"]) == ["s1", "s2", "s3", "s4", "s5"]
    with pytest.raises(ValueError, match="never trained on"):
        _ = SampleTable(frame(inclusion_probability=0.1), SPEC).to_learn_from
