"""Where the OPC UA library is too trusting for a factory network, it is held shorter here.

Read from asyncua 2.1.0; tests/runtime/plc/opcua/test_door.py has an attack for each:
- a lost session can be taken up on another channel, by a token that counts up from 1001, and stays taken up where the
  taker's certificate is then refused: here a session ends with its channel;
- a request before any channel was opened is answered, without the library's look at roles: here it is rubbish;
- whoever has a session may delete or take over the subscriptions of others: here only its own;
- register-server requests of anybody are kept for ever, as are sessions that were never activated;
- bytes that are no OPC UA are kept and logged without end, with a traceback each.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.server.binary_server_asyncio import BinaryServer, OPCUAProtocol
from asyncua.server.internal_server import InternalServer
from asyncua.server.internal_session import InternalSession

from sad_runtime.feed.refusals import Refusals

if TYPE_CHECKING:
    from sad_runtime.plc.opcua.commands import Inbox

MAX_CHUNK = 65_535
MAX_MESSAGE = 1 << 20
"""Nothing that belongs here comes near: a write of all Command nodes has under 1 KB."""
CONNECTIONS, SUBSCRIPTIONS, QUEUE, UNANSWERED = 32, 256, 2000, 200
SESSION_MS = 60_000.0
"""A session that says nothing is ended after so long at most."""
ACTIVATION_S = 5.0
FASTEST_MS, SLOWEST_MS = 10.0, 60_000.0
"""Publishing interval. Never 0: what was shown together is to arrive together."""
STARTS = {b"HEL": 8, b"OPN": 12, b"CLO": 12, b"MSG": 12}
"""What a client may send first in a chunk, and how long its header is."""
PLC_ROLE = "plc"


class Session(InternalSession):  # type: ignore[misc]  # asyncua brings no types
    """One client's. `user` is None or nobody's until the certificate was found on the list."""

    iserver: House

    async def write(self, params: Any) -> list[Any]:
        if not self.external:
            return list(await super().write(params))
        if self.user.name != PLC_ROLE:
            self.iserver.refusals.note("OPC UA", f"role {self.user.name}", "refused_writes", "it may not write")
            return _denied(params.NodesToWrite)
        codes = await self.iserver.inbox.take(params.NodesToWrite, self)
        if codes is None:
            self._note_busy()
            return _denied(params.NodesToWrite)
        return codes

    async def call(self, params: Any) -> list[Any]:
        if self.external and self.user.name != PLC_ROLE:
            self.iserver.refusals.note("OPC UA", f"role {self.user.name}", "refused_calls", "it may not call methods")
            raise ServiceError(ua.StatusCodes.BadUserAccessDenied)
        if self.external and not self.iserver.inbox.may_call([method.MethodId for method in params], self):
            self._note_busy()
            raise ServiceError(ua.StatusCodes.BadUserAccessDenied)
        return list(await super().call(params))

    def touch(self) -> None:
        super().touch()
        if self.user.name == PLC_ROLE:
            self.iserver.inbox.heard(self)

    async def close_session(self, delete_subs: bool = True) -> None:
        await super().close_session(delete_subs)
        if self.external:
            await self.iserver.inbox.left(self)

    def _note_busy(self) -> None:
        self.iserver.refusals.note("OPC UA", str(self.user), "busy_writers", "another one commands this station")

    async def create_subscription(self, params: Any, callback: Any, request_callback: Any = None) -> Any:
        asked_ms = params.RequestedPublishingInterval
        params.RequestedPublishingInterval = min(SLOWEST_MS, asked_ms) if asked_ms > FASTEST_MS else FASTEST_MS
        return await super().create_subscription(params, callback, request_callback)

    async def delete_subscriptions(self, ids: list[int]) -> list[Any]:
        unknown = ua.StatusCode(ua.StatusCodes.BadSubscriptionIdInvalid)
        return [(await super(Session, self).delete_subscriptions([n]))[0] if self._owns(n) else unknown for n in ids]

    async def transfer_subscriptions(self, params: Any, callback: Any) -> list[Any]:
        raise ServiceError(ua.StatusCodes.BadServiceUnsupported)

    async def create_monitored_items(self, params: Any) -> list[Any]:
        self._own(params.SubscriptionId)
        return list(await super().create_monitored_items(params))

    async def modify_monitored_items(self, params: Any) -> list[Any]:
        self._own(params.SubscriptionId)
        return list(await super().modify_monitored_items(params))

    async def delete_monitored_items(self, params: Any) -> list[Any]:
        self._own(params.SubscriptionId)
        return list(await super().delete_monitored_items(params))

    async def set_monitoring_mode(self, params: Any) -> list[Any]:
        self._own(params.SubscriptionId)
        return list(await super().set_monitoring_mode(params))

    async def set_publishing_mode(self, params: Any) -> list[Any]:
        for number in params.SubscriptionIds:
            self._own(number)
        return list(await super().set_publishing_mode(params))

    def republish(self, params: Any) -> Any:
        self._own(params.SubscriptionId)
        return super().republish(params)

    def _own(self, number: int) -> None:
        if not self._owns(number):
            raise ServiceError(ua.StatusCodes.BadSubscriptionIdInvalid)

    def _owns(self, number: int) -> bool:
        found = self.subscription_service.subscriptions.get(number)
        return not self.external or (found is not None and found.session_id == self.session_id)


class House(InternalServer):  # type: ignore[misc]
    """The library's server behind the door. `inbox` is set before anybody can come in."""

    inbox: Inbox

    def __init__(self, user_manager: Any, refusals: Refusals) -> None:
        super().__init__(user_manager)
        self.refusals = refusals
        self.allow_remote_admin = False
        self.supported_tokens = (ua.AnonymousIdentityToken,)  # who somebody is, the channel's certificate says
        self.max_connections = CONNECTIONS
        self.max_subscriptions = SUBSCRIPTIONS
        self.max_monitored_item_queue_size = QUEUE
        self.max_unacked_messages_per_subscription = UNANSWERED
        self.max_session_timeout_ms = SESSION_MS
        self.max_pending_activation_seconds = ACTIVATION_S

    def create_session(self, name: str, user: Any = None, external: bool = False) -> Session:
        nobody = {} if user is None else {"user": user}
        return Session(self, self.aspace, self.subscription_service, name, external=external, **nobody)

    def lookup_external_session(self, auth_token: Any) -> None:
        return None

    def register_external_session(self, session: Any) -> None:
        pass

    def unregister_external_session(self, session: Any) -> None:
        pass

    def register_server(self, server: Any, conf: Any = None) -> None:
        raise ServiceError(ua.StatusCodes.BadServiceUnsupported)


class Door(BinaryServer):  # type: ignore[misc]
    def _make_protocol(self) -> Visitor:
        return Visitor(
            iserver=self.iserver,
            policies=self._policies,
            clients=self.clients,
            closing_tasks=self.closing_tasks,
            limits=self.limits,
        )


class Visitor(OPCUAProtocol):  # type: ignore[misc]
    """One connection. What is no OPC UA ends it, is counted, and is written down now and then."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if self.processor is not None:  # the library would leave a session with subscriptions to its timeout
            self.processor._should_close_session_on_transport_loss = lambda: True
        if self.transport is None:
            self._refuse("refused_full", f"{CONNECTIONS} clients are connected already")

    def data_received(self, data: bytes) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        if not may_be_opc_ua(self._buffer + data):
            self._throw_out("what it sends is not OPC UA")
            return
        super().data_received(data)

    async def _process_one_msg(self, header: Any, buf: Any) -> bool:
        if header.MessageType == ua.MessageType.SecureMessage and not self.processor._connection.is_open():
            self._throw_out("it asks before it opened a channel")
            return False
        try:
            return bool(await super()._process_one_msg(header, buf))
        except Exception as error:  # noqa: BLE001  whatever a stranger's bytes do to the library, only he is to feel it
            self._throw_out(f"the library cannot read what it sends ({type(error).__name__})")
            return False

    def _throw_out(self, words: str) -> None:
        self._refuse("bad_requests", words)
        if self.transport is not None:
            self.transport.close()

    def _refuse(self, kind: str, words: str) -> None:
        host = self.peer_name[0] if self.peer_name else "somebody"
        self.iserver.refusals.note("OPC UA", str(host), kind, words)


def _denied(writes: Sequence[Any]) -> list[Any]:
    return [ua.StatusCode(ua.StatusCodes.BadUserAccessDenied) for _ in writes]


def may_be_opc_ua(data: bytes) -> bool:
    """Whether these bytes, from the start of a chunk, can be OPC UA chunks, the last one perhaps not complete."""
    at = 0
    while at < len(data):
        start = data[at : at + 3]
        if not any(known.startswith(start) for known in STARTS):
            return False
        if len(data) - at < 8:
            return True
        size = struct.unpack_from("<I", data, at + 4)[0]
        if not STARTS[start] < size <= MAX_CHUNK:
            return False
        at += size
    return True
