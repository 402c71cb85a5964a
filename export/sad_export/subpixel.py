"""Rewrites stride-2 transposed convolutions exactly as a convolution and a depth-to-space.

TensorRT's INT8 has no good ConvTranspose (wrong values, not fused), while this form is exact: output pixel
(2i + a, 2j + b) sums the inputs under the taps of parity (a + pad, b + pad), so each parity is a convolution.
"""

from __future__ import annotations

import copy
import itertools
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

M = TypeVar("M", bound=nn.Module)


class SubpixelConvolution(nn.Module):
    """Equal to the transposed convolution it is made from. (N, in, H, W) -> (N, out, 2H, 2W)."""

    def __init__(self, transposed: nn.ConvTranspose2d) -> None:
        super().__init__()
        _check(transposed)
        kernel, pad = transposed.kernel_size[0], int(transposed.padding[0])
        # Input row i + offset meets tap `2 * -offset + parity + pad`; these offsets have a tap for some parity.
        offsets = [o for o in range(-kernel, kernel + 1) if any(0 <= p + pad - 2 * o < kernel for p in (0, 1))]
        self.before, self.after = -min(offsets), max(offsets)
        self.weight = nn.Parameter(_weight(transposed, offsets, pad))
        bias = transposed.bias
        self.bias = None if bias is None else nn.Parameter(bias.detach().repeat_interleave(4))

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (self.before, self.after, self.before, self.after))
        return F.pixel_shuffle(F.conv2d(padded, self.weight, self.bias), 2)


def without_transposed_convolutions(module: M) -> M:
    """A copy of `module`, to be run only, in which every stride-2 transposed convolution is a SubpixelConvolution.

    A batch norm that follows one in an nn.Sequential is folded into it.
    """
    changed = copy.deepcopy(module).eval()
    for parent in list(changed.modules()):
        if isinstance(parent, nn.Sequential):
            _fold_batch_norms(parent)
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ConvTranspose2d):
                setattr(parent, name, SubpixelConvolution(child))
    return changed


def _fold_batch_norms(sequence: nn.Sequential) -> None:
    for index, (first, second) in enumerate(itertools.pairwise(list(sequence))):
        if isinstance(first, nn.ConvTranspose2d) and isinstance(second, nn.BatchNorm2d):
            sequence[index] = fuse_conv_bn_eval(first, second, transpose=True)
            sequence[index + 1] = nn.Identity()


def _weight(transposed: nn.ConvTranspose2d, offsets: list[int], pad: int) -> Tensor:
    """(4 * out, in, len(offsets), len(offsets)); rows of four are the parities that pixel_shuffle puts side by side."""
    given = transposed.weight.detach()
    channels_in, channels_out, kernel, _ = given.shape
    weight = torch.zeros(channels_out, 2, 2, channels_in, len(offsets), len(offsets))
    for a in (0, 1):
        for b in (0, 1):
            for row, down in enumerate(offsets):
                for column, right in enumerate(offsets):
                    u, v = a + pad - 2 * down, b + pad - 2 * right
                    if 0 <= u < kernel and 0 <= v < kernel:
                        weight[:, a, b, :, row, column] = given[:, :, u, v].T
    return weight.reshape(4 * channels_out, channels_in, len(offsets), len(offsets))


def _check(transposed: nn.ConvTranspose2d) -> None:
    kernel, pad, extra = transposed.kernel_size[0], int(transposed.padding[0]), transposed.output_padding[0]
    square = (
        len(set(transposed.kernel_size)) == len(set(transposed.padding)) == len(set(transposed.output_padding)) == 1
    )
    doubles = transposed.stride == (2, 2) and kernel + extra - 2 * pad == 2 and transposed.groups == 1
    if not (square and doubles and transposed.dilation == (1, 1)):
        raise ValueError(f"only transposed convolutions that exactly double are rewritten, not {transposed}")
