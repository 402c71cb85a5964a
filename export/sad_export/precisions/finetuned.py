"""Short quantisation-aware fine-tuning: the trained graph teaches a copy of itself that computes as INT8 does.

For when the INT8 gate fails. No labels and no method's loss are needed: on good pictures and synthetic anomalies the
copy's heatmap, score and embedding are drawn to the trained graph's. All convolutions are learnt, those of a frozen
encoder too. Buffers never are: densities and their whitening were measured on the trained graph's embeddings, and hold
on because the copy's are drawn to the same. Ranges are measured once and stay: learnt ones (LSQ) were no better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from sad_export.precisions.fake_quantisation import FakeQuantisation, Rounding, amplitudes_of
from sad_export.precisions.folding import folded
from sad_runtime.cli.progress import Progress
from sad_runtime.errors import DataError
from sad_train.graph import NEVER, InspectionGraph

RATE = 1e-4
"""Of a step, as a share of a channel's root mean square."""
BATCH = 8
MOST_NORM = 1.0
HELD_OUT = 5
"""One picture in so many is kept to see whether tuning helped."""
FEWEST = 10
EMBEDDING_WEIGHT = 0.1
WORTH_IT = 0.98
"""The error must fall below this share of what it was, or the graph stays as trained."""


@dataclass(frozen=True)
class Tuned:
    graph: InspectionGraph
    """The one that was given, where tuning did not help."""
    before: float
    """Mean error in INT8 on pictures held out, over the trained graph's range; heatmap's or score's, the larger."""
    after: float
    steps: int

    @property
    def helped(self) -> bool:
        return self.after < WORTH_IT * self.before

    @property
    def text(self) -> str:
        """For a person."""
        told = f"INT8 error on pictures held out {self.before:.4f} before and {self.after:.4f} after {self.steps} steps"
        return f"fine-tuned: {told}" if self.helped else f"left as trained, for fine-tuning did not help: {told}"


def finetuned(
    graph: InspectionGraph,
    pictures: NDArray[np.uint8],
    *,
    steps: int,
    seed: int,
    rate: float = RATE,
    extremes: NDArray[np.uint8] | None = None,
) -> Tuned:
    """A copy of `graph` (on the CPU) that loses less in INT8; export it as any other.

    `pictures` (n, H, W, C) uint8: good ones and anomalies as slight as those that matter, none that a gate judges by.
    `extremes`: pictures that the ranges must hold too. Nothing is learnt from them: what a graph says of gross
    anomalies is so far off that drawing near it would cost the places around the threshold.
    The same `seed` gives the same weights on the same machine. Raises DataError for fewer than 10 pictures.
    """
    if len(pictures) < FEWEST:
        raise DataError(f"{len(pictures)} pictures to fine-tune INT8 with; at least {FEWEST} are needed")
    draws = np.random.default_rng([seed, 179424673])
    order = draws.permutation(len(pictures))
    held_out, learnt_from = pictures[order[::HELD_OUT]], pictures[np.delete(order, np.s_[::HELD_OUT])]
    student = folded(graph).requires_grad_(False)
    ranged = learnt_from if extremes is None else np.concatenate([learnt_from, extremes])
    exam, lesson = _Lesson.of(graph, held_out), _Lesson.of(graph, learnt_from)
    amplitudes = amplitudes_of(student, ranged)
    before = exam.errors(student, amplitudes)
    method = min(before, key=before.__getitem__)
    _tune(student, amplitudes[method], lesson, draws, steps, rate)
    after = exam.errors(student, amplitudes_of(student, ranged)) if _finite(student) else {method: math.inf}
    tuned = Tuned(student, before[method], min(after.values()), steps)
    return tuned if tuned.helped else replace(tuned, graph=graph)


def _tune(
    student: InspectionGraph,
    amplitudes: Sequence[float],
    lesson: _Lesson,
    draws: np.random.Generator,
    steps: int,
    rate: float,
) -> None:
    """Steps are taken in each output channel's own size: folded batch norms leave channels of very different ones.

    Weights are left rounded. What they are between two codes was never learnt, so that a layer that goes back to float
    would say something else than in tuning: without this the float graph stood twice as far from the trained one.
    """
    weights = {name: one.detach() for name, one in student.named_parameters()}
    sizes = {name: _sizes(one) for name, one in weights.items()}
    moved = {name: torch.zeros_like(one).requires_grad_() for name, one in weights.items()}
    optimiser = torch.optim.Adam(moved.values(), lr=rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _share_of_rate(step, steps))
    progress = Progress("INT8 fine-tuning", steps)
    for step in range(1, steps + 1):
        taken = torch.from_numpy(draws.choice(len(lesson.pictures), min(BATCH, len(lesson.pictures)), replace=False))
        now = {name: one + sizes[name] * moved[name] for name, one in weights.items()}
        with FakeQuantisation(amplitudes):
            said = functional_call(student, now, lesson.pictures[taken])
        loss = lesson.loss(said, taken)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(moved.values(), MOST_NORM)
        optimiser.step()
        schedule.step()
        progress.step(step, f"loss {float(loss.detach()):.4f}")
    with torch.no_grad():
        for name, one in student.named_parameters():
            one.add_(sizes[name] * moved[name])
        densities = {name: one.clone() for name, one in student.named_buffers()}  # used as weights, and never changed
        with Rounding():
            functional_call(student, densities, lesson.pictures[:1])


class _Lesson(NamedTuple):
    """Pictures, and what the trained graph says of them: heatmaps, scores, embeddings."""

    pictures: Tensor
    wanted: tuple[Tensor, ...]
    spreads: tuple[float, ...]
    """Standard deviation of each output."""

    @classmethod
    def of(cls, graph: InspectionGraph, pictures: NDArray[np.uint8]) -> _Lesson:
        there = torch.from_numpy(np.ascontiguousarray(pictures))
        wanted = _said(graph, there)
        heatmaps, scores, embeddings = wanted
        varied = (heatmaps[heatmaps != NEVER], scores, embeddings - embeddings.mean(0))
        return cls(there, wanted, tuple(max(float(values.std()), 1e-6) for values in varied))

    def loss(self, said: Sequence[Tensor], taken: Tensor) -> Tensor:
        terms = [
            (one - wanted[taken]).square().mean() / spread**2
            for one, wanted, spread in zip(said, self.wanted, self.spreads, strict=True)
        ]
        return terms[0] + terms[1] + EMBEDDING_WEIGHT * terms[2]

    def errors(self, student: InspectionGraph, amplitudes: Mapping[str, Sequence[float]]) -> dict[str, float]:
        """By method of ranges, in the unit that files are chosen by (models.py). Squares would be a few pictures'."""
        found = {}
        for method, ranges in amplitudes.items():
            pairs = list(zip(_said(student, self.pictures, ranges), self.wanted, strict=True))[:2]
            found[method] = max(
                float((one - wanted).abs().mean() / (wanted.max() - wanted.min()).clamp_min(1e-6))
                for one, wanted in pairs
            )
        return found


@torch.no_grad()
def _said(graph: InspectionGraph, pictures: Tensor, amplitudes: Sequence[float] | None = None) -> tuple[Tensor, ...]:
    """All outputs for all pictures, in INT8 where amplitudes are given."""
    batches = []
    for batch in torch.split(pictures, graph.at_once):
        if amplitudes is None:
            batches.append(graph(batch))
            continue
        with FakeQuantisation(amplitudes):
            batches.append(graph(batch))
    return tuple(torch.cat(outputs) for outputs in zip(*batches, strict=True))


def _finite(graph: InspectionGraph) -> bool:
    return all(bool(one.isfinite().all()) for one in graph.parameters())


def _sizes(weights: Tensor) -> Tensor:
    """Root mean squares: of each output channel of a convolution, of all values of anything else."""
    squares = weights.square()
    return squares.mean((1, 2, 3), keepdim=True).sqrt() if weights.dim() == 4 else squares.mean().sqrt()


def _share_of_rate(step: int, steps: int) -> float:
    """A short linear start, then one cosine down to nothing."""
    start = min(20, steps // 10)
    if step < start:
        return (step + 1) / start
    return (1 + math.cos(math.pi * (step - start) / max(1, steps - start))) / 2
