"""Where the passphrase of a private key comes from: a file that is named, else the terminal."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

from sad_runtime.errors import UsageError
from sad_runtime.signature import Signer
from sad_runtime.signing_keys import Ask, private_key_from, read_secret


def signer_from(key: Path, passphrase_file: Path | None = None, *, name: str = "", comment: str = "") -> Signer:
    """The private key in a file, unlocked, and what is said of its owner. Raises UsageError."""
    return Signer(private_key_from(key, passphrase_source(passphrase_file)), name, comment)


def passphrase_source(file: Path | None) -> Ask:
    """Asked only when a key turns out to be locked."""
    return (lambda _: read_secret(file)) if file is not None else asked


def asked(key: Path) -> bytes:
    """Raises UsageError where nobody sits at a terminal."""
    if not sys.stdin.isatty():
        raise UsageError(
            f"{key}: is locked with a passphrase, and there is no terminal to ask on: --passphrase-file FILE"
        )
    return getpass.getpass(f"Passphrase of {key}: ").encode()


def asked_twice(key: Path) -> bytes:
    """For a new key."""
    first = asked(key)
    if not first:
        raise UsageError("an empty passphrase locks nothing; leave --ask-passphrase out for a key without one")
    if getpass.getpass("Once more: ").encode() != first:
        raise UsageError("the two passphrases differ; no key was made")
    return first
