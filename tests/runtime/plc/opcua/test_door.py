"""Attacks on the OPC UA server, over raw sockets: what strangers send changes nothing, is counted, and ends there."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.ua.ua_binary import struct_to_binary
from hypothesis import given
from hypothesis import strategies as st

from opcua_clients import URI, CertificateFolder
from sad_runtime.plc.config import OpcUaConfig, OpcUaUser
from sad_runtime.plc.opcua.door import MAX_CHUNK, may_be_opc_ua
from sad_runtime.plc.opcua.way import OpcUa
from sad_runtime.plc.status import CommandBlock


class Victim:
    def __init__(self, folder: Path, plain_text: bool = False) -> None:
        self.folder, self.blocks = folder, list[CommandBlock]()
        self.certificates = CertificateFolder(folder)
        self.certificates.make("plc")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        user = OpcUaUser(certificate=str(self.certificates.certificate("plc")), role="plc")
        config = OpcUaConfig(address=f"127.0.0.1:{self.port}", users=[user], plain_text=plain_text)
        self.server = OpcUa(config, ["line1"], folder)
        self.server.connect(lambda station, block: self.blocks.append(block))

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=3)

    async def plc(self) -> Client:
        client = Client(self.server.url, timeout=5)
        client.application_uri = URI.format("plc")
        own = str(self.folder / "opcua/server.der")
        certificate, key = str(self.certificates.certificate("plc")), str(self.certificates.key("plc"))
        mode = ua.MessageSecurityMode.SignAndEncrypt
        await client.set_security(SecurityPolicyBasic256Sha256, certificate, key, None, own, mode=mode)
        await client.connect()
        return client

    def counted(self, kind: str) -> None:
        end = time.monotonic() + 3
        while not self.server.counters().get(kind):
            assert time.monotonic() < end, self.server.counters()
            time.sleep(0.01)


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    victim = Victim(tmp_path_factory.mktemp("closed"))
    yield victim
    victim.server.close()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    victim = Victim(tmp_path_factory.mktemp("plain"), plain_text=True)
    yield victim
    victim.server.close()


def chunk(kind: bytes, body: bytes) -> bytes:
    return kind + b"F" + struct.pack("<I", 8 + len(body)) + body


def hello(url: str) -> bytes:
    return chunk(b"HEL", struct.pack("<5I", 0, 65535, 65535, 0, 0) + struct.pack("<I", len(url)) + url.encode())


def message(sequence: int, request: Any, token: Any) -> bytes:
    """As on a channel that was never opened: number 0, key 0, nothing signed."""
    request.RequestHeader.AuthenticationToken = token
    return chunk(b"MSG", struct.pack("<4I", 0, 0, sequence, sequence) + struct_to_binary(request))


def ended(connection: socket.socket) -> bool:
    """Whether the other side hung up, once all it said was read."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize(
    "rubbish",
    [
        b"GET / HTTP/1.1\r\nHost: plc\r\n\r\n",
        b"\x00\x01\x00\x00\x00\x06\x01\x03\x00\x00\x00\x40",
        b"HELF" + struct.pack("<I", 0xFFFF_FFFF) + b"A" * 100_000,
        b"MSGF" + struct.pack("<I", 3) + b"xyz",
        b"OPNF" + struct.pack("<I", 200) + b"\xff" * 192,
        b"HELF" + struct.pack("<I", 12) + b"\xff" * 4,
        b"ACKF" + struct.pack("<I", 28) + b"\x00" * 20,
    ],
)
def test_rubbish_is_hung_up_on_and_counted(closed: Victim, rubbish: bytes) -> None:
    before = closed.server.counters().get("bad_requests", 0)
    with closed.raw() as connection:
        connection.sendall(rubbish)
        assert ended(connection)
    assert closed.server.counters()["bad_requests"] > before
    assert closed.server.failure is None


@given(st.binary(max_size=400))
def test_what_is_kept_of_any_bytes_is_bounded(data: bytes) -> None:
    """Either it is refused, or a chunk of at most MAX_CHUNK is under way."""
    if may_be_opc_ua(data) and len(data) >= 8:
        assert data[:3] in (b"HEL", b"OPN", b"CLO", b"MSG")
        assert 8 < struct.unpack_from("<I", data, 4)[0] <= MAX_CHUNK


def test_chunks_may_come_in_pieces_and_several_at_once() -> None:
    whole = hello("opc.tcp://x/") + chunk(b"OPN", b"abcdefgh")
    assert all(may_be_opc_ua(whole[:end]) for end in range(len(whole) + 1))
    assert not may_be_opc_ua(whole + b"X")


def test_a_lost_or_living_session_cannot_be_taken_up_by_a_stranger(closed: Victim) -> None:
    """The library hands out tokens from 1000 on, and left a session with whoever named its token."""

    async def run() -> None:
        plc = await closed.plc()
        try:
            await asyncio.to_thread(attack)
            await plc.get_node("ns=2;s=line1.Command.Enable").write_value(False)  # it still has its session
        finally:
            await plc.disconnect()

    def attack() -> None:
        write = ua.WriteRequest()
        value = ua.DataValue(ua.Variant(True))
        node = ua.NodeId("line1.Command.Trigger", 2)
        write.Parameters.NodesToWrite = [ua.WriteValue(NodeId=node, AttributeId=ua.AttributeIds.Value, Value=value)]
        for token in range(1000, 1040):
            with closed.raw() as connection:
                connection.sendall(hello(closed.server.url))
                connection.recv(4096)
                name = ua.NodeId(token)
                connection.sendall(message(1, ua.ActivateSessionRequest(), name) + message(2, write, name))
                assert ended(connection)

    closed.blocks.clear()
    asyncio.run(run())
    assert [block.control for block in closed.blocks] == [0]


def test_showing_the_certificate_of_the_plc_on_an_open_channel_proves_nothing(plain: Victim) -> None:
    """A certificate is public: only an encrypted channel proves that its key is there."""

    async def run() -> None:
        client = Client(plain.server.url, timeout=5)
        certificate = plain.certificates.certificate("plc").read_bytes()
        from asyncua.common.connection import MessageChunk

        original = MessageChunk.message_to_chunks

        def showing(policy: Any, body: bytes, size: int, message_type: Any = b"MSG", **rest: Any) -> Any:
            chunks = original(policy, body, size, message_type=message_type, **rest)
            if message_type == ua.MessageType.SecureOpen:
                chunks[0].SecurityHeader.SenderCertificate = certificate
            return chunks

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MessageChunk, "message_to_chunks", staticmethod(showing))
            await client.connect()
        try:
            with pytest.raises(ua.uaerrors.BadUserAccessDenied):
                await client.get_node("ns=2;s=line1.Command.Trigger").write_value(True)
        finally:
            await client.disconnect()

    plain.blocks.clear()
    asyncio.run(run())
    assert plain.blocks == []


def test_nobody_touches_the_subscriptions_of_another(plain: Victim) -> None:
    class Heard:
        def __init__(self) -> None:
            self.values: list[bool] = []

        def datachange_notification(self, node: Any, value: bool, data: Any) -> None:
            self.values.append(value)

    async def run() -> None:
        plc, other, heard = await plain.plc(), Client(plain.server.url, timeout=5), Heard()
        await other.connect()
        try:
            subscription = await plc.create_subscription(20, heard)
            await subscription.subscribe_data_change(plc.get_node("ns=2;s=line1.Command.Enable"))
            number = subscription.subscription_id
            answer = await other.uaclient.delete_subscriptions([number])
            assert answer[0].value == ua.StatusCodes.BadSubscriptionIdInvalid
            taken = ua.TransferSubscriptionsParameters(SubscriptionIds=[number])
            with pytest.raises(ua.UaError):
                await other.uaclient.transfer_subscriptions(taken)
            await plc.get_node("ns=2;s=line1.Command.Enable").write_value(True)
            end = time.monotonic() + 3
            while heard.values[-1:] != [True]:
                assert time.monotonic() < end, heard.values
                await asyncio.sleep(0.01)
        finally:
            await other.disconnect()
            await plc.disconnect()

    asyncio.run(run())


def test_strangers_cannot_register_servers(closed: Victim) -> None:
    async def run() -> None:
        client = Client(closed.server.url, timeout=5)
        await client.connect_sessionless()
        try:
            server = ua.RegisteredServer(ServerUri="urn:evil", ServerNames=[ua.LocalizedText("evil")])
            with pytest.raises(ua.UaError):
                await client.uaclient.register_server(server)
            assert "urn:evil" not in [found.ApplicationUri for found in await client.find_servers()]
        finally:
            await client.disconnect_sessionless()

    asyncio.run(run())
