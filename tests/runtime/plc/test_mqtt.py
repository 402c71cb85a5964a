"""MQTT: the payloads by themselves, then a real mosquitto: with passwords, with TLS, killed, hung, full of rubbish."""

from __future__ import annotations

import json
import logging
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from hanging import hang
from sad_runtime.errors import ConfigError, MissingExtra, UsageError
from sad_runtime.plc.config import MqttConfig
from sad_runtime.plc.mqtt.payloads import result_payload, state_payload
from sad_runtime.plc.mqtt.way import Mqtt
from sad_runtime.plc.status import Bit, Counters, Fault, Result, Status, Warn
from sad_runtime.schema import parse
from sad_runtime.verdict import Reason, Verdict

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
with_broker = pytest.mark.skipif(MOSQUITTO is None, reason="needs mosquitto: apt-get install mosquitto")
ALONE = """
import sys, time
from sad_runtime.plc.config import MqttConfig
from sad_runtime.plc.mqtt.way import Mqtt
from sad_runtime.plc.status import Status
plc = Mqtt(MqttConfig(address=f"127.0.0.1:{sys.argv[1]}"), ["line1"])
plc.connect(lambda station, block: None)
plc.write("line1", Status())
time.sleep(60)
"""


def a_result(seq: int) -> Result:
    return Result(seq, Verdict.PASS, Reason.OK, part_id=70_000 + seq, run="run-1", feed_seq=seq)


def a_status(seq: int, heartbeat: int = 0) -> Status:
    ring = tuple(a_result(each) for each in range(seq, max(0, seq - 8), -1))
    return Status(
        bits=Bit.ONLINE | Bit.RESULT_VALID | Bit.PASS,
        heartbeat=heartbeat,
        fault=Fault.NONE,
        run_tag=5,
        result=ring[0],
        ring=ring,
    )


class Broker:
    """A mosquitto on a port of its own. What it promised to deliver survives its death."""

    def __init__(self, folder: Path, *lines: str) -> None:
        with closing(socket.socket()) as one:
            one.bind(("127.0.0.1", 0))
            self.port = int(one.getsockname()[1])
        self._file = folder / "mosquitto.conf"
        start = [f"listener {self.port} 127.0.0.1", "user root", "persistence true", f"persistence_location {folder}/"]
        self._file.write_text("\n".join([*start, "autosave_on_changes true", "autosave_interval 1", *lines]) + "\n")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert MOSQUITTO is not None
        self.process = subprocess.Popen([MOSQUITTO, "-c", str(self._file)], stderr=subprocess.DEVNULL)
        soon(self._listens)

    def knows_the_watch(self) -> bool:
        """On its disk, so that it still does when it comes back."""
        file = self._file.parent / "mosquitto.db"
        return file.is_file() and b"sad/#" in file.read_bytes()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _listens(self) -> bool:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 0.2).close()
            return True
        return False


@contextmanager
def a_broker(folder: Path, *lines: str) -> Iterator[Broker]:
    broker = Broker(folder, *(lines or ("allow_anonymous true",)))
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


class Watch:
    """A subscriber. What comes while it is away is kept for it."""

    def __init__(self, port: int, set_up: Callable[[Client], object] = lambda client: None) -> None:
        self.got: list[tuple[str, bytes, bool]] = []
        ready = threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2, client_id="watch", clean_session=False)
        set_up(self.client)
        self.client.on_message = self._hear
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.connect("127.0.0.1", port)
        self.client.subscribe("sad/#", 1)
        self.client.loop_start()
        assert ready.wait(5)

    def _hear(self, client: Client, userdata: object, message: MQTTMessage) -> None:
        self.got.append((message.topic, bytes(message.payload), message.retain))

    def seqs(self) -> list[int]:
        return [json.loads(payload)["seq"] for topic, payload, _ in self.got if topic.endswith("/result")]

    def last(self, topic: str) -> bytes | None:
        return next((payload for heard, payload, _ in reversed(self.got) if heard == topic), None)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@contextmanager
def watching(port: int, set_up: Callable[[Client], object] = lambda client: None) -> Iterator[Watch]:
    watch = Watch(port, set_up)
    try:
        yield watch
    finally:
        watch.close()


@contextmanager
def a_gateway(port: int, stations: tuple[str, ...] = ("line1",), **more: Any) -> Iterator[Mqtt]:
    plc = Mqtt(MqttConfig(address=f"127.0.0.1:{port}", **more), stations)
    plc.connect(lambda station, block: None)
    try:
        yield plc
    finally:
        began = time.monotonic()
        plc.close()
        plc.close()
        assert time.monotonic() - began < 2
        assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("mqtt ")]


def soon(happens: Callable[[], bool], within_s: float = 5.0) -> None:
    until = time.monotonic() + within_s
    while not happens():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.005)


def test_a_result_says_all_that_is_known_of_the_part() -> None:
    result = Result(
        seq=2**32 - 1,
        verdict=Verdict.FAIL,
        reason=Reason.SCORE,
        part_id=7,
        trigger_id=8,
        encoder=9,
        score=1.5,
        threshold=1.0,
        regions=((1, 2, 3, 4, 0.5),),
        latency_ms=12.5,
        age_ms=13.5,
        captured_ns=1_790_237_730_123_456_789,
        recipe=3,
        model_digest="ab",
        run="run-1",
        feed_seq=6,
        simulated=True,
    )
    assert json.loads(result_payload("line1", 5, result)) == {
        "schema": 1,
        "station": "line1",
        "run_tag": 5,
        "seq": 4294967295,
        "verdict": "FAIL",
        "reason": "score",
        "part_id": 7,
        "trigger_id": 8,
        "encoder": 9,
        "score": 1.5,
        "threshold": 1.0,
        "regions": [{"x": 1, "y": 2, "width": 3, "height": 4, "peak": 0.5}],
        "latency_ms": 12.5,
        "age_ms": 13.5,
        "captured": "2026-09-24T08:15:30.123Z",
        "recipe": 3,
        "model": "ab",
        "run": "run-1",
        "feed_seq": 6,
        "simulated": True,
    }


def test_no_payload_holds_what_json_does_not_know() -> None:
    nothing = Result(1, Verdict.INVALID, Reason.NO_IMAGE, score=float("nan"), threshold=float("inf"))
    value = json.loads(result_payload("line1", 5, nothing), parse_constant=lambda text: pytest.fail(text))
    assert (value["score"], value["threshold"], value["captured"]) == (None, None, None)


def test_a_state_names_its_bits_faults_and_warnings() -> None:
    status = replace(
        a_status(3),
        fault=Fault.TOO_SLOW,
        warn=Warn.REVIEW | Warn.LOST,
        recipe=4,
        queue=2,
        state="Ready",
        counters=Counters(6, 1, 2, 3, 4, 5),
    )
    value = json.loads(state_payload("line1", status))
    assert [name for name, on in value["bits"].items() if on] == ["ONLINE", "RESULT_VALID", "PASS"]
    assert len(value["bits"]) == 16
    assert value["fault"] == {"code": 13, "name": "TOO_SLOW"}
    assert value["warn"] == ["REVIEW", "LOST"]
    assert value["counters"] == dict(total=6, passed=1, failed=2, invalid=3, missed_trigger=4, lost=5)  # noqa: C408
    assert (value["recipe"], value["queue"], value["state"], value["run_tag"], value["result_seq"]) == (
        4,
        2,
        "Ready",
        5,
        3,
    )
    assert state_payload("line1", replace(status, heartbeat=9)) == state_payload("line1", status)


@with_broker
def test_each_result_comes_once_and_in_order(tmp_path: Path) -> None:
    with a_broker(tmp_path) as broker, watching(broker.port) as watch, a_gateway(broker.port) as plc:
        for seq in range(1, 101):
            for heartbeat in range(3):
                plc.write("line1", a_status(seq, heartbeat))
        plc.write("line1", a_status(108))
        soon(lambda: plc.counters()["results"] == 108)
        soon(lambda: len(watch.seqs()) == 108)
        assert watch.seqs() == list(range(1, 109))
        assert plc.counters()["connections"] == 1
        assert plc.counters()["dropped_results"] == 0


@with_broker
def test_numbers_that_wrap_are_no_second_result(tmp_path: Path) -> None:
    order = [2**32 - 2, 2**32 - 1, 1, 2]
    with a_broker(tmp_path) as broker, watching(broker.port) as watch, a_gateway(broker.port) as plc:
        for count in range(1, 5):
            plc.write("line1", replace(a_status(1), ring=tuple(a_result(seq) for seq in reversed(order[:count]))))
        soon(lambda: len(watch.seqs()) >= 4)
        time.sleep(0.05)
        assert watch.seqs() == order


@with_broker
def test_a_late_reader_finds_the_state(tmp_path: Path) -> None:
    with a_broker(tmp_path) as broker, a_gateway(broker.port, ("line1", "line2")) as plc:
        plc.write("line1", a_status(1))
        plc.write("line2", Status())
        soon(lambda: plc.counters()["states"] == 2)
        with watching(broker.port) as watch:
            soon(lambda: len(watch.got) >= 4)
        assert all(retained for _, _, retained in watch.got)
        assert watch.last("sad/line1/online") == b"1"
        assert json.loads(watch.last("sad/line1/state") or b"")["bits"]["PASS"] is True
        assert json.loads(watch.last("sad/line2/state") or b"")["fault"]["name"] == "FEED_STALE"


@with_broker
def test_states_are_sent_when_they_change_and_not_too_often(tmp_path: Path) -> None:
    with a_broker(tmp_path) as broker, a_gateway(broker.port) as plc:
        began = time.monotonic()
        for recipe in range(60):
            plc.write("line1", replace(a_status(1, recipe), recipe=recipe))
            time.sleep(0.01)
        time.sleep(0.25)
        states = plc.counters()["states"]
        assert 3 <= states <= (time.monotonic() - began) / 0.2 + 2
        plc.write("line1", replace(a_status(1, 61), recipe=59))
        time.sleep(0.3)
        assert plc.counters()["states"] == states


@with_broker
def test_a_regular_end_says_so_after_the_last_result(tmp_path: Path) -> None:
    with a_broker(tmp_path) as broker, watching(broker.port) as watch:
        with a_gateway(broker.port) as plc:
            soon(lambda: watch.last("sad/line1/online") == b"1")
            plc.write("line1", a_status(3))
            plc.write("line1", replace(a_status(3), bits=Bit.INVALID | Bit.FAULT, fault=Fault.INTERNAL))
        soon(lambda: watch.last("sad/line1/online") == b"0")
        soon(lambda: watch.seqs() == [1, 2, 3])
        assert json.loads(watch.last("sad/line1/state") or b"")["fault"]["name"] == "INTERNAL"


@with_broker
def test_the_last_will_tells_of_a_gateway_that_was_killed(tmp_path: Path) -> None:
    with a_broker(tmp_path) as broker, watching(broker.port) as watch:
        process = subprocess.Popen([sys.executable, "-c", ALONE, str(broker.port)])
        try:
            soon(lambda: watch.last("sad/line1/online") == b"1", 20)
        finally:
            process.kill()
            process.wait()
        soon(lambda: watch.last("sad/line1/online") == b"0")


@with_broker
def test_what_happened_while_the_broker_was_away_comes_after(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="sad_runtime.plc.mqtt.link")
    with a_broker(tmp_path) as broker:
        with watching(broker.port) as watch, a_gateway(broker.port) as plc:
            plc.write("line1", a_status(1))
            soon(lambda: watch.seqs() == [1])
            soon(broker.knows_the_watch)
            broker.kill()
            for seq in range(2, 60):
                plc.write("line1", a_status(seq))
            soon(lambda: plc.counters()["errors"] >= 2)
            broker.start()
            soon(lambda: plc.counters()["results"] == 59)
        with watching(broker.port) as again:
            soon(lambda: len(set(watch.seqs() + again.seqs())) == 59)
            soon(lambda: b'"result_seq":59' in (again.last("sad/line1/state") or b""))
    assert sorted(set(watch.seqs() + again.seqs())) == list(range(1, 60))
    ours = [record.getMessage() for record in caplog.records if record.name == "sad_runtime.plc.mqtt.link"]
    assert len(ours) == 2
    assert "is back" in ours[1]


@with_broker
def test_the_oldest_go_when_the_broker_stays_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sad_runtime.plc.mqtt.link.KEPT", 5)
    with a_broker(tmp_path) as broker:
        with watching(broker.port):
            soon(broker.knows_the_watch)
        broker.kill()
        with a_gateway(broker.port) as plc:
            for seq in range(1, 21):
                plc.write("line1", a_status(seq))
            assert plc.counters()["dropped_results"] == 15
            broker.start()
            soon(lambda: plc.counters()["results"] == 5)
            with watching(broker.port) as watch:
                soon(lambda: len(watch.seqs()) == 5)
            assert watch.seqs() == [16, 17, 18, 19, 20]


@with_broker
def test_a_hung_broker_holds_up_neither_writing_nor_the_end(tmp_path: Path) -> None:
    with a_broker(tmp_path) as broker:
        with a_gateway(broker.port) as plc:
            plc.write("line1", a_status(1))
            soon(lambda: plc.counters()["results"] == 1)
            assert broker.process is not None
            hang(broker.process.pid)
            slowest = 0.0
            for seq in range(2, 500):
                began = time.perf_counter()
                plc.write("line1", a_status(seq))
                slowest = max(slowest, time.perf_counter() - began)
            assert slowest < 0.05
        broker.kill()


@with_broker
def test_what_a_dying_broker_did_not_acknowledge_is_sent_again(tmp_path: Path) -> None:
    with a_broker(tmp_path) as broker, a_gateway(broker.port) as plc:
        plc.write("line1", a_status(1))
        soon(lambda: plc.counters()["results"] == 1)
        assert broker.process is not None
        hang(broker.process.pid)
        for seq in range(2, 31):
            plc.write("line1", a_status(seq))
        time.sleep(0.2)
        assert plc.counters()["results"] == 1
        broker.kill()
        broker.start()
        soon(lambda: plc.counters()["results"] == 30)
        assert plc.counters()["dropped_results"] == 0


@with_broker
def test_a_password_lets_in_and_a_wrong_one_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    passwords, right, wrong = tmp_path / "passwords", tmp_path / "right", tmp_path / "wrong"
    tool = shutil.which("mosquitto_passwd")
    assert tool is not None
    subprocess.run([tool, "-c", "-b", str(passwords), "gateway", "geheim"], check=True, capture_output=True)
    right.write_text("geheim\n")
    wrong.write_text("falsch\n")
    with a_broker(tmp_path, "allow_anonymous false", f"password_file {passwords}") as broker:
        with a_gateway(broker.port, user="gateway", password_file=str(right)) as plc:
            plc.write("line1", a_status(1))
            soon(lambda: plc.counters()["results"] == 1)
        with a_gateway(broker.port, user="gateway", password_file=str(wrong)) as plc:
            soon(lambda: plc.counters()["errors"] >= 2)
            assert plc.counters()["connections"] == 0
            assert plc.failure is None
    ours = [record.getMessage() for record in caplog.records if record.name == "sad_runtime.plc.mqtt.link"]
    assert len(ours) == 1
    assert "Not authorized" in ours[0]
    assert "password_file" in ours[0]


class Papers:
    """A certificate authority, and what it signed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.ca = self._written("ca", self._key, self._key, "test ca", authority=True)[0]

    def signed(self, name: str) -> tuple[str, str]:
        """Certificate and key, for 127.0.0.1."""
        return self._written(name, ec.generate_private_key(ec.SECP256R1()), self._key, name, authority=False)

    def _written(
        self,
        file: str,
        key: ec.EllipticCurvePrivateKey,
        signer: ec.EllipticCurvePrivateKey,
        name: str,
        authority: bool,
    ) -> tuple[str, str]:
        now = datetime.now(timezone.utc)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test ca")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .sign(signer, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (self._folder / f"{file}.pem").write_bytes(pem)
        (self._folder / f"{file}.key").write_bytes(secret)
        return str(self._folder / f"{file}.pem"), str(self._folder / f"{file}.key")


@with_broker
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho leaves a refused socket to the GC
def test_tls_lets_in_whom_the_right_authority_signed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "other").mkdir()
    ours, others = Papers(tmp_path), Papers(tmp_path / "other")
    server, gateway = ours.signed("broker"), ours.signed("gateway")
    lines = (f"cafile {ours.ca}", f"certfile {server[0]}", f"keyfile {server[1]}", "require_certificate true")
    tls = {"ca": ours.ca, "certificate": gateway[0], "key": gateway[1]}
    with a_broker(tmp_path, "allow_anonymous true", *lines) as broker:
        with a_gateway(broker.port, tls=tls) as plc:
            plc.write("line1", a_status(1))
            soon(lambda: plc.counters()["results"] == 1)
        assert not caplog.records
        for wrong in ({**tls, "ca": others.ca}, {"ca": ours.ca}):
            with a_gateway(broker.port, tls=wrong) as plc:
                soon(lambda: plc.counters()["errors"] >= 2)
                assert plc.counters()["connections"] == 0
                assert plc.failure is None


def babble(server: socket.socket, chance: random.Random) -> None:
    """A broker that lets everybody in, or not, and then talks rubbish."""
    while True:
        try:
            peer, _ = server.accept()
        except OSError:
            return
        with peer, suppress(OSError):
            peer.settimeout(0.5)
            peer.recv(1000)
            if chance.random() < 0.7:
                peer.sendall(bytes((0x20, 2, 0, 0)))
            kind = chance.choice((0x20, 0x30, 0x32, 0x34, 0x40, 0x50, 0x62, 0x90, 0xB0, 0xD0, 0xE0, 0xF0, 0x00))
            rubbish = chance.randbytes(chance.randrange(30))
            peer.sendall(bytes((kind, len(rubbish))) + rubbish)
            peer.recv(1000)


def test_rubbish_from_the_broker_is_an_outage_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sad_runtime.plc.mqtt.link.FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr("sad_runtime.plc.mqtt.link.LONGEST_PAUSE_S", 0.002)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        liar = threading.Thread(target=babble, args=(server, random.Random(1)))
        liar.start()
        with a_gateway(server.getsockname()[1]) as plc:
            plc.write("line1", a_status(8))
            soon(lambda: plc.counters()["errors"] >= 60 or plc.failure is not None, 20)
            assert plc.failure is None
        server.shutdown(socket.SHUT_RDWR)
        liar.join()


def test_what_can_never_work_is_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty, rubbish = tmp_path / "empty", tmp_path / "rubbish"
    empty.write_text("\n")
    rubbish.write_bytes(b"\xff\xfe")
    for more, text in (
        ({"topic": "a/#"}, "cannot be a topic"),
        ({"user": "x", "password_file": str(tmp_path / "none")}, "cannot be read"),
        ({"user": "x", "password_file": str(empty)}, "is empty"),
        ({"user": "x", "password_file": str(rubbish)}, "not UTF-8"),
        ({"tls": {"ca": str(tmp_path / "none")}}, "none cannot be read"),
        ({"tls": {"ca": str(rubbish)}}, "does not fit"),
    ):
        plc = Mqtt(MqttConfig.model_validate({"address": "127.0.0.1:1883", **more}), ["line1"])
        with pytest.raises(UsageError, match=text):
            plc.connect(lambda station, block: None)
        plc.close()
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(MissingExtra, match=r"sad-inspection\[plc\]"):
        Mqtt(MqttConfig(address="127.0.0.1:1883"), ["line1"]).connect(lambda station, block: None)


def test_half_a_credential_is_refused_in_the_file() -> None:
    with pytest.raises(ConfigError, match="password_file without user"):
        parse(MqttConfig, {"address": "127.0.0.1:1883", "password_file": "x"}, "plc.yaml")
    with pytest.raises(ConfigError, match="go together"):
        parse(MqttConfig, {"address": "127.0.0.1:1883", "tls": {"ca": "x", "key": "y"}}, "plc.yaml")
