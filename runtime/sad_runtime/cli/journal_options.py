"""What the commands of `sad-journal` have in common: which station's folder, and which of its rows."""

from __future__ import annotations

import argparse
import re
import time
from datetime import datetime
from pathlib import Path

from sad_runtime.errors import UsageError
from sad_runtime.journal.rows import Wanted
from sad_runtime.station.state_folder import StateFolder, default_state_root
from sad_runtime.verdict import Reason, Verdict

SPANS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
WORDS = {"verdict": [one.value for one in Verdict], "reason": [one.value for one in Reason]}


def add_place(command: argparse.ArgumentParser) -> None:
    command.add_argument("--state", type=Path, metavar="DIR", help="the station's --state (default: the user's own)")
    command.add_argument("--station", metavar="NAME", help="which station (default: the only one there)")


def add_wanted(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--since",
        type=moment_ns,
        metavar="WHEN",
        help="from then on: 2h, 30m, 7d ago, or 2026-05-04T06:00 (local time)",
    )
    command.add_argument("--until", type=moment_ns, metavar="WHEN", help="before then, said in the same way")
    for name, words in WORDS.items():
        command.add_argument(
            f"--{name}", action="extend", nargs="+", default=[], type=str, choices=words, metavar=name.upper(),
            help=f"only these: {', '.join(words)}",
        )  # fmt: skip
    command.add_argument("--part-id", type=number, metavar="N", help="only the part that the PLC called so")
    command.add_argument("--trigger-id", type=number, metavar="N", help="only the part of this trigger")
    command.add_argument("--recipe", type=number, metavar="N", help="only parts of this recipe")
    command.add_argument("--run", metavar="RUN", help="only this start of the station, by its first letters")


def wanted_from(arguments: argparse.Namespace) -> Wanted:
    if None not in (arguments.since, arguments.until) and arguments.since >= arguments.until:
        raise UsageError("--since is not before --until: nothing lies between them")
    return Wanted(
        since_ns=arguments.since,
        until_ns=arguments.until,
        verdicts=arguments.verdict,
        reasons=arguments.reason,
        part_id=arguments.part_id,
        trigger_id=arguments.trigger_id,
        run=arguments.run,
        recipe=arguments.recipe,
    )


def folder_from(arguments: argparse.Namespace, file: str = "journal.sqlite", what: str = "a journal") -> StateFolder:
    """Raises UsageError where no station, or more than one, has such a file."""
    root = arguments.state.expanduser() if arguments.state else default_state_root()
    if arguments.station:
        return StateFolder(root, arguments.station)
    found = sorted(path.parent.name for path in root.glob(f"*/{file}"))
    if len(found) == 1:
        return StateFolder(root, found[0])
    if found:
        raise UsageError(f"{root}: which of {', '.join(found)}? Add --station {found[0]}")
    raise UsageError(f"{root}: no station has {what} there. Name the folder that sad-runtime got: --state DIR")


def moment_ns(text: str) -> int:
    """`2h` (ago), or a date or time in ISO 8601, local where it names no zone; ns since 1970 UTC."""
    span = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smhdw])", text)
    if span:
        return time.time_ns() - int(float(span[1]) * SPANS_S[span[2]] * 1e9)
    try:
        return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1e6) * 1000
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(f"'{text}' is no time; write 2h, 30m, 7d or 2026-05-04T06:00") from None


def number(text: str) -> int:
    """An id or a count, at most ten digits."""
    if not (text.isascii() and text.isdigit() and len(text) < 11):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number; write for example 100")
    return int(text)
