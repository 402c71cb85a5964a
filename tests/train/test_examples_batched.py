"""Batches made on a device: the loader's form, its stream and its mix, and the same again after a resume."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sad_runtime.cameras.demo.parts import render
from sad_runtime.schema import parse
from sad_train.config import NuisanceConfig, TrainConfig
from sad_train.data.profile import measured_profile
from sad_train.distributed import Ranks
from sad_train.examples import OUTCOME, Examples
from sad_train.examples_batched import BatchedExamples
from sad_train.methods.base import Outcome
from sad_train.methods.table import batch_maker_for, maker_for

OFF = NuisanceConfig(gain=0, gamma=0, white_balance=0, vignette=0, blur_px=0, noise=0, shift=0, rotation_deg=0)


def washers(count: int = 5) -> NDArray[np.uint8]:
    return np.stack([render("washer", seed=1, index=index, size_px=64).image for index in range(count)])


def config_of(**settings: object) -> TrainConfig:
    return parse(TrainConfig, {"size_px": 64, "steps": 6, "batch": 8, **settings}, "test")


def batched(config: TrainConfig, pictures: NDArray[np.uint8], *ranks: int) -> BatchedExamples:
    profile = measured_profile(list(pictures))
    maker = batch_maker_for(config, profile)
    assert maker is not None
    return BatchedExamples(pictures, config, maker, profile, Ranks("cpu", *ranks))


def test_a_batch_has_the_form_that_the_loader_gives_it() -> None:
    config, pictures = config_of(), washers()
    profile = measured_profile(list(pictures))
    loader = torch.utils.data.DataLoader(Examples(pictures, config, maker_for(config, profile), profile), batch_size=8)
    (made, expected) = batched(config, pictures).batch(0), next(iter(loader))
    assert made.keys() == expected.keys()
    for name, value in expected.items():
        assert (made[name].shape, made[name].dtype) == (value.shape, value.dtype), name
    assert made[OUTCOME].tolist() == expected[OUTCOME].tolist() == [Outcome.CLEAN] * 2 + [Outcome.ANOMALOUS] * 6
    assert not made["label"][:2].any()
    assert made["label"][2:].flatten(1).any(1).all()


def test_a_resumed_run_makes_the_batches_it_has_not_seen() -> None:
    examples = batched(config_of(), washers())
    whole, rest = list(examples.batches(0)), list(examples.batches(4))
    assert (len(whole), len(rest)) == (6, 2)
    assert all(torch.equal(one["picture"], other["picture"]) for one, other in zip(whole[4:], rest, strict=True))
    assert not torch.equal(whole[0]["picture"], whole[1]["picture"])


def test_without_nuisance_the_clean_ones_are_the_streams_pictures() -> None:
    config, pictures = config_of(nuisance=OFF.model_dump(), clean_share=0.5), washers()
    profile = measured_profile(list(pictures))
    alone = Examples(pictures, config, maker_for(config, profile), profile)
    made = batched(config, pictures).batch(1)["picture"]
    for slot in range(4):
        assert np.array_equal(made[slot].numpy(), alone.example(8 + slot).values["picture"])


def test_two_processes_share_a_batch_between_them() -> None:
    config = config_of(nuisance=OFF.model_dump(), clean_share=0.5)
    whole = batched(config, washers()).batch(0)
    halves = [batched(config, washers(), rank, 2).batch(0) for rank in (0, 1)]
    assert [len(half["picture"]) for half in halves] == [4, 4]
    taken = Ranks("cpu", 1, 2).share(8, 0)
    assert torch.equal(halves[1]["picture"][0], whole["picture"][taken[0]])
    assert sum(int((half[OUTCOME] == Outcome.CLEAN).sum()) for half in halves) == 4


@pytest.mark.parametrize("flip", [False, True])
def test_the_papers_crops_and_flips_are_taken_here_too(flip: bool) -> None:
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, np.newaxis, np.newaxis], (256, 256, 3))
    paper = {"size_px": 256, "crop_px": 224, "centre_px": 230, "nuisance": OFF.model_dump(), "clean_share": 0.9}
    config = config_of(**paper, batch=80, flip=flip)
    made = batched(config, np.stack([ramp] * 3)).batch(0)["picture"][:72]
    assert made.shape[1:] == (224, 224, 3)
    tops = {int(picture[0, 0, 0]) for picture in made}
    assert tops <= (set(range(13, 20)) | (set(range(236, 243)) if flip else set()))
    assert len(tops) > 5


def test_a_method_that_wants_good_pictures_only_gets_them_under_pose_and_light() -> None:
    config = config_of(method="fastflow", network="narrow_resnet18")
    made = batched(config, washers()).batch(0)
    assert made.keys() == {"picture", OUTCOME}
    assert made[OUTCOME].tolist() == [Outcome.CLEAN] * 8
    assert not np.array_equal(made["picture"][0].numpy(), made["picture"][5].numpy())
