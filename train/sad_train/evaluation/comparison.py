"""All contenders on their test sets: who is measured where, and what came out, by set and row.

Each figure is sad-evaluate's own of one subject; comparison_figures.py puts a row's together. Tables are
comparison_text.py's, the page is comparison_report.py's.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sad_runtime.backends.table import chosen_backend
from sad_runtime.errors import SadError, UsageError
from sad_train.data.dataset import Dataset
from sad_train.evaluation.comparison_cache import Cache, content_digest
from sad_train.evaluation.comparison_figures import FIGURES, Result, Row
from sad_train.evaluation.contenders import Contender, Field
from sad_train.evaluation.judging import PIXEL_SIZE_PX, evaluate, judged_samples
from sad_train.evaluation.subject import Subject, open_subject

log = logging.getLogger("sad-evaluate")


@dataclass(frozen=True)
class Terms:
    """How everyone is measured. Run folders run in torch, whatever the backend."""

    backend: str = "auto"
    precision: str | None = None
    threads: int = 0
    pixel_size_px: int = PIXEL_SIZE_PX
    limit: int | None = None
    cache: Path | None = None


@dataclass(frozen=True)
class SetResults:
    """One data set and everyone measured on it; no rows when all of them failed."""

    dataset: Dataset
    rows: list[Row]

    @property
    def name(self) -> str:
        return self.dataset.name

    @property
    def counts(self) -> tuple[int, int]:
        """Good pictures and defects that were judged, the same for everyone."""
        summary = self.rows[0].results[0].summary if self.rows else {"n_good": 0, "n_defect": 0}
        return summary["n_good"], summary["n_defect"]


@dataclass(frozen=True)
class Comparison:
    sets: list[SetResults]
    failed: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    limit: int | None = None

    @property
    def row_names(self) -> list[str]:
        return sorted({row.name for one in self.sets for row in one.rows})

    def as_json(self) -> dict[str, Any]:
        """`sad-evaluate --compare --json`."""
        return {
            "sets": {one.name: _set_json(one) for one in self.sets},
            "failed": self.failed,
            "left_out": self.left_out,
            "limit": self.limit,
        }


def compared(entered: Field, datasets: Sequence[Dataset], terms: Terms) -> Comparison:
    """Measures every contender on the set of its part. Whoever fails is told, and the others go on.

    Raises UsageError before any work for a backend that is not there, a contender without data and data without one.
    """
    by_part = _by_part(entered, datasets)
    _check(terms, entered, datasets)
    results: dict[str, dict[str, list[Result]]] = {name: {} for name in by_part}
    failed = dict(entered.failed)
    digests = {name: content_digest(dataset) for name, dataset in by_part.items()} if terms.cache is not None else {}
    for number, one in enumerate(entered.contenders, start=1):
        log.info("%d of %d: %s on %s", number, len(entered.contenders), one.path, one.part)
        try:
            summary = _measured(one, by_part[one.part], terms, digests.get(one.part, ""))
        except SadError as error:
            log.warning("%s", error)
            failed[str(one.path)] = str(error)
        else:
            results[one.part].setdefault(one.row, []).append(Result(one, summary))
    sets = [SetResults(dataset, _rows(results[name])) for name, dataset in by_part.items()]
    return Comparison(sets, failed, dict(entered.left_out), terms.limit)


def subject_of(one: Contender, terms: Terms) -> Subject:
    """The contender, ready to be opened."""
    backend = terms.backend if one.kind == "bundle" else "auto"
    return open_subject(one.path, backend=backend, precision=terms.precision, threads=terms.threads)


def _check(terms: Terms, entered: Field, datasets: Sequence[Dataset]) -> None:
    """Raises UsageError for what would fail everyone, or every run."""
    chosen_backend(terms.backend)
    for dataset in datasets:
        judged_samples(dataset, terms.limit)
    runs = [str(one.path) for one in entered.contenders if one.kind == "run"]
    if runs and terms.precision not in (None, "fp32"):
        raise UsageError(f"--precision {terms.precision}: run folders are fp32; name the bundles of {', '.join(runs)}")


def _by_part(entered: Field, datasets: Sequence[Dataset]) -> dict[str, Dataset]:
    by_part: dict[str, Dataset] = {}
    for dataset in datasets:
        other = by_part.setdefault(dataset.name, dataset)
        if other is not dataset:
            raise UsageError(f"--data {other.root} and {dataset.root} are both called {dataset.name}; give one of them")
    homeless = [f"{one.path} (part {one.part})" for one in entered.contenders if one.part not in by_part]
    parts = {one.part for one in entered.contenders}
    idle = [f"{dataset.root} (set {name})" for name, dataset in by_part.items() if name not in parts]
    told = [f"no --data for {', '.join(homeless)}"] if homeless else []
    told += [f"nobody to measure on {', '.join(idle)}"] if idle and not entered.failed else []
    if told:
        raise UsageError(
            f"{'; '.join(told)}. A set's folder is named as the part. Give the missing ones, or sad-export --part NAME"
        )
    return by_part


def _measured(one: Contender, dataset: Dataset, terms: Terms, digest: str) -> dict[str, Any]:
    """The figures, from the cache where they are known."""
    cache = None if terms.cache is None else Cache(terms.cache, _key(one, terms, digest))
    known = None if cache is None else cache.read()
    if known is not None:
        log.info("known from %s", terms.cache)
        return known
    summary = evaluate(subject_of(one, terms), dataset, pixel_size_px=terms.pixel_size_px, limit=terms.limit).summary()
    if cache is not None:
        cache.write(summary)
    return summary


def _key(one: Contender, terms: Terms, digest: str) -> dict[str, Any]:
    """All that the figures depend on, but for the machine and the code."""
    return {
        "subject": one.digest,
        "data": digest,
        "backend": "torch" if one.kind == "run" else chosen_backend(terms.backend)[0],
        "precision": terms.precision or "fp32",
        "threads": terms.threads,
        "pixel_size_px": terms.pixel_size_px,
        "limit": terms.limit,
    }


def _rows(results: dict[str, list[Result]]) -> list[Row]:
    return [Row(name, sorted(results[name], key=lambda result: result.contender.seed)) for name in sorted(results)]


def _set_json(one: SetResults) -> dict[str, Any]:
    n_good, n_defect = one.counts
    return {"n_good": n_good, "n_defect": n_defect, "rows": [_row_json(row) for row in one.rows]}


def _row_json(row: Row) -> dict[str, Any]:
    first = row.results[0].contender
    spreads = {figure.key: row.spread(figure) for figure in FIGURES}
    return {
        "row": row.name,
        "method": first.method,
        "preset": first.preset,
        "variant": first.variant,
        "kind": first.kind,
        "seeds": row.seeds,
        "figures": {key: None if spread is None else spread.as_json() for key, spread in spreads.items()},
        "subjects": {str(result.contender.path): result.summary for result in row.results},
    }
