"""Which calibration method and which layers: chosen by what a CPU engine says of pictures kept for that.

Every method makes a file with all convolutions in INT8; the best of them goes on. Then each convolution alone is put in
INT8, which says how sensitive it is. Where the file as a whole stands too far off, layers go back to float, those first
that spoil most for the work they are.
Nothing is chosen on the pictures that the gate judges by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from onnx import ModelProto

from sad_export.cost import macs_by_node
from sad_export.precisions.quantised import quantisable, quantised
from sad_runtime.cli.progress import progressing

GOOD_ERROR, GOOD_RANKS, GOOD_AUPRO_DROP = 0.01, 0.995, 0.005
"""At which nothing more goes back to float: half of what the gate lets pass, on other pictures, or less."""
MOST_FLOAT = 0.25
"""Share of all multiply-accumulates that may go back to float; above it the file would not be worth having."""
WORTH_IT = 0.9
"""A layer stays in float only if the excess falls below this share of what it was."""
FREE = 0.01
"""Work that is not worth counting: below it layers are taken by what they spoil alone."""


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
class Layer:
    """One convolution; `excess`: of the model in which it alone is INT8."""

    name: str
    excess: float
    macs: float
    """Share of the model's multiply-accumulates."""
    in_float: bool


@dataclass(frozen=True)
class Choice:
    method: str
    methods: dict[str, Apart]
    """By method, with every convolution in INT8."""
    layers: list[Layer]
    """Most sensitive first."""
    apart: Apart
    """Of the model as chosen."""

    @property
    def in_int8(self) -> list[str]:
        return [layer.name for layer in self.layers if not layer.in_float]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def chosen(
    model: ModelProto, amplitudes: Mapping[str, Mapping[str, float]], apart_of: ApartOf, methods: Sequence[str]
) -> Choice:
    """`model`: fp32. `amplitudes`: by method, then tensor."""
    names = [node.name for node in quantisable(model)]
    found = {
        method: apart_of(quantised(model, amplitudes[method], names))
        for method in progressing(list(methods), "INT8 methods")
    }
    method = min(found, key=lambda name: found[name].excess)
    alone = {
        name: apart_of(quantised(model, amplitudes[method], [name])).excess
        for name in progressing(names, "INT8 layers")
    }
    macs = macs_by_node(model)
    share = {name: macs.get(name, 0) / max(1, sum(macs.values())) for name in names}

    def apart_without(kept: Sequence[str]) -> Apart:
        return apart_of(quantised(model, amplitudes[method], [name for name in names if name not in kept]))

    dearest_first = sorted(names, key=lambda name: alone[name] ** 2 / (share[name] + FREE), reverse=True)
    in_float, apart = _back_to_float(dearest_first, share, found[method], apart_without)
    layers = [
        Layer(name, alone[name], share[name], name in in_float)
        for name in sorted(names, key=alone.__getitem__, reverse=True)
    ]
    return Choice(method, found, layers, apart)


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
