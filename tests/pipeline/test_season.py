from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.season import Season, slug


def test_a_season_may_cross_new_year_and_holds_both_ends() -> None:
    season = Season("2025-dry", dt.date(2024, 12, 1), dt.date(2025, 4, 30))
    assert dt.date(2024, 12, 1) in season
    assert dt.date(2025, 4, 30) in season
    assert dt.date(2025, 5, 1) not in season
    assert str(season) == "2025-dry"
    assert season.interval == "2024-11-30T00:00:00Z/2025-05-01T23:59:59.999Z"


def test_a_season_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="ends 2024-01-01 before it starts 2024-05-01"):
        Season("x", dt.date(2024, 5, 1), dt.date(2024, 1, 1))


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_name_is_a_safe_file_name_and_names_stay_different(a: str, b: str) -> None:
    for name in (a, b):
        made = slug(name)
        assert made
        assert "/" not in made
        assert made not in (".", "..")
        assert "\0" not in made
    if a != b:
        assert slug(a) != slug(b)
