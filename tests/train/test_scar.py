"""CutPaste-Scar: thin, turned strips of the picture itself, in its own scale, and nothing when none shows."""

from __future__ import annotations

import numpy as np
import pytest

from sad_train.pixels import Picture
from sad_train.synthesis.scar import ScarRecipe, scar

PAPER = ScarRecipe(width_px=(2, 16), length_px=(10, 25), rotation_deg=45, jitter=0.1)


@pytest.fixture(params=[1, 3])
def speckled(request: pytest.FixtureRequest) -> Picture:
    return np.random.default_rng(3).integers(0, 256, (128, 96, request.param), np.uint8)


def test_a_scar_has_the_published_size_and_lies_inside(speckled: Picture) -> None:
    for seed in range(40):
        pasted = scar(speckled, PAPER, np.random.default_rng(seed))
        assert pasted is not None
        assert pasted.picture.shape == speckled.shape
        assert 0.7 * 2 * 10 <= pasted.mask.sum() <= 1.15 * 16 * 25


def test_nothing_far_from_the_scar_changes(speckled: Picture) -> None:
    pasted = scar(speckled, PAPER, np.random.default_rng(1))
    assert pasted is not None
    rows, columns = np.flatnonzero(pasted.mask.any(axis=1)), np.flatnonzero(pasted.mask.any(axis=0))
    around = np.zeros_like(pasted.mask)
    around[max(0, rows[0] - 2) : rows[-1] + 3, max(0, columns[0] - 2) : columns[-1] + 3] = True
    assert (pasted.picture[~around] == speckled[~around]).all()
    assert (pasted.picture[pasted.mask] != speckled[pasted.mask]).any()


def test_a_strip_that_is_not_turned_is_a_rectangle_of_its_length_and_width(speckled: Picture) -> None:
    straight = ScarRecipe(width_px=(3, 3), length_px=(20, 20), rotation_deg=0, jitter=0)
    pasted = scar(speckled, straight, np.random.default_rng(2))
    assert pasted is not None
    assert (pasted.mask.any(axis=1).sum(), pasted.mask.any(axis=0).sum(), pasted.mask.sum()) == (20, 3, 60)


def test_a_turned_strip_is_turned() -> None:
    ramp = np.tile(np.arange(0, 240, 2, dtype=np.uint8)[:, np.newaxis, np.newaxis], (1, 120, 1))
    turned = ScarRecipe(width_px=(4, 4), length_px=(24, 24), rotation_deg=90, jitter=0)
    angles = []
    for seed in range(20):
        pasted = scar(ramp, turned, np.random.default_rng(seed))
        if pasted is not None:
            y, x = np.nonzero(pasted.mask)
            axis = np.linalg.eigh(np.cov(np.stack([x, y])))[1][:, -1]
            angles.append(abs(np.degrees(np.arctan2(axis[0], axis[1]))) % 180)
    assert np.ptp(angles) > 60


def test_a_strip_larger_than_the_picture_is_cut_to_it() -> None:
    tiny = np.random.default_rng(0).integers(0, 256, (12, 8, 3), np.uint8)
    pasted = scar(tiny, PAPER, np.random.default_rng(0))
    assert pasted is not None
    assert pasted.mask.shape == (12, 8)


def test_a_scar_that_cannot_be_seen_is_none() -> None:
    assert scar(np.full((64, 64, 1), 20, np.uint8), PAPER, np.random.default_rng(0)) is None
