"""The guard and the drift watch of a bundle, as a station's file wants them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sad_runtime.bundle import Bundle
from sad_runtime.errors import BundleError, DataError
from sad_runtime.scene.config import SceneConfig
from sad_runtime.scene.drift import DriftWatch, PartDrift, ScoreDrift
from sad_runtime.scene.embedding import Embeddings
from sad_runtime.scene.guard import SceneGuard
from sad_runtime.scene.limits import FIXED, with_overrides
from sad_runtime.scene.position import Reference

MAX_BYTES = 16 << 20


def guard_for(bundle: Bundle, config: SceneConfig) -> SceneGuard | None:
    """None where it is switched off. A bundle that has learnt no limits is judged by the fixed ones.

    Raises BundleError for a bundle whose scene cannot be read.
    """
    if not config.enabled:
        return None
    limits = bundle.manifest.scene or FIXED
    reference = _reference(bundle, _arrays(bundle, limits.file)) if limits.file is not None else None
    return SceneGuard(with_overrides(limits, config.limits), reference, warn=config.warn)


def drift_for(bundle: Bundle, precision: str, good_count: int, config: SceneConfig) -> DriftWatch:
    """`good_count`: how many calibration scores stand behind the p-values. Without learnt limits only scores drift."""
    on = config.enabled and config.drift_parts > 0
    scores = ScoreDrift(good_count, config.drift_parts if on else 0)
    limits = bundle.manifest.scene
    if not on or limits is None or limits.file is None:
        return DriftWatch(scores, None)
    good = embeddings_in(_arrays(bundle, limits.file), precision)
    return DriftWatch(scores, None if good is None else PartDrift(good))


def embeddings_in(arrays: Mapping[str, NDArray[np.generic]], precision: str) -> Embeddings | None:
    """None where there are none of this precision."""
    try:
        mean, spread, count = (arrays[f"{precision}_embedding_{what}"] for what in ("mean", "spread", "count"))
    except KeyError:
        return None
    if mean.ndim != 1 or mean.shape != spread.shape or not (spread.astype(np.float64) > 0).all():
        return None
    return Embeddings(mean.astype(np.float32), spread.astype(np.float32), int(count))


def _arrays(bundle: Bundle, name: str) -> dict[str, NDArray[np.generic]]:
    data = bundle.read(name)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > MAX_BYTES:
            raise ValueError(f"{unpacked} bytes unpacked, at most {MAX_BYTES} expected")
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, RuntimeError) as error:
        raise BundleError(f"{bundle.path}: {name} cannot be read ({error}). Export again") from None


def _reference(bundle: Bundle, arrays: Mapping[str, NDArray[np.generic]]) -> Reference:
    thumbnail = arrays.get("reference")
    if thumbnail is None:
        raise BundleError(f"{bundle.path}: its scene has no reference picture. Export again")
    try:
        return Reference(thumbnail)  # type: ignore[arg-type]
    except DataError as error:
        raise BundleError(f"{bundle.path}: {error}. Export again") from None
