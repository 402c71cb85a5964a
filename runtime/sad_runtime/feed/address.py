"""Addresses that the feed may bind: tcp, and ipc at a file path.

libzmq itself binds what it should not: a second process on an ipc path silently takes it over from the first, and port
99999 becomes 34463. Here both are refused. Which address may leave this computer is left to config.py, encryption to
protection.py.
"""

from __future__ import annotations

import errno
import re
import socket as system_socket
from pathlib import Path
from typing import Annotated

import zmq
from pydantic import AfterValidator

from sad_runtime.errors import ConfigError, Unavailable

IPC_PATH_BYTES = 107
"""What a Unix socket address holds (sun_path less its closing zero)."""

_TCP = re.compile(r"tcp://(?P<host>.+):(?P<port>\*|\d{1,5})")
_LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}")

WILDCARDS = ("*", "0.0.0.0")

Socket = zmq.Socket[bytes]
Context = zmq.Context[Socket]


def check_address(address: str) -> str:
    """`address` as it is. Raises ConfigError for what the feed may not bind."""
    problem = _problem_of(address)
    if problem:
        raise ConfigError(f"{address}: {problem}")
    return address


def _valid(address: str) -> str:
    problem = _problem_of(address)
    if problem:
        raise ValueError(problem)
    return address


Address = Annotated[str, AfterValidator(_valid)]
"""A configuration value; a wrong one is named with its key and file."""


def bind(socket: Socket, address: str) -> str:
    """Binds, and returns the real endpoint (`tcp://127.0.0.1:*` takes a free port).

    Raises ConfigError for an address that may not be bound, UsageError for one that cannot.
    """
    check_address(address)
    path = ipc_path(address)
    if path is not None:
        _make_way(path)
    try:
        socket.bind(address.replace("//localhost:", "//127.0.0.1:"))
    except zmq.ZMQError as error:
        if error.errno == errno.EADDRINUSE:
            raise Unavailable(_in_use(address)) from None
        raise Unavailable(f"{address}: cannot be bound ({zmq.strerror(error.errno or 0)})") from None
    if path is not None:
        path.chmod(0o660)  # the gateway may run as another user of the same group
    return socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")


def is_on_this_computer(address: str) -> bool:
    """Whether only programs on this computer reach `address`."""
    match = _TCP.fullmatch(address)
    return address.startswith("ipc://") or (match is not None and _LOOPBACK.fullmatch(match["host"]) is not None)


def as_reached(told: str | None, reached: str) -> str | None:
    """The address `told` by a station, for a reader that reached the station at `reached`.

    A station that binds every interface tells `tcp://0.0.0.0:5557`, one behind a forwarded port `tcp://127.0.0.1:5557`;
    from elsewhere both are to be found at the host that was reached.
    """
    here, there = _TCP.fullmatch(told or ""), _TCP.fullmatch(reached)
    if here is None or (here["host"] not in WILDCARDS and not _LOOPBACK.fullmatch(here["host"])):
        return told
    host = there["host"] if there is not None else "127.0.0.1"
    return f"tcp://{host}:{here['port']}"


def shifted(address: str, ports: int) -> str:
    """`address` with its TCP port moved by `ports`, for the next station of a box; others stay as they are."""
    head, colon, port = address.rpartition(":")
    return f"{head}{colon}{int(port) + ports}" if address.startswith("tcp://") and port.isdigit() else address


def ipc_path(address: str) -> Path | None:
    """The file of an ipc address; None for tcp."""
    return Path(address[len("ipc://") :]) if address.startswith("ipc://") else None


def _problem_of(address: str) -> str | None:
    if address.startswith("ipc://"):
        return _ipc_problem(address[len("ipc://") :])
    match = _TCP.fullmatch(address)
    if match is None:
        return "not an address of the feed; write tcp://127.0.0.1:5555, tcp://127.0.0.1:* or ipc:///path/to/socket"
    if match["port"] != "*" and not 0 < int(match["port"]) < 65536:
        return "ports run from 1 to 65535; * takes a free one"
    return None


def _ipc_problem(path: str) -> str | None:
    if not path.startswith("/"):
        return "an ipc address needs the full path of a file: ipc:///run/sad/line1.ipc"
    if len(path.encode()) > IPC_PATH_BYTES:
        return (
            f"the path has {len(path.encode())} bytes, and the system allows {IPC_PATH_BYTES} for a socket; "
            "choose a shorter folder (--state) or name a tcp address"
        )
    return None


def _make_way(path: Path) -> None:
    """Raises UsageError when somebody listens at `path`; what a killed process left there is no obstacle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with system_socket.socket(system_socket.AF_UNIX, system_socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return
    raise Unavailable(_in_use(f"ipc://{path}"))


def _in_use(address: str) -> str:
    return (
        f"{address}: already in use, by another station or another program. "
        "Stop that one, or give this station its own addresses: --port-offset 10, or `feed:` in its file"
    )
