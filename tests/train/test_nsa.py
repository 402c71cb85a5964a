"""Synthetic anomalies of NSA: sizes, places, what changes and what does not."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from sad_runtime.cameras.demo.parts import render
from sad_runtime.schema import parse
from sad_train.config import NsaConfig
from sad_train.data.profile import measured_profile
from sad_train.pixels import Picture
from sad_train.synthesis import nsa
from sad_train.synthesis.ellipses import ellipse_mask
from sad_train.synthesis.foreground import Background, foreground
from sad_train.synthesis.nsa import NsaRecipe, nsa_anomaly
from sad_train.synthesis.nsa_recipe import recipe_for

WHITE_GROUND = Background(level=240, tolerance=60)
TEXTURE = NsaRecipe(
    label="logistic",
    gradients="source",
    max_patches=3,
    sizes=((0.03, 0.05),),
    half_height=(0.06, 0.25),
    half_width=(0.06, 0.20),
    resize=(0.7, 1.3),
    background=None,
    min_object=0.7,
    min_overlap=0.25,
    min_changed_px=50,
    logistic=(1 / 3, 7.0),
)
OBJECT = replace(TEXTURE, background=WHITE_GROUND, half_height=(0.06, 0.12), half_width=(0.06, 0.12))


def speckled(seed: int, size: int = 96, channels: int = 3, *, grain_px: int = 8) -> Picture:
    """Coarse grain all over, so that a patch from elsewhere shows."""
    across = size // grain_px
    grain = np.random.default_rng(seed).integers(40, 200, (across, across, channels)).astype(np.uint8)
    return np.asarray(np.kron(grain, np.ones((grain_px, grain_px, 1), np.uint8)), dtype=np.uint8)


def disc(seed: int, size: int = 96, channels: int = 3) -> Picture:
    """A speckled disc on an even light ground."""
    inside = np.zeros((size, size), np.uint8)
    cv2.circle(inside, (size // 2, size // 2), int(0.35 * size), 1, -1)
    grain = np.minimum(speckled(seed, size, channels), 150)
    return np.asarray(np.where(inside[..., np.newaxis] > 0, grain, 240), dtype=np.uint8)


def differs(a: Picture, b: Picture) -> NDArray[np.bool_]:
    return np.asarray((a != b).any(axis=2))


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> list[tuple[slice, slice]]:
    """Where each patch of the test was blended in, as it happened."""
    found: list[tuple[slice, slice]] = []
    blend = nsa._blend_patch

    def recorded(*arguments: object) -> object:
        made = blend(*arguments)  # type: ignore[arg-type]
        if made is not None:
            found.append(made[0].slices)
        return made

    monkeypatch.setattr(nsa, "_blend_patch", recorded)
    return found


def test_the_same_seed_makes_the_same_anomaly_and_another_seed_another() -> None:
    here, there = speckled(1), speckled(2)
    first, again, other = (nsa_anomaly(here, there, TEXTURE, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(first.picture, again.picture)
    assert np.array_equal(first.label, again.label)
    assert not np.array_equal(first.picture, other.picture)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("size", "least"), [(32, 1), (96, 15)])
def test_an_anomaly_has_the_shape_of_its_pictures_and_mostly_shows(channels: int, size: int, least: int) -> None:
    """At 32 px most patches are about as small as the median that labels pass through."""
    here, there = (speckled(seed, size, channels, grain_px=size // 12) for seed in (1, 2))
    kept = here.copy(), there.copy()
    shown = 0
    for seed in range(20):
        made = nsa_anomaly(here, there, TEXTURE, np.random.default_rng(seed))
        assert made.picture.shape == here.shape
        assert made.picture.dtype == np.uint8
        assert made.label.shape == here.shape[:2]
        assert made.label.dtype == np.float32
        assert made.label.min() >= 0
        assert made.label.max() <= 1
        shown += bool((made.label > 0.5).any())
    assert shown >= least
    assert np.array_equal(here, kept[0])
    assert np.array_equal(there, kept[1])


def test_patches_stay_within_the_bounds_and_off_the_border(places: list[tuple[slice, slice]]) -> None:
    here, there = speckled(1), speckled(2)
    for seed in range(200):
        nsa_anomaly(here, there, replace(TEXTURE, resize=(0.5, 2.0)), np.random.default_rng(seed))
    heights = [rows.stop - rows.start for rows, _ in places]
    widths = [columns.stop - columns.start for _, columns in places]
    low, high = 2 * 0.06 * 96, 2 * 0.25 * 96
    assert round(low) <= min(heights) <= low + 2, "the smallest come up"
    assert high - 2 <= max(heights) <= round(high), "and so do the largest"
    assert max(widths) <= round(2 * 0.20 * 96)
    assert len({*heights}) > 10


def test_a_patch_is_never_too_small_to_show(places: list[tuple[slice, slice]]) -> None:
    tiny = replace(TEXTURE, half_height=(0.01, 0.01), half_width=(0.01, 0.01), min_changed_px=1)
    here, there = speckled(1, 64, grain_px=2), speckled(2, 64, grain_px=2)
    for seed in range(20):
        made = nsa_anomaly(here, there, tiny, np.random.default_rng(seed))
        assert differs(made.picture, here).any()
    assert {rows.stop - rows.start for rows, _ in places} == {nsa.SMALLEST_PX}


def test_a_patch_that_would_change_too_few_pixels_is_dropped() -> None:
    tiny = replace(TEXTURE, half_height=(0.04, 0.04), half_width=(0.04, 0.04), min_changed_px=65)
    made = nsa_anomaly(speckled(1), speckled(2), tiny, np.random.default_rng(0))
    assert made.patches == 0
    assert made.dropped >= 1


def test_sizes_come_from_every_pair_of_the_recipe(places: list[tuple[slice, slice]]) -> None:
    """A pair whose gamma has no width gives one size: two pairs, two sizes, about equally often."""
    two = replace(TEXTURE, sizes=((0.07, 0.0), (0.15, 0.0)), resize=(1.0, 1.0), max_patches=1)
    for seed in range(60):
        nsa_anomaly(speckled(1), speckled(2), two, np.random.default_rng(seed))
    heights = [rows.stop - rows.start for rows, _ in places]
    assert set(heights) == {round(2 * 0.07 * 96), round(2 * 0.15 * 96)}
    assert 15 < heights.count(min(heights)) < 45


MODES = [
    TEXTURE,
    replace(TEXTURE, gradients="mixed"),
    replace(TEXTURE, gradients="swap"),
    OBJECT,
    replace(OBJECT, shape="ellipses"),
    replace(OBJECT, shape="ellipses", gradients="swap", min_object_of="source"),
]


@pytest.mark.parametrize("recipe", MODES)
def test_nothing_changes_outside_the_patches(recipe: NsaRecipe, places: list[tuple[slice, slice]]) -> None:
    here, there = disc(1), disc(2)
    for seed in range(30):
        places.clear()
        made = nsa_anomaly(here, there, recipe, np.random.default_rng(seed))
        inside = np.zeros(here.shape[:2], bool)
        for place in places:
            inside[place] = True
        assert not differs(made.picture, here)[~inside].any()
        assert not made.label[~inside].any()
        assert len(places) == made.patches


def test_patches_hold_enough_of_the_part_and_overlap_it(places: list[tuple[slice, slice]]) -> None:
    here, there = disc(1), disc(2)
    part = foreground(here, WHITE_GROUND)
    for seed in range(60):
        nsa_anomaly(here, there, OBJECT, np.random.default_rng(seed))
    assert len(places) > 60
    assert min(part[place].mean() for place in places) > OBJECT.min_object


def test_the_authors_rule_lets_patches_lie_mostly_on_the_background(places: list[tuple[slice, slice]]) -> None:
    """min_object is asked of the patch's own part; the destination's need only overlap it."""
    here, there = disc(1), disc(2)
    part = foreground(here, WHITE_GROUND)
    for seed in range(60):
        nsa_anomaly(here, there, replace(OBJECT, min_object_of="source"), np.random.default_rng(seed))
    shares = [part[place].mean() for place in places]
    assert len(places) > 60
    assert 0.1 < min(shares) < 0.5 < OBJECT.min_object < max(shares), "an overlap of a quarter is still asked for"


def test_a_part_too_sparse_for_the_authors_rule_makes_no_patch() -> None:
    """The source place is legal by a hair, the resized patch is not: as far as it goes, a patch is dropped."""
    here = disc(1)
    made = nsa_anomaly(here, disc(2), replace(OBJECT, min_object_of="source", min_object=1.0), np.random.default_rng(0))
    assert made.patches == 0
    assert not made.label.any()
    assert np.array_equal(made.picture, here)


def test_a_swap_is_the_other_pictures_pixels_where_the_label_can_be(places: list[tuple[slice, slice]]) -> None:
    here, there = np.full((96, 96, 3), 50, np.uint8), np.full((96, 96, 3), 170, np.uint8)
    made = nsa_anomaly(here, there, replace(TEXTURE, gradients="swap", label="binary"), np.random.default_rng(1))
    inside = np.zeros((96, 96), bool)
    for place in places:
        inside[place] = True
    assert (made.picture[inside] == 170).all(), "nothing is blended"
    assert (made.picture[~inside] == 50).all()
    assert made.label[inside].mean() > 0.9


def test_a_blend_of_even_pictures_shows_nothing_and_a_swap_does() -> None:
    here, there = np.full((96, 96, 3), 50, np.uint8), np.full((96, 96, 3), 170, np.uint8)
    blended = nsa_anomaly(here, there, TEXTURE, np.random.default_rng(1))
    assert np.array_equal(blended.picture, here)
    assert not blended.label.any()


def test_ellipses_change_part_of_their_boxes_and_with_round_outlines(places: list[tuple[slice, slice]]) -> None:
    here, there = np.full((96, 96, 3), 50, np.uint8), np.full((96, 96, 3), 170, np.uint8)
    recipe = replace(TEXTURE, shape="ellipses", gradients="swap", max_patches=1, half_height=(0.15, 0.25))
    shares, corners = [], []
    for seed in range(40):
        places.clear()
        made = nsa_anomaly(here, there, recipe, np.random.default_rng(seed))
        changed = differs(made.picture, here)[places[0]]
        shares.append(changed.mean())
        corners.append(changed[[0, 0, -1, -1], [0, -1, 0, -1]].mean())
    assert 0.05 < min(shares) < max(shares) < 0.95
    assert np.mean(corners) < 0.4 < np.mean(shares)


def test_a_blend_within_ellipses_is_labelled_within_them() -> None:
    here, there = speckled(1), speckled(2)
    boxes, ellipses = (
        [nsa_anomaly(here, there, replace(TEXTURE, shape=shape), np.random.default_rng(seed)) for seed in range(20)]
        for shape in ("box", "ellipses")
    )
    shown = [np.mean([(made.label > 0.5).mean() for made in kind]) for kind in (boxes, ellipses)]
    assert 0.1 * shown[0] < shown[1] < 0.8 * shown[0]
    assert sum(bool((made.label > 0.5).any()) for made in ellipses) >= 15


@pytest.mark.parametrize("seed", range(10))
def test_an_ellipse_mask_is_never_empty_nor_wider_than_its_box(seed: int) -> None:
    for shape in ((5, 5), (5, 40), (64, 48)):
        mask = ellipse_mask(shape, (3.0, 3.0), np.random.default_rng(seed))
        assert mask.shape == shape
        assert 0 < mask.sum() < mask.size
        assert np.array_equal(mask, ellipse_mask(shape, (3.0, 3.0), np.random.default_rng(seed)))


def test_a_patch_of_a_few_pixels_carries_a_full_label(places: list[tuple[slice, slice]]) -> None:
    """The paper's windows of 5 and 11 px left patches below 9 px next to nothing."""
    tiny = replace(TEXTURE, half_height=(0.0, 0.0), half_width=(0.0, 0.0), min_changed_px=1, gradients="swap")
    here, there = np.full((96, 96, 3), 50, np.uint8), np.full((96, 96, 3), 170, np.uint8)
    made = nsa_anomaly(here, there, tiny, np.random.default_rng(0))
    assert {rows.stop - rows.start for rows, _ in places} == {nsa.SMALLEST_PX}
    assert (made.label > 0.99).sum() >= nsa.SMALLEST_PX**2


def test_every_mode_can_be_said_in_the_configuration() -> None:
    profile = measured_profile([disc(seed) for seed in range(4)])
    config = parse(
        NsaConfig,
        {"gradients": "swap", "shape": "ellipses", "label": "continuous", "min_object_of": "source"},
        "test",
    )
    recipe = recipe_for(config, profile)
    assert (recipe.gradients, recipe.shape, recipe.label) == ("swap", "ellipses", "continuous")
    assert recipe.min_object_of == "source"
    plain = recipe_for(NsaConfig(), profile)
    assert (plain.gradients, plain.shape, plain.min_object_of) == ("source", "box", "destination")
    assert recipe_for(NsaConfig(paper_class="bottle"), profile).min_object_of == "source", "as the authors have it"


def test_labels_lie_on_the_part_of_either_picture() -> None:
    here, there = disc(1), disc(2)
    either = foreground(here, WHITE_GROUND) | foreground(there, WHITE_GROUND)
    reach = cv2.dilate(either.astype(np.uint8), np.ones((41, 41), np.uint8)).astype(bool)
    for seed in range(30):
        made = nsa_anomaly(here, there, OBJECT, np.random.default_rng(seed))
        assert not made.label[~reach].any()


def test_the_label_marks_what_changed() -> None:
    here, there = speckled(1), speckled(2)
    made = nsa_anomaly(here, there, replace(TEXTURE, label="binary"), np.random.default_rng(3))
    changed = np.abs(made.picture.astype(float) - here.astype(float)).mean(axis=2)
    assert changed[made.label > 0].mean() > 10
    assert changed[made.label == 0].mean() < 1


@pytest.mark.parametrize(
    "recipe",
    [
        replace(OBJECT, background=Background(level=100, tolerance=255)),
        replace(TEXTURE, min_object=1.0),
        replace(OBJECT, min_overlap=1.0),
    ],
    ids=["no part at all", "more of the part than there is", "more overlap than there is"],
)
def test_without_a_legal_place_the_example_says_that_it_has_no_patch(recipe: NsaRecipe) -> None:
    here = disc(1)
    made = nsa_anomaly(here, disc(2), recipe, np.random.default_rng(0))
    assert made.patches == 0
    assert made.dropped >= 1
    assert not made.label.any()
    assert np.array_equal(made.picture, here)


def test_every_patch_tried_is_counted_as_made_or_dropped() -> None:
    """The first is always tried, the other two every second time: 2 of 3 on average."""
    here, there = disc(1), disc(2)
    hard = replace(OBJECT, min_object=0.95, half_height=(0.06, 0.3), half_width=(0.06, 0.3))
    made = [nsa_anomaly(here, there, hard, np.random.default_rng(seed)) for seed in range(200)]
    assert {one.patches + one.dropped for one in made} == {1, 2, 3}
    assert np.mean([one.patches + one.dropped for one in made]) == pytest.approx(2, abs=0.15)
    assert sum(one.dropped for one in made) > 0


def test_only_the_first_patch_is_certain() -> None:
    one = replace(TEXTURE, max_patches=1)
    here, there = speckled(1), speckled(2)
    assert all(nsa_anomaly(here, there, one, np.random.default_rng(seed)).patches == 1 for seed in range(20))


@pytest.mark.parametrize("part", ["washer", "board", "fabric"])
def test_rendered_parts_of_another_picture_make_anomalies_that_show(part: str) -> None:
    here, there = (render(part, seed=1, index=index, size_px=96).image for index in (0, 1))
    made = [nsa_anomaly(here, there, TEXTURE, np.random.default_rng(seed)) for seed in range(10)]
    assert sum(bool((one.label > 0.5).any()) for one in made) >= 8
