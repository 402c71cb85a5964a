"""Training examples: the same whenever and wherever they are made, and every picture gets its turn."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from sad_runtime.cameras.demo.parts import render
from sad_runtime.schema import parse
from sad_train.config import NuisanceConfig, TrainConfig
from sad_train.data.profile import measured_profile
from sad_train.distributed import Ranks
from sad_train.examples import OUTCOME, Examples, FromStep
from sad_train.methods.base import Outcome, Sample
from sad_train.methods.table import maker_for

OFF = NuisanceConfig(gain=0, gamma=0, white_balance=0, vignette=0, blur_px=0, noise=0, shift=0, rotation_deg=0)


def washers(count: int = 7, size: int = 64) -> NDArray[np.uint8]:
    return np.stack([render("washer", seed=1, index=index, size_px=size).image for index in range(count)])


def numbered(count: int, size: int = 32) -> NDArray[np.uint8]:
    """Pictures that tell which they are: number k is of grey level 10 k all over."""
    return np.stack([np.full((size, size, 3), 10 * index, np.uint8) for index in range(count)])


def examples_of(pictures: NDArray[np.uint8], **settings: object) -> Examples:
    config = parse(TrainConfig, {"size_px": 64, "steps": 6, "batch": 8, **settings}, "test")
    profile = measured_profile(list(pictures))
    return Examples(pictures, config, maker_for(config, profile), profile)


def picture(example: Sample) -> NDArray[np.uint8]:
    return np.asarray(example.values["picture"], np.uint8)


def test_an_example_is_the_same_alone_and_in_any_order() -> None:
    pictures = washers()
    forwards, backwards = examples_of(pictures), examples_of(pictures)
    first = [forwards.example(index) for index in range(24)]
    again = {index: backwards.example(index) for index in reversed(range(24))}
    for index, example in enumerate(first):
        assert np.array_equal(picture(example), picture(again[index]))
        assert np.array_equal(example.values["label"], again[index].values["label"])
        assert example.outcome is again[index].outcome


def test_another_process_makes_the_same_examples() -> None:
    """Spawned, so that it inherits nothing from this one."""
    examples = examples_of(washers(), steps=2)
    sampler = FromStep(examples.config, 1, Ranks("cpu"))
    loader = DataLoader(examples, batch_sampler=sampler, num_workers=1, multiprocessing_context="spawn")
    (batch,) = list(loader)
    here = [examples.example(index) for index in range(8, 16)]
    assert np.array_equal(batch["picture"].numpy(), np.stack([picture(example) for example in here]))
    assert np.array_equal(batch["label"].numpy(), np.stack([example.values["label"] for example in here]))
    assert batch[OUTCOME].tolist() == [int(example.outcome) for example in here]


def test_another_seed_makes_other_examples() -> None:
    pictures = washers()
    one, other = (examples_of(pictures, seed=seed).example(7) for seed in (0, 1))
    assert not np.array_equal(picture(one), picture(other))


@pytest.mark.parametrize(("share", "batch", "clean"), [(0.25, 8, 2), (0.0, 8, 0), (0.5, 6, 3), (0.9, 2, 1)])
def test_every_batch_holds_exactly_its_share_of_clean_pictures(share: float, batch: int, clean: int) -> None:
    """And always an anomaly, whatever the share: a batch of good pictures only teaches nothing."""
    examples = examples_of(washers(), clean_share=share, batch=batch)
    for step in range(4):
        made = [examples.example(step * batch + place) for place in range(batch)]
        outcomes = [Outcome.CLEAN] * clean + [Outcome.ANOMALOUS] * (batch - clean)
        assert [example.outcome for example in made] == outcomes
        assert not any(example.values["label"].any() for example in made[:clean])


@pytest.mark.parametrize("count", [3, 7, 16])
def test_the_stream_brings_every_picture_once_a_round_in_a_new_order(count: int) -> None:
    examples = examples_of(numbered(count), nuisance=OFF.model_dump(), clean_share=0.9, batch=10, steps=count)
    shown = [int(examples._streamed(index)[0, 0, 0]) // 10 for index in range(-1, 5 * count - 1)]
    rounds = [tuple(shown[start : start + count]) for start in range(0, len(shown), count)]
    assert all(Counter(one) == Counter(range(count)) for one in rounds)
    assert len(set(rounds)) > 1


def test_a_clean_example_without_nuisance_is_the_picture_itself() -> None:
    examples = examples_of(numbered(7), nuisance=OFF.model_dump(), clean_share=0.5)
    for index in range(4):
        assert np.array_equal(picture(examples.example(index)), examples._streamed(index))


def test_clean_examples_come_under_changing_light() -> None:
    pictures = washers(1)
    examples = examples_of(pictures, clean_share=0.5)
    brightness = [float(picture(examples.example(index)).mean()) for index in range(4)]
    assert np.ptp(brightness) > 1


def test_a_resumed_run_goes_on_with_the_examples_it_has_not_seen() -> None:
    def batches(step: int, *ranks: int) -> list[list[int]]:
        return list(FromStep(config, step, Ranks("cpu", *ranks)))

    config = TrainConfig(steps=6, batch=8)
    assert batches(0) == [list(range(start, start + 8)) for start in range(0, 48, 8)]
    assert batches(4) == [list(range(32, 40)), list(range(40, 48))]
    assert len(FromStep(config, 4, Ranks("cpu"))) == 2
    assert batches(6) == []
    assert [sorted(one + two) for one, two in zip(batches(4, 0, 2), batches(4, 1, 2), strict=True)] == batches(4)


def test_the_paper_crops_objects_at_random_within_the_centre() -> None:
    """A ramp tells where a crop was taken: 230 of 256 pixels in the middle, 224 of them."""
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[np.newaxis, :, np.newaxis], (256, 256, 3))
    paper = {"size_px": 256, "crop_px": 224, "centre_px": 230, "nuisance": OFF.model_dump(), "clean_share": 0.9}
    examples = examples_of(np.stack([ramp] * 3), **paper, batch=80)
    crops = [examples.example(index) for index in range(72)]
    assert {picture(example).shape for example in crops} == {(224, 224, 3)}
    assert {example.values["label"].shape for example in crops} == {(224, 224)}
    assert {int(picture(example)[0, 0, 0]) for example in crops} == set(range(13, 20))


def test_flips_are_vertical_and_every_second_time() -> None:
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, np.newaxis, np.newaxis], (64, 64, 3))
    examples = examples_of(np.stack([ramp] * 3), nuisance=OFF.model_dump(), flip=True, clean_share=0.9, batch=60)
    tops = Counter(int(picture(examples.example(index))[0, 5, 0]) for index in range(50))
    assert set(tops) == {0, 63}
    assert 15 < tops[0] < 35


def test_textures_are_not_turned_aligned_objects_little_and_others_more() -> None:
    config = TrainConfig(size_px=64)
    aligned = measured_profile(list(washers()))
    maker = maker_for(config, aligned)

    def degrees(**changes: object) -> float:
        return Examples(washers(1), config, maker, aligned.model_copy(update=changes)).rotation_deg

    assert (degrees(), degrees(aligned=False), degrees(kind="texture")) == (2.0, 5.0, 0.0)
    said = parse(TrainConfig, {"size_px": 64, "nuisance": {"rotation_deg": 30}}, "test")
    assert Examples(washers(1), said, maker, aligned).rotation_deg == 30


def test_one_channel_pictures_stay_one_channel() -> None:
    pictures = np.ascontiguousarray(washers()[..., :1])
    example = examples_of(pictures).example(7)
    assert picture(example).shape == (64, 64, 1)
    assert example.outcome is Outcome.ANOMALOUS
