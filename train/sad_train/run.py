"""A run folder: everything one training leaves behind, enough for sad-export and for a person to understand it.

    config.yaml      the configuration in force         split.json     which picture did what, with digests
    profile.json     what the good set says of itself   metrics.jsonl  one line an interval
    checkpoint.pt    the last state (weights only)      previews/      synthetic anomalies, heatmaps
    report.html      all of it for a browser

One process trains a run at a time (`.lock`). Checkpoints are replaced atomically, so a kill costs one interval.
"""

from __future__ import annotations

import fcntl
import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from sad_runtime.errors import AlreadyRunning, DataError
from sad_runtime.files import made_folder, write_atomically
from sad_runtime.manifest import Backbone, InputSpec
from sad_runtime.schema import Strict, parse, read_yaml
from sad_train.config import TrainConfig
from sad_train.data.profile import Profile
from sad_train.data.split import Split

CHECKPOINT_SCHEMA = 2
AGAIN = "Train again: sad-train --restart"
CHECKPOINT_KEYS = frozenset(
    {
        "schema",
        "step",
        "seconds",
        "config",
        "spec",
        "profile",
        "provenance",
        "learner",
        "optimiser",
        "average",
        "scaler",
    }
)


class Provenance(Strict):
    """Where a checkpoint comes from."""

    part: str
    data_digest: str
    pictures: int
    versions: dict[str, str]
    commit: str | None
    backbone: Backbone | None = None
    """The pretrained encoder that the method builds on."""


@dataclass(frozen=True)
class Checkpoint:
    """A training's state. The last four are state dicts."""

    step: int
    seconds: float
    config: TrainConfig
    spec: InputSpec
    profile: Profile
    provenance: Provenance
    learner: dict[str, Any]
    optimiser: dict[str, Any]
    average: dict[str, Any] | None = None
    """The learner's moving average, when the configuration asks for one: what ships."""
    scaler: dict[str, Any] = field(default_factory=dict)
    """Of the loss scale in fp16."""

    @property
    def finished(self) -> bool:
        return self.step >= self.config.steps


@dataclass(frozen=True)
class Run:
    folder: Path

    @property
    def checkpoint_file(self) -> Path:
        return self.folder / "checkpoint.pt"

    @property
    def previews(self) -> Path:
        return self.folder / "previews"

    @property
    def report(self) -> Path:
        """Written last: a finished run without it was cut off on its way out."""
        return self.folder / "report.html"

    def exists(self) -> bool:
        return (self.folder / "config.yaml").exists()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Held while training. Raises AlreadyRunning when another process trains this run."""
        made_folder(self.folder)
        with (self.folder / ".lock").open("w") as file:
            try:
                # Not flock: processes that make examples would inherit it, and outlive a killed training by seconds.
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                raise AlreadyRunning(f"{self.folder}: another sad-train is at work on this run") from None
            for leftover in self.folder.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)
            yield

    def write(self, config: TrainConfig, split: Split, profile: Profile) -> None:
        """The run's description, written before the first step."""
        config_text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
        write_atomically(self.folder / "config.yaml", config_text.encode())
        write_atomically(self.folder / "split.json", _json(split))
        write_atomically(self.folder / "profile.json", _json(profile))

    def clear(self) -> None:
        """Forgets an earlier training in this folder; called with the lock held."""
        for name in ("checkpoint.pt", "metrics.jsonl", "report.html", "config.yaml"):
            (self.folder / name).unlink(missing_ok=True)
        shutil.rmtree(self.previews, ignore_errors=True)

    def config(self) -> TrainConfig:
        return read_yaml(TrainConfig, self.folder / "config.yaml")

    def split(self) -> Split:
        path = self.folder / "split.json"
        try:
            return parse(Split, json.loads(path.read_bytes()), str(path))
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read ({error})") from None

    def note(self, values: dict[str, float]) -> None:
        """Appends a line to metrics.jsonl, below a last one that a kill may have torn."""
        path = self.folder / "metrics.jsonl"
        torn = path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")
        with path.open("a", encoding="utf-8") as file:
            file.write(("\n" if torn else "") + json.dumps(values) + "\n")

    def metrics(self) -> list[dict[str, float]]:
        """The lines of metrics.jsonl, the last of each step (a resumed run repeats some), without a torn last one."""
        path = self.folder / "metrics.jsonl"
        rows: dict[float, dict[str, float]] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            rows[row["step"]] = row
        return [rows[step] for step in sorted(rows)]

    def save(self, checkpoint: Checkpoint) -> None:
        buffer = io.BytesIO()
        torch.save(
            {
                "schema": CHECKPOINT_SCHEMA,
                "step": checkpoint.step,
                "seconds": checkpoint.seconds,
                "config": checkpoint.config.model_dump(mode="json"),
                "spec": checkpoint.spec.model_dump(mode="json"),
                "profile": checkpoint.profile.model_dump(mode="json"),
                "provenance": checkpoint.provenance.model_dump(mode="json"),
                "learner": checkpoint.learner,
                "optimiser": checkpoint.optimiser,
                "average": checkpoint.average,
                "scaler": checkpoint.scaler,
            },
            buffer,
        )
        write_atomically(self.checkpoint_file, buffer.getvalue())

    def load(self) -> Checkpoint:
        """The last checkpoint. Raises DataError when there is none or it is not one of ours."""
        path = self.checkpoint_file
        if not path.exists():
            raise DataError(f"{self.folder}: no checkpoint here. Run: sad-train --data FOLDER --out {self.folder}")
        if not zipfile.is_zipfile(path):  # torch would try its old format, whose reader raises whatever it likes
            raise DataError(f"{path}: damaged, or not a checkpoint (cut short, or of another kind). {AGAIN}")
        try:
            values = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, pickle.UnpicklingError) as error:
            raise DataError(
                f"{path}: damaged, or not a checkpoint ({str(error).partition(chr(10))[0]}). {AGAIN}"
            ) from None
        schema = values.get("schema") if isinstance(values, dict) else None
        if isinstance(schema, int) and schema < CHECKPOINT_SCHEMA:
            raise DataError(f"{path}: written by an older sad, whose networks this one does not read. {AGAIN}")
        if schema != CHECKPOINT_SCHEMA or values.keys() != CHECKPOINT_KEYS:
            raise DataError(f"{path}: not a checkpoint that this sad-train wrote")
        where = str(path)
        return Checkpoint(
            step=int(values["step"]),
            seconds=float(values["seconds"]),
            config=parse(TrainConfig, values["config"], where),
            spec=parse(InputSpec, values["spec"], where),
            profile=parse(Profile, values["profile"], where),
            provenance=parse(Provenance, values["provenance"], where),
            learner=values["learner"],
            optimiser=values["optimiser"],
            average=values["average"],
            scaler=values["scaler"],
        )


def newest_finished_run(root: Path, fits: Callable[[TrainConfig], bool] = lambda config: True) -> Run:
    """The run under `root` that fits and whose training ended last. Raises DataError when there is none."""
    newest = sorted(root.glob("*/checkpoint.pt"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in newest:
        run = Run(path.parent)
        checkpoint = run.load()
        if checkpoint.finished and fits(checkpoint.config):
            return run
    raise DataError(f"{root}: no finished run here. Run: sad-train --data FOLDER --out {root / 'PART'}")


def _json(model: Strict) -> bytes:
    return json.dumps(model.model_dump(mode="json"), indent=1).encode()
