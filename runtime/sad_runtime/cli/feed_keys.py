"""The two options with which a command reads an encrypted feed."""

from __future__ import annotations

import argparse
from pathlib import Path

from sad_runtime.errors import UsageError
from sad_runtime.feed.curve_keys import ClientKeys, client_keys


def add_key_options(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """`default`: argparse.SUPPRESS below a parser that has them too."""
    group = parser.add_argument_group("an encrypted feed (keys are made with sad-keys)")
    group.add_argument(
        "--server-key", type=Path, default=default, metavar="FILE", help="the station's public key, STATION.key"
    )
    group.add_argument(
        "--key", type=Path, default=default, metavar="FILE", help="one's own secret key, NAME.key_secret"
    )


def keys_from(arguments: argparse.Namespace) -> ClientKeys | None:
    """None without the options. Raises UsageError for one without the other."""
    server_key, key = arguments.server_key, arguments.key
    if server_key is None and key is None:
        return None
    if server_key is None or key is None:
        given, missing = ("--key", "--server-key") if server_key is None else ("--server-key", "--key")
        raise UsageError(f"{given} needs {missing} too: encryption takes the station's public key and one's own secret")
    return client_keys(server_key, key)
