"""Proves model files: thresholds on the very file, every engine against the trained model, golden pictures for all.

The shipping engine comes first; thresholds are set on it. For half precision, which no CPU runs, an emulation stands
beside the engines (precisions/rounding.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sad_calibration.thresholds import Calibration, Cuts, cuts, measure
from sad_export.golden import golden_indices
from sad_export.parity import Comparison, Cut, Limits, Replay, compared, noise_of, replay
from sad_export.parity_set import ParityPicture
from sad_export.precisions.models import Made
from sad_runtime.backends.base import Backend
from sad_runtime.backends.onnxruntime import ONNXRuntimeBackend
from sad_runtime.backends.table import backend_for, installed_backends
from sad_runtime.cli.progress import progressing
from sad_runtime.decide import Thresholds
from sad_runtime.manifest import InputSpec

EMULATED = "fp16 emulated"
TIMES_NOISE = 10.0
SHARE_OF_SPREAD = 0.01
MOST_OF_SPREAD = 0.1


@dataclass(frozen=True)
class Asked:
    """What thresholds are asked to promise. Rates are fractions; None: the least that the pictures support."""

    target: float | None
    review_rate: float | None


@dataclass(frozen=True)
class Sayings:
    """What the engines say of one model file, the shipping one first; `calibrations` of the good calibration parts."""

    calibrations: list[Calibration]
    replays: list[Replay]


@dataclass(frozen=True)
class Proof:
    """One precision, proved or not: `comparisons` hold the failures."""

    made: Made
    cuts: Cuts
    calibration: Calibration
    shipped: Replay
    comparisons: list[Comparison]
    golden_tolerance: float
    """How far a golden score may stand from the shipping engine's, on other engines and machines."""


def sayings(
    made: Made, spec: InputSpec, goods: NDArray[np.uint8], pictures: Sequence[ParityPicture], shipping: str
) -> Sayings:
    """`shipping`: the engine that thresholds are set on. Raises BackendError for a file that one cannot run."""
    engines = [shipping, *(name for name in installed_backends() if name != shipping)]
    backends = {name: backend_for(name, made.model, spec) for name in engines}
    if made.emulation is not None:
        backends[EMULATED] = ONNXRuntimeBackend(made.emulation, spec)
    found = [said(backend, goods, pictures, name) for name, backend in progressing(list(backends.items()), "parity")]
    return Sayings([calibration for calibration, _ in found], [one for _, one in found])


def said(
    backend: Backend, goods: NDArray[np.uint8], pictures: Sequence[ParityPicture], name: str
) -> tuple[Calibration, Replay]:
    with backend:
        backend.warm_up()
        return measure(backend, goods), replace(replay(backend, pictures), engine=name)


def proofs(
    made: Mapping[str, Made],
    trained: tuple[Calibration, Replay],
    found: Mapping[str, Sayings],
    pictures: Sequence[ParityPicture],
    asked: Asked,
    limits: Limits,
) -> tuple[dict[str, Proof], list[int], float]:
    """The proofs by precision, the golden pictures (indices into the set) and the noise they stand clear of.

    `trained`: what torch says. `found`: what the engines say, `fp32` among them. Raises GateFailed when too few
    pictures stand clear of the threshold for a golden set.
    """
    in_torch, reference = trained
    made_cuts = {
        name: cuts(one.calibrations[0], target=asked.target, review_rate=asked.review_rate)
        for name, one in found.items()
    }
    noise = max(noise_of(reference, one.replays, limits.of(name)) for name, one in found.items())
    golden = golden_indices(pictures, reference.scores, made_cuts["fp32"].score_threshold, noise)
    before = Cut(_thresholds(made_cuts["fp32"]), cuts(in_torch, target=asked.target).score_threshold)
    proved = {}
    for name, one in found.items():
        shipped = _thresholds(made_cuts[name])
        comparisons = [
            compared(
                reference,
                other,
                pictures,
                golden,
                (before, Cut(shipped, cuts(own, target=asked.target).score_threshold)),
                limits.of(name),
            )
            for other, own in zip(one.replays, one.calibrations, strict=True)
        ]
        tolerance = _tolerance(one, reference)
        proved[name] = Proof(made[name], made_cuts[name], one.calibrations[0], one.replays[0], comparisons, tolerance)
    return proved, golden, noise


def _thresholds(made: Cuts) -> Thresholds:
    return Thresholds(made.score_threshold, made.pixel_threshold, made.heatmap_low, made.review_threshold)


def _tolerance(one: Sayings, reference: Replay) -> float:
    """Ten times what these engines differ by, or 1 % of the good scores' spread, the larger.

    Other machines round otherwise. Never more than a tenth of all scores' spread, or a golden score would say nothing.
    """
    first, *others = one.replays
    between = max((float(np.abs(other.scores - first.scores).max()) for other in others), default=0.0)
    wanted = max(TIMES_NOISE * between, SHARE_OF_SPREAD * float(np.ptp(one.calibrations[0].scores)), 1e-4)
    return min(wanted, max(1e-4, MOST_OF_SPREAD * float(np.ptp(reference.scores))))
