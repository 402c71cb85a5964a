"""Who takes part in a comparison: bundles and finished runs, and what each says of itself. No engine is opened here.

A row of the tables is one method, preset and variant; its seeds are averaged. The variant is what is left of a file's
or folder's name without part, method, preset and seed: `bottle-anoseg-plain-0.sad` is the variant `plain` of anoseg.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from sad_runtime.bundle import read_bundle, sha256_hex
from sad_runtime.errors import DataError, SadError, UsageError
from sad_train.evaluation.subject import ask_for_torch

SEARCHED = ("*.sad", "*/*.sad", "*/checkpoint.pt", "*/*/checkpoint.pt")


@dataclass(frozen=True)
class Contender:
    """One training, as a bundle or as its run folder."""

    path: Path
    kind: Literal["bundle", "run"]
    part: str
    method: str
    preset: str
    variant: str
    seed: int
    digest: str
    """SHA-256 of the bundle or the checkpoint."""
    minutes: float | None
    parameters: int | None
    gmac: float | None

    @property
    def row(self) -> str:
        """`nsa fast`, `anoseg fast plain`, `nsa fast (run)`: contenders of one part and row differ in their seed."""
        words = [self.method, self.preset, self.variant, "(run)" if self.kind == "run" else ""]
        return " ".join(word for word in words if word)


@dataclass(frozen=True)
class Field:
    """Everyone found. `failed` and `left_out` say why, by path."""

    contenders: list[Contender]
    failed: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


class _Unfit(DataError):
    """A run that cannot take part, though nothing is wrong with it."""


def field_of(paths: Sequence[Path]) -> Field:
    """Reads what stands at `paths`: bundles, run folders, or folders that hold such one or two levels down.

    What was only found by searching is left out when it is no finished run, or when its bundle takes part too. Raises
    UsageError for a path that leads to nothing, and for two of one row and seed.
    """
    named = [path for path in paths if _stands_alone(path)]
    searched = [found for path in paths if path not in named for found in _search(path)]
    entered = Field([])
    for path, by_name in _once([*((path, True) for path in named), *((path, False) for path in searched)]):
        try:
            entered.contenders.append(_read(path))
        except _Unfit as error:
            (entered.failed if by_name else entered.left_out)[str(path)] = str(error)
        except SadError as error:
            entered.failed[str(path)] = str(error)
    entered = _without_twins(entered, {path.resolve() for path in named})
    _check_seeds(entered.contenders)
    return entered


def variant_of(name: str, *, part: str, method: str, preset: str, seed: int) -> str:
    """`name` without the words that part, method, preset and seed bring into it."""
    known = {word for text in (part, method, preset) for word in _words(text)}
    known |= {"seed", "run", str(seed), f"s{seed}", f"seed{seed}"}
    return "-".join(word for word in _words(name) if word not in known)


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[^0-9a-z]+", text.lower()) if word]


def _stands_alone(path: Path) -> bool:
    """Whether `path` is itself a bundle or a run, to be read or to fail under its own name."""
    if not path.exists():
        raise DataError(f"{path}: no such bundle or folder")
    if path.suffix.lower() == ".onnx":
        raise UsageError(
            f"{path}: an .onnx file says neither its part nor its method; compare its bundle or run folder"
        )
    return path.is_file() or any((path / name).exists() for name in ("checkpoint.pt", "config.yaml"))


def _search(folder: Path) -> list[Path]:
    found = [path for pattern in SEARCHED for path in sorted(folder.glob(pattern)) if path.is_file()]
    if not found:
        raise DataError(f"{folder}: no .sad bundle and no run in it. Run: sad-train --data DIR --out {folder}/PART")
    return [path.parent if path.name == "checkpoint.pt" else path for path in found]


def _once(paths: Sequence[tuple[Path, bool]]) -> Iterator[tuple[Path, bool]]:
    seen = set()
    for path, by_name in paths:
        if (place := path.resolve()) not in seen:
            seen.add(place)
            yield path, by_name


def _read(path: Path) -> Contender:
    return _from_run(path) if path.is_dir() else _from_bundle(path)


def _from_bundle(path: Path) -> Contender:
    manifest = read_bundle(path).manifest
    training = manifest.training
    method, preset, seed = manifest.method, training.preset, training.seed
    return Contender(
        path=path,
        kind="bundle",
        part=manifest.part,
        method=method,
        preset=preset,
        variant=variant_of(path.stem, part=manifest.part, method=method, preset=preset, seed=seed),
        seed=seed,
        digest=sha256_hex(path.read_bytes()),
        minutes=training.minutes,
        parameters=training.parameters,
        gmac=training.gmac,
    )


def _from_run(path: Path) -> Contender:
    ask_for_torch(path)
    from sad_train.methods.table import method_named
    from sad_train.run import Run
    from sad_train.torch_backend import graph_from_checkpoint

    run = Run(path)
    checkpoint = run.load()
    config, part = checkpoint.config, checkpoint.provenance.part
    if not checkpoint.finished:
        raise _Unfit(f"{path}: training stopped at step {checkpoint.step} of {config.steps}; finish it first")
    if not method_named(config.method).inspects:
        raise _Unfit(f"{path}: method {config.method} only prepares weights for others; it judges nothing")
    try:
        parameters = sum(weight.numel() for weight in graph_from_checkpoint(checkpoint).parameters())
    except RuntimeError as error:  # torch's, for weights that do not fit
        raise DataError(f"{path}: its weights do not fit the network of this sad ({error}); train again") from None
    return Contender(
        path=path,
        kind="run",
        part=part,
        method=config.method,
        preset=config.preset,
        variant=variant_of(path.name, part=part, method=config.method, preset=config.preset, seed=config.seed),
        seed=config.seed,
        digest=sha256_hex(run.checkpoint_file.read_bytes()),
        minutes=checkpoint.seconds / 60,
        parameters=parameters,
        gmac=None,
    )


def _without_twins(entered: Field, named: set[Path]) -> Field:
    """Drops runs that nobody named when the bundle made of them takes part."""
    bundles = {_identity(one): one.path for one in entered.contenders if one.kind == "bundle"}
    kept, left_out = [], dict(entered.left_out)
    for one in entered.contenders:
        twin = bundles.get(_identity(one))
        if one.kind == "run" and twin is not None and one.path.resolve() not in named:
            left_out[str(one.path)] = f"{one.path}: its bundle {twin} takes part"
        else:
            kept.append(one)
    return replace(entered, contenders=kept, left_out=left_out)


def _identity(one: Contender) -> tuple[str, str, str, str, int]:
    return one.part, one.method, one.preset, one.variant, one.seed


def _check_seeds(contenders: Sequence[Contender]) -> None:
    """Two of one row, part and seed would be averaged as if they were two seeds."""
    first: dict[tuple[str, str, int], Contender] = {}
    for one in contenders:
        other = first.setdefault((one.part, one.row, one.seed), one)
        if other is not one:
            raise UsageError(
                f"{other.path} and {one.path} are both {one.row} on {one.part} with seed {one.seed}. Leave one out, "
                "or put a word into one's name that tells them apart; it becomes a row of its own"
            )
