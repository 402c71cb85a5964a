"""What a station judges by: a bundle, one of its models on one backend, and the thresholds in force.

`recipe_from` reads and checks without touching an engine; `opened` loads the model and proves it on the golden
pictures. A recipe that does not prove itself never judges a part.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sad_runtime.backends.constant import ConstantBackend
from sad_runtime.backends.table import backend_for, chosen_backend
from sad_runtime.bundle import Bundle, read_bundle
from sad_runtime.decide import Thresholds
from sad_runtime.errors import BundleError, GateFailed
from sad_runtime.inspector import Inspector
from sad_runtime.manifest import Roi
from sad_runtime.pictures import decode_picture
from sad_runtime.station.answers import Judge
from sad_runtime.station.config import RecipeConfig, StationConfig
from sad_runtime.thresholds import read_history, thresholds_in_force

log = logging.getLogger("sad.recipe")


@dataclass(frozen=True)
class Recipe:
    """Checked, not yet opened. `id` 0 is a bundle given on the command line."""

    id: int
    bundle: Bundle
    precision: str
    backend: str
    """A row of backends/table.py, `auto` resolved, with its option."""
    thresholds: Thresholds
    good_scores: list[float]
    roi: Roi | None
    deadline_ms: int

    @property
    def simulated(self) -> bool:
        return self.backend.partition(":")[0] == ConstantBackend.name

    @property
    def digest(self) -> str:
        """SHA-256 of the model file in use."""
        return self.bundle.precision(self.precision).sha256

    def judge(self) -> Judge:
        return Judge(
            recipe=self.id,
            model_digest=self.digest,
            backend=self.backend,
            precision=self.precision,
            threshold=self.thresholds.score,
            threshold_rev=self.thresholds.revision,
            simulated=self.simulated,
        )


def recipe_from(number: int, wanted: RecipeConfig, config: StationConfig, history: Path) -> Recipe:
    """Raises UsageError (exit code 2) for whatever cannot be run here."""
    bundle = read_bundle(Path(wanted.bundle))
    bundle.model(config.precision)
    backend, why = chosen_backend(config.backend)
    cuts, good = thresholds_in_force(bundle, config.precision, backend.partition(":")[0], read_history(history))
    origin = f"line-side revision {cuts.revision}" if cuts.revision else "the bundle's own"
    log.info("bundle %s: part %s, %s", bundle.path, bundle.manifest.part, bundle.manifest.method)
    log.info("backend %s (%s), precision %s", backend, why, config.precision)
    log.info("threshold %.6g, %s", cuts.score, origin)
    if wanted.threshold is not None:
        log.warning("threshold %.6g overrides %.6g (%s)", wanted.threshold, cuts.score, origin)
        cuts = replace(cuts, score=wanted.threshold)
    return Recipe(
        id=number,
        bundle=bundle,
        precision=config.precision,
        backend=backend,
        thresholds=cuts,
        good_scores=sorted(good if good is not None else calibration_scores(bundle, config.precision)),
        roi=wanted.roi or bundle.manifest.roi,
        deadline_ms=wanted.deadline_ms or config.trigger.deadline_ms,
    )


def calibration_scores(bundle: Bundle, precision: str) -> list[float]:
    """Scores of the good calibration parts; none in a bundle without calibration.npz."""
    if "calibration.npz" not in bundle.files:
        return []
    try:
        with np.load(io.BytesIO(bundle.read("calibration.npz")), allow_pickle=False) as arrays:
            key = f"{precision}_score"
            return [float(score) for score in arrays[key]] if key in arrays else []
    except (ValueError, OSError) as error:
        raise BundleError(f"{bundle.path}: calibration.npz cannot be read ({error})") from None


@contextmanager
def opened(recipe: Recipe, *, threads: int = 0) -> Iterator[Inspector]:
    """The recipe's inspector, proved and warmed up. Raises BackendError, MissingExtra or GateFailed."""
    bundle = recipe.bundle
    backend = backend_for(recipe.backend, bundle.model(recipe.precision), bundle.manifest.input, threads=threads)
    with ExitStack() as stack:
        inspector = stack.enter_context(
            Inspector(
                backend,
                recipe.thresholds,
                roi=recipe.roi,
                judged=bundle.manifest.judged,
                good_scores=recipe.good_scores,
            )
        )
        if not recipe.simulated:
            prove(inspector, bundle, recipe.precision)
        backend.warm_up()
        yield inspector


def prove(inspector: Inspector, bundle: Bundle, precision: str) -> None:
    """Inspects the golden pictures. Raises GateFailed where a verdict or score is not the one of the export.

    Golden pictures are judged by the bundle's own thresholds; those at model size are already cropped.
    """
    entry = bundle.precision(precision)
    own = Thresholds(entry.score_threshold, entry.pixel_threshold, entry.heatmap_low, entry.review_threshold)
    tolerance = bundle.manifest.golden_tolerance
    spec = inspector.spec
    count = 0
    for golden in bundle.manifest.golden:
        if precision not in golden.verdict:
            continue
        picture = decode_picture(bundle.read(golden.file), f"{bundle.path}: {golden.file}")
        whole = picture.shape[:2] == (spec.height, spec.width)
        prover = Inspector(inspector.backend, own, roi=None if whole else bundle.manifest.roi)
        found = prover.inspect(picture)
        expected = golden.score[precision]
        if found.verdict.value != golden.verdict[precision] or not abs(found.score - expected) <= tolerance:
            raise GateFailed(
                f"{bundle.path}: {golden.file} came out {found.verdict.value} {found.score:.6g} on "
                f"{inspector.backend.name} here; at export it was {golden.verdict[precision]} {expected:.6g} "
                f"(tolerance {tolerance:g}). Do not run this model here. Try --backend onnxruntime, or export again."
            )
        count += 1
    if count:
        log.info("golden check: %d pictures, all as at export", count)
    else:
        log.warning("%s has no golden pictures for %s: nothing proves this engine", bundle.path, precision)
