"""`sad-train --method all`: every method on every set, one run after the other, for `sad-evaluate --compare`.

Given again, it skips what is finished and goes on where it was cut off. A training that fails is named, and the others
go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sad_runtime.errors import SadError
from sad_train.config import TrainConfig
from sad_train.data.dataset import Dataset
from sad_train.data.dataset_check import DatasetCheck
from sad_train.methods.table import METHODS
from sad_train.session import AlreadyFinished, trained

log = logging.getLogger("sad-train")

COMPARED = [name for name, method in METHODS.items() if method.inspects]


@dataclass(frozen=True)
class Entry:
    """One training of a campaign."""

    dataset: Dataset
    check: DatasetCheck
    config: TrainConfig
    out: Path


def entries(
    sets: Sequence[tuple[Dataset, DatasetCheck]],
    methods: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    config_of: Callable[[str, int], TrainConfig],
) -> list[Entry]:
    """Set by set, so that a campaign cut short has whole rows; run folders are OUT/METHOD-SET-SEED."""
    return [
        Entry(dataset, check, config_of(method, seed), out / f"{method}-{dataset.name}-{seed}")
        for seed in seeds
        for dataset, check in sets
        for method in methods
    ]


def trained_all(wanted: Iterable[Entry], *, device: str, restart: bool) -> tuple[list[dict[str, Any]], list[str]]:
    """The summaries of the trainings that ended well now, and what went wrong with others."""
    summaries: list[dict[str, Any]] = []
    failures: list[str] = []
    for entry in wanted:
        log.info("%s: method %s on %s, seed %d", entry.out, entry.config.method, entry.dataset.name, entry.config.seed)
        try:
            summary = trained(entry.dataset, entry.check, entry.config, entry.out, device=device, restart=restart)
        except AlreadyFinished:
            log.info("%s: finished before", entry.out)
        except SadError as error:
            log.error("%s", error)
            failures.append(f"{entry.out.name}: {error}")
        else:
            summaries.append(summary)
    return summaries, failures
