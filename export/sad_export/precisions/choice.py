"""Which calibration method and which layers: chosen by what a CPU engine says of pictures kept for that.

Every method makes a file with all convolutions in INT8, with biases as they were and corrected; the best of them goes
on. Then each convolution alone is put in INT8, which says how sensitive it is. Where the file as a whole stands too far
off, layers go back to float, those first that spoil most for the work they are.
Nothing is chosen on the pictures that the gate judges by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from onnx import ModelProto

from sad_export.cost import macs_by_node
from sad_export.graph_edit import shapes_of
from sad_export.precisions.quantised import quantisable
from sad_runtime.cli.progress import progressing

GOOD_ERROR, GOOD_RANKS, GOOD_AUPRO_DROP = 0.01, 0.995, 0.005
"""At which nothing more goes back to float: half of what the gate lets pass, on other pictures, or less."""
MOST_FLOAT = 0.25
"""Share of the work that may go back to float; above it the file would not be worth having."""
WORTH_IT = 0.9
"""A layer stays in float only if the excess falls below this share of what it was."""
FREE = 0.01
"""Work that is not worth counting: below it layers are taken by what they spoil alone."""
LANES = 16
"""Output channels are computed by so many at a time (AVX-512's floats): a convolution of one costs as one of 16."""


@dataclass(frozen=True)
class Apart:
    """How far a model is from the fp32 one on the pictures for choosing."""

    error: float
    """Mean difference over the fp32 values' spread; of scores or heatmaps, whichever is larger."""
    ranks: float
    """Rank correlation of the scores."""
    aupro_drop: float
    """Over the synthetic anomalies, whose masks are known."""

    @property
    def multiples(self) -> tuple[float, float, float]:
        """Of what is good enough: 1 and below is."""
        return (
            self.error / GOOD_ERROR,
            (1 - self.ranks) / (1 - GOOD_RANKS),
            max(0.0, self.aupro_drop) / GOOD_AUPRO_DROP,
        )

    @property
    def good_enough(self) -> bool:
        return max(self.multiples) <= 1

    @property
    def excess(self) -> float:
        """The sum, so that what mends one of the three counts though another stands as it was."""
        return sum(self.multiples)


ApartOf = Callable[[ModelProto], Apart]


@dataclass(frozen=True)
class Way:
    """How INT8 convolutions are made: the method of ranges, and whether their biases are corrected."""

    method: str
    corrected: bool = False

    def __str__(self) -> str:
        return f"{self.method}, biases corrected" if self.corrected else self.method


Make = Callable[[Way, Sequence[str]], ModelProto]
"""The model with the named convolutions in INT8, made in that way."""


@dataclass(frozen=True)
class Layer:
    """One convolution; `excess`: of the model in which it alone is INT8."""

    name: str
    excess: float
    work: float
    """Share of the model's work."""
    in_float: bool


@dataclass(frozen=True)
class Choice:
    way: Way
    ways: dict[str, Apart]
    """By way, with every convolution in INT8."""
    layers: list[Layer]
    """Most sensitive first."""
    apart: Apart
    """Of the model as chosen."""

    @property
    def in_int8(self) -> list[str]:
        return [layer.name for layer in self.layers if not layer.in_float]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def chosen(model: ModelProto, make: Make, apart_of: ApartOf, methods: Sequence[str]) -> Choice:
    """`model`: fp32. `make`: makes the INT8 ones of it. `apart_of`: how far one of them is from fp32."""
    names = [node.name for node in quantisable(model)]
    ways = [Way(method, corrected) for method in methods for corrected in (False, True)]
    found = {way: apart_of(make(way, names)) for way in progressing(ways, "INT8 methods")}
    way = min(found, key=lambda one: found[one].excess)
    alone = {name: apart_of(make(Way(way.method), [name])).excess for name in progressing(names, "INT8 layers")}
    share = _shares(model, names)

    def apart_without(kept: Sequence[str]) -> Apart:
        return apart_of(make(way, [name for name in names if name not in kept]))

    dearest_first = sorted(names, key=lambda name: alone[name] ** 2 / (share[name] + FREE), reverse=True)
    in_float, apart = _back_to_float(dearest_first, share, found[way], apart_without)
    layers = [
        Layer(name, alone[name], share[name], name in in_float)
        for name in sorted(names, key=alone.__getitem__, reverse=True)
    ]
    return Choice(way, {str(one): apart for one, apart in found.items()}, layers, apart)


def _shares(model: ModelProto, names: Sequence[str]) -> dict[str, float]:
    """Each convolution's share of the work of the model: multiply-accumulates, idle lanes among them."""
    shapes, macs = shapes_of(model), macs_by_node(model)
    outputs = {node.name or node.output[0]: shapes[node.output[0]][1] for node in quantisable(model)}
    work = {
        name: count * (math.ceil(outputs[name] / LANES) * LANES / outputs[name] if name in outputs else 1)
        for name, count in macs.items()
    }
    total = max(1.0, sum(work.values()))
    return {name: work.get(name, 0) / total for name in names}


def _back_to_float(
    dearest_first: Sequence[str],
    share: Mapping[str, float],
    all_int8: Apart,
    apart_without: Callable[[Sequence[str]], Apart],
) -> tuple[list[str], Apart]:
    """The first 1, 2, 4, ... layers that spoil most for the work they are, until that is good enough.

    Many small wrongs add up, so that one layer more or less often shows nothing: hence the doubling. Where nothing is
    good enough the best is taken, if it is worth it.
    """
    affordable: list[str] = []
    for name in dearest_first:
        if sum(share[one] for one in (*affordable, name)) <= MOST_FLOAT:
            affordable.append(name)
    best: tuple[list[str], Apart] = ([], all_int8)
    count = 1
    while affordable and not best[1].good_enough:
        kept = affordable[:count]
        found = apart_without(kept)
        if found.good_enough or found.excess < WORTH_IT * best[1].excess:
            best = (kept, found)
        if count >= len(affordable):
            break
        count = min(2 * count, len(affordable))
    return best
