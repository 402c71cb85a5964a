"""Rewrites CoordConv layers exactly as an ordinary convolution and the addition of a constant.

A CoordConv is linear and its ramps are the same for every picture, so with static shapes all that they and the bias
contribute is one tensor [1, C, H, W], zero padding included. No ramp arithmetic is left, and INT8 sees a plain
convolution. A batch norm behind the layer goes into both: left where it is, the addition would keep it from folding.
"""

from __future__ import annotations

import copy
import re
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sad_train.networks.coordconv import CoordConv2d

M = TypeVar("M", bound=nn.Module)


class PlacedConvolution(nn.Module):
    """Equal to the CoordConv it is made from, for inputs of the one size that `constant` was made for."""

    constant: Tensor

    def __init__(self, layer: CoordConv2d, height: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(layer.weight.detach()[:, : layer.seen_channels].clone())
        self.stride, self.padding = layer.stride, cast(tuple[int, int], layer.padding)
        self.register_buffer("constant", layer.contribution(height, width))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, None, self.stride, self.padding) + self.constant


def without_coordinates(module: M, *inputs: Tensor) -> M:
    """A copy of `module`, to be run only on inputs of these shapes, in which every CoordConv is a PlacedConvolution.

    Batch norms go in when they follow in an nn.Sequential, or when a module calls the pair convN and bnN, as
    torchvision does.
    """
    changed = copy.deepcopy(module).eval()
    sizes = _sizes_seen(changed, inputs)
    for parent in list(changed.modules()):
        for name, child in list(parent.named_children()):
            if not isinstance(child, CoordConv2d):
                continue
            behind = _name_behind(parent, name)
            layer = child
            if isinstance(norm := getattr(parent, behind, None), nn.BatchNorm2d):
                layer = fuse_conv_bn_eval(child, norm)
                setattr(parent, behind, nn.Identity())
            setattr(parent, name, PlacedConvolution(layer, *sizes[child]))
    return changed


def _name_behind(parent: nn.Module, name: str) -> str:
    """What the batch norm behind `name` is called, if there is one."""
    return str(int(name) + 1) if isinstance(parent, nn.Sequential) and name.isdigit() else re.sub("^conv", "bn", name)


@torch.no_grad()
def _sizes_seen(module: nn.Module, inputs: tuple[Tensor, ...]) -> dict[nn.Module, tuple[int, int]]:
    """Height and width of what every CoordConv is given."""
    sizes: dict[nn.Module, tuple[int, int]] = {}

    def note(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        sizes[layer] = (given[0].shape[2], given[0].shape[3])

    layers = [layer for layer in module.modules() if isinstance(layer, CoordConv2d)]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    if layers:
        module(*inputs)
    for hook in hooks:
        hook.remove()
    return sizes
