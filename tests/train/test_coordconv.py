"""CoordConv: the coordinates it sees, what it can learn that a convolution cannot, and who switches it on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional as F

from sad_runtime.schema import parse
from sad_train.config import TrainConfig
from sad_train.data.profile import Profile, measured_profile
from sad_train.networks.coordconv import CoordConv2d, coordinates
from sad_train.networks.segmenters import segmenter_for

SIDE = 8


def profile(*, aligned: bool) -> Profile:
    flat = measured_profile([np.zeros((32, 32, 3), np.uint8)])
    return flat.model_copy(update={"aligned": aligned})


def layers_with_coordinates(network: nn.Module) -> int:
    return sum(isinstance(module, CoordConv2d) for module in network.modules())


def test_the_ramps_run_from_minus_one_to_one_and_the_radius_is_their_length() -> None:
    x, y, radius = coordinates(3, 5, radius=True, like=torch.zeros(1))[0]
    assert torch.equal(x, torch.tensor([[-1.0, -0.5, 0.0, 0.5, 1.0]] * 3))
    assert torch.equal(y, torch.tensor([[-1.0], [0.0], [1.0]]).expand(3, 5))
    assert torch.allclose(radius, torch.hypot(x, y))
    assert coordinates(1, 1, radius=False, like=torch.zeros(1)).abs().max() == 0


@pytest.mark.parametrize("radius", [False, True])
def test_the_layer_is_a_convolution_of_the_picture_with_its_coordinates(radius: bool) -> None:
    torch.manual_seed(0)
    layer = CoordConv2d(3, 4, 5, 2, 2, radius=radius)
    x = torch.randn(2, 3, 10, 8)
    ramps = coordinates(10, 8, radius=radius, like=x).expand(2, -1, -1, -1)
    expected = F.conv2d(torch.cat([x, ramps], 1), layer.weight, layer.bias, stride=2, padding=2)
    assert torch.equal(layer(x), expected)
    assert layer.seen_channels == 3


def test_what_the_coordinates_add_does_not_depend_on_the_picture() -> None:
    torch.manual_seed(1)
    layer = CoordConv2d(2, 3, 3, 1, 1)
    plain = F.conv2d(x := torch.randn(1, 2, 6, 7), layer.weight[:, :2], None, padding=1)
    assert torch.allclose(layer(x) - plain, layer.contribution(6, 7), atol=1e-6)


def marked_pixels() -> tuple[Tensor, Tensor]:
    """Every picture of SIDE x SIDE with one white pixel, (n, 1, SIDE, SIDE), and where it is, (n, 2) in -1..1."""
    pictures = torch.eye(SIDE * SIDE).reshape(-1, 1, SIDE, SIDE)
    places = coordinates(SIDE, SIDE, radius=False, like=pictures)[0].flatten(1).T
    return pictures, places


def error_after_training(first: nn.Module) -> float:
    """Mean distance between said and true places: 1x1 convolutions, the largest value over the picture, a line."""
    pictures, places = marked_pixels()
    features = nn.Sequential(first, nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU())
    last = nn.Linear(16, 2)
    optimiser = torch.optim.Adam([*features.parameters(), *last.parameters()], 0.02)
    error = torch.zeros(())
    for _ in range(150):
        error = (last(features(pictures).amax((2, 3))) - places).norm(dim=1).mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
    return float(error.detach())


def test_it_learns_where_a_pixel_is_and_a_plain_convolution_never_does() -> None:
    """The paper's point in small: to a convolution every place is the same, so the best it can say is the middle."""
    torch.manual_seed(0)
    always_the_middle = float(marked_pixels()[1].norm(dim=1).mean())
    assert error_after_training(CoordConv2d(1, 16, 1)) < 0.25 * always_the_middle
    assert error_after_training(nn.Conv2d(1, 16, 1)) > 0.95 * always_the_middle


@pytest.mark.parametrize("network", ["small_unet", "nsa_resnet18"])
@pytest.mark.parametrize(
    ("coords", "aligned", "expected"),
    [("off", True, 0), ("on", False, 1), ("auto", True, 1), ("auto", False, 0)],
)
def test_any_segmentation_method_switches_it_on_and_auto_asks_whether_parts_lie_alike(
    network: str, coords: str, aligned: bool, expected: int
) -> None:
    config = parse(TrainConfig, {"size_px": 64, "network": network, "coords": coords}, "test")
    assert layers_with_coordinates(segmenter_for(config, profile(aligned=aligned), 3)) == expected


def test_nsa_leaves_it_off_unless_asked() -> None:
    assert TrainConfig().coords == "off"


@pytest.mark.parametrize(("written", "meant"), [("on", "on"), ("off", "off"), ("'off'", "off"), ("auto", "auto")])
def test_on_and_off_may_be_written_bare_in_yaml(written: str, meant: str) -> None:
    """YAML itself reads them as true and false."""
    assert parse(TrainConfig, yaml.safe_load(f"coords: {written}"), "test").coords == meant
