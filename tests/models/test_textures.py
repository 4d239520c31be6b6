"""Texture names, the USDA triangle by its definitions, and FAO's table of paste water."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
import pytest

from models import textures


def definitions(s: float, z: float, c: float) -> list[str]:
    """Every USDA class whose definition (Soil Survey Manual) a soil meets."""
    rules = {
        "sand": z + 1.5 * c < 15,
        "loamy sand": z + 1.5 * c >= 15 and z + 2 * c < 30,
        "sandy loam": (7 <= c < 20 and s > 52 and z + 2 * c >= 30) or (c < 7 and z < 50 and z + 2 * c >= 30),
        "loam": 7 <= c < 27 and 28 <= z < 50 and s <= 52,
        "silt loam": (z >= 50 and 12 <= c < 27) or (50 <= z < 80 and c < 12),
        "silt": z >= 80 and c < 12,
        "sandy clay loam": 20 <= c < 35 and z < 28 and s > 45,
        "clay loam": 27 <= c < 40 and 20 < s <= 45,
        "silty clay loam": 27 <= c < 40 and s <= 20,
        "sandy clay": c >= 35 and s > 45,
        "silty clay": c >= 40 and z >= 40,
        "clay": c >= 40 and s <= 45 and z < 40,
    }
    return [name for name, met in rules.items() if met]


def test_the_whole_triangle() -> None:
    s, c = (v.ravel().astype(float) for v in np.meshgrid(np.arange(101), np.arange(101)))
    inside = s + c <= 100
    s, c = s[inside], c[inside]
    found = textures.classify(s, 100 - s - c, c)
    for k, name in enumerate(found):
        assert definitions(s[k], 100 - s[k] - c[k], c[k]) == [name], (s[k], c[k])
    assert len(set(found)) == 12


def test_percentages_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="add up to 90"):
        textures.classify([40.0, 40], [30.0, 40], [20.0, 20])
    with pytest.raises(ValueError, match="expected 100"):
        textures.classify(-10.0, 60.0, 50.0)
    assert textures.classify([40.0, np.nan], [40.0, 40], [20.0, 20]).tolist() == ["loam", ""]


@pytest.mark.parametrize("texture", textures.TEXTURES, ids=lambda t: t.name)
def test_every_name_is_read_in_both_languages(texture: textures.Texture) -> None:
    for spelling in (
        texture.name,
        texture.name.upper().replace(" ", "_"),
        texture.vi,
        f"Đất {texture.vi}",
        unicodedata.normalize("NFD", texture.vi),
        *texture.codes,
    ):
        assert textures.parse(spelling) == texture, spelling


def test_codes_differ_by_their_capitals_only_where_they_must() -> None:
    assert getattr(textures.parse("SiCL"), "name", "") == "silty clay loam"
    assert getattr(textures.parse("SiCl"), "name", "") == "silty clay"
    assert getattr(textures.parse("CL"), "name", "") == "clay loam"
    codes = [c for t in textures.TEXTURES for c in t.codes]
    assert len(codes) == len(set(codes))


def test_a_group_alone_is_read_too() -> None:
    assert textures.parse("thành phần cơ giới nặng") == textures.parse("Fine") == "fine"
    with pytest.raises(ValueError, match="unknown texture 'mud'"):
        textures.parse("mud")


@pytest.mark.parametrize(
    ("args", "water"),
    [
        (("loam", 0.2), 25),
        (("clay loam", 0.49), 44),
        (("clay", 0.1), 63),
        (("clay", 0.5), 65),
        (("clay", 14.9), 102),
        (("clay", 1.0, 65.0), 110),
        (("sandy loam", 3.0, 12.0), 31),
        (("sandy loam", 3.0, 9.9), 22),
        (("silt loam", 3.0, 5.0), 25),
        (("silt loam", 3.0, 10.0), 37),
        (("silty clay loam", 1.5), 48),
        (("silty clay", 1.5), 68),
        (("sand", 1.5), 11),
    ],
)
def test_paste_water_is_faos(args: Any, water: float) -> None:
    assert textures.paste_water(*args) == water


@pytest.mark.parametrize("args", [("loam", np.nan), ("loam", 15.0), ("sandy loam", 1.0), ("", 1.0)])
def test_paste_water_without_a_row_is_not_known(args: Any) -> None:
    assert np.isnan(textures.paste_water(*args))
