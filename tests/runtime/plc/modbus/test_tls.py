"""Modbus/TCP Security: only ends with a certificate of the plant's CA talk."""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from pymodbus.client import ModbusTlsClient

from certificates import Authority
from modbus import STATION, frame, result, serving, status, until
from sad_runtime.errors import UsageError
from sad_runtime.ops.host_port import host_and_port
from sad_runtime.plc.config import ModbusClientConfig, ModbusConfig, TlsConfig
from sad_runtime.plc.modbus import server as modbus_server
from sad_runtime.plc.modbus.client import ModbusClient
from sad_runtime.plc.modbus.server import ModbusServer
from sad_runtime.plc.modbus.tls import client_context
from sad_runtime.plc.status import CommandBlock

READ = struct.pack(">BHH", 3, 7, 2)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("plant"))


def connected(address: str, context: ssl.SSLContext) -> ssl.SSLSocket:
    host, port = host_and_port(address)
    plain = socket.create_connection((host, port), timeout=5)
    try:
        return context.wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


def test_a_certificate_of_the_plant_lets_in(plant: Authority) -> None:
    with serving(tls=plant.tls("gateway")) as stand:
        stand.server.write(STATION, status(42))
        with connected(stand.server.address, client_context(plant.tls("plc"))) as plc:
            plc.sendall(frame(READ)[:5])
            plc.sendall(frame(READ)[5:] + frame(READ))
            answer = frame(b"\x03\x04" + struct.pack(">I", 42))
            got = b""
            while len(got) < 2 * len(answer):
                got += plc.recv(1000)
            assert got == 2 * answer, "a TLS record is no frame"
        host, port = host_and_port(stand.server.address)
        context = client_context(plant.tls("plc"))
        context.check_hostname = False  # pymodbus's client names no server to check.
        with ModbusTlsClient(host, port=port, sslctx=context, timeout=3, retries=0) as client:
            block = client.read_holding_registers(7, count=4).registers
        assert block == [0, 42, result(42).part_id >> 16, result(42).part_id & 0xFFFF]


def test_no_certificate_or_one_of_another_ca_is_refused(plant: Authority, tmp_path: Path) -> None:
    foreign = Authority(tmp_path / "foreign").tls("plc")
    with serving(tls=plant.tls("gateway")) as stand:
        without = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        without.load_verify_locations(plant.ca)
        forged = client_context(foreign)
        forged.load_verify_locations(plant.ca)
        for context in (without, forged):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                _asked(stand.server.address, context)
        assert stand.counted("refused_handshakes", 2) == 2
        assert stand.server.counters()["connections"] == 0


def _asked(address: str, context: ssl.SSLContext) -> None:
    """With TLS 1.3 a client learns only afterwards that it was refused."""
    with connected(address, context) as plc:
        plc.sendall(frame(READ))
        if not plc.recv(100):
            raise ConnectionResetError


def test_a_peer_that_is_not_allowed_does_not_get_as_far_as_a_handshake(plant: Authority) -> None:
    with serving(tls=plant.tls("gateway"), allow=["127.0.0.5"]) as stand:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            _asked(stand.server.address, client_context(plant.tls("plc")))
        assert stand.counted("refused_peers") == 1
        assert stand.server.counters()["refused_handshakes"] == 0


def test_plain_text_and_silence_are_refused_and_hold_nobody_up(
    plant: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modbus_server, "HANDSHAKE_S", 0.2)
    with serving(tls=plant.tls("gateway")) as stand:
        with stand.wire() as plain, stand.wire() as silent:
            plain.send(frame(READ))
            assert plain.take() == b"" or plain.hung_up()
            with connected(stand.server.address, client_context(plant.tls("plc"))) as plc:
                plc.sendall(frame(READ))
                assert plc.recv(100)
            assert silent.hung_up()
        assert stand.counted("refused_handshakes", 2) == 2


def test_a_scanner_that_never_shakes_hands_does_not_keep_others_out(plant: Authority) -> None:
    each = modbus_server.HANDSHAKES_EACH
    with serving(tls=plant.tls("gateway")) as stand, ExitStack() as scanner:
        for _ in range(modbus_server.CONNECTIONS + 8):
            with suppress(OSError):  # it may be hung up on before it knows that it is connected
                scanner.enter_context(stand.wire("127.0.0.9"))
        assert stand.counted("refused_for_room", modbus_server.CONNECTIONS + 8 - each)
        assert len(stand.server._coming) == each
        with connected(stand.server.address, client_context(plant.tls("plc"))) as plc:
            plc.sendall(frame(READ))
            assert plc.recv(100)


def test_closing_in_the_middle_of_a_handshake_leaves_nothing_behind(plant: Authority) -> None:
    with serving(tls=plant.tls("gateway")) as stand, stand.wire() as silent:
        until(lambda: len(stand.server._coming) == 1)
        stand.server.close()
        assert silent.hung_up()


def test_the_client_checks_whom_it_talks_to(plant: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for tls, words in (
        (plant.tls("elsewhere", "127.0.0.8"), "certificate is refused (IP address mismatch"),
        (Authority(tmp_path / "foreign").tls("gateway"), "certificate is refused ("),
    ):
        with serving(tls=tls) as stand:
            client = ModbusClient(ModbusClientConfig(address=stand.server.address, tls=plant.tls("plc")), STATION)
            client.connect(lambda station, block: None)
            until(lambda words=words: words in caplog.text)  # type: ignore[misc]
            client.close()
            assert stand.server.counters()["connections"] == 0
        caplog.clear()


def test_client_and_server_talk_over_tls(plant: Authority) -> None:
    """Our client reads the commands of our server; its status block is not to be written there, which it says."""
    with serving(tls=plant.tls("gateway")) as stand:
        told: list[CommandBlock] = []
        config = ModbusClientConfig(address=stand.server.address, tls=plant.tls("plc"), status_at=1000)
        client = ModbusClient(config, STATION)
        client.connect(lambda station, block: told.append(block))
        until(lambda: bool(told))
        client.write(STATION, status(1))
        until(lambda: client.counters()["refused"] >= 1)
        client.close()
    assert told == [CommandBlock()]


@pytest.mark.parametrize("key", ["certificate", "key", "ca"])
def test_a_file_that_is_not_there_or_no_pem_is_named(plant: Authority, tmp_path: Path, key: str) -> None:
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_bytes(b"not PEM")
    for name in (str(tmp_path / "absent.pem"), str(rubbish)):
        tls = plant.tls("gateway").model_copy(update={key: name})
        with pytest.raises(UsageError, match=name.replace(".", r"\.")):
            _connect(tls)


def test_a_key_with_a_passphrase_is_refused_and_not_asked_for(plant: Authority) -> None:
    with pytest.raises(UsageError, match="without a passphrase"):
        _connect(plant.tls("locked", locked=True))


def test_a_certificate_with_the_key_of_another_is_refused(plant: Authority) -> None:
    tls = plant.tls("gateway").model_copy(update={"key": plant.tls("plc").key})
    with pytest.raises(UsageError, match="not a certificate and its key"):
        _connect(tls)


def _connect(tls: TlsConfig) -> None:
    server = ModbusServer(ModbusConfig(address="127.0.0.1:0", tls=tls), {STATION: 1})
    try:
        server.connect(lambda station, block: None)
    finally:
        server.close()
