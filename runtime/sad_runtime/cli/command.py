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
    return parser


def run_command(
    parser: argparse.ArgumentParser, work: Callable[[argparse.Namespace], int], argv: Sequence[str] | None
) -> int:
    """Parses, works, and turns what went wrong into a line on stderr and an exit code."""
    arguments = parser.parse_args(argv)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    try:
        return work(arguments)
    except SadError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{parser.prog}: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"{parser.prog}: {where}{reason_of(error)}", file=sys.stderr)
        return 1


def rate(text: str) -> float:
    """A share as people write it: `0.5%`, `0.005`. For argparse's `type=`. Returns a fraction above 0, below 1."""
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a rate; write 0.5% or 0.005") from None
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not between 0 and 100 %; write 0.5% or 0.005")
    return value
