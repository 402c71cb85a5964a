"""`sad-bundle`: looks into `.sad` files, checks, compares, unpacks and signs them. Needs neither torch nor onnx.

Each command is a file of its own beside this one, imported when it is called.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sad_runtime.cli.command import command_parser, run_command

PROG = "sad-bundle"
DESCRIPTION = """\
Looks into .sad bundles, checks, compares, unpacks and signs them. No bundle is ever changed: signing writes a new file.

Exit codes: 0 in order (diff: the same), 4 not in order (diff: different), 2 wrong usage or an unreadable file,
1 anything else."""
EXAMPLES = """\
  sad-bundle inspect capsule.sad                      what is this, and how was it made?
  sad-bundle verify capsule.sad --golden              is it whole, and does it decide here as it did at export?
  sad-bundle verify capsule.sad --trust plant.pub     did our plant sign it?
  sad-bundle diff monday.sad tuesday.sad              what changed, and would any verdict?
  sad-bundle extract capsule.sad --out look report.html golden
  sad-bundle keygen plant                             plant.key stays secret, plant.pub goes to the stations
  sad-bundle sign capsule.sad --key plant.key --signer "Plant 7" --out capsule-signed.sad
  sad-runtime --camera 0 --bundle capsule-signed.sad --trust plant.pub"""
TRUST = "a public key file, or a folder of .pub files; may be repeated"
Add = Callable[[str, str, str], argparse.ArgumentParser]
"""(name, what it does in a few words, and in full)"""


class AnyOrder(argparse.ArgumentParser):
    """Takes `FILE --out DIR NAME` as well as `FILE NAME --out DIR`, which argparse does by another verb only."""

    splitting = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self.splitting:
            return super().parse_known_args(args, namespace)
        self.splitting = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self.splitting = False


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(parser(), lambda arguments: int(arguments.work(arguments)), argv)


def parser() -> argparse.ArgumentParser:
    whole = command_parser(PROG, DESCRIPTION)
    commands = whole.add_subparsers(metavar="COMMAND", required=True, title="commands", parser_class=AnyOrder)
    made: list[argparse.ArgumentParser] = []

    def add(name: str, short: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=short, description=text)
        command.allow_abbrev = False
        made.append(command)
        return command

    for tell in (_inspect, _verify, _diff, _extract, _sign, _keygen):
        tell(add)
    usages = "\n".join(f"  {' '.join(command.format_usage().split()[1:])}" for command in made).replace(" [-h]", "")
    whole.epilog = f"in short (sad-bundle COMMAND --help says more):\n{usages}\n\nexamples:\n{EXAMPLES}"
    return whole


def _inspect(add: Add) -> None:
    command = add(
        "inspect",
        "what is in a bundle",
        "Shows what a bundle is: part, models, thresholds, promise, training, signatures.",
    )
    _bundle(command)
    command.add_argument("--trust", **_repeated(), help=f"say whether it is signed by this key: {TRUST}")
    command.add_argument("--files", action="store_true", help="also list every file inside")
    _json(command)

    def work(arguments: argparse.Namespace) -> int:
        from sad_runtime.cli.bundle_inspect import inspect

        return inspect(arguments.bundle, arguments.trust, files=arguments.files, as_json=arguments.json)

    command.set_defaults(work=work)


def _verify(add: Add) -> None:
    command = add(
        "verify",
        "is it whole, signed, and does it decide here as at export?",
        "Checks a bundle: digests, signatures, pictures, and that an engine here takes its models. "
        "Exit 4 when something is not in order.",
    )
    _bundle(command)
    command.add_argument("--trust", **_repeated(), help=f"a signature of this key is a must: {TRUST}")
    command.add_argument(
        "--golden", action="store_true", help="run the golden pictures with every model on every engine installed here"
    )
    command.add_argument("--backend", **_repeated("NAME"), help="only this engine; may be repeated")
    command.add_argument("--precision", **_repeated("NAME"), help="only this model; may be repeated")
    _json(command)

    def work(arguments: argparse.Namespace) -> int:
        from sad_runtime.cli.bundle_verify import Wish, verify

        wish = Wish(arguments.trust, arguments.golden, arguments.backend, arguments.precision)
        return verify(arguments.bundle, wish, as_json=arguments.json)

    command.set_defaults(work=work)


def _diff(add: Add) -> None:
    command = add(
        "diff",
        "what differs between two bundles, verdicts too",
        "Says what differs between two bundles, and how many verdicts would: their golden and calibration pictures are "
        "judged by both. Exit 0 when they hold the same (signatures aside), 4 when not.",
    )
    command.add_argument("a", type=Path, metavar="A", help="a .sad file, such as the one that runs now")
    command.add_argument("b", type=Path, metavar="B", help="the one it is compared with, such as the new one")
    command.add_argument("--no-run", action="store_true", help="compare what is written, run no picture")
    command.add_argument("--backend", default="auto", metavar="NAME", help="engine to judge on (default: auto)")
    command.add_argument("--precision", **_repeated("NAME"), help="only this model; may be repeated")
    _json(command)

    def work(arguments: argparse.Namespace) -> int:
        from sad_runtime.cli.bundle_diff import diff

        engine = None if arguments.no_run else arguments.backend
        return diff(arguments.a, arguments.b, engine, arguments.precision, as_json=arguments.json)

    command.set_defaults(work=work)


def _extract(add: Add) -> None:
    command = add(
        "extract",
        "files of a bundle into a folder",
        "Writes files of a bundle into a folder. Nothing there is overwritten.",
    )
    _bundle(command)
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the files; is created")
    command.add_argument(
        "names", nargs="*", metavar="NAME", help="files, folders or patterns such as 'golden/*' (default: everything)"
    )

    def work(arguments: argparse.Namespace) -> int:
        from sad_runtime.cli.bundle_extract import extract

        return extract(arguments.bundle, arguments.out, arguments.names)

    command.set_defaults(work=work)


def _sign(add: Add) -> None:
    command = add(
        "sign",
        "a signed copy of a bundle",
        "Writes a copy of a bundle with one signature more. Earlier signatures stay.",
    )
    _bundle(command)
    command.add_argument("--key", type=Path, required=True, metavar="FILE", help="the private key (PEM)")
    command.add_argument("--out", type=Path, required=True, metavar="OUT", help="the new file; must not be there yet")
    command.add_argument("--signer", default="", metavar="NAME", help="whose key it is, for people to read")
    command.add_argument("--comment", default="", metavar="TEXT", help="kept with the signature, and under it")
    command.add_argument("--trust", **_repeated(), help=f"sign only what is signed by this key already: {TRUST}")
    command.add_argument(
        "--passphrase-file", type=Path, metavar="FILE", help="the key's passphrase (default: asked for on the terminal)"
    )

    def work(arguments: argparse.Namespace) -> int:
        from sad_runtime.cli.bundle_sign import sign
        from sad_runtime.cli.passphrase import signer_from

        signer = signer_from(arguments.key, arguments.passphrase_file, name=arguments.signer, comment=arguments.comment)
        return sign(arguments.bundle, signer, arguments.out, arguments.trust)

    command.set_defaults(work=work)


def _keygen(add: Add) -> None:
    command = add(
        "keygen",
        "a key pair to sign with",
        "Makes a key pair: NAME.key signs bundles and stays secret, NAME.pub goes to the stations.",
    )
    command.add_argument("name", type=Path, metavar="NAME", help="NAME.key and NAME.pub must not be there yet")
    locked = command.add_mutually_exclusive_group()
    locked.add_argument("--ask-passphrase", action="store_true", help="lock the key with a passphrase, asked for here")
    locked.add_argument("--passphrase-file", type=Path, metavar="FILE", help="lock it with the first line of this file")

    def work(arguments: argparse.Namespace) -> int:
        from sad_runtime.cli.bundle_sign import keygen

        return keygen(arguments.name, arguments.passphrase_file, ask=arguments.ask_passphrase)

    command.set_defaults(work=work)


def _bundle(command: argparse.ArgumentParser) -> None:
    command.add_argument("bundle", type=Path, metavar="FILE", help="a .sad file")


def _json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print one JSON object; everything else goes to stderr")


def _repeated(metavar: str = "KEY") -> dict[str, Any]:
    return {"action": "append", "default": [], "metavar": metavar}


if __name__ == "__main__":
    sys.exit(main())
