"""Light and pose for a whole batch: nothing when switched off, what nuisance.py draws when on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from sad_runtime.cameras.demo.parts import render
from sad_train.config import NuisanceConfig
from sad_train.nuisance import relit as relit_one
from sad_train.nuisance_batched import posed, relit

OFF = NuisanceConfig(gain=0, gamma=0, white_balance=0, vignette=0, blur_px=0, noise=0, shift=0, rotation_deg=0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def washers(count: int, size: int = 64) -> Tensor:
    pictures = np.stack([render("washer", seed=1, index=index, size_px=size).image for index in range(count)])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float()


def test_switched_off_nothing_changes() -> None:
    pictures = washers(3)
    assert torch.equal(relit(pictures, OFF, seeded()), pictures)
    assert torch.allclose(posed(pictures, OFF, 0.0, seeded()), pictures, atol=1e-3)


def test_the_same_seed_draws_the_same_and_every_picture_its_own() -> None:
    pictures = washers(1).repeat(3, 1, 1, 1)
    config = NuisanceConfig()
    one, again, other = (relit(posed(pictures, config, 5.0, seeded(s)), config, seeded(s)) for s in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert not torch.equal(one[0], one[1])
    assert one.min() >= 0
    assert one.max() <= 255
    assert torch.equal(one, one.round())


@pytest.mark.parametrize("height", [64, 96])
def test_a_turn_keeps_its_centre_and_its_shape(height: int) -> None:
    """A bright disc off the centre stays as far from it, and round, whatever the picture's sides."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(64), indexing="ij")
    away = ((rows - height / 2 + 0.5) ** 2 + (columns - 41.5) ** 2).sqrt()
    picture = ((4 - away).clamp(0, 1) * 255)[None, None].repeat(8, 1, 1, 1)
    turned = posed(picture, OFF, 20.0, seeded())
    for one in turned:
        weight = one[0] / one[0].sum()
        y, x = float((weight * rows).sum()) - height / 2 + 0.5, float((weight * columns).sum()) - 31.5
        assert np.hypot(y, x) == pytest.approx(10, abs=0.2)
        assert float(one.sum()) == pytest.approx(float(picture[0].sum()), rel=0.02)
    assert not torch.allclose(turned[0], turned[1], atol=50)


def test_a_shift_is_at_most_the_share_of_the_side() -> None:
    ramp = torch.arange(100.0)[None, None, None, :].repeat(64, 1, 100, 1)
    moved = posed(ramp, NuisanceConfig(shift=0.1), 0.0, seeded())
    by = moved[:, 0, 50, 50] - 50
    assert float(by.abs().max()) <= 10.01
    assert float(by.abs().max()) > 8


@pytest.mark.parametrize(
    "changes", [{"gain": 0.3}, {"gamma": 0.3}, {"white_balance": 0.2}, {"vignette": 0.5}, {"noise": 9.0}]
)
def test_each_change_is_as_strong_as_one_by_one(changes: dict[str, float]) -> None:
    """Mean and spread over many draws, against nuisance.py."""
    config = OFF.model_copy(update=changes)
    picture = washers(1)
    batched = relit(picture.repeat(400, 1, 1, 1), config, seeded()) - picture
    single = picture[0].permute(1, 2, 0).byte().numpy()
    rng = np.random.default_rng(0)
    alone = np.stack([relit_one(single, config, rng).astype(float) - single for _ in range(400)])
    assert float(batched.abs().mean()) == pytest.approx(np.abs(alone).mean(), rel=0.12, abs=0.1)
    assert float(batched.mean()) == pytest.approx(alone.mean(), abs=1.5)


def test_a_share_of_the_pictures_is_blurred() -> None:
    sharp = (255 * (torch.arange(64) % 2).float())[None, None, None, :].repeat(200, 1, 64, 1)
    contrast = relit(sharp, OFF.model_copy(update={"blur_px": 2.0}), seeded())[:, 0, 32, 8:56].std(1)
    blurred = contrast < 0.98 * sharp[0, 0, 32, 8:56].std()
    assert 0.15 < float(blurred.float().mean()) < 0.4
