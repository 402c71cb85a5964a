"""`sad-plc log`: what was shown to the PLC and what the PLC said, from the gateway's own record.

Reads beside a running gateway and changes nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from sqlite3 import Connection
from typing import Any

from sad_runtime.cli.journal_options import add_place, folder_from, moment_ns, number
from sad_runtime.cli.tail import COLOURS
from sad_runtime.errors import UsageError
from sad_runtime.journal.columns import utc
from sad_runtime.plc.record.entry import KINDS
from sad_runtime.plc.record.rows import Row, Wanted, reading, rows
from sad_runtime.station.state_folder import StateFolder
from sad_runtime.verdict import Verdict

HEADER = f"{'when':<23}  {'kind':<12}  {'#':>7}  {'part':>10}  {'trigger':>7}  {'verdict':<7}  {'reason':<15}  text"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_place(parser)
    parser.add_argument(
        "--since",
        type=moment_ns,
        metavar="WHEN",
        help="from then on: 2h, 30m, 7d ago, or 2026-05-04T06:00 (local time)",
    )
    parser.add_argument("--until", type=moment_ns, metavar="WHEN", help="before then, said in the same way")
    parser.add_argument("--part-id", type=number, metavar="N", help="only the part that the PLC called so")
    parser.add_argument("--trigger-id", type=number, metavar="N", help="only the part of this trigger")
    kinds = "; ".join(f"{kind}: {text}" for kind, text in KINDS.items())
    parser.add_argument(
        "--kind", action="extend", nargs="+", default=[], choices=[*KINDS], metavar="KIND", help=f"only these. {kinds}"
    )
    parser.add_argument("--limit", type=number, default=50, metavar="N", help="the newest N; 0 shows all (default 50)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def log(arguments: argparse.Namespace) -> int:
    folder, wanted = _folder(arguments), _wanted(arguments)
    colour = sys.stdout.isatty()
    with reading(folder.plc_record) as record:
        shown = 0
        for row in newest(record, wanted, arguments.limit):
            if not shown and not arguments.json:
                print(HEADER)
            print(json.dumps(as_object(row)) if arguments.json else as_line(row, colour=colour))
            shown += 1
    if not shown:
        print(f"sad-plc: {folder.plc_record}: no entry fits", file=sys.stderr)
    return 0


def newest(record: Connection, wanted: Wanted, limit: int) -> Iterator[Row]:
    """The newest `limit`, oldest of them first; 0 streams all."""
    if not limit:
        return rows(record, wanted)
    return reversed(list(islice(rows(record, wanted, backwards=True), limit)))


def as_object(row: Row) -> dict[str, Any]:
    return {
        "utc": utc(row.wall_ns),
        "wall_ns": row.wall_ns,
        "mono_ns": row.mono_ns,
        "kind": row.kind,
        "station": row.station,
        "text": row.text,
        "part_id": row.part_id,
        "trigger_id": row.trigger_id,
        "result": row.shown,
    }


def as_line(row: Row, *, colour: bool) -> str:
    verdict = f"{row.verdict or '-':<7}"
    if colour and row.verdict in COLOURS:
        verdict = f"\x1b[{COLOURS[Verdict(row.verdict)]}m{verdict}\x1b[0m"
    when = datetime.fromtimestamp(row.wall_ns // 1000 / 1e6).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    return (
        f"{when:<23}  {row.kind:<12}  {_number(row.seq):>7}  {_number(row.part_id):>10}  "
        f"{_number(row.trigger_id):>7}  {verdict}  {row.reason or '-':<15}  {_printable(row.text)}"
    )


def _folder(arguments: argparse.Namespace) -> StateFolder:
    return folder_from(arguments, file="plc.sqlite", what="a record of sad-plc")


def _wanted(arguments: argparse.Namespace) -> Wanted:
    if None not in (arguments.since, arguments.until) and arguments.since >= arguments.until:
        raise UsageError("--since is not before --until: nothing lies between them")
    return Wanted(arguments.since, arguments.until, arguments.part_id, arguments.trigger_id, arguments.kind)


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def _printable(text: str) -> str:
    """What a stranger called himself must not steer the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
