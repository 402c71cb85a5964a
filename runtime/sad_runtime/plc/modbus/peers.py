"""Who may connect, and who may write."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from sad_runtime.errors import UsageError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
EVERYBODY: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))


def networks(names: Sequence[str], key: str) -> tuple[Network, ...]:
    """`key`: where they stand, for the message. Raises UsageError."""
    try:
        return tuple(ip_network(name, strict=False) for name in names)
    except ValueError as error:
        raise UsageError(f"{key}: {error}. Write addresses like 10.0.5.20, or networks like 10.0.5.0/24") from None


def peer_from(host: str) -> Address:
    """`host` as a socket names its peer; IPv4 through an IPv6 socket is IPv4."""
    address = ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


class Peers:
    """By address alone: on a network where addresses can be forged, use TLS."""

    def __init__(self, allow: Sequence[str], writers: Sequence[str], *, certified: bool) -> None:
        """`certified`: TLS has seen to who they are, so that an empty list lets all of them in. Raises UsageError."""
        self._allowed = networks(allow, "plc.modbus.allow") or (EVERYBODY if certified else LOOPBACK)
        self._writers = networks(writers, "plc.modbus.writers")

    def may_connect(self, peer: Address) -> bool:
        return any(peer in network for network in self._allowed)

    def may_write(self, peer: Address) -> bool:
        return not self._writers or any(peer in network for network in self._writers)
