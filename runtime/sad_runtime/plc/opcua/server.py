"""The OPC UA server as a whole: certificates, address space, door; opened and shown to by opcua.py, in one thread."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from asyncua import Server, ua
from asyncua.common.connection import TransportLimits
from asyncua.crypto.security_policies import SecurityPolicyNone

from sad_runtime.errors import Unavailable
from sad_runtime.feed.refusals import Refusals
from sad_runtime.files import reason_of
from sad_runtime.plc.base import OnCommand
from sad_runtime.plc.config import OpcUaConfig
from sad_runtime.plc.opcua.commands import Desk, Inbox
from sad_runtime.plc.opcua.door import MAX_CHUNK, MAX_MESSAGE, Door, House
from sad_runtime.plc.opcua.events import ResultEvents, result_event_type, result_events
from sad_runtime.plc.opcua.machine_vision import VisionSystem, import_nodeset, vision_system
from sad_runtime.plc.opcua.methods import add_methods
from sad_runtime.plc.opcua.nodes import NAMESPACE, StationNodes, station_nodes
from sad_runtime.plc.opcua.security import ListedUsers, own_certificate
from sad_runtime.plc.status import Status

log = logging.getLogger(__name__)

POLICIES = [
    ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
    ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
]


class OpcUaServer(Server):  # type: ignore[misc]  # asyncua brings no types
    """The library's, with our door and our stations."""

    def __init__(self, house: House) -> None:
        super().__init__(iserver=house)
        self.desks: dict[str, Desk] = {}
        self.stations: dict[str, tuple[StationNodes, ResultEvents, VisionSystem | None]] = {}
        self.limits = TransportLimits(MAX_CHUNK, MAX_CHUNK, MAX_MESSAGE // MAX_CHUNK + 1, MAX_MESSAGE)

    async def show(self, station: str, status: Status) -> int:
        """How many results were new. Nothing in here waits, so no client sees half of it."""
        self.desks[station].saw(status)
        nodes, events, vision = self.stations[station]
        await nodes.show(status)
        if vision is not None:
            await vision.show(status)
        return await events.tell(status)

    async def start(self) -> None:
        """As the library's, with our door. Raises OSError where the address cannot be had."""
        await self._setup_server_nodes()
        # On an open channel the library takes a client's word for whose certificate it shows. Without a policy object
        # of its own for open channels it looks at none, and whoever comes by one is nobody.
        policies = [policy for policy in self._policies if policy.cls is not SecurityPolicyNone]
        await self.iserver.start()
        self.bserver = Door(self.iserver, self.endpoint.hostname, self.endpoint.port, self.limits)
        self.bserver.set_policies(policies)
        await self.bserver.start()

    async def stop_soon(self, within_s: float) -> None:
        for transport in list(self.iserver.asyncio_transports):
            transport.abort()  # a client that does not read would keep a polite close waiting
        clock = self.iserver.time_task
        if clock is not None:
            clock.cancel()  # the library would wait out its second
            self.iserver.time_task = None
        try:
            await asyncio.wait_for(self.stop(), within_s)
        except asyncio.TimeoutError:
            log.warning("the OPC UA server took longer than %g s to stop and was left", within_s)


async def opened_server(
    config: OpcUaConfig, url: str, stations: Sequence[str], folder: Path, on_command: OnCommand, refusals: Refusals
) -> OpcUaServer:
    """Raises UsageError for certificates or a nodeset that cannot be used, Unavailable for an address in use."""
    # What a stranger does the library writes down line by line; what matters of it we say ourselves, now and then.
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    own = own_certificate(config, folder)
    server = OpcUaServer(House(ListedUsers(config, refusals), refusals))
    server.name, server.manufacturer_name, server.product_uri = "sad-plc", "sad", NAMESPACE
    server.application_type = ua.ApplicationType.Server
    server._application_uri = own.uri
    await server.init()
    build = version("sad-inspection")
    await server.set_build_info(NAMESPACE, "sad", "sad-plc", build, build, datetime.now())
    server.set_endpoint(url)
    server.set_security_policy(POLICIES + ([ua.SecurityPolicyType.NoSecurity] if config.plain_text else []))
    server.iserver.certificate, server.iserver.private_key = own.certificate, own.key
    await _furnish(server, config, stations, on_command)
    try:
        await server.start()
    except OSError as error:
        await server.stop_soon(1.0)
        raise _no_address(config.address, error) from None
    return server


async def _furnish(server: OpcUaServer, config: OpcUaConfig, stations: Sequence[str], on_command: OnCommand) -> None:
    space = await server.register_namespace(NAMESPACE)  # first, so that its index is 2 with a nodeset and without
    inbox = server.iserver.inbox = Inbox(server.iserver)
    model = None if config.nodeset is None else await import_nodeset(server, Path(config.nodeset))
    event_type = await result_event_type(server, space)
    parent = await server.nodes.objects.add_object(
        ua.NodeId("SadInspection", space), ua.QualifiedName("SadInspection", space)
    )
    for station in stations:
        desk = server.desks[station] = Desk(station, on_command)
        nodes = await station_nodes(server, space, parent, desk, inbox)
        top = server.get_node(ua.NodeId(station, space))
        await add_methods(top, space, desk, inbox)
        events = await result_events(server, event_type, station, top)
        vision = None if model is None else await vision_system(server, space, model, desk)
        server.stations[station] = nodes, events, vision


def _no_address(address: str, error: OSError) -> Any:
    if error.errno == errno.EADDRINUSE:
        return Unavailable(f"plc.opcua.address {address}: in use already; stop the other program or name another port")
    return Unavailable(f"plc.opcua.address {address}: cannot be listened on: {reason_of(error)}")
