"""`sad-journal`: what a station has decided, from the journal that it keeps: to look at, to count, to take away, to
judge again with another bundle. Reads beside a running station and changes nothing.

Each command is a file of its own beside this one, imported when it is called.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sad_runtime.cli.command import command_parser, run_command
from sad_runtime.cli.journal_options import add_place, add_wanted, number

PROG = "sad-journal"
DESCRIPTION = """\
Reads the journal of a station, and the pictures it kept. May be used while the station runs; changes nothing.

Exit codes: 0 in order, 1 not in order (check) or anything else, 2 wrong usage or no journal there."""
EXAMPLES = """\
  sad-journal show --since 2h --verdict FAIL INVALID          what was rejected in the last two hours, and its pictures
  sad-journal show --part-id 1001                             what became of a part
  sad-journal stats --by hour --since 1d                      yield, reasons and latency of a day
  sad-journal export --csv may.csv --since 2026-05-01 --until 2026-06-01
  sad-journal rerun --bundle capsule-v2.sad --verdict FAIL    what would version 2 have said?
  sad-journal check                                           is the journal whole?"""
Add = Callable[[str, str, str], argparse.ArgumentParser]
"""(name, what it does in a few words, and in full)"""


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(parser(), lambda arguments: int(arguments.work(arguments)), argv)


def parser() -> argparse.ArgumentParser:
    whole = command_parser(PROG, DESCRIPTION, EXAMPLES)
    commands = whole.add_subparsers(metavar="COMMAND", required=True, title="commands")

    def add(name: str, short: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=short, description=text)
        command.allow_abbrev = False
        add_place(command)
        return command

    for tell in (_show, _stats, _export, _rerun, _check):
        tell(add)
    return whole


def _show(add: Add) -> None:
    command = add("show", "decisions, one a line, newest last", "Prints decisions as they were published, newest last.")
    add_wanted(command)
    command.add_argument("--limit", type=number, default=50, metavar="N", help="the newest N; 0 shows all (default 50)")
    command.add_argument("--json", action="store_true", help="one JSON object a line")

    def work(arguments: argparse.Namespace) -> int:
        from sad_runtime.cli.journal_show import show

        return show(arguments)

    command.set_defaults(work=work)


def _stats(add: Add) -> None:
    command = add(
        "stats",
        "yield, reasons and latency by hour, day or run",
        "Counts verdicts and reasons, and says how long each step took (p50, p99, p99.9). Hours and days are local.",
    )
    add_wanted(command)
    command.add_argument("--by", choices=("hour", "day", "run"), default="day", help="(default: day)")
    command.add_argument("--json", action="store_true", help="print one JSON object")

    def work(arguments: argparse.Namespace) -> int:
        from sad_runtime.cli.journal_stats import stats

        return stats(arguments)

    command.set_defaults(work=work)


def _export(add: Add) -> None:
    command = add(
        "export",
        "all columns as CSV or Parquet",
        "Writes decisions with all that is known of them into a table. The file is there when it is whole.",
    )
    add_wanted(command)
    target = command.add_mutually_exclusive_group(required=True)
    target.add_argument("--csv", type=Path, metavar="FILE", help="comma-separated, UTF-8")
    target.add_argument("--parquet", type=Path, metavar="FILE", help="Apache Parquet; needs the extra `parquet`")

    def work(arguments: argparse.Namespace) -> int:
        from sad_runtime.cli.journal_export import export

        return export(arguments)

    command.set_defaults(work=work)


def _rerun(add: Add) -> None:
    command = add(
        "rerun",
        "kept pictures through another bundle",
        "Judges the kept pictures again with another bundle and says which verdicts differ. The bundle proves itself "
        "on its golden pictures first, and judges by its own scene limits and by the thresholds that would be in force "
        "for it on this station. What does not lie in the picture, like being late, counts no more.",
    )
    add_wanted(command)
    command.add_argument("--bundle", type=Path, required=True, metavar="FILE", help="a .sad file, such as the new one")
    command.add_argument(
        "--config", type=Path, metavar="FILE", help="the station's file: its engine, precision, ROI and scene limits"
    )
    command.add_argument("--backend", metavar="NAME", help="engine to judge on (default: as in --config, else auto)")
    command.add_argument("--precision", metavar="NAME", help="model of the bundle (default: as in --config, else fp32)")
    command.add_argument("--threads", type=number, default=0, metavar="N", help="CPU threads; 0: the engine decides")
    command.add_argument("--threshold", type=float, metavar="X", help="judge by this threshold instead")
    command.add_argument(
        "--roi",
        metavar="X,Y,W,H",
        help="cut this from camera pictures (default: as in --config)",
    )
    command.add_argument(
        "--no-guard", action="store_true", help="ask the model of every picture, whatever the scene is"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object; everything else goes to stderr")

    def work(arguments: argparse.Namespace) -> int:
        from sad_runtime.cli.journal_rerun import rerun

        return rerun(arguments)

    command.set_defaults(work=work)


def _check(add: Add) -> None:
    command = add(
        "check",
        "is the journal whole, and do pictures and rows belong together?",
        "Looks for damage, for holes in the numbering, for pictures without a row or that cannot be read, and for what "
        "a kill left behind. Exit 1 when something is not in order.",
    )
    command.add_argument("--pictures", action="store_true", help="also read every picture to its last byte")
    command.add_argument("--json", action="store_true", help="print one JSON object")

    def work(arguments: argparse.Namespace) -> int:
        from sad_runtime.cli.journal_check import check

        return check(arguments)

    command.set_defaults(work=work)


if __name__ == "__main__":
    sys.exit(main())
