"""`sad-bundle verify`: is a bundle whole, signed, readable, and does it decide here as it did at export?

One run names all that is wrong. Only a damaged file, and one that no trusted key signed, end it at once: no engine is
given the model of a stranger.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sad_runtime.backends.table import backend_for, chosen_backend, installed_backends
from sad_runtime.bundle import Bundle, read_bundle
from sad_runtime.cli.bundle_inspect import plain, signature_lines
from sad_runtime.errors import BundleError, ConfigError, DataError, GateFailed, SadError
from sad_runtime.golden import Replayed, picture_in, replayed
from sad_runtime.signature import SIGNATURES, check_trust
from sad_runtime.signing_keys import PublicKey, trusted_keys

READERS = ("onnxruntime", "openvino")
"""Engines that take a model file as it is, on any box; others build an engine first, which takes minutes."""
WORDS = {True: "ok", False: "FAIL", None: "-"}


@dataclass(frozen=True)
class Wish:
    trust: Sequence[str]
    golden: bool
    backends: Sequence[str]
    precisions: Sequence[str]


@dataclass(frozen=True)
class Check:
    """`ok` None: not checked, and `text` says why."""

    name: str
    ok: bool | None
    text: str
    scores: list[dict[str, object]] = field(default_factory=list)
    """For golden pictures: file, verdict, score, and those of the export."""


def verify(path: Path, wish: Wish, *, as_json: bool) -> int:
    """Raises GateFailed, after everything is printed, when something is not in order."""
    if not path.is_file():
        read_bundle(path)  # says what is wrong with the name: that is wrong usage, not a bad bundle
    trust = trusted_keys(wish.trust)
    for name in wish.backends:
        chosen_backend(name)  # says so now when there is none of that name
    checks = []
    for check in checked(path, trust, wish):
        checks.append(check)
        if not as_json:
            print(f"{WORDS[check.ok]:<5} {check.name:<24} {plain(check.text)}", flush=True)
    wrong = [check.name for check in checks if check.ok is False]
    if as_json:
        print(json.dumps({"bundle": str(path), "ok": not wrong, "checks": [asdict(check) for check in checks]}))
    if wrong:
        raise GateFailed(f"{path}: not in order: {', '.join(wrong)}")
    return 0


def checked(path: Path, trust: Sequence[PublicKey], wish: Wish) -> Iterator[Check]:
    try:
        bundle = read_bundle(path)
    except (BundleError, ConfigError) as error:
        yield Check("contents", False, str(error).removeprefix(f"{path}: "))
        return
    precisions = list(wish.precisions) or sorted(bundle.manifest.precisions)
    for name in precisions:
        bundle.precision(name)
    yield Check("contents", True, f"{len(bundle.files)} files, each as its digest says; all that is named is inside")
    yield (signatures := _signatures(bundle, trust))
    if signatures.ok is False:
        return
    yield _pictures(bundle)
    readers = [name for name in READERS if name in installed_backends()]
    for name in precisions:
        yield _taken(bundle, name, readers[0]) if readers else _no_engine(f"model {name}")
    if wish.golden:
        yield from _golden(bundle, precisions, wish.backends)


def _signatures(bundle: Bundle, trust: Sequence[PublicKey]) -> Check:
    if not trust:
        text = "; ".join(signature_lines(bundle, trust))
        return Check("signatures", None, f"{text}. With --trust KEY they are checked")
    try:
        keys = check_trust(bundle.files.get(SIGNATURES), bundle.digests, trust, str(bundle.path))
    except GateFailed as error:
        return Check("signatures", False, str(error).removeprefix(f"{bundle.path}: "))
    return Check("signatures", True, f"signed by {', '.join(str(key) for key in keys)}")


def _pictures(bundle: Bundle) -> Check:
    names = [golden.file for golden in bundle.manifest.golden] + bundle.names("calibration")
    names += [bundle.manifest.ignore] if bundle.manifest.ignore else []
    try:
        for name in names:
            picture_in(bundle, name)
    except (DataError, BundleError) as error:
        return Check("pictures", False, str(error))
    return Check("pictures", True, f"{len(names)} golden and calibration pictures can be read")


def _taken(bundle: Bundle, precision: str, reader: str) -> Check:
    name = f"model {precision}"
    try:
        with backend_for(reader, bundle.model(precision), bundle.manifest.input):
            return Check(name, True, f"{reader} takes it")
    except SadError as error:
        return Check(name, False, str(error))


def _no_engine(name: str) -> Check:
    return Check(name, None, "no engine installed to open it with: pip install 'sad-inspection[cpu]'")


def _golden(bundle: Bundle, precisions: Sequence[str], wanted: Sequence[str]) -> Iterator[Check]:
    """An engine that does not run is a failure where it was asked for, or where it runs on any box."""
    engines = list(wanted) or installed_backends()
    for name in precisions:
        if not engines:
            yield _no_engine(f"golden {name}")
        for engine in engines:
            yield _replay(bundle, name, engine, must=bool(wanted) or engine in READERS)


def _replay(bundle: Bundle, precision: str, engine: str, *, must: bool) -> Check:
    name = f"golden {precision} {engine}"
    try:
        with backend_for(engine, bundle.model(precision), bundle.manifest.input) as backend:
            shown = list(replayed(backend, bundle, precision))
    except SadError as error:
        return Check(name, False if must else None, f"does not run here: {error}")
    if not shown:
        return Check(name, None, "the bundle has no golden pictures for it")
    scores = [_object(one) for one in shown]
    worst = max(shown, key=lambda one: one.difference)
    wrong = [one for one in shown if not one.fits]
    if wrong:
        first = wrong[0]
        text = (
            f"{len(wrong)} of {len(shown)} not as at export, such as {first.file}: "
            f"{first.verdict.value} {first.score:.6g}, was {first.expected_verdict} {first.expected_score:.6g} "
            f"(tolerance {first.tolerance:g})"
        )
        return Check(name, False, text, scores)
    text = (
        f"{len(shown)} pictures as at export; scores differ by at most {worst.difference:.2g} "
        f"(tolerance {worst.tolerance:.2g})"
    )
    return Check(name, True, text, scores)


def _object(one: Replayed) -> dict[str, object]:
    """For JSON, which knows no NaN."""
    expected = one.expected_score if math.isfinite(one.expected_score) else None
    return asdict(one) | {"verdict": one.verdict.value, "expected_score": expected, "fits": one.fits}
