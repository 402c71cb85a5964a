"""`sad-keys`: makes and lists the CURVE keys with which the feed leaves a computer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sad_runtime.cli.command import command_parser, run_command
from sad_runtime.errors import UsageError
from sad_runtime.feed.curve_keys import (
    PUBLIC_SUFFIX,
    SECRET_SUFFIX,
    PublicKey,
    key_pair_from,
    open_to_others,
    public_key_from,
    write_key_pair,
)
from sad_runtime.files import reason_of

EXAMPLES = """\
  sad-keys make line1 --out keys           on the station's computer: line1.key_secret stays, line1.key goes to readers
  sad-keys make office                     on a reader's computer: office.key goes into the station's folder of readers
  sad-keys list keys                       names, public keys, fingerprints
  sad-keys show office.key                 compare the fingerprint by telephone before you trust a key

in the station's file:
  feed:
    decisions: [tcp://0.0.0.0:5555]
    security: {curve: {key: keys/line1.key_secret, allow: [keys/readers]}}
for a reader:
  sad-tail --feed tcp://10.0.0.5:5555 --server-key line1.key --key office.key_secret

These keys (ZeroMQ CURVE) encrypt the feed. Keys that sign bundles (Ed25519) are something else: sad-bundle keygen."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_parser(
        "sad-keys",
        "Makes and lists the keys (ZeroMQ CURVE) with which a station's feed is read from other computers.",
        EXAMPLES,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    make = commands.add_parser("make", help="a new pair: NAME.key_secret and NAME.key", allow_abbrev=False)
    make.add_argument("name", metavar="NAME", help="whose key it is; logs call it so")
    make.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="folder for both files (this one)")
    make.set_defaults(work=_make)
    listing = commands.add_parser("list", help="the keys of a folder", allow_abbrev=False)
    listing.add_argument("folder", type=Path, metavar="DIR")
    listing.set_defaults(work=_list)
    show = commands.add_parser("show", help="one key file: name, public key, fingerprint", allow_abbrev=False)
    show.add_argument("file", type=Path, metavar="FILE")
    show.set_defaults(work=_show)
    return run_command(parser, lambda arguments: int(arguments.work(arguments)), argv)


def _make(arguments: argparse.Namespace) -> int:
    secret, public, key = write_key_pair(arguments.name, arguments.out)
    print(f"{secret}  the secret key: it stays on this computer, readable by its owner only")
    print(f"{public}  the public key: give it to those who are to know {key.name}")
    print(f"fingerprint  {key.fingerprint}")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    """Exit code 2 when a file in it cannot be used: a station would not start with it."""
    folder: Path = arguments.folder
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder. For one file: sad-keys show FILE")
    paths = sorted(path for path in folder.iterdir() if path.suffix in (PUBLIC_SUFFIX, SECRET_SUFFIX))
    if not paths:
        raise UsageError(f"{folder}: no keys here (*{PUBLIC_SUFFIX}, *{SECRET_SUFFIX}). Make one: sad-keys make NAME")
    unusable = 0
    for path in paths:
        try:
            print(_line(path))
            _warn(path)
        except UsageError as error:
            unusable += 1
            print(f"sad-keys: {error}", file=sys.stderr)
    return 2 if unusable else 0


def _show(arguments: argparse.Namespace) -> int:
    path: Path = arguments.file
    secret = _is_secret(path)
    key = _key(path, secret=secret)
    print(f"name         {key.name}")
    print(f"kind         {'secret and public key' if secret else 'public key'}")
    print(f"public key   {key.text}")
    print(f"fingerprint  {key.fingerprint}")
    _warn(path)
    return 0


def _line(path: Path) -> str:
    secret = _is_secret(path)
    key = _key(path, secret=secret)
    return f"{key.name:<20} {'secret' if secret else 'public'}  {key.text}  {key.fingerprint}"


def _key(path: Path, *, secret: bool) -> PublicKey:
    return key_pair_from(path).public if secret else public_key_from(path)


def _is_secret(path: Path) -> bool:
    """By its ending; a secret under a public name is refused by whoever reads it."""
    return path.name.endswith(SECRET_SUFFIX)


def _warn(path: Path) -> None:
    """A secret that others may read is refused before; what is left is a folder in which they may swap keys."""
    try:
        mode = open_to_others(path) if _is_secret(path) else None
        folder_mode = path.absolute().parent.stat().st_mode
    except OSError as error:
        raise UsageError(f"{path}: cannot be looked at ({reason_of(error)})") from None
    if mode is not None:
        print(f"warning: {path}: others may read this secret (mode {mode:04o}). chmod 600 {path}", file=sys.stderr)
    if folder_mode & 0o002 and not folder_mode & 0o1000:
        print(f"warning: {path.parent}: everybody may write there, so also swap keys. chmod o-w", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
