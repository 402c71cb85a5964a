"""One picture in, one inspection out: preprocess, infer, judge. The same object serves the line, evaluation,
calibration and the golden check at start, so all of them give the same verdict, bit for bit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from sad_runtime.backends.base import Backend
from sad_runtime.decide import Region, Thresholds, judge, p_value, regions, wants_review
from sad_runtime.errors import BackendError
from sad_runtime.manifest import InputSpec, PictureSize, Roi
from sad_runtime.preprocess import Picture, check_size, model_picture
from sad_runtime.scene.guard import Look, SceneGuard
from sad_runtime.verdict import Reason, Verdict

REASONS = {Verdict.PASS: Reason.OK, Verdict.FAIL: Reason.SCORE, Verdict.INVALID: Reason.INFERENCE_ERROR}


@dataclass(frozen=True)
class Inspection:
    """What was found on one picture. `latency_ms` has `pre` (with the guard's look), `infer` and `judge`."""

    verdict: Verdict
    reason: Reason
    score: float
    p_value: float
    review: bool
    regions: list[Region]
    heatmap: NDArray[np.float32]
    embedding: NDArray[np.float32]
    picture: Picture
    """(height, width, channels) uint8 as the graph saw it."""
    latency_ms: dict[str, float] = field(default_factory=dict)
    look: Look | None = None
    """What the scene guard saw, where there is one."""


class Inspector:
    """A backend with its thresholds. Opened by `with`; not thread-safe."""

    def __init__(
        self,
        backend: Backend,
        thresholds: Thresholds,
        *,
        roi: Roi | None = None,
        judged: PictureSize | None = None,
        good_scores: Sequence[float] = (),
        guard: SceneGuard | None = None,
    ) -> None:
        """`judged`: the size of what was learnt from; pictures that are nothing like it are refused.

        `guard` looks before the model; only a line has one, so that its limits touch no threshold and no golden proof.
        """
        self.backend = backend
        self.thresholds = thresholds
        self.roi = roi
        self.judged = judged
        self.good_scores = sorted(good_scores)
        self.guard = guard

    @property
    def spec(self) -> InputSpec:
        return self.backend.spec

    def __enter__(self) -> Inspector:
        self.backend.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.backend.close()

    def inspect(self, picture: Picture) -> Inspection:
        """`picture` as a camera or file gives it. Raises DataError or BackendError; neither is ever a PASS.

        SceneFault, a DataError, is what the guard raises; it holds the reason.
        """
        start = time.perf_counter()
        prepared = model_picture(picture, self.spec, self.roi)
        check_size(picture, self.roi, self.judged)
        look = self.guard.check(prepared) if self.guard is not None else None
        ready = time.perf_counter()
        outputs = self.backend.infer(prepared[np.newaxis])
        inferred = time.perf_counter()
        score, heatmap = float(outputs.score[0]), outputs.heatmap[0]
        if not (np.isfinite(score) and np.isfinite(heatmap).all()):
            raise BackendError(f"{self.backend.name}: the score or the heatmap is not a finite number")
        verdict = judge(score, self.thresholds.score)
        inspection = Inspection(
            verdict=verdict,
            reason=REASONS[verdict],
            score=score,
            p_value=p_value(score, self.good_scores),
            review=wants_review(score, self.thresholds),
            regions=regions(heatmap, self.thresholds.pixel),
            heatmap=heatmap,
            embedding=outputs.embedding[0],
            picture=prepared,
            latency_ms={"pre": 1e3 * (ready - start), "infer": 1e3 * (inferred - ready)},
            look=look,
        )
        inspection.latency_ms["judge"] = 1e3 * (time.perf_counter() - inferred)
        return inspection
