"""`sad-journal check`: damage, holes, and pictures and rows that do not belong together."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from sqlite3 import Connection

from sad_runtime.cli.journal_options import folder_from
from sad_runtime.errors import SadError
from sad_runtime.journal.journal_file import newest_ns
from sad_runtime.journal.picture_names import OVERLAY, RUN_LETTERS, KeptName, kept_in, key_of
from sad_runtime.journal.rows import Wanted, reading, row_of, rows, runs
from sad_runtime.pictures import read_picture
from sad_runtime.station.state_folder import StateFolder
from sad_runtime.verdict import Verdict

SHOWN = 12
SETTLED_S = 60.0
"""What is younger may be being written at this moment."""


@dataclass
class Findings:
    """Lines for people, by what is wrong. `without_picture`: rejected parts that were seen and have no picture now."""

    rows: int = 0
    runs: int = 0
    pictures: int = 0
    without_picture: int = 0
    damage: list[str] = field(default_factory=list)
    holes: list[str] = field(default_factory=list)
    without_row: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    set_aside: list[str] = field(default_factory=list)
    """Damaged journals of earlier; they are in nobody's way."""

    @property
    def trouble(self) -> dict[str, list[str]]:
        return {
            "damaged": self.damage,
            "hole": self.holes,
            "picture without a row": self.without_row,
            "picture cannot be read": self.unreadable,
            "left by a kill (the next start removes it)": self.leftovers,
        }

    @property
    def in_order(self) -> bool:
        return not any(self.trouble.values())


def check(arguments: argparse.Namespace) -> int:
    folder = folder_from(arguments)
    found = findings(folder, every_picture=arguments.pictures)
    if arguments.json:
        print(json.dumps({"journal": str(folder.journal), "in_order": found.in_order, **asdict(found)}))
    else:
        print("\n".join(as_lines(folder, found)))
    return 0 if found.in_order else 1


def findings(folder: StateFolder, *, every_picture: bool = False) -> Findings:
    found = Findings(set_aside=sorted(path.name for path in folder.folder.glob("journal.sqlite.damaged-*")))
    with reading(folder.journal) as journal:
        found.damage = [line for (said,) in journal.execute("PRAGMA quick_check(20)") for line in said.splitlines()]
        found.damage = [line for line in found.damage if line != "ok"]
        if not found.damage:
            _number(journal, found)
            _match(journal, folder, found)
    _look_at_files(folder.pictures, found, every_picture=every_picture)
    return found


def _number(journal: Connection, found: Findings) -> None:
    """Each run counts from 1 without holes; of the oldest the first part may be deleted by now."""
    oldest = journal.execute("SELECT run FROM decisions ORDER BY id LIMIT 1").fetchone()
    for run in runs(journal):
        found.runs += 1
        before = None if (run,) == oldest else 0
        for (seq,) in journal.execute("SELECT seq FROM decisions WHERE run = ? ORDER BY seq", (run,)):
            found.rows += 1
            if before is not None and seq != before + 1:
                found.holes.append(
                    f"run {run}: {before + 1} to {seq - 1}" if seq - before > 2 else f"run {run}: {seq - 1}"
                )
            before = seq


def _match(journal: Connection, folder: StateFolder, found: Findings) -> None:
    names = list(kept_in(folder.pictures))
    pictures = [name for name in names if name.kind != OVERLAY]
    keys = {name.key for name in pictures}
    found.pictures = len(pictures)
    found.leftovers += [str(name.path) for name in names if name.kind == OVERLAY and name.key not in keys]
    found.without_row = [str(name.path) for name in _without_row(journal, pictures)]
    kept = {name.verdict.value for name in pictures} & {Verdict.FAIL.value, Verdict.INVALID.value}
    newest = newest_ns(journal) or 0
    for row in rows(journal, Wanted(verdicts=kept)) if kept else ():
        settled = row.decided_ns < newest - SETTLED_S * 1e9
        if settled and row.decision.get("frame_id") is not None and key_of(row.run, row.seq) not in keys:
            found.without_picture += 1


def _without_row(journal: Connection, pictures: list[KeptName]) -> Iterator[KeptName]:
    """Of a run that the journal has, and later than its first row there: old rows may go before their pictures."""
    by_letters = {run[:RUN_LETTERS]: run for run in runs(journal)}
    first = {run: journal.execute("SELECT min(seq) FROM decisions WHERE run = ?", (run,)).fetchone()[0]
             for run in by_letters.values()}  # fmt: skip
    for name in pictures:
        run = by_letters.get(name.run)
        if run is not None and name.seq > first[run] and row_of(journal, run, name.seq) is None:
            yield name


def _look_at_files(pictures: Path, found: Findings, *, every_picture: bool) -> None:
    old_s = time.time() - SETTLED_S
    found.leftovers += [str(path) for path in sorted(pictures.rglob(".*.tmp")) if path.stat().st_mtime < old_s]
    for name in kept_in(pictures) if every_picture else ():
        try:
            read_picture(name.path)
        except SadError as error:
            found.unreadable.append(str(error))


def as_lines(folder: StateFolder, found: Findings) -> list[str]:
    head = f"{folder.journal}: {found.rows} decisions in {found.runs} runs, {found.pictures} pictures"
    lines = [head, *_told(found)]
    if found.without_picture:
        lines.append(
            f"note: {found.without_picture} rejected parts have no picture (lost to a slow disk or a kill, or deleted "
            "for the size or age limit)"
        )
    lines += [f"note: {name} was set aside, damaged, at an earlier start" for name in found.set_aside]
    return [*lines, "in order" if found.in_order else "NOT in order"]


def _told(found: Findings) -> Iterator[str]:
    for kind, items in found.trouble.items():
        yield from (f"{kind}: {item}" for item in items[:SHOWN])
        if len(items) > SHOWN:
            yield f"{kind}: and {len(items) - SHOWN} more (--json)"
