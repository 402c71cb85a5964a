"""Transposed convolutions as convolution and depth-to-space: the same numbers, for every kernel that doubles."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sad_export.subpixel import SubpixelConvolution, without_transposed_convolutions
from sad_train.networks.nsa_resnet18 import NsaResNet18

KERNELS = [(1, 0, 1), (2, 0, 0), (3, 1, 1), (4, 1, 0), (5, 2, 1), (6, 2, 0), (7, 3, 1)]
"""(kernel, padding, output padding)"""


def apart(one: Tensor, other: Tensor) -> float:
    assert one.shape == other.shape
    return float((one - other).abs().max())


def random_norm(channels: int) -> nn.BatchNorm2d:
    """As training leaves it: nothing is 0 or 1."""
    norm = nn.BatchNorm2d(channels)
    for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        assert values is not None
        values.uniform_(0.5, 2.0)
    return norm.eval()


@pytest.mark.parametrize(("kernel", "padding", "extra"), KERNELS)
@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_every_kernel_that_doubles_is_rewritten_exactly(kernel: int, padding: int, extra: int, bias: bool) -> None:
    torch.manual_seed(0)
    transposed = nn.ConvTranspose2d(5, 3, kernel, 2, padding, extra, bias=bias)
    x = torch.randn(2, 5, 6, 9)
    assert apart(SubpixelConvolution(transposed)(x), transposed(x)) < 1e-5


@pytest.mark.parametrize(("kernel", "padding", "extra"), KERNELS)
@torch.no_grad()
def test_a_batch_norm_behind_it_is_folded_in(kernel: int, padding: int, extra: int) -> None:
    torch.manual_seed(1)
    given = nn.Sequential(nn.ConvTranspose2d(4, 6, kernel, 2, padding, extra, bias=False), random_norm(6), nn.ReLU())
    made = without_transposed_convolutions(given)
    x = torch.randn(1, 4, 8, 8)
    assert apart(made(x), given.eval()(x)) < 1e-4
    assert not any(isinstance(module, (nn.ConvTranspose2d, nn.BatchNorm2d)) for module in made.modules())


@torch.no_grad()
def test_a_whole_network_keeps_its_outputs_and_is_itself_left_alone() -> None:
    torch.manual_seed(2)
    network = NsaResNet18(3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.load_state_dict(random_norm(module.num_features).state_dict())
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    network.eval()
    x = torch.randn(1, 3, 64, 64)
    made = without_transposed_convolutions(network)
    for one, other in zip(made(x)[:2], network(x)[:2], strict=True):
        assert apart(one, other) < 1e-3 * float(other.abs().max())
    assert not any(isinstance(module, nn.ConvTranspose2d) for module in made.modules())
    assert sum(isinstance(module, nn.ConvTranspose2d) for module in network.modules()) == 7
    assert all(torch.equal(value, kept[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    "other",
    [
        nn.ConvTranspose2d(4, 4, 3, 1, 1),
        nn.ConvTranspose2d(4, 4, 3, 2, 0),
        nn.ConvTranspose2d(4, 4, 3, 2, 1, 1, groups=2),
        nn.ConvTranspose2d(4, 4, 3, 2, 2, 1, dilation=2),
        nn.ConvTranspose2d(4, 4, (3, 1), 2, (1, 0), 1),
        nn.ConvTranspose2d(4, 4, 5, 3, 1),
    ],
    ids=["stride 1", "does not double", "groups", "dilated", "not square", "stride 3"],
)
def test_whatever_does_not_exactly_double_is_refused(other: nn.ConvTranspose2d) -> None:
    with pytest.raises(ValueError, match="only transposed convolutions that exactly double"):
        SubpixelConvolution(other)
