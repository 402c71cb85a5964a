"""The pictures that parity is judged on: how many of which kind, always the same, through the line's preprocessing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from folders import write_picture
from sad_export.parity_set import ParityPicture, known_defects, parity_set
from sad_runtime.cameras.demo.parts import render
from sad_runtime.errors import DataError
from sad_runtime.manifest import InputSpec, Roi
from sad_train.config import NsaConfig
from sad_train.data.profile import measured_profile
from sad_train.synthesis.nsa import NsaRecipe
from sad_train.synthesis.nsa_recipe import recipe_for

SPEC = InputSpec(height=64, width=64, channels=3)


@pytest.fixture(scope="module")
def goods() -> NDArray[np.uint8]:
    return np.stack([render("washer", seed=1, index=index, size_px=64).image for index in range(6)])


@pytest.fixture(scope="module")
def recipe(goods: NDArray[np.uint8]) -> NsaRecipe:
    return recipe_for(NsaConfig(), measured_profile(list(goods)))


def kinds(pictures: list[ParityPicture]) -> list[str]:
    return [picture.kind for picture in pictures]


def test_a_few_good_pictures_still_make_24_anomalies(goods: NDArray[np.uint8], recipe: NsaRecipe) -> None:
    found = parity_set(goods, recipe, seed=0)
    assert kinds(found) == ["good"] * 6 + ["synthetic"] * 24
    assert len({picture.name for picture in found}) == 30


def test_many_good_pictures_count_up_to_a_hundred(goods: NDArray[np.uint8], recipe: NsaRecipe) -> None:
    found = parity_set(np.concatenate([goods] * 18), recipe, seed=0)
    assert kinds(found).count("good") == 100
    assert kinds(found).count("synthetic") == 100


def test_every_anomaly_shows_where_its_mask_says(goods: NDArray[np.uint8], recipe: NsaRecipe) -> None:
    for index, picture in enumerate(parity_set(goods, recipe, seed=0)[6:]):
        assert picture.mask is not None
        assert picture.mask.any()
        changed = np.abs(picture.picture.astype(int) - goods[index % 6].astype(int)).mean(axis=2)
        assert changed[picture.mask].mean() > 2
        assert not picture.is_good


def test_the_same_seed_makes_the_same_set_and_another_seed_another(goods: NDArray[np.uint8], recipe: NsaRecipe) -> None:
    first, again, other = (np.stack([p.picture for p in parity_set(goods, recipe, seed)]) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_set_in_which_no_anomaly_finds_a_place_has_none(recipe: NsaRecipe) -> None:
    even = np.full((5, 32, 32, 3), 90, np.uint8)
    assert kinds(parity_set(even, recipe, seed=0)) == ["good"] * 5


def test_known_defects_come_last_through_roi_and_resize(
    tmp_path: Path, goods: NDArray[np.uint8], recipe: NsaRecipe
) -> None:
    frame = np.zeros((100, 120, 3), np.uint8)
    frame[20:84, 30:94] = goods[0]
    write_picture(tmp_path / "bent" / "a.png", frame)
    write_picture(tmp_path / "b.png", frame)
    defects = known_defects(tmp_path, SPEC, Roi(x=30, y=20, width=64, height=64))
    assert [(defect.name, defect.kind) for defect in defects] == [("b.png", "defect"), ("bent/a.png", "defect")]
    assert all(np.array_equal(defect.picture, goods[0]) and defect.mask is None for defect in defects)
    assert kinds(parity_set(goods, recipe, 0, defects))[-2:] == ["defect", "defect"]


def test_defects_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder of known defects"):
        known_defects(tmp_path / "nowhere", SPEC, None)
    with pytest.raises(DataError, match="no pictures of known defects"):
        known_defects(tmp_path, SPEC, None)
    write_picture(tmp_path / "small.png", np.zeros((40, 40), np.uint8))
    with pytest.raises(DataError, match=r"small\.png: the ROI 64x64\+0\+0 leaves the picture"):
        known_defects(tmp_path, SPEC, Roi(x=0, y=0, width=64, height=64))
