"""`sad-bundle inspect`: what a bundle is, for a technician who has the file and nobody to ask."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sad_runtime.bundle import Bundle, read_bundle, sha256_hex
from sad_runtime.errors import BundleError
from sad_runtime.manifest import Manifest
from sad_runtime.signature import Signature, fits
from sad_runtime.signing_keys import PublicKey, short, trusted_keys

TRUSTED, FORGED, UNKNOWN, UNCHECKED = "trusted", "does not fit", "unknown key", "not checked"


def inspect(path: Path, trust: Sequence[str], *, files: bool, as_json: bool) -> int:
    keys = trusted_keys(trust)
    bundle = read_bundle(path)
    print(json.dumps(as_object(bundle, keys)) if as_json else "\n".join(as_lines(bundle, keys, files=files)))
    return 0


def as_object(bundle: Bundle, trust: Sequence[PublicKey]) -> dict[str, Any]:
    manifest = bundle.manifest.model_dump(by_alias=True)
    for entry in manifest["precisions"].values():
        entry["bytes"] = len(bundle.read(entry["file"]))
    return {
        "bundle": str(bundle.path),
        "bytes": bundle.path.stat().st_size,
        "contents": sha256_hex(bundle.digests),
        **manifest,
        "calibration_pictures": len(bundle.names("calibration")),
        **signature_objects(bundle, trust),
        "files": {name: len(data) for name, data in sorted(bundle.files.items())},
    }


def signature_objects(bundle: Bundle, trust: Sequence[PublicKey]) -> dict[str, Any]:
    """Each signature with its `standing`; `signatures_error` says what is wrong with a file of them that is damaged."""
    try:
        found = bundle.signatures()
    except BundleError as error:
        return {"signatures": [], "signatures_error": str(error)}
    told = [one.model_dump() | {"standing": standing(one, trust, bundle.digests)} for one in found]
    return {"signatures": told, "signatures_error": None}


def standing(signature: Signature, trust: Sequence[PublicKey], digests: bytes) -> str:
    """What the signature is worth here."""
    if not trust:
        return UNCHECKED
    for key in trust:
        if key.id == signature.key_id:
            return TRUSTED if fits(signature, key, digests) else FORGED
    return UNKNOWN


def as_lines(bundle: Bundle, trust: Sequence[PublicKey], *, files: bool = False) -> list[str]:
    manifest = bundle.manifest
    rows = [
        ("bundle", f"{bundle.path}, {size_text(bundle.path.stat().st_size)}, {len(bundle.files)} files"),
        ("part", manifest.part),
        ("made", manifest.created),
        ("takes", _input(manifest)),
        *[("model" if not index else "", line) for index, line in enumerate(_models(bundle))],
        ("promise", _promise(manifest)),
        ("golden", _golden(manifest)),
        ("calibration", f"{len(bundle.names('calibration'))} pictures of good parts"),
        ("training", _training(manifest)),
        ("", f"data {manifest.training.data_digest[:16]}, commit {(manifest.training.commit or 'unknown')[:12]}"),
        ("", ", ".join(f"{name} {number}" for name, number in sorted(manifest.training.versions.items()))),
        ("backbone", _backbone(manifest)),
        *[("signed" if not index else "", line) for index, line in enumerate(signature_lines(bundle, trust))],
        ("contents", f"sha256 {sha256_hex(bundle.digests)}"),
    ]
    if files:
        listed = [f"{size_text(len(data)):>9}  {name}" for name, data in sorted(bundle.files.items())]
        rows += [("files" if not index else "", line) for index, line in enumerate(listed)]
    return [f"{name:<12} {plain(text)}".rstrip() for name, text in rows if name or text]


def plain(text: str) -> str:
    """Without what would move the cursor of a terminal: the words come from a file that anybody may have made."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def size_text(count: int) -> str:
    """`44.7 MB`."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def _input(manifest: Manifest) -> str:
    spec, roi, judged = manifest.input, manifest.roi, manifest.judged
    colour = "colour" if spec.channels == 3 else "grey"
    text = f"{spec.width}x{spec.height} {colour}"
    if roi is not None:
        text += f", cut from the camera picture at {roi.x},{roi.y} with {roi.width}x{roi.height}"
    elif judged is not None:
        text += f", made from camera pictures like {judged.width}x{judged.height}"
    return text + (", parts of it ignored" if manifest.ignore else "")


def _models(bundle: Bundle) -> list[str]:
    lines = []
    for name, entry in sorted(bundle.manifest.precisions.items()):
        review = f", review above {entry.review_threshold:.6g}" if entry.review_threshold is not None else ""
        size = size_text(len(bundle.read(entry.file)))
        lines.append(
            f"{name:<10} {size:>9}  FAIL above {entry.score_threshold:.6g}{review}, pixels above "
            f"{entry.pixel_threshold:.6g}, model {entry.sha256[:12]}"
        )
        if entry.golden_tolerance not in (None, bundle.manifest.golden_tolerance):
            lines.append(f"{'':<22}golden scores within {entry.golden_tolerance:.3g}")
        if entry.note:
            lines.append(f"{'':<22}{entry.note}")
    return lines


def _promise(manifest: Manifest) -> str:
    decision = manifest.decision
    asked = f"asked for {share(decision.target_false_reject)}; " if decision.target_false_reject is not None else ""
    return (
        f"{asked}at most {share(decision.guaranteed_false_reject)} of good parts are rejected, "
        f"from {decision.n} good parts ({decision.method})"
    )


def share(rate: float) -> str:
    """`0.005` as `0.5 %`."""
    return f"{100 * rate:.3g} %"


def _golden(manifest: Manifest) -> str:
    if not manifest.golden:
        return "no pictures: nothing proves an engine"
    first = next(iter(sorted(manifest.precisions)))
    counts = Counter(golden.verdict.get(first, "?") for golden in manifest.golden)
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    return f"{len(manifest.golden)} pictures ({verdicts}), scores within {manifest.golden_tolerance:.3g}"


def _training(manifest: Manifest) -> str:
    training = manifest.training
    text = f"{training.method}, preset {training.preset}, seed {training.seed}, {training.pictures} pictures"
    if training.minutes is not None:
        text += f", {training.minutes:.1f} minutes"
    if training.parameters is not None:
        text += f", {training.parameters / 1e6:.2f} million parameters"
    return text + (f", {training.gmac:.2f} GMAC" if training.gmac is not None else "")


def _backbone(manifest: Manifest) -> str:
    backbone = manifest.backbone
    return "none of others" if backbone is None else f"{backbone.name}, licence {backbone.licence}"


def signature_lines(bundle: Bundle, trust: Sequence[PublicKey]) -> list[str]:
    try:
        signatures = bundle.signatures()
    except BundleError as error:
        return [f"unreadable: {error}"]
    if not signatures:
        return ["by nobody"]
    names = {key.id: key.name for key in trust}
    lines = []
    for one in signatures:
        word = standing(one, trust, bundle.digests)
        word = {
            TRUSTED: f"trusted, {names.get(one.key_id)}",
            FORGED: "DOES NOT FIT",
            UNCHECKED: "not checked: --trust",
        }.get(word, word)
        said = f": {one.comment}" if one.comment else ""
        lines.append(f"{one.signer or 'no name'}, key {short(one.key_id)}, {one.signed_at}{said}  ({word})")
    return lines
