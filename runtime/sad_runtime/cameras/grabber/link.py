"""What the station and its grabber say to each other, over a socket pair that keeps messages whole.

    to the grabber      free a slot, trigger, close
    from the grabber    opened, ring (with its memory), frame, ended

The end of the socket is a message too: whoever sees it knows that the other is gone.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import msgpack

MOST_BYTES = 64 * 1024


@dataclass(frozen=True)
class Opened:
    facts: dict[str, str] = field(default_factory=dict)
    silent_after_s: float | None = None
    """As the camera knows it now."""


@dataclass(frozen=True)
class Alive:
    """The thread that reads the camera is not held by its driver."""


@dataclass(frozen=True)
class RingMade:
    """A file descriptor travels with it. Slots of rings before it are not asked back."""

    number: int
    slots: int
    slot_bytes: int


@dataclass(frozen=True)
class Taken:
    """One frame; a picture lies in `slot` of the ring of that number, None where nothing could be read."""

    frame_id: int
    captured_ns: int
    mono_ns: int
    complete: bool
    source: str
    grab_ms: float
    ring: int = 0
    slot: int | None = None
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Ended:
    """The camera's last word: the name of an error and its text."""

    error: str
    text: str


@dataclass(frozen=True)
class Free:
    ring: int
    slot: int


@dataclass(frozen=True)
class Trigger:
    pass


@dataclass(frozen=True)
class Close:
    pass


Said = Opened | Alive | RingMade | Taken | Ended | Free | Trigger | Close
MESSAGES = (Opened, Alive, RingMade, Taken, Ended, Free, Trigger, Close)
KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in MESSAGES}


class Link:
    """One end. Sending is safe from any thread; one thread receives."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    @staticmethod
    def pair() -> tuple[socket.socket, socket.socket]:
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def say(self, said: Said, fd: int | None = None, *, wait: bool = True) -> bool:
        """False when the other end is gone, or (with `wait` off) takes no more for now."""
        data = msgpack.packb([type(said).__name__, asdict(said)])
        flags = 0 if wait else socket.MSG_DONTWAIT
        try:
            socket.send_fds(self._end, [data], [] if fd is None else [fd], flags | socket.MSG_NOSIGNAL)
        except OSError:
            return False
        return True

    def hear(self) -> tuple[Said, int | None] | None:
        """The next message and the file descriptor that came with it; None at the end."""
        try:
            data, fds, _, _ = socket.recv_fds(self._end, MOST_BYTES, 1)
        except ConnectionResetError:  # said once by Linux, before the last messages of one that left ours unread
            return self.hear()
        except OSError:
            return None
        if not data:
            return None
        name, values = msgpack.unpackb(data, use_list=False)
        return KINDS[name](**values), fds[0] if fds else None

    def hang_up(self) -> None:
        """Wakes whoever receives, at both ends."""
        with suppress(OSError):  # the other end was faster
            self._end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._end.close()
