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
from sad_export.golden import FEWEST, golden_indices, stands_clear
from sad_export.parity import Comparison, Cut, Limits, Replay, compared, noise_of, replay
from sad_export.parity_set import ParityPicture
from sad_export.precisions.models import Made
from sad_runtime.backends.base import Backend
from sad_runtime.backends.onnxruntime import ONNXRuntimeBackend
from sad_runtime.backends.table import backend_for, installed_backends
from sad_runtime.cli.progress import progressing
from sad_runtime.decide import Thresholds
from sad_runtime.errors import BackendError, GateFailed
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
class Trial:
    """What every model file goes through."""

    spec: InputSpec
    goods: NDArray[np.uint8]
    """Good calibration parts (n, H, W, C)."""
    pictures: Sequence[ParityPicture]
    shipping: str
    """The engine that thresholds are set on."""
    trained: tuple[Calibration, Replay]
    """What torch says of both."""
    asked: Asked
    limits: Limits


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
    golden: list[int]
    """Those of the golden pictures that stand clear of this precision's own noise too."""
    golden_tolerance: float
    """How far a golden score may stand from the shipping engine's, on other engines and machines."""

    @property
    def failures(self) -> list[str]:
        found = [f"{one.engine}: {failure}" for one in self.comparisons for failure in one.failures]
        if len(self.golden) < FEWEST:
            found.append(
                f"{len(self.golden)} golden pictures stand clear of its noise; {FEWEST} are needed to prove it"
            )
        return found


@dataclass(frozen=True)
class Proofs:
    """Of all files of one bundle."""

    by_precision: dict[str, Proof]
    golden: list[int]
    """Indices into the parity set."""
    noise: float
    """What the golden pictures stand clear of, in score units: fp32's. Files of more noise are judged by fewer."""

    @property
    def failing(self) -> list[str]:
        """The precisions that did not pass."""
        return [name for name, one in self.by_precision.items() if one.failures]


def sayings(made: Made, trial: Trial) -> Sayings:
    """Raises BackendError for a file that an engine cannot run, GateFailed for one that overflows in half precision."""
    engines = [trial.shipping, *(name for name in installed_backends() if name != trial.shipping)]
    backends = {name: backend_for(name, made.model, trial.spec) for name in engines}
    if made.emulation is not None:
        backends[EMULATED] = ONNXRuntimeBackend(made.emulation, trial.spec)
    found = []
    for name, backend in progressing(list(backends.items()), "parity"):
        try:
            found.append(said(backend, trial.goods, trial.pictures, name))
        except BackendError as error:
            if name != EMULATED:
                raise
            raise GateFailed(f"half precision does not hold this model's values ({name}: {error})") from None
    return Sayings([calibration for calibration, _ in found], [one for _, one in found])


def said(
    backend: Backend, goods: NDArray[np.uint8], pictures: Sequence[ParityPicture], name: str
) -> tuple[Calibration, Replay]:
    with backend:
        backend.warm_up()
        return measure(backend, goods), replace(replay(backend, pictures), engine=name)


def proofs(made: Mapping[str, Made], trial: Trial) -> Proofs:
    """`made`: by precision, fp32 among them.

    Raises GateFailed when too few pictures stand clear of the threshold for a golden set.
    """
    found = {name: sayings(one, trial) for name, one in made.items()}
    in_torch, reference = trial.trained
    target = trial.asked.target
    shipped = {
        name: cuts(one.calibrations[0], target=target, review_rate=trial.asked.review_rate)
        for name, one in found.items()
    }
    noise = {name: noise_of(reference, one.replays, trial.limits.of(name)) for name, one in found.items()}
    cut = shipped["fp32"].score_threshold
    golden = golden_indices(trial.pictures, reference.scores, cut, noise["fp32"])
    before = Cut(_thresholds(shipped["fp32"]), cuts(in_torch, target=target).score_threshold)
    proved = {}
    for name, one in found.items():
        clear = stands_clear(reference.scores, cut, noise[name])
        own_golden = [index for index in golden if clear[index]]
        afters = [Cut(_thresholds(shipped[name]), cuts(own, target=target).score_threshold) for own in one.calibrations]
        comparisons = [
            compared(reference, other, trial.pictures, own_golden, (before, after), trial.limits.of(name))
            for other, after in zip(one.replays, afters, strict=True)
        ]
        proved[name] = Proof(
            made[name],
            shipped[name],
            one.calibrations[0],
            one.replays[0],
            comparisons,
            own_golden,
            _tolerance(one, reference),
        )
    return Proofs(proved, golden, noise["fp32"])


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
