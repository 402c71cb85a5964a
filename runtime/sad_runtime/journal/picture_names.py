"""How kept pictures are called, and which of them lie in a folder.

    2026-05-04/103000-3f9c01aa-00000042-FAIL-score.png          as the camera gave it
    2026-05-04/103000-3f9c01aa-00000042-FAIL-score.model.png    as the model saw it: cropped, resized
    2026-05-04/103000-3f9c01aa-00000042-FAIL-score.jpg          the model's picture with its heatmap over it

UTC day, time, first characters of the run, seq, verdict, reason. A name is never given twice, whatever the clock does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sad_runtime.messages import Decision
from sad_runtime.verdict import Reason, Verdict

RUN_LETTERS = 8
CAMERA, MODEL, OVERLAY = ".png", ".model.png", ".jpg"


@dataclass(frozen=True)
class KeptName:
    """The file `path` and what its name says."""

    path: Path
    run: str
    """Its first RUN_LETTERS letters."""
    seq: int
    verdict: Verdict
    reason: Reason
    kind: str
    """CAMERA, MODEL or OVERLAY."""

    @property
    def key(self) -> tuple[str, int]:
        return self.run, self.seq


def key_of(run: str, seq: int) -> tuple[str, int]:
    """What a row and its pictures have in common."""
    return run[:RUN_LETTERS], seq


def stem_of(decision: Decision, now_s: float) -> str:
    stamp = time.strftime("%H%M%S", time.gmtime(now_s))
    run, seq = key_of(decision.run, decision.seq)
    return f"{stamp}-{run}-{seq:08}-{decision.verdict.value}-{decision.reason.value}"


def day_of(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def kept_name(path: Path) -> KeptName | None:
    """None for a file that is none of ours."""
    stem, dot, end = path.name.partition(".")
    if dot + end not in (CAMERA, MODEL, OVERLAY):
        return None
    words = stem.rsplit("-", 3)
    if len(words) != 4 or not words[1].isdigit():
        return None
    _, dash, run = words[0].partition("-")
    try:
        verdict, reason = Verdict(words[2]), Reason(words[3])
    except ValueError:
        return None
    return KeptName(path, run, int(words[1]), verdict, reason, dot + end) if dash else None


def days_in(folder: Path) -> list[Path]:
    """The folders of the days, oldest first."""
    return sorted(folder.glob("????-??-??"))


def kept_in(folder: Path) -> Iterator[KeptName]:
    """Everything kept below `folder`, oldest day first, by time within a day."""
    for day in days_in(folder):
        for path in sorted(day.iterdir()):
            name = kept_name(path)
            if name is not None:
                yield name


def pictures_by_part(folder: Path) -> dict[tuple[str, int], Path]:
    """The pictures to look at or to judge again, by `key_of` their row."""
    return {name.key: name.path for name in kept_in(folder) if name.kind != OVERLAY}
