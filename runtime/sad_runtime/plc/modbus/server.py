"""A Modbus/TCP server for one or several stations, each behind its unit id. `connect` binds it; `address` is then what
was really bound.

Nobody can have this process collect connections, threads or memory: at most CONNECTIONS, each hung up on after IDLE_S
without a request; who does not take his answers is not read from. Requests are answered in requests.py.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import struct
import time
from collections import Counter
from functools import partial

from sad_runtime.errors import Unavailable, UsageError
from sad_runtime.feed.refusals import Refusals
from sad_runtime.files import reason_of
from sad_runtime.ops.host_port import host_and_port
from sad_runtime.plc.base import OnCommand, Plc
from sad_runtime.plc.config import ModbusConfig
from sad_runtime.plc.loop_thread import LoopThread
from sad_runtime.plc.modbus.connection import Connection, Unit
from sad_runtime.plc.modbus.peers import Address, Peers, peer_from
from sad_runtime.plc.modbus.registers import StationRegisters
from sad_runtime.plc.modbus.tls import server_context
from sad_runtime.plc.status import Status

CONNECTIONS = 32
IDLE_S = 60.0
REPLACEABLE_S = 5.0
"""Where all places are taken, the one longest silent goes, if for so long."""
SWEEP_S = 1.0
HANDSHAKE_S = 5.0
HANDSHAKES_EACH = 4
"""At once, from one address: who has no certificate must not keep out who has one."""
REST_S = 0.1
CLOSE_S = 2.0
COUNTED = (
    "connections",
    "requests",
    "commands",
    "bad_requests",
    "bad_controls",
    "bad_frames",
    "unknown_units",
    "refused_peers",
    "refused_writers",
    "busy_writers",
    "refused_handshakes",
    "refused_for_room",
    "idle_hung_up",
)


class ModbusServer(Plc):
    def __init__(self, config: ModbusConfig, units: dict[str, int]) -> None:
        """`units`: station to unit id. Raises UsageError."""
        if len(set(units.values())) < len(units):
            raise UsageError(f"plc.modbus.unit: stations need a unit each, not {units}")
        self.address = config.address
        self.peers = Peers(config.allow, config.writers, certified=config.tls is not None)
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))
        self.refusals = Refusals()
        self.connections: set[Connection] = set()
        self.units: dict[int, Unit] = {}
        self._config, self._units_of = config, units
        self._coming: dict[asyncio.Task[None], tuple[socket.socket, Address]] = {}
        """Shaking hands."""
        self._listener: socket.socket | None = None
        self._thread: LoopThread | None = None

    def connect(self, on_command: OnCommand) -> None:
        """Also raises Unavailable for an address that may be free later."""
        context = None if self._config.tls is None else server_context(self._config.tls)
        self.units = {
            unit: Unit(StationRegisters(self._config.word_order, partial(on_command, station)))
            for station, unit in self._units_of.items()
        }
        self._listener = listener = bound(self._config.address)
        self.address = _written(listener)
        self._thread = LoopThread("plc-modbus", lambda: self._serve(listener, context))
        self._thread.start()

    def write(self, station: str, status: Status) -> None:
        self.units[self._units_of[station]].registers.show(status)

    def close(self) -> None:
        if self._thread is not None:
            self._thread.stop(CLOSE_S)
        if self._listener is not None:
            self._listener.close()

    def counters(self) -> dict[str, int]:
        return {**self.counts, "open_connections": len(self.connections)}

    @property
    def failure(self) -> str | None:
        return None if self._thread is None else self._thread.failure

    def fail(self, what: str, error: BaseException) -> None:
        if self._thread is not None:
            self._thread.fail(what, error)

    async def _serve(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(listener, self._let_in, listener, context)
        try:
            await self._sweep()
        finally:
            loop.remove_reader(listener)
            listener.close()
            await self._empty()

    async def _empty(self) -> None:
        coming = dict(self._coming)
        for task in coming:
            task.cancel()
        await asyncio.gather(*coming, return_exceptions=True)
        for client, _ in coming.values():  # A task that had not begun lets go of nothing itself.
            client.close()
        for connection in tuple(self.connections):
            connection.hang_up()
        await asyncio.sleep(0)  # A transport lets go of its socket in the loop's next turn.

    def _let_in(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:  # Too many open files: another try at once would fail like this one.
            self.counts["refused_for_room"] += 1
            self.refusals.note("modbus", "a newcomer", "refused_for_room", reason_of(error))
            loop.remove_reader(listener)
            loop.call_later(REST_S, self._let_in_again, listener, context)
            return
        peer = peer_from(address[0])
        if not self._welcome(peer):
            _hang_up(client)
            return
        client.setblocking(False)
        # asyncio leaves this out where the listener was not its own: answers would come 40 ms late.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = loop.create_task(self._shake_hands(client, peer, context))
        self._coming[task] = client, peer
        task.add_done_callback(self._coming.pop)

    def _let_in_again(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        if listener.fileno() >= 0:
            asyncio.get_running_loop().add_reader(listener, self._let_in, listener, context)

    def _welcome(self, peer: Address) -> bool:
        if not self.peers.may_connect(peer):
            self.counts["refused_peers"] += 1
            self.refusals.note("modbus", str(peer), "refused_peers", "it is not in plc.modbus.allow")
            return False
        if len(self._coming) >= CONNECTIONS:
            self._note_full(peer, f"{CONNECTIONS} others are shaking hands")
            return False
        if self._config.tls is not None and self._shaking(peer) >= HANDSHAKES_EACH:
            self._note_full(peer, f"{HANDSHAKES_EACH} of its connections are shaking hands")
            return False
        return True

    def _shaking(self, peer: Address) -> int:
        return sum(comer == peer for _, comer in self._coming.values())

    def admit(self, connection: Connection, peer: Address) -> bool:
        """After the handshake, so that strangers push nobody out."""
        if len(self.connections) >= CONNECTIONS and not self._made_room():
            self._note_full(peer, f"{CONNECTIONS} connections are open already")
            return False
        self.connections.add(connection)
        self.counts["connections"] += 1
        return True

    def _note_full(self, peer: Address, words: str) -> None:
        self.counts["refused_for_room"] += 1
        self.refusals.note("modbus", str(peer), "refused_for_room", words)

    def _made_room(self) -> bool:
        oldest = min(self.connections, key=lambda connection: connection.heard_s, default=None)
        if oldest is None or time.monotonic() - oldest.heard_s < REPLACEABLE_S:
            return False
        self._drop(oldest)
        return True

    async def _shake_hands(self, client: socket.socket, peer: Address, context: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        limit_s = None if context is None else HANDSHAKE_S
        try:
            await loop.connect_accepted_socket(
                lambda: Connection(self, peer), client, ssl=context, ssl_handshake_timeout=limit_s
            )
        except (OSError, asyncio.TimeoutError) as error:
            self.counts["refused_handshakes"] += 1
            words = getattr(error, "reason", None) or str(error) or type(error).__name__
            self.refusals.note("modbus", str(peer), "refused_handshakes", f"no TLS handshake: {words}")
            client.close()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            for connection in tuple(self.connections):
                if time.monotonic() - connection.heard_s >= IDLE_S:
                    self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self.counts["idle_hung_up"] += 1
        self.connections.discard(connection)
        connection.hang_up()


def bound(address: str) -> socket.socket:
    """A listening socket. Raises UsageError for what can never be bound here, Unavailable for what may be later."""
    host, port = host_and_port(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
    try:
        listener = socket.create_server((host, port), family=family, backlog=4 * CONNECTIONS, dualstack_ipv6=both)
    except OSError as error:
        raise _refused(address, port, error) from None
    listener.setblocking(False)
    return listener


def _refused(address: str, port: int, error: OSError) -> UsageError:
    start = f"plc.modbus.address {address}"
    if error.errno == errno.EADDRINUSE:
        return Unavailable(f"{start}: in use. Name another port, or stop the program that has it (ss -ltnp)")
    if error.errno in (errno.EACCES, errno.EPERM) and port < 1024:
        return UsageError(
            f"{start}: ports below 1024 are for root. Use 5020, or give the service "
            "AmbientCapabilities=CAP_NET_BIND_SERVICE"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return Unavailable(f"{start}: this computer does not have that address, or not yet (ip address)")
    return UsageError(f"{start}: cannot be bound ({error.strerror or error})")


def _written(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _hang_up(client: socket.socket) -> None:
    """At once, leaving nothing behind here."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
