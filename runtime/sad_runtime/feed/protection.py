"""What makes a tcp socket of the feed private: CURVE, with every handshake put to the station's own doorkeeper.

libzmq is open by default: a CURVE socket without a ZAP handler takes any key. So each encrypted socket names a ZAP
domain and enforces it before it is bound; when the doorkeeper is missing or dead, nobody gets in.
"""

from __future__ import annotations

from pathlib import Path

import zmq

from sad_runtime.errors import ConfigError, UsageError
from sad_runtime.feed.address import Socket, is_on_this_computer
from sad_runtime.feed.allowed import AllowList
from sad_runtime.feed.config import FeedConfig
from sad_runtime.feed.curve_keys import KeyPair, check_curve, key_pair_from

DOMAIN = "sad."
"""With the name of the socket behind it, so that the doorkeeper knows which one is asked for."""


class Protection:
    """The station's own key and its allow-list, or the lack of both. Raises UsageError for keys that cannot be used."""

    def __init__(self, config: FeedConfig) -> None:
        curve = config.security.curve
        self.key: KeyPair | None = None
        self.allowed: AllowList | None = None
        self._plain_text = config.security.plain_text
        if curve is not None:
            check_curve()
            self.key = key_pair_from(Path(curve.key).expanduser())
            self.allowed = AllowList([Path(name).expanduser() for name in curve.allow])
            if self.key.public.raw in self.allowed.keys:
                raise UsageError(
                    f"{curve.key}: the station's own key is on its allow-list. A reader has a key of its own: "
                    "sad-keys make NAME"
                )

    def encrypts(self, address: str) -> bool:
        return self.key is not None and address.startswith("tcp://")

    def is_open(self, name: str, address: str) -> bool:
        """Whether `address` goes to other computers in plain text; raises ConfigError where nobody asked for that."""
        if is_on_this_computer(address) or self.encrypts(address):
            return False
        if not self._plain_text or name == "commands":
            raise ConfigError(f"{name}: {address}: plain text stays on this computer")
        return True

    def apply(self, name: str, socket: Socket) -> None:
        """Before `bind`, and after the plain addresses of this socket: libzmq cannot take a ZAP domain back."""
        if self.key is None:
            return
        socket.setsockopt(zmq.ZAP_DOMAIN, f"{DOMAIN}{name}".encode())
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.key.secret)
        socket.setsockopt(zmq.CURVE_SERVER, 1)


def check_keys(config: FeedConfig) -> None:
    """Reads every key that the feed would need. Raises UsageError."""
    Protection(config)
