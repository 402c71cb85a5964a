"""What a station judges by: a bundle, one of its models on one backend, and the thresholds in force.

`recipe_from` reads and checks without touching an engine; `opened` loads the model and proves it on the golden
pictures. A recipe that does not prove itself never judges a part.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import get_args

import numpy as np

from sad_runtime.backends.base import Backend
from sad_runtime.backends.constant import ConstantBackend
from sad_runtime.backends.table import backend_for, bound_name, chosen_backend
from sad_runtime.backends.tensorrt import TensorRTBackend
from sad_runtime.bundle import Bundle, read_bundle, vouched_anew
from sad_runtime.cameras.base import Setting
from sad_runtime.decide import Thresholds
from sad_runtime.engines.settings import EngineKind, EngineSettings
from sad_runtime.errors import BundleError, GateFailed
from sad_runtime.golden import replayed
from sad_runtime.inspector import Inspector
from sad_runtime.manifest import Golden, Roi
from sad_runtime.preprocess import check_inside, check_size
from sad_runtime.signing_keys import trusted_keys
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
    override: float | None = None
    """A threshold given for trying out; it stands on any backend."""
    degraded: bool = False
    """Not on the backend that was asked for."""
    camera: Mapping[str, Setting] = field(default_factory=dict)
    """What the camera is to be locked to."""
    rolled_back: bool = False
    """A version that judged here before, in place of the file of the configuration."""

    @property
    def simulated(self) -> bool:
        return self.backend.partition(":")[0] == ConstantBackend.name

    @property
    def digest(self) -> str:
        """SHA-256 of the model file in use."""
        return self.bundle.precision(self.precision).sha256

    @property
    def golden(self) -> list[Golden]:
        """The golden pictures that prove the model file in use."""
        return [golden for golden in self.bundle.manifest.golden if self.precision in golden.verdict]

    @property
    def needs_proof(self) -> bool:
        """An engine built on this box, or a stand-in that nobody asked for: never trusted unseen."""
        return self.degraded or self.backend.partition(":")[0] in get_args(EngineKind)

    def judge(self) -> Judge:
        return Judge(
            recipe=self.id,
            model_digest=self.digest,
            backend=self.backend,
            precision=self.precision,
            threshold=self.thresholds.score,
            threshold_rev=self.thresholds.revision,
            simulated=self.simulated,
            degraded=self.degraded,
        )


def camera_settings(config: StationConfig, wanted: RecipeConfig) -> dict[str, Setting]:
    return {**config.camera.settings, **wanted.camera.settings}


def recipe_from(
    number: int, wanted: RecipeConfig, config: StationConfig, history: Path, *, bundle: Bundle | None = None
) -> Recipe:
    """`bundle`: the one of `wanted`, where it is in memory and its file is unchanged; trust is checked all the same.

    Raises UsageError (exit code 2) for whatever cannot be run here, GateFailed for a bundle that is not trusted.
    """
    trust = trusted_keys(config.trust)
    if bundle is None:
        bundle = read_bundle(Path(wanted.bundle), trust)
        bundle.model(config.precision)
    else:
        bundle = vouched_anew(bundle, trust)
    backend, why = chosen_backend(config.backend)
    bound = bound_name(backend)
    cuts, good = thresholds_in_force(bundle, config.precision, bound, read_history(history))
    origin = f"line-side revision {cuts.revision}" if cuts.revision else "the bundle's own"
    log.info("bundle %s: part %s, %s", bundle.path, bundle.manifest.part, bundle.manifest.method)
    for key in bundle.vouched_by:
        log.info("signed by %s, trusted here", key)
    log.info("backend %s (%s), precision %s", backend, why, config.precision)
    log.info("threshold %.6g, %s", cuts.score, origin)
    if ":" in bound and not cuts.revision:
        log.warning("%s has no threshold of its own here. Set one with: sad-calibrate --backend %s", bound, bound)
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
        override=wanted.threshold,
        camera=camera_settings(config, wanted),
    )


def moved(recipe: Recipe, backend: str, history: Path) -> Recipe:
    """The recipe on a backend that stands in for its own, with the thresholds in force on that one."""
    cuts, good = thresholds_in_force(recipe.bundle, recipe.precision, bound_name(backend), read_history(history))
    if recipe.override is not None:
        cuts = replace(cuts, score=recipe.override)
    scores = good if good is not None else calibration_scores(recipe.bundle, recipe.precision)
    return replace(recipe, backend=backend, thresholds=cuts, good_scores=sorted(scores), degraded=True)


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
def opened(recipe: Recipe, *, threads: int = 0, engines: EngineSettings | None = None) -> Iterator[Inspector]:
    """The recipe's inspector, proved and warmed up. Raises BackendError, MissingExtra or GateFailed.

    Builds no engine: EngineMissing says that one has to be built first.
    """
    check_provable(recipe)
    bundle = recipe.bundle
    model, spec = bundle.model(recipe.precision), bundle.manifest.input
    backend = backend_for(recipe.backend, model, spec, threads=threads, engines=engines)
    if isinstance(backend, TensorRTBackend):
        backend.may_build = False  # it would stop the loop for minutes; EngineBuild does it beside the line
    with ExitStack() as stack:
        inspector = stack.enter_context(inspector_on(backend, recipe))
        if not recipe.simulated:
            count = prove(inspector, bundle, recipe.precision)
            log.info("golden check of %s: %d pictures, all as at export", recipe.backend, count)
        backend.warm_up()
        yield inspector


def inspector_on(backend: Backend, recipe: Recipe) -> Inspector:
    """`recipe` on its backend, which may be open already."""
    return Inspector(
        backend,
        recipe.thresholds,
        roi=recipe.roi,
        judged=recipe.bundle.manifest.judged,
        good_scores=recipe.good_scores,
    )


def check_picture(recipe: Recipe, size_px: tuple[int, int] | None) -> None:
    """Raises DataError where the recipe cannot judge pictures of this (width, height); None: not known yet."""
    if size_px is not None:
        if recipe.roi is not None:
            check_inside(recipe.roi, *size_px)
        check_size(np.broadcast_to(np.uint8(0), size_px[::-1]), recipe.roi, recipe.bundle.manifest.judged)


def check_provable(recipe: Recipe) -> None:
    """Raises GateFailed for a recipe that has to prove itself and has no golden picture to do it with."""
    if recipe.golden:
        return
    nothing = (
        f"{recipe.bundle.path} has no golden pictures for {recipe.precision}: nothing proves {recipe.backend} here"
    )
    if recipe.needs_proof:
        raise GateFailed(f"{nothing}. Export again with this precision, or take --backend onnxruntime")
    if not recipe.simulated:
        log.warning("%s", nothing)


def prove(inspector: Inspector, bundle: Bundle, precision: str, at_most: int | None = None) -> int:
    """Inspects the golden pictures, all or the first `at_most`, and says how many there were.

    Raises GateFailed where a verdict or score is not the one of the export.
    """
    count = 0
    for shown in islice(replayed(inspector.backend, bundle, precision), at_most):
        if not shown.fits:
            raise GateFailed(
                f"{bundle.path}: {shown.file} came out {shown.verdict.value} {shown.score:.6g} on "
                f"{inspector.backend.name} here; at export it was {shown.expected_verdict} {shown.expected_score:.6g} "
                f"(tolerance {shown.tolerance:g}). Do not run this model here. Try --backend onnxruntime, "
                "or export again."
            )
        count += 1
    return count
