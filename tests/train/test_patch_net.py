"""The network of crops: one dense pass says what crop by crop does, and its distances land where the crops were."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sad_train.networks.field_spread import SIGMA, FieldSpread
from sad_train.networks.patch_net import STRIDE_PX, PatchNet

PATCHES = [32, 40, 48, 56, 64]


def settled_net(patch_px: int) -> PatchNet:
    """In eval mode, with batch norms that do something."""
    torch.manual_seed(7)
    net = PatchNet(3, patch_px)
    net.train()
    with torch.no_grad():
        net(torch.randn(4, 3, 96, 96))
    return net.eval()


@pytest.mark.parametrize("patch_px", PATCHES)
@torch.no_grad()
def test_one_dense_pass_is_the_same_as_crop_by_crop(patch_px: int) -> None:
    net, side = settled_net(patch_px), 128
    x = torch.randn((1, 3, side, side), generator=torch.Generator().manual_seed(1))
    dense = net(x)[0]
    places = (side - patch_px) // STRIDE_PX + 1
    assert dense.shape == (net.size, places, places)
    for i in range(places):
        for j in range(places):
            top, left = STRIDE_PX * i, STRIDE_PX * j
            alone = net(x[:, :, top : top + patch_px, left : left + patch_px])
            assert alone.shape == (1, net.size, 1, 1)
            torch.testing.assert_close(alone[0, :, 0, 0], dense[:, i, j], atol=1e-4, rtol=0)


@pytest.mark.parametrize("patch_px", PATCHES)
def test_a_place_sees_its_crop_to_the_edges_and_nothing_beyond(patch_px: int) -> None:
    net = settled_net(patch_px)
    x = torch.rand((1, 3, 128, 128), requires_grad=True)
    net.requires_grad_(False)
    net(x)[0, :, 2, 3].sum().backward()
    assert x.grad is not None
    seen = x.grad[0].abs().sum(0).numpy() > 0
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    assert patch_px <= 64
    assert (rows[0], rows[-1] + 1 - rows[0]) == (2 * STRIDE_PX, patch_px)
    assert (columns[0], columns[-1] + 1 - columns[0]) == (3 * STRIDE_PX, patch_px)


def test_nothing_is_padded() -> None:
    assert all(layer.padding == (0, 0) for layer in PatchNet(1, 64).modules() if isinstance(layer, torch.nn.Conv2d))


def test_a_lone_distance_becomes_the_gaussian_of_its_field() -> None:
    """Against the transposed convolution of FCDD, over what all fields together give."""
    side, field, stride = 128, 64, 8
    spread = FieldSpread(side, field, stride)
    places = (side - field) // stride + 1
    taps = torch.arange(side).float()
    kernel_1d = torch.exp(-0.5 * ((taps - (side - 1) / 2) / (SIGMA * field)) ** 2)
    kernel = (kernel_1d[:, None] * kernel_1d[None, :])[None, None]
    generator = torch.Generator().manual_seed(0)
    distances = torch.rand((1, 1, places, places), generator=generator)
    offset = (side - field) // 2  # the kernel's middle lies on the field's
    sums, ones = (
        torch.nn.functional.conv_transpose2d(values, kernel, stride=stride)[..., offset : offset + side, :][
            ..., offset : offset + side
        ]
        for values in (distances, torch.ones_like(distances))
    )
    torch.testing.assert_close(spread(distances), sums / ones, atol=1e-4, rtol=0)


def test_even_distances_stay_even_up_to_the_border() -> None:
    spread = FieldSpread(96, 32, 8)
    torch.testing.assert_close(spread(torch.full((2, 1, 9, 9), 3.0)), torch.full((2, 1, 96, 96), 3.0))


def test_the_warmest_pixel_lies_in_the_middle_of_the_farthest_crop() -> None:
    distances = torch.zeros(1, 1, 9, 9)
    distances[0, 0, 2, 6] = 1
    warm = FieldSpread(128, 64, 8)(distances)[0, 0]
    row, column = divmod(int(warm.argmax()), 128)
    assert abs(row - (2 * 8 + 31.5)) <= 4.5
    assert abs(column - (6 * 8 + 31.5)) <= 4.5


def test_a_widened_picture_has_its_warmth_at_the_border_itself() -> None:
    distances = torch.zeros(1, 1, 17, 17)
    distances[0, 0, 0, 8] = 1
    warm = FieldSpread(128, 64, 8, margin_px=32)(distances)[0, 0]
    assert divmod(int(warm.argmax()), 128)[0] == 0
    assert float(warm[24:].max()) < 0.1 * float(warm.max())
