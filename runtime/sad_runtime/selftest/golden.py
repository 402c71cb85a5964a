"""A bundle on one engine: are its golden pictures judged as at export, and how long does a picture take?"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sad_runtime.backends.base import Backend
from sad_runtime.backends.table import backend_for
from sad_runtime.bundle import Bundle, read_bundle, sha256_hex
from sad_runtime.engines.settings import EngineSettings
from sad_runtime.errors import GateFailed
from sad_runtime.golden import Replayed, replayed
from sad_runtime.selftest.line import Line, bad, ok, warn
from sad_runtime.signing_keys import trusted_keys

RUNS = 50
AT_MOST_S = 10.0


def golden_lines(
    path: str,
    precision: str,
    engine: str,
    threads: int,
    settings: dict[str, object],
    trust: Sequence[str],
    identity: str,
) -> list[Line]:
    """The whole way of a station's start: build or load, prove, then time it.

    `identity`: SHA-256 of the digest list of the bundle that is reported on. Raises GateFailed where another lies
    there by now, or one that none of `trust` signed.
    """
    bundle = read_bundle(Path(path), trusted_keys(trust))
    if sha256_hex(bundle.digests) != identity:
        raise GateFailed(f"{path}: another bundle lies here since the self-test began; run it again")
    about = f"{engine} {precision}"
    engines = EngineSettings.model_validate(settings)
    begin = time.perf_counter()
    with backend_for(
        engine, bundle.model(precision), bundle.manifest.input, threads=threads, engines=engines
    ) as backend:
        backend.warm_up(1)
        open_s = time.perf_counter() - begin
        shown = list(replayed(backend, bundle, precision))
        times_ms = latencies_ms(backend)
    return [judged(about, shown, open_s, times_ms, bundle)]


def judged(about: str, shown: list[Replayed], open_s: float, times_ms: list[float], bundle: Bundle) -> Line:
    p50, p99 = (float(np.percentile(times_ms, share)) for share in (50, 99))
    speed = f"p50 {p50:.2f} ms, p99 {p99:.2f} ms over {len(times_ms)} runs, open {open_s:.2f} s"
    data: dict[str, Any] = {
        "p50_ms": p50,
        "p99_ms": p99,
        "runs": len(times_ms),
        "open_s": open_s,
        "pictures": len(shown),
    }
    if not shown:
        mend = "Nothing proves this engine. Export again with this precision."
        return warn(about, f"no golden pictures in the bundle; {speed}", mend, **data)
    wrong = [one for one in shown if not one.fits]
    largest = max(one.difference for one in shown)
    data |= {"wrong": len(wrong), "largest_difference": largest if math.isfinite(largest) else None}
    if wrong:
        first = wrong[0]
        text = (
            f"{len(wrong)} of {len(shown)} golden pictures came out otherwise: {first.file} {first.verdict.value} "
            f"{first.score:.4g}, at export {first.expected_verdict} {first.expected_score:.4g}; {speed}"
        )
        mend = "A station does not start on it. Take another engine or precision, or export again."
        return bad(about, text, mend, **data).model_copy(update={"gate": True})
    tolerance = max(one.tolerance for one in shown)
    text = f"{len(shown)} golden pictures as at export, scores within {largest:.2g} (allowed {tolerance:.2g}); {speed}"
    return ok(about, text, **data)


def latencies_ms(backend: Backend, runs: int = RUNS) -> list[float]:
    """One picture at a time. A slow engine is timed for 10 s, then that is enough."""
    spec = backend.spec
    picture = np.random.default_rng(0).integers(0, 256, (1, *spec.shape), np.uint8)
    backend.warm_up()
    times: list[float] = []
    while len(times) < runs and (len(times) < 3 or sum(times) < 1e3 * AT_MOST_S):
        begin = time.perf_counter()
        backend.infer(picture)
        times.append(1e3 * (time.perf_counter() - begin))
    return times
