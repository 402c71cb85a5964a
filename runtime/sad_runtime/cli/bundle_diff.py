"""`sad-bundle diff`: what differs between two bundles, in what they say, in their files, and in their verdicts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sad_runtime.bundle import DIGESTS, MANIFEST, Bundle, read_bundle, sha256_hex
from sad_runtime.cli.bundle_inspect import plain, signature_lines, signature_objects
from sad_runtime.cli.bundle_verdicts import Verdicts, compared, pictures_of
from sad_runtime.errors import GateFailed, SadError
from sad_runtime.signature import SIGNATURES

SHOWN = 12
"""Lines of a kind on the screen; --json has all."""
FEW = 4
"""Files of one folder that are named one by one."""
NOT_LISTED = (MANIFEST, DIGESTS, SIGNATURES)


@dataclass
class Difference:
    """`fields`: manifest field to its values in A and B, None where it is not there."""

    same: bool
    fields: dict[str, list[Any]] = field(default_factory=dict)
    only_a: list[str] = field(default_factory=list)
    only_b: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    golden: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By precision, over the golden pictures both have: their number, verdicts changed, largest score difference."""
    verdicts: dict[str, Verdicts] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)
    """Why no verdicts were compared, by precision."""


def diff(a_path: Path, b_path: Path, engine: str | None, wanted: Sequence[str], *, as_json: bool) -> int:
    """0 when both hold the same, signatures aside; 4 when not. `engine` None: run no picture."""
    a, b = read_bundle(a_path), read_bundle(b_path)
    found = difference(a, b)
    if engine is not None and not found.same:
        run(a, b, engine, wanted, found)
    if as_json:
        names = {"a": str(a_path), "b": str(b_path)}
        signed = {"signed": {letter: signature_objects(one, ()) for letter, one in (("a", a), ("b", b))}}
        print(json.dumps(names | asdict(found) | signed))
    else:
        for line in as_lines(a, b, found):
            print(plain(line))
    return 0 if found.same else GateFailed.exit_code


def difference(a: Bundle, b: Bundle) -> Difference:
    """What is written in them; no picture is run."""
    if a.digests == b.digests:
        return Difference(same=True)
    names = (set(a.files) | set(b.files)) - set(NOT_LISTED)
    return Difference(
        same=False,
        fields=fields_that_differ(told(a), told(b)),
        only_a=sorted(names - set(b.files)),
        only_b=sorted(names - set(a.files)),
        changed=sorted(name for name in set(a.files) & set(b.files) & names if a.files[name] != b.files[name]),
        golden=golden_differences(a, b),
    )


def told(bundle: Bundle) -> dict[str, Any]:
    """The manifest, flat: `precisions.fp32.score_threshold`. Golden pictures are compared on their own."""
    return dict(_flat(bundle.manifest.model_dump(by_alias=True, exclude={"golden"})))


def _flat(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def fields_that_differ(a: dict[str, Any], b: dict[str, Any]) -> dict[str, list[Any]]:
    keys = [*a, *(key for key in b if key not in a)]
    return {key: [a.get(key), b.get(key)] for key in keys if a.get(key) != b.get(key)}


def golden_differences(a: Bundle, b: Bundle) -> dict[str, dict[str, Any]]:
    """As the manifests tell them, for golden pictures that both have, byte for byte."""
    in_b = {sha256_hex(b.read(golden.file)): golden for golden in b.manifest.golden}
    both = [
        (golden, in_b[digest]) for golden in a.manifest.golden if (digest := sha256_hex(a.read(golden.file))) in in_b
    ]
    found: dict[str, dict[str, Any]] = {}
    for name in shared_precisions(a, b):
        pairs = [(one, two) for one, two in both if name in one.score and name in two.score]
        if pairs:
            found[name] = {
                "pictures": len(pairs),
                "verdicts_changed": sum(one.verdict.get(name) != two.verdict.get(name) for one, two in pairs),
                "largest_difference": max(abs(one.score[name] - two.score[name]) for one, two in pairs),
            }
    return found


def shared_precisions(a: Bundle, b: Bundle) -> list[str]:
    return sorted(set(a.manifest.precisions) & set(b.manifest.precisions))


def run(a: Bundle, b: Bundle, engine: str, wanted: Sequence[str], found: Difference) -> None:
    """Adds the verdicts, or why there are none. Raises BundleError for a precision one of the two does not have."""
    for name in wanted:
        a.precision(name)
        b.precision(name)
    names = list(wanted) or shared_precisions(a, b)
    try:
        pictures = pictures_of(a, b)
    except SadError as error:
        found.not_run = dict.fromkeys(names, str(error))
        return
    for name in names:
        if not pictures:
            found.not_run[name] = "neither carries a picture"
            continue
        try:
            found.verdicts[name] = compared(a, b, name, engine, pictures)
        except SadError as error:
            found.not_run[name] = str(error)


def as_lines(a: Bundle, b: Bundle, found: Difference) -> list[str]:
    lines = [f"A  {a.path}", f"B  {b.path}"]
    if found.same:
        lines.append("the same: every file inside")
    lines += _some("manifest", [f"{key}: {_word(one)} -> {_word(two)}" for key, (one, two) in found.fields.items()])
    lines += _some("only in A", _gathered(found.only_a))
    lines += _some("only in B", _gathered(found.only_b))
    lines += _some("changed", _gathered(found.changed))
    if (one := signature_lines(a, ())) != (two := signature_lines(b, ())):
        lines += _some("signed", [f"A {line}" for line in one] + [f"B {line}" for line in two])
    for name, told_of in found.golden.items():
        lines.append(
            f"golden        {name}: {told_of['pictures']} pictures in both; as told, {told_of['verdicts_changed']} "
            f"verdicts differ, scores by at most {told_of['largest_difference']:.3g}"
        )
    for name, verdicts in found.verdicts.items():
        lines += _verdict_lines(name, verdicts)
    return lines + [f"verdicts      {name}: not compared: {why}" for name, why in found.not_run.items()]


def _verdict_lines(name: str, verdicts: Verdicts) -> list[str]:
    kinds = Counter(f"{change.before.value} -> {change.after.value}" for change in verdicts.changes)
    kept = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "none"
    head = (
        f"verdicts      {name} on {verdicts.backend}: of {verdicts.pictures} pictures {len(verdicts.changes)} change "
        f"({kept}); scores differ by at most {verdicts.largest_difference:.3g}"
    )
    rows = [
        f"{one.picture}: {one.before.value} {one.score_before:.6g} -> {one.after.value} {one.score_after:.6g}"
        for one in verdicts.changes
    ]
    return [head, *_some("", rows)]


def _some(title: str, rows: list[str]) -> list[str]:
    """The first rows under their title, and how many more there are."""
    more = [f"and {len(rows) - SHOWN} more (--json)"] if len(rows) > SHOWN else []
    return [f"{'' if index else title:<13} {row}" for index, row in enumerate([*rows[:SHOWN], *more])]


def _gathered(names: list[str]) -> list[str]:
    """Single files by name, pictures by folder: `golden/ (32 files)`."""
    folders = Counter(name.partition("/")[0] for name in names if "/" in name)
    few = [name for name in names if folders[name.partition("/")[0]] <= FEW]
    return few + [f"{folder}/ ({count} files)" for folder, count in folders.items() if count > FEW]


def _word(value: Any) -> str:
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
