"""The OPC UA server as its clients meet it: asyncua's own client over a real socket, with certificates and without."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import stat
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyAes256Sha256RsaPss, SecurityPolicyBasic256Sha256

from opcua_clients import URI, CertificateFolder
from ports import free_port
from sad_runtime.errors import Unavailable, UsageError
from sad_runtime.plc.config import OpcUaConfig, OpcUaUser
from sad_runtime.plc.opcua.way import OpcUa
from sad_runtime.plc.status import Bit, CommandBlock, Control, Fault, Result, Status
from sad_runtime.verdict import Reason, Verdict

NODESET = (
    Path(__file__).parents[3] / ".peers/node_modules/node-opcua-nodesets/nodesets/Opc.Ua.MachineVision.NodeSet2.xml"
)
GOOD = Bit.ONLINE | Bit.RESULT_VALID | Bit.PASS
Policy = type[SecurityPolicyBasic256Sha256]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> CertificateFolder:
    folder = CertificateFolder(tmp_path_factory.mktemp("opcua"))
    for name in ("plc", "mes", "stranger"):
        folder.make(name)
    return folder


@dataclass
class Stand:
    """A server for station line1, and what came of its commands."""

    server: OpcUa
    folder: Path
    certificates: CertificateFolder
    blocks: list[CommandBlock] = field(default_factory=list)
    ring: tuple[Result, ...] = ()
    acks: bool = True
    """Whether TRIGGER is acknowledged, as a gate that is ready does."""

    def commanded(self, station: str, block: CommandBlock) -> None:
        assert station == "line1"
        self.blocks.append(block)
        if self.acks:
            ack = Bit.TRIGGER_ACK if block.control & Control.TRIGGER else Bit(0)
            self.server.write(station, Status(bits=Bit.ONLINE | ack, fault=Fault.NONE))

    def result(self, number: int, verdict: Verdict = Verdict.PASS, bits: Bit = GOOD) -> None:
        result = Result(
            number, verdict, Reason.OK, number, number & 0xFFFF, score=0.5, threshold=1.0, run="r", feed_seq=number,
            regions=((1, 2, 3, 4, 0.9),),
        )  # fmt: skip
        self.ring = (result, *self.ring)[:8]
        shown = Status(bits=bits, fault=Fault.NONE, result=result, ring=self.ring, run="r", run_tag=7, state="Ready")
        self.server.write("line1", shown)

    @asynccontextmanager
    async def client(self, name: str | None = "plc", policy: Policy = SecurityPolicyBasic256Sha256) -> Any:
        client = Client(self.server.url, timeout=5, watchdog_intervall=30)  # it would read by itself
        if name is not None:
            client.application_uri = URI.format(name)
            await client.set_security(
                policy,
                str(self.certificates.certificate(name)),
                str(self.certificates.key(name)),
                None,
                str(self.folder / "opcua" / "server.der"),
                mode=ua.MessageSecurityMode.SignAndEncrypt,
            )
        await client.connect()
        try:
            yield client
        finally:
            await client.disconnect()


def opened(folder: Path, certificates: CertificateFolder, **settings: Any) -> Stand:
    users = [
        OpcUaUser(certificate=str(certificates.certificate("plc")), role="plc"),
        OpcUaUser(certificate=str(certificates.certificate("mes"))),
    ]
    config = OpcUaConfig(address=f"127.0.0.1:{free_port()}", users=users).model_copy(update=settings)
    stand = Stand(OpcUa(config, ["line1"], folder), folder, certificates)
    stand.server.connect(stand.commanded)
    return stand


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, certificates: CertificateFolder) -> Iterator[Stand]:
    stand = opened(tmp_path_factory.mktemp("state"), certificates)
    yield stand
    stand.server.close()


@pytest.fixture
def stand(shared: Stand) -> Stand:
    """The server is shared, for its start takes half a second; each test begins with nothing heard."""
    shared.blocks.clear()
    shared.ring, shared.acks = (), True
    return shared


def node(client: Any, path: str) -> Any:
    return client.get_node(f"ns=2;s=line1.{path}")


async def until(true: Callable[[], Awaitable[bool]], what: str) -> None:
    end = time.monotonic() + 5
    while not await true():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.01)


async def until_reads(client: Any, path: str, value: object) -> None:
    async def reads() -> bool:
        return bool(await node(client, path).read_value() == value)

    await until(reads, f"{path} never became {value}")


# --- who gets in


@pytest.mark.parametrize("policy", [SecurityPolicyBasic256Sha256, SecurityPolicyAes256Sha256RsaPss])
def test_a_listed_certificate_gets_in(stand: Stand, policy: Policy) -> None:
    async def run() -> None:
        async with stand.client("plc", policy) as client:
            assert await node(client, "Status.MapVersion").read_value() == 0x0100

    asyncio.run(run())


@pytest.mark.parametrize("who", ["stranger", None])
def test_unlisted_and_unencrypted_clients_are_refused(stand: Stand, who: str | None) -> None:
    async def run() -> None:
        with pytest.raises((ua.UaError, ConnectionError, asyncio.TimeoutError)):
            async with stand.client(who):
                pass

    asyncio.run(run())
    if who is not None:
        assert stand.server.counters()["refused_unlisted"] > 0


def test_the_role_read_may_look_but_not_write_or_call(stand: Stand) -> None:
    async def run() -> None:
        async with stand.client("mes") as client:
            assert await node(client, "Status.Online").read_value() in (True, False)
            with pytest.raises(ua.uaerrors.BadUserAccessDenied):
                await node(client, "Command.Enable").write_value(True)
            with pytest.raises(ua.uaerrors.BadUserAccessDenied):
                await node(client, "Methods").call_method("2:ClearFault")

    asyncio.run(run())
    assert stand.blocks == []


def test_plain_text_is_read_only(tmp_path: Path, certificates: CertificateFolder) -> None:
    stand = opened(tmp_path, certificates, plain_text=True)

    async def run() -> None:
        async with stand.client(None) as client:
            assert await node(client, "Result.Seq").read_value() == 0
            with pytest.raises(ua.uaerrors.BadUserAccessDenied):
                await node(client, "Command.Enable").write_value(True)

    try:
        asyncio.run(run())
    finally:
        stand.server.close()
    assert stand.blocks == []


def test_one_client_commands_a_station_and_the_next_one_when_it_has_gone(
    tmp_path: Path, certificates: CertificateFolder, caplog: pytest.LogCaptureFixture
) -> None:
    users = [OpcUaUser(certificate=str(certificates.certificate(name)), role="plc") for name in ("plc", "mes")]
    stand = opened(tmp_path, certificates, users=users)

    async def run() -> None:
        async with stand.client("mes") as other:
            async with stand.client("plc") as plc:
                await plc.write_values([node(plc, f"Command.{name}") for name in ("Enable", "Trigger")], [True, True])
                for refused in (
                    node(other, "Command.Enable").write_value(False),
                    node(other, "Methods").call_method("2:ClearFault"),
                ):
                    with pytest.raises(ua.uaerrors.BadUserAccessDenied):
                        await refused
                assert stand.server.counters()["busy_writers"] == 2
                assert await node(other, "Status.MapVersion").read_value() == 0x0100
            await until_reads(other, "Command.Trigger", False)
            assert stand.blocks[-1].control == Control.ENABLE, "of who has gone only ENABLE stays"
            await node(other, "Command.Trigger").write_value(True)
            assert stand.blocks[-1].control == Control.ENABLE | Control.TRIGGER

    try:
        asyncio.run(run())
    finally:
        stand.server.close()
    assert "CN=mes" in caplog.text


def test_a_silent_client_loses_its_place_and_its_edges(
    tmp_path: Path, certificates: CertificateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sad_runtime.plc.writer_place.SILENT_S", 0.5)
    users = [OpcUaUser(certificate=str(certificates.certificate(name)), role="plc") for name in ("plc", "mes")]
    stand = opened(tmp_path, certificates, users=users)

    async def run() -> None:
        async with stand.client("plc") as plc, stand.client("mes") as other:
            await node(plc, "Command.Trigger").write_value(True)
            for _ in range(8):
                await asyncio.sleep(0.1)
                await node(plc, "Status.Word").read_value()  # one that reads is not silent
            with pytest.raises(ua.uaerrors.BadUserAccessDenied):
                await node(other, "Command.Enable").write_value(True)
            await asyncio.sleep(0.6)
            stand.blocks.clear()
            await node(other, "Command.Enable").write_value(True)
            assert [block.control for block in stand.blocks] == [0, Control.ENABLE]

    try:
        asyncio.run(run())
    finally:
        stand.server.close()


def test_a_client_that_is_cut_off_leaves_no_edge_though_it_had_a_subscription(stand: Stand) -> None:
    async def run() -> None:
        async with stand.client("mes") as mes:
            client = stand.client("plc")
            plc = await client.__aenter__()
            subscription = await plc.create_subscription(20, Heard())
            await subscription.subscribe_data_change(node(plc, "Result.Seq"))
            await node(plc, "Command.Trigger").write_value(True)
            plc.uaclient.protocol.transport.abort()
            await until_reads(mes, "Command.Trigger", False)
            with suppress(Exception):
                await client.__aexit__(None, None, None)

    asyncio.run(run())
    assert not stand.blocks[-1].control & Control.TRIGGER


# --- what is shown


def test_nodes_show_what_the_register_map_shows(stand: Stand) -> None:
    async def run() -> None:
        async with stand.client() as client:
            stand.result(41)
            await until_reads(client, "Result.Seq", 41)
            assert await node(client, "Status.Pass").read_value() is True
            assert await node(client, "Status.Word").read_value() == int(GOOD)
            assert await node(client, "Result.Verdict").read_value() == 1
            assert await node(client, "Result.ScorePm").read_value() == 500
            assert await node(client, "Result.Score").read_data_type() == ua.NodeId(ua.ObjectIds.Float)
            told = json.loads(await node(client, "Result.Json").read_value())
            assert (told["seq"], told["verdict"], told["regions"]) == (41, "PASS", [[1, 2, 3, 4, 0.9]])
            assert "let this part go" in (await node(client, "Status.Pass").read_description()).Text
            with pytest.raises(ua.uaerrors.BadUserAccessDenied):
                await node(client, "Status.Pass").write_value(True)

    asyncio.run(run())


def fed(stand: Stand) -> None:
    for number in range(1, 200):
        stand.result(number)
        time.sleep(0.002)


def test_one_request_never_mixes_two_results(stand: Stand) -> None:
    async def run() -> None:
        async with stand.client() as client:
            nodes = [node(client, f"Result.{name}") for name in ("Seq", "PartId", "Json")]
            feeder = threading.Thread(target=fed, args=(stand,))
            feeder.start()
            while feeder.is_alive():
                seq, part, text = await client.read_values(nodes)
                assert part == seq
                assert not seq or json.loads(text)["seq"] == seq
            feeder.join()

    stand.result(1)
    asyncio.run(run())


@dataclass
class Heard:
    values: list[int] = field(default_factory=list)
    events: list[tuple[int, int, int]] = field(default_factory=list)

    def datachange_notification(self, node: Any, value: int, data: Any) -> None:
        self.values.append(value)

    def event_notification(self, event: Any) -> None:
        self.events.append((event.Seq, event.PartId, event.Verdict))


@pytest.mark.slow
@pytest.mark.parametrize("source", ["Server", "station"])
def test_of_500_fast_results_each_is_one_event_and_one_value(
    tmp_path: Path, certificates: CertificateFolder, source: str
) -> None:
    stand, heard = opened(tmp_path, certificates), Heard()

    async def run() -> None:
        async with stand.client("mes") as client:
            subscription = await client.create_subscription(20, heard)
            await subscription.subscribe_data_change(node(client, "Result.Seq"), queuesize=1000)
            kind = await client.nodes.base_event_type.get_child(["2:SadResult"])
            at = client.nodes.server if source == "Server" else client.get_node("ns=2;s=line1")
            await subscription.subscribe_events(at, kind)
            for number in range(1, 501):
                stand.result(number)
                await asyncio.sleep(0.003)

            async def all_came() -> bool:
                return len(heard.events) >= 500 and len(heard.values) >= 501

            await until(all_came, f"{len(heard.events)} events, {len(heard.values)} values")
            await asyncio.sleep(0.1)

    try:
        asyncio.run(run())
    finally:
        stand.server.close()
    assert heard.events == [(number, number, 1) for number in range(1, 501)]
    assert heard.values == list(range(501))


def test_where_the_server_is_behind_results_still_come_as_events(
    certificates: CertificateFolder, tmp_path: Path
) -> None:
    stand, heard = opened(tmp_path, certificates), Heard()

    async def run() -> None:
        async with stand.client("mes") as client:
            subscription = await client.create_subscription(20, heard)
            kind = await client.nodes.base_event_type.get_child(["2:SadResult"])
            await subscription.subscribe_events(client.nodes.server, kind)
            for number in range(1, 61):
                stand.result(number)  # all at once

            async def all_came() -> bool:
                return len(heard.events) >= 60

            await until(all_came, str(len(heard.events)))

    try:
        asyncio.run(run())
    finally:
        stand.server.close()
    assert [seq for seq, _, _ in heard.events] == list(range(1, 61))


def a_pass(number: int, bits: Bit = GOOD) -> Status:
    result = Result(number, Verdict.PASS, Reason.OK, number, number)
    return Status(bits=bits, fault=Fault.NONE, result=result, ring=(result,))


@pytest.mark.parametrize(("later_s", "last"), [(0.0, Bit.FEED_STALE), (0.06, GOOD)])
def test_what_waits_is_not_shown_once_its_pass_is_taken_back_or_old(later_s: float, last: Bit, tmp_path: Path) -> None:
    config = OpcUaConfig(address="127.0.0.1:4840", users=[OpcUaUser(certificate="plc.der", role="plc")])
    way = OpcUa(config, ["line1"], tmp_path)  # not opened: nothing is taken from what waits
    for number in range(1, 6):
        way.write("line1", a_pass(number))
    time.sleep(later_s)
    way.write("line1", a_pass(6, last))
    assert way._next("line1") == a_pass(6, last)
    assert way._next("line1") is None
    assert way.counters()["skipped_updates"] == 5


# --- what may be ordered


def test_several_commands_in_one_write_are_one_block(stand: Stand) -> None:
    async def run() -> None:
        async with stand.client() as client:
            names = ("PartId", "TriggerId", "Enable", "Trigger", "PlcHeartbeat")
            kinds = (ua.VariantType.UInt32, ua.VariantType.UInt16, *[ua.VariantType.Boolean] * 2, ua.VariantType.UInt16)
            values = [ua.Variant(v, kind) for v, kind in zip((7, 3, True, True, 9), kinds, strict=True)]
            await client.write_values([node(client, f"Command.{name}") for name in names], values)
            assert await node(client, "Command.PartId").read_value() == 7
            await client.write_values(
                [node(client, f"Command.{name}") for name in ("Enable", "Trigger")], [ua.Variant(False)] * 2
            )

    asyncio.run(run())
    wanted = CommandBlock(Control.ENABLE | Control.TRIGGER, plc_heartbeat=9, part_id=7, trigger_id=3)
    assert stand.blocks == [wanted, replace(wanted, control=0)]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("Command.Enable", ua.Variant(1, ua.VariantType.Byte)),
        ("Command.PartId", ua.Variant(-1, ua.VariantType.Int32)),
        ("Command.TriggerId", ua.Variant(70_000, ua.VariantType.UInt32)),
        ("Command.PartId", ua.Variant("7", ua.VariantType.String)),
        ("Command.PartId", ua.Variant([1, 2], ua.VariantType.UInt32)),
        ("Command.PartId", ua.Variant(None, ua.VariantType.Null)),
        ("Command.Nonsense", ua.Variant(True)),
        ("Result.Seq", ua.Variant(1, ua.VariantType.UInt32)),
    ],
)
def test_one_wrong_value_and_nothing_of_the_request_is_taken(stand: Stand, path: str, value: Any) -> None:
    async def run() -> None:
        async with stand.client() as client:
            before = await node(client, "Command.Trigger").read_value()
            with pytest.raises(ua.UaError):
                await client.write_values(
                    [node(client, "Command.Trigger"), node(client, path)], [ua.Variant(True), value]
                )
            assert await node(client, "Command.Trigger").read_value() == before

    asyncio.run(run())
    assert stand.blocks == []


def test_a_bad_quality_is_no_command(stand: Stand) -> None:
    async def run() -> None:
        async with stand.client() as client:
            bad = ua.DataValue(ua.Variant(True), StatusCode=ua.StatusCode(ua.StatusCodes.BadSensorFailure))
            with pytest.raises(ua.UaError):
                await node(client, "Command.Trigger").write_value(bad)
            assert await node(client, "Command.Trigger").read_value() is False

    asyncio.run(run())
    assert stand.blocks == []


def called(client: Any, method: str, *arguments: Any) -> Any:
    return node(client, "Methods").call_method(f"2:{method}", *arguments)


U16, U32 = ua.VariantType.UInt16, ua.VariantType.UInt32
PART = (ua.Variant(5, U32), ua.Variant(6, U16), ua.Variant(100, U16), ua.Variant(77, U32))


def test_trigger_part_gives_one_edge_with_its_part(stand: Stand) -> None:
    async def run() -> None:
        async with stand.client() as client:
            await called(client, "TriggerPart", *PART)

    asyncio.run(run())
    assert [block.control & Control.TRIGGER for block in stand.blocks] == [0, Control.TRIGGER, 0]
    assert [(b.part_id, b.trigger_id, b.deadline_ms, b.encoder) for b in stand.blocks] == [(5, 6, 100, 77)] * 3


def test_a_trigger_that_is_not_taken_is_told(stand: Stand) -> None:
    stand.acks = False

    async def run() -> None:
        async with stand.client() as client:
            with pytest.raises(ua.uaerrors.BadInvalidState):
                await called(client, "TriggerPart", *PART)

    asyncio.run(run())
    assert stand.blocks[-1].control & Control.TRIGGER == 0


def test_the_other_methods_do_their_edges(stand: Stand) -> None:
    async def run() -> None:
        async with stand.client() as client:
            await called(client, "Acknowledge", ua.Variant(12, U32))
            await called(client, "LoadRecipe", ua.Variant(4, U16))
            await called(client, "ClearFault")
            await called(client, "Resync")
            assert await node(client, "Command.Recipe").read_value() == 4

    asyncio.run(run())
    assert all(block.ack_seq == 12 for block in stand.blocks)
    edges = [now.control & ~old.control for old, now in zip(stand.blocks, stand.blocks[1:], strict=False)]
    assert [edge for edge in edges if edge] == [Control.LOAD_RECIPE, Control.CLEAR_FAULT, Control.RESYNC]
    assert next(block for block in stand.blocks if block.control).recipe_request == 4


def test_methods_refuse_wrong_arguments(stand: Stand) -> None:
    async def run() -> None:
        async with stand.client() as client:
            for arguments in (
                (),
                PART[:3],
                (*PART, PART[0]),
                (ua.Variant("5"), *PART[1:]),
                (ua.Variant([5], U32), *PART[1:]),
            ):
                with pytest.raises(ua.UaError):
                    await called(client, "TriggerPart", *arguments)

    asyncio.run(run())
    assert stand.blocks == []


# --- starting and ending


def test_the_own_certificate_is_made_once_and_its_key_is_secret(
    tmp_path: Path, certificates: CertificateFolder, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        opened(tmp_path, certificates).server.close()
    made = (tmp_path / "opcua/server.der").read_bytes()
    assert str(tmp_path / "opcua/server.der") in caplog.text
    assert stat.S_IMODE((tmp_path / "opcua/server.pem").stat().st_mode) == 0o600
    opened(tmp_path, certificates).server.close()
    assert (tmp_path / "opcua/server.der").read_bytes() == made


def test_closing_is_quick_frees_the_port_and_a_client_finds_the_next_server(
    tmp_path: Path, certificates: CertificateFolder
) -> None:
    stand = opened(tmp_path, certificates)
    address = f"127.0.0.1:{stand.server.url.rsplit(':', 1)[1].split('/')[0]}"

    async def run() -> None:
        async with stand.client("mes") as client:
            await client.create_subscription(50, Heard())
            started = time.monotonic()
            await asyncio.to_thread(stand.server.close)
            assert time.monotonic() - started < 2
            stand.server.close()

    asyncio.run(run())
    again = opened(tmp_path, certificates, address=address)

    async def back() -> None:
        async with again.client("mes") as client:
            again.result(1)
            await until_reads(client, "Result.Seq", 1)

    try:
        asyncio.run(back())
    finally:
        again.server.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "plc-opcua" and not thread.is_alive()]


def test_a_port_in_use_is_told(tmp_path: Path, certificates: CertificateFolder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(Unavailable, match=r"plc.opcua.address .*in use already"):
            opened(tmp_path, certificates, address=address)


def test_files_that_are_no_certificates_are_named(tmp_path: Path, certificates: CertificateFolder) -> None:
    wrong = tmp_path / "wrong.der"
    wrong.write_bytes(b"no certificate")
    plc = str(certificates.certificate("plc"))
    for settings, said in (
        ({"users": [OpcUaUser(certificate=str(wrong))]}, "wrong.der: is no certificate"),
        ({"users": [OpcUaUser(certificate=str(tmp_path / "none.der"))]}, "none.der: cannot be read"),
        ({"users": [OpcUaUser(certificate=plc), OpcUaUser(certificate=plc, role="plc")]}, "both roles"),
        ({"certificate": plc, "key": str(certificates.key("mes"))}, "is not the key of"),
        ({"certificate": plc, "key": str(wrong)}, "is no secret key"),
        ({"nodeset": str(wrong)}, "is not Opc.Ua.MachineVision.NodeSet2.xml"),
    ):
        with pytest.raises(UsageError, match=said):
            opened(tmp_path, certificates, **settings)


# --- OPC 40100-1


@pytest.mark.skipif(not NODESET.exists(), reason="no Machine Vision nodeset: make nodeset (needs npm)")
def test_with_its_nodeset_a_station_is_a_vision_system(tmp_path: Path, certificates: CertificateFolder) -> None:
    stand = opened(tmp_path, certificates, nodeset=str(NODESET))

    async def run() -> None:
        async with stand.client() as client:
            await client.load_data_type_definitions()
            vision = client.get_node("ns=2;s=SadVision-line1")
            state = await vision.get_child(["3:VisionStateMachine", "0:CurrentState"])
            assert (await state.read_value()).Text == "Preoperational"
            stand.result(3, Verdict.FAIL, Bit.ONLINE | Bit.RESULT_VALID | Bit.FAIL)
            await until_reads(client, "Result.Seq", 3)
            assert (await state.read_value()).Text == "Operational"
            part = await vision.get_child(["3:VisionStateMachine", "3:AutomaticModeStateMachine", "0:CurrentState"])
            assert (await part.read_value()).Text == "Ready"
            latest = await client.get_node("ns=2;s=SadVision-line1.Results.Latest").read_value()
            assert (latest.PartId.Id, latest.ResultState, latest.IsSimulated) == ("3", 1, False)
            assert json.loads(latest.ResultContent[0].Value)["verdict"] == "FAIL"
            recipes = await vision.get_child(["3:RecipeManagement"])
            wanted = ua.Variant(ua.BinaryIdBaseDataType(Id="2"), ua.VariantType.ExtensionObject)
            internal, completed, error = await recipes.call_method("3:PrepareRecipe", wanted, wanted)
            assert (internal.Id, completed, error) == ("2", False, 0)
            with pytest.raises(ua.uaerrors.BadNotImplemented):
                await (await vision.get_child(["3:VisionStateMachine"])).call_method("3:Halt")

    try:
        asyncio.run(run())
    finally:
        stand.server.close()
    assert [block.recipe_request for block in stand.blocks if block.control & Control.LOAD_RECIPE] == [2]


@pytest.mark.skipif(not NODESET.exists(), reason="no Machine Vision nodeset: make nodeset (needs npm)")
def test_half_a_nodeset_is_refused(tmp_path: Path, certificates: CertificateFolder) -> None:
    half = tmp_path / "half.xml"
    half.write_bytes(NODESET.read_bytes()[:200_000])
    with pytest.raises(UsageError, match=r"half.xml: is not Opc.Ua.MachineVision"):
        opened(tmp_path, certificates, nodeset=str(half))
