"""INT8 played in float32, in torch: what the Q/DQ file (quantised.py) computes, with gradients for tuning.

A mode stands round a forward pass of a folded graph (folding.py) and sees each convolution, whatever module it is in.
Where a convolution is fed by concatenated maps, each map and the weights that meet it have scales of their own, as in
the file (splitting.py). Gradients go straight through the rounding, and stop where a value is clipped.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sad_calibration.int8.amplitude import METHODS, amplitude
from sad_calibration.int8.histogram import Histogram
from sad_export.precisions.quantised import FEWEST_CHANNELS, LEVELS, scale_for
from sad_train.graph import InspectionGraph

LOWEST = -LEVELS - 1
"""Of inputs: engines clip there. Weights never reach it."""


class Convolutions(TorchFunctionMode):
    """For one forward pass: hands what quantisable convolutions read to `map`, and their weights to `weights`.

    Maps are numbered in the order in which they are first read; one that feeds several convolutions is handed out once.
    """

    def __init__(self) -> None:
        super().__init__()
        # The tensors are kept beside their ids: an id stays a tensor's own as long as the tensor lives.
        self._joined: dict[int, tuple[Tensor, Sequence[Tensor]]] = {}
        self._done: dict[int, tuple[Tensor, Tensor]] = {}

    @abstractmethod
    def map(self, number: int, values: Tensor) -> Tensor: ...

    @abstractmethod
    def weights(self, values: Tensor) -> Tensor: ...

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        options = kwargs or {}
        if func is torch.conv2d:
            return self._convolved(*args, **options)
        result = func(*args, **options)
        if func is torch.cat and (args[1] if len(args) > 1 else options.get("dim", 0)) == 1:
            self._joined[id(result)] = (result, args[0])
        return result

    def _convolved(self, x: Tensor, weight: Tensor, *args: Any, **options: Any) -> Tensor:
        if weight.shape[1] < FEWEST_CHANNELS:
            return torch.conv2d(x, weight, *args, **options)
        grouped = weight.shape[1] != x.shape[1]
        parts = self._joined[id(x)][1] if id(x) in self._joined and not grouped else [x]
        if len(parts) == 1:
            return torch.conv2d(self._map(x), self.weights(weight), *args, **options)
        met = zip(parts, torch.split(weight, [part.shape[1] for part in parts], 1), strict=True)
        pairs = [(self._map(part), self.weights(own)) if _is_wide(part) else (part, own) for part, own in met]
        maps, weights = zip(*pairs, strict=True)
        return torch.conv2d(torch.cat(maps, 1), torch.cat(weights, 1), *args, **options)

    def _map(self, values: Tensor) -> Tensor:
        if id(values) not in self._done:
            self._done[id(values)] = (values, self.map(len(self._done), values))
        return self._done[id(values)][1]


def _is_wide(values: Tensor) -> bool:
    return values.shape[1] >= FEWEST_CHANNELS


class FakeQuantisation(Convolutions):
    """Within it, convolutions compute with what INT8 leaves of their inputs and weights."""

    def __init__(self, amplitudes: Sequence[float]) -> None:
        """`amplitudes`: by number, the absolute value of a map that becomes 127."""
        super().__init__()
        self._scales = [float(scale_for(one)) for one in amplitudes]

    def map(self, number: int, values: Tensor) -> Tensor:
        return torch.fake_quantize_per_tensor_affine(values, self._scales[number], 0, LOWEST, LEVELS)

    def weights(self, values: Tensor) -> Tensor:
        largest = values.detach().abs().flatten(1).amax(1)
        scales = torch.from_numpy(scale_for(largest.double().numpy()))
        zeros = torch.zeros(len(scales), dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(values, scales, zeros, 0, -LEVELS, LEVELS)


class Watched(Convolutions):
    """Within it all is as it was; how large each map gets is added to `histograms`, which grow as maps appear."""

    def __init__(self, histograms: list[Histogram]) -> None:
        super().__init__()
        self._histograms = histograms

    def map(self, number: int, values: Tensor) -> Tensor:
        if number == len(self._histograms):
            self._histograms.append(Histogram(f"map {number}"))
        self._histograms[number].add(values.detach().numpy())
        return values

    def weights(self, values: Tensor) -> Tensor:
        return values


class Rounding(FakeQuantisation):
    """Within it weights are left as INT8 has them, which it rounds to the same codes again; maps are not touched."""

    def __init__(self) -> None:
        super().__init__([])

    def map(self, number: int, values: Tensor) -> Tensor:
        return values

    def weights(self, values: Tensor) -> Tensor:
        return values.copy_(super().weights(values))


@torch.no_grad()
def amplitudes_of(graph: InspectionGraph, pictures: NDArray[np.uint8]) -> dict[str, list[float]]:
    """What FakeQuantisation takes, by each method of sad_calibration, as `graph` (folded) shows it on `pictures`.

    The picture itself, where a quantisable convolution reads it, goes from black to white by every method.
    """
    histograms: list[Histogram] = []
    for batch in torch.split(torch.from_numpy(np.ascontiguousarray(pictures)), graph.at_once):
        with Watched(histograms):
            graph(batch)
    found = {method: [amplitude(one, method) for one in histograms] for method in METHODS}
    if graph.spec.channels >= FEWEST_CHANNELS:
        extremes = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1).expand(2, *graph.spec.shape)
        for by_number in found.values():
            by_number[0] = float(graph.prepared(extremes).abs().max())
    return found
