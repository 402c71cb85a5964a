"""Puts a trained graph into the form that engines run, still in torch and still trainable.

What the exporter does on its way to ONNX is done here as modules: transposed convolutions and CoordConv as ordinary
convolutions, and batch norms inside the convolution before them. INT8 rounds the weights of that form.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sad_export.coordinates import without_coordinates
from sad_export.subpixel import without_transposed_convolutions
from sad_train.graph import InspectionGraph


def folded(graph: InspectionGraph) -> InspectionGraph:
    """A copy of `graph` that says the same, and exports to the same operations."""
    image = torch.zeros((1, *graph.spec.shape), dtype=torch.uint8)
    changed = without_coordinates(without_transposed_convolutions(graph), image).eval()
    names = {module: name for name, module in changed.named_modules()}
    for convolution, norm in _pairs(changed, image):
        _put(changed, names[convolution], fuse_conv_bn_eval(convolution, norm))
        _put(changed, names[norm], nn.Identity())
    return changed


@torch.no_grad()
def _pairs(graph: InspectionGraph, image: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Batch norms that are given just what a convolution made, seen on a run: names would not tell in every network."""
    made: dict[int, tuple[Tensor, nn.Conv2d]] = {}
    found: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def note(module: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            made[id(result)] = (result, module)  # the tensor too: its id stays its own as long as it lives
        elif isinstance(module, nn.BatchNorm2d) and id(given[0]) in made:
            found.append((made[id(given[0])][1], module))

    hooks = [module.register_forward_hook(note) for module in graph.modules()]
    graph(image)
    for hook in hooks:
        hook.remove()
    return found


def _put(graph: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(graph.get_submodule(parent), own, module)
