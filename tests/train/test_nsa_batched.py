"""The batched torch twin of NSA's synthesis, held against the one that makes examples one at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from sad_runtime.cameras.demo.parts import render
from sad_train.config import LabelMode
from sad_train.synthesis.draws_batched import drawn
from sad_train.synthesis.foreground import Background, foreground
from sad_train.synthesis.labels import anomaly_label
from sad_train.synthesis.labels_batched import anomaly_labels, majorities
from sad_train.synthesis.nsa import NsaRecipe, nsa_anomaly
from sad_train.synthesis.nsa_batched import BUCKETS_PX, NsaBatch, bucket_px, nsa_batch
from sad_train.synthesis.places_batched import chosen_places, foregrounds
from sad_train.synthesis.poisson import poisson_blend
from sad_train.synthesis.poisson_batched import poisson_blends

DARK_GROUND = Background(level=57.5, tolerance=48.5)
TEXTURE = NsaRecipe(
    label="logistic",
    gradients="mixed",
    max_patches=3,
    sizes=((0.012, 0.025), (0.03, 0.05)),
    half_height=(0.02, 0.25),
    half_width=(0.02, 0.20),
    resize=(0.5, 2.0),
    background=None,
    min_object=0.5,
    min_overlap=0.25,
    min_changed_px=16,
    logistic=(1 / 6, 7.0),
)
OBJECT = replace(TEXTURE, gradients="source", background=DARK_GROUND, resize=(0.7, 1.3))
RECIPES = {
    "fabric": TEXTURE,
    "washer": OBJECT,
    "washer, swap": replace(OBJECT, gradients="swap"),
    "washer, ellipses": replace(OBJECT, shape="ellipses"),
    "washer, the authors' rule": replace(OBJECT, min_object_of="source"),
}


def pictures(part: str, count: int = 8, channels: int = 3, size_px: int = 96) -> Tensor:
    rendered = np.stack([render(part, seed=1, index=index, size_px=size_px).image for index in range(count)])
    return torch.from_numpy(np.ascontiguousarray(rendered[..., :channels]))


def made(recipe: NsaRecipe, here: Tensor, seed: int = 0) -> NsaBatch:
    return nsa_batch(here, here.roll(1, 0), recipe, torch.Generator().manual_seed(seed))


def of(name: str) -> tuple[Tensor, NsaRecipe]:
    return pictures(name.split(",")[0]), RECIPES[name]


@pytest.mark.parametrize("mixed", [False, True])
def test_a_batched_blend_is_the_single_one_to_within_one_grey_level(mixed: bool) -> None:
    """Boxes of three sizes in one bucket; each is solved on its own rectangle."""
    sizes = [(48, 48), (5, 31), (20, 9)]
    rng = np.random.default_rng(0)
    target, guide = (np.zeros((3, 48, 48, 3), np.uint8) for _ in range(2))
    mask = np.zeros((3, 48, 48), bool)
    singles = []
    for index, (tall, wide) in enumerate(sizes):
        here = index, slice(0, tall), slice(0, wide)
        here_picture, there = (render("fabric", seed=1, index=at).image for at in (2 * index, 2 * index + 1))
        y, x = rng.integers(0, 200, 2)
        target[here], guide[here] = here_picture[y : y + tall, x : x + wide], there[y : y + tall, x : x + wide]
        mask[index, 1 : tall - 1, 1 : wide - 1] = True
        singles.append(poisson_blend(target[here], guide[here], mask[here], mixed=mixed))
    of_target, of_guide = (torch.from_numpy(picture).permute(0, 3, 1, 2).float() for picture in (target, guide))
    blended = poisson_blends(of_target, of_guide, torch.from_numpy(mask), torch.tensor(sizes), mixed=mixed)
    result = blended.permute(0, 2, 3, 1).numpy()
    for index, (tall, wide) in enumerate(sizes):
        inside = result[index, :tall, :wide]
        assert np.abs(inside - singles[index].astype(float)).max() <= 1
        assert np.mean(inside != singles[index]) < 0.01
        beyond = np.ones((48, 48), bool)
        beyond[:tall, :wide] = False
        assert np.array_equal(result[index][beyond], target[index][beyond].astype(float))


@pytest.mark.parametrize(("mode", "mean"), [("binary", 0.0), ("continuous", 0.01), ("logistic", 0.03)])
@pytest.mark.parametrize("side", [7, 13, 24, 60])
def test_batched_labels_are_the_single_ones_to_within_the_stated_tolerance(
    mode: LabelMode, mean: float, side: int
) -> None:
    """On the support of the same change; the median of row medians is what differs most."""
    before, after, touched = changes("fabric", side)
    px = torch.full(touched.shape, side)
    tensors = [torch.from_numpy(array) for array in (before, after, touched)]
    batch = anomaly_labels(tensors[0], tensors[1], tensors[2], px, mode, TEXTURE.logistic).numpy()
    apart = []
    for index in range(len(before)):
        here = index, slice(10, 10 + side), slice(10, 10 + side)
        single = anomaly_label(before[here], after[here], touched[here], mode, TEXTURE.logistic, patch_px=side)
        apart.append(np.abs(batch[here] - single)[single > 0])
        outside = batch[index].copy()
        outside[here[1:]] = 0
        assert not outside.any()
    assert np.concatenate(apart).mean() <= mean


def changes(part: str, side: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
    """Eight pictures before and after the blend of a square into rows and columns from 10 on."""
    before = pictures(part).numpy()
    after, touched = before.copy(), np.zeros(before.shape[:3], bool)
    mask = np.zeros((side, side), bool)
    mask[1:-1, 1:-1] = True
    box = slice(10, 10 + side), slice(10, 10 + side)
    for index in range(len(before)):
        other = before[index - 1][30 : 30 + side, 25 : 25 + side]
        after[index][box] = poisson_blend(before[index][box], other, mask, mixed=False)
        touched[index][box] = True
    return before, after, touched


def test_foregrounds_are_the_single_ones() -> None:
    for channels in (1, 3):
        batch = pictures("washer", channels=channels)
        wanted = np.stack([foreground(picture, DARK_GROUND) for picture in batch.numpy()])
        assert 0.1 < wanted.mean() < 0.9
        assert np.mean(foregrounds(batch, DARK_GROUND).numpy() != wanted) < 0.001, (
            "grey levels round alike but for ties"
        )


def test_a_majority_is_the_median_of_a_mask() -> None:
    mask = torch.rand((2, 20, 30), generator=torch.Generator().manual_seed(0)) < 0.5
    padded = torch.nn.functional.pad(mask.float(), [2] * 4, mode="replicate")
    windows = padded.unfold(1, 5, 1).unfold(2, 5, 1).flatten(3)
    assert torch.equal(majorities(mask, 5), windows.median(dim=-1).values > 0)


@pytest.mark.parametrize("name", RECIPES)
def test_nothing_changes_outside_the_patches(name: str) -> None:
    here, recipe = of(name)
    generator = torch.Generator().manual_seed(3)
    draws = drawn(tuple(here.shape), recipe, torch.Generator().manual_seed(3), here.device)
    parts, source_parts = (foregrounds(some, recipe.background) for some in (here, here.roll(1, 0)))
    places = chosen_places(parts, source_parts, draws, recipe)
    result = nsa_batch(here, here.roll(1, 0), recipe, generator)
    for index in range(len(here)):
        inside = torch.zeros(here.shape[1:3], dtype=torch.bool)
        for turn in range(recipe.max_patches):
            if draws.attempted[index, turn] and places.legal[index, turn]:
                (y, x), (tall, wide) = places.destination[index, turn], draws.sizes[index, turn]
                inside[y : y + tall, x : x + wide] = True
        differs = (result.pictures[index] != here[index]).any(dim=-1)
        assert differs.any() == (result.patches[index] > 0)
        assert not differs[~inside].any()
        assert not result.labels[index][~inside].any()


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_has_the_shape_of_its_pictures_and_mostly_shows(name: str, channels: int) -> None:
    here, recipe = of(name)
    here = here[..., :channels].contiguous()
    kept = here.clone()
    result = made(recipe, here)
    assert result.pictures.shape == here.shape
    assert result.pictures.dtype == torch.uint8
    assert result.labels.shape == here.shape[:3]
    assert result.labels.dtype == torch.float32
    assert 0 <= float(result.labels.min()) < float(result.labels.max()) <= 1
    assert result.patches.dtype == torch.int64
    assert ((result.patches + result.dropped >= 1) & (result.patches + result.dropped <= 3)).all()
    assert int((result.labels.amax(dim=(1, 2)) > 0.5).sum()) >= 6
    assert torch.equal(here, kept)


def test_the_same_seed_makes_the_same_batch_and_another_seed_another() -> None:
    here = pictures("washer")
    first, again, other = (made(OBJECT, here, seed) for seed in (1, 1, 2))
    assert torch.equal(first.pictures, again.pictures)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.pictures, other.pictures)


@pytest.mark.parametrize(
    "recipe",
    [
        replace(OBJECT, background=Background(level=100, tolerance=255)),
        replace(TEXTURE, min_object=1.0),
        replace(OBJECT, min_overlap=1.0),
        replace(TEXTURE, min_changed_px=10_000),
    ],
    ids=["no part at all", "more of the part than there is", "more overlap than there is", "too small"],
)
def test_without_a_legal_place_an_example_says_that_it_has_no_patch(recipe: NsaRecipe) -> None:
    here = pictures("washer")
    result = made(recipe, here)
    assert not result.patches.any()
    assert (result.dropped >= 1).all()
    assert not result.labels.any()
    assert torch.equal(result.pictures, here)


def test_patches_hold_enough_of_the_part() -> None:
    here = pictures("washer", 16)
    strict = replace(OBJECT, min_object=0.8, half_height=(0.02, 0.08), half_width=(0.02, 0.08))
    draws = drawn(tuple(here.shape), strict, torch.Generator().manual_seed(0), here.device)
    parts = foregrounds(here, strict.background)
    places = chosen_places(parts, parts.roll(1, 0), draws, strict)
    assert places.legal.float().mean() > 0.9
    for number, turn in places.legal.nonzero().tolist():
        for part, (y, x), (tall, wide) in (
            (parts[number], places.destination[number, turn], draws.sizes[number, turn]),
            (parts[number - 1], places.source[number, turn], draws.cuts[number, turn]),
        ):
            assert part[y : y + tall, x : x + wide].float().mean() > 0.8


def test_sizes_are_drawn_as_for_single_examples() -> None:
    """Quartiles of sides over many draws, within 3 px of those of nsa.py's own."""
    recipe = replace(TEXTURE, max_patches=4)
    draws = drawn((500, 256, 256, 3), recipe, torch.Generator().manual_seed(0), torch.device("cpu"))
    quartiles = np.percentile(draws.sizes[..., 0].numpy(), [25, 50, 75])
    rng = np.random.default_rng(0)
    singles = []
    for _ in range(2000):
        least, scale = recipe.sizes[rng.integers(2)]
        half = np.clip(least + rng.gamma(2.0, scale, 2), (0.02, 0.02), (0.25, 0.20))
        factor = np.clip(rng.normal(1, 0.5), 0.5, 2.0)
        low, high = np.max(np.array([0.02, 0.02]) / half), np.min(np.array([0.25, 0.20]) / half)
        singles.append(2 * 256 * half[0] * min(max(factor, low), high))
    assert quartiles == pytest.approx(np.percentile(singles, [25, 50, 75]), abs=3)


def test_as_much_is_changed_and_labelled_as_in_single_examples() -> None:
    """Means over 48 of each kind: the twins differ in their draws, not in what they draw from."""
    here = pictures("washer", 48)
    batch = made(OBJECT, here)
    rng = np.random.default_rng(0)
    singles = [nsa_anomaly(one.numpy(), here[at - 1].numpy(), OBJECT, rng) for at, one in enumerate(here)]
    assert float(batch.labels.mean()) == pytest.approx(np.mean([one.label.mean() for one in singles]), rel=0.35)
    assert float(batch.patches.float().mean()) == pytest.approx(np.mean([one.patches for one in singles]), abs=0.4)


def test_of_no_pictures_no_examples_are_made() -> None:
    result = made(OBJECT, pictures("washer")[:0])
    assert result.pictures.shape == (0, 96, 96, 3)
    assert result.labels.shape == (0, 96, 96)
    assert result.patches.shape == (0,)


def test_a_patch_lies_in_the_smallest_box_that_holds_it() -> None:
    assert [bucket_px(side) for side in (5, 16, 17, 128, 192, 193, 500)] == [16, 16, 32, 128, 192, 256, 512]
    assert all(bucket_px(side) >= side for side in range(5, 1000))
    assert sorted(BUCKETS_PX) == list(BUCKETS_PX)


@pytest.mark.gpu
def test_a_gpu_makes_the_same_batch_as_the_cpu_from_the_same_draws() -> None:
    """The generator lies on the CPU, so both see one table; blends may differ by a grey level."""
    here = pictures("washer", 16)
    on_cpu = made(OBJECT, here)
    on_gpu = made(OBJECT, here.cuda())
    assert on_gpu.pictures.device.type == "cuda"
    assert (on_gpu.pictures.cpu().int() - on_cpu.pictures.int()).abs().max() <= 1
    assert torch.equal(on_gpu.patches.cpu(), on_cpu.patches)
    assert (on_gpu.labels.cpu() - on_cpu.labels).abs().mean() < 0.002
