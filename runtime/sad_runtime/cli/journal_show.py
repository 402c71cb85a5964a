"""`sad-journal show`: decisions from the journal, one a line, for people or (`--json`) for scripts."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from sad_runtime.cli.journal_options import folder_from, wanted_from
from sad_runtime.journal.picture_names import key_of, pictures_by_part
from sad_runtime.journal.rows import Row, Wanted, reading, rows

HEADER = (
    "when                          seq  verdict  reason               score / threshold  part           ms  picture"
)
Pictures = dict[tuple[str, int], Path]


def show(arguments: argparse.Namespace) -> int:
    folder, wanted = folder_from(arguments), wanted_from(arguments)
    with reading(folder.journal) as journal:
        pictures = pictures_by_part(folder.pictures)
        shown = 0
        for row in newest(journal, wanted, arguments.limit):
            if not shown and not arguments.json:
                print(HEADER)
            picture = pictures.get(key_of(row.run, row.seq))
            print(json.dumps(as_object(row, picture)) if arguments.json else as_line(row, picture))
            shown += 1
    if not shown:
        print(f"sad-journal: {folder.journal}: no decision fits", file=sys.stderr)
    return 0


def newest(journal: Connection, wanted: Wanted, limit: int) -> Iterator[Row]:
    """The newest `limit`, oldest of them first; 0 streams all."""
    if not limit:
        return rows(journal, wanted)
    return reversed(list(islice(rows(journal, wanted, backwards=True), limit)))


def as_object(row: Row, picture: Path | None) -> dict[str, Any]:
    """The decision as published, and what the journal adds."""
    return {
        **row.decision,
        "decided_ns": row.decided_ns,
        "acknowledged_ns": row.acknowledged_ns,
        "source": row.source,
        "picture": None if picture is None else str(picture),
    }


def as_line(row: Row, picture: Path | None) -> str:
    told = row.decision
    when = datetime.fromtimestamp(row.decided_ns / 1e9).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    line = (
        f"{when}  {row.seq:>8}  {row.verdict:<7}  {row.reason:<15}  {number(row.score)} / "
        f"{number(told.get('threshold')):<8}  {_part(row):<8}  {float(told.get('age_ms') or 0):>8.1f}  {picture or '-'}"
    )
    return "  ".join([line.rstrip(), *told.get("flags", [])])


def number(value: Any) -> str:
    return f"{value:>8.4g}" if isinstance(value, (int, float)) else f"{'-':>8}"


def _part(row: Row) -> str:
    return str(row.part_id) if row.part_id is not None else "-"
