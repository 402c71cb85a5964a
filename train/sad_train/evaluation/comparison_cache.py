"""Figures kept from one comparison for the next: one JSON file an evaluation, so that a stopped one goes on.

A file is found again by what the figures depend on, not by its name. Code is not part of that: after
changing how things are measured, use another folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sad_runtime.errors import DataError
from sad_runtime.files import reason_of, write_atomically
from sad_train.data.dataset import Dataset
from sad_train.evaluation.judging import judged_samples

log = logging.getLogger("sad-evaluate")
SCHEMA = 1


@dataclass(frozen=True)
class Cache:
    """The place of one evaluation. `key`: all that its figures depend on, in plain JSON values."""

    folder: Path
    key: dict[str, Any]

    @property
    def file(self) -> Path:
        text = json.dumps({"schema": SCHEMA, **self.key}, sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"

    def read(self) -> dict[str, Any] | None:
        """The figures; None when they are not known yet, or the file is not whole."""
        if not self.file.exists():
            return None
        try:
            values = json.loads(self.file.read_bytes())
            summary: dict[str, Any] = values["summary"]
            if values["key"] == self.key and isinstance(summary, dict):
                return summary
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s: not what was kept there (%s); measuring again", self.file, error)
        return None

    def write(self, summary: dict[str, Any]) -> None:
        text = json.dumps({"key": self.key, "summary": summary}, indent=1, allow_nan=False)
        write_atomically(self.file, text.encode())


def content_digest(dataset: Dataset) -> str:
    """SHA-256 over names and contents of what is judged, and names and sizes of the training pictures.

    Raises DataError for a file that cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for sample in judged_samples(dataset, None)[0]:
            for path in (sample.path, sample.mask):
                content = b"" if path is None else path.read_bytes()
                digest.update(f"{sample.label}/{sample.path.name}:{len(content)}\n".encode())
                digest.update(content)
        for path in dataset.train_good:
            digest.update(f"{path.name}:{path.stat().st_size}\n".encode())
    except OSError as error:
        raise DataError(f"{error.filename or dataset.root}: {reason_of(error)}") from None
    return digest.hexdigest()
