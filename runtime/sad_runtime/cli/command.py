"""The frame every console command stands in: --version, errors as one clear line, the agreed exit codes.

0 ok, 2 wrong usage or configuration, 3 already running, 4 a gate failed, 5 device lost, 1 anything else.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib import metadata

from sad_runtime.errors import SadError
from sad_runtime.files import reason_of
from sad_runtime.ops.log_lines import goes_to_journal, log_handler


def version() -> str:
    return metadata.version("sad-inspection")


def command_parser(prog: str, description: str, examples: str = "") -> argparse.ArgumentParser:
    """A parser with --version; `examples` are shown as they are below the options."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=f"examples:\n{examples}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{prog} {version()}")
    parser.add_argument(
        "--log-format", choices=("text", "json"), default="text", help="json: one object a line on stderr"
    )
    return parser


def run_command(
    parser: argparse.ArgumentParser, work: Callable[[argparse.Namespace], int], argv: Sequence[str] | None
) -> int:
    """Parses, works, and turns what went wrong into a line on stderr and an exit code."""
    arguments = parser.parse_args(argv)
    as_json = arguments.log_format == "json"
    _open_log(as_json)
    try:
        return work(arguments)
    except SadError as error:
        _say(parser.prog, str(error), as_json)
        return error.exit_code
    except KeyboardInterrupt:
        _say(parser.prog, "stopped", as_json)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _say(parser.prog, f"{where}{reason_of(error)}", as_json)
        return 1
    except Exception:
        if not as_json:
            raise
        logging.getLogger(parser.prog).critical("failed", exc_info=True)  # a traceback, but as one line
        return 1


def _open_log(as_json: bool) -> None:
    """Does nothing where the log is open already, as in a test."""
    to_journal = "JOURNAL_STREAM" in os.environ and goes_to_journal(os.environ["JOURNAL_STREAM"], sys.stderr.fileno())
    handler = log_handler(sys.stderr, "json" if as_json else "text", to_journal=to_journal)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _say(prog: str, text: str, as_json: bool) -> None:
    if as_json:
        logging.getLogger(prog).error("%s", text)
    else:
        print(f"{prog}: {text}", file=sys.stderr)


def rate(text: str) -> float:
    """A share as people write it: `0.5%`, `0.005`. For argparse's `type=`. Returns a fraction above 0, below 1."""
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a rate; write 0.5% or 0.005") from None
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not between 0 and 100 %; write 0.5% or 0.005")
    return value
