"""Where an HTTP server listens, as people write it: `127.0.0.1:9105`, `[::1]:9105`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator


def host_and_port(address: str) -> tuple[str, int]:
    """Port 0 takes a free one. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (host and colon and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError("not an address; write 127.0.0.1:9105, or 0.0.0.0:9105 to be read from other computers")
    return host, int(port)


def _checked(address: str) -> str:
    host_and_port(address)
    return address


HostPort = Annotated[str, AfterValidator(_checked)]
"""A configuration value; a wrong one is named with its key and file."""
