"""The ResNet trunk: torchvision's names and sizes, maps at the strides that methods count on."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sad_runtime.errors import ConfigError
from sad_train.networks.resnet import BasicBlock, Bottleneck, Depth, ResNet
from sad_train.networks.trunks import TRUNKS, trunk_for


@pytest.mark.parametrize(("depth", "entries", "parameters"), [(18, 120, 11_176_512), (50, 318, 23_508_032)])
def test_it_has_the_entries_and_parameters_of_torchvisions_without_the_classifier(
    depth: Depth, entries: int, parameters: int
) -> None:
    """torchvision documents 11,689,512 and 25,557,032; its classifiers hold 513,000 and 2,049,000 of them."""
    network = ResNet(depth, 3)
    assert len(network.state_dict()) == entries
    assert sum(weight.numel() for weight in network.parameters()) == parameters


def test_weights_are_named_as_in_torchvision() -> None:
    shapes = {name: tuple(value.shape) for name, value in ResNet(50, 3).state_dict().items()}
    assert shapes["conv1.weight"] == (64, 3, 7, 7)
    assert shapes["bn1.running_mean"] == (64,)
    assert shapes["layer1.0.downsample.0.weight"] == (256, 64, 1, 1)
    assert shapes["layer3.5.conv2.weight"] == (256, 256, 3, 3)
    assert shapes["layer4.2.conv3.weight"] == (2048, 512, 1, 1)
    assert "layer2.1.downsample.0.weight" not in shapes
    small = ResNet(18, 3).state_dict()
    assert "layer1.0.downsample.0.weight" not in small
    assert small["layer4.0.downsample.1.running_var"].shape == (512,)


def test_maps_come_at_strides_4_8_16_and_32() -> None:
    with torch.no_grad():
        maps = ResNet(18, 1)(torch.zeros(2, 1, 64, 96))
    assert [tuple(y.shape) for y in maps] == [(2, 64, 16, 24), (2, 128, 8, 12), (2, 256, 4, 6), (2, 512, 2, 3)]


def test_three_stages_end_at_stride_16_and_half_the_width_halves_every_map() -> None:
    network = trunk_for("narrow_resnet18", 3, stages=3)
    assert network.widths == [32, 64, 128]
    assert trunk_for("resnet50", 3).widths == [256, 512, 1024, 2048]
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 64, 64))[-1].shape == (1, 128, 4, 4)


def test_a_bottleneck_strides_in_its_3x3_convolution() -> None:
    """As torchvision and timm do; the paper strides in the first 1x1, and weights would fit either way."""
    block = Bottleneck(64, 32, 2)
    assert [block.conv1.stride, block.conv2.stride, block.conv3.stride] == [(1, 1), (2, 2), (1, 1)]


def test_a_block_adds_its_input_before_the_last_rectifier() -> None:
    block = BasicBlock(4, 4).eval()
    nn.init.zeros_(block.bn2.weight)
    x = torch.randn(1, 4, 8, 8)
    assert torch.equal(block(x), F.relu(x))


def test_a_network_that_is_no_backbone_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=f"small_unet is no backbone; take one of {', '.join(TRUNKS)}"):
        trunk_for("small_unet", 3)
