"""One station's connection to the MQTT broker: a thread that connects, publishes and begins anew.

The thread alone talks to paho, and each connection gets a new paho client: what has to survive a connection lies in
`Link`.
"""

from __future__ import annotations

import logging
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sad_runtime.ops.host_port import host_and_port
from sad_runtime.plc.config import MqttConfig
from sad_runtime.plc.mqtt.payloads import result_payload, state_payload
from sad_runtime.plc.status import Result, Status

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessageInfo

log = logging.getLogger(__name__)

KEPT: Final = 10_000
"""Results, about 5 MB of them."""
WINDOW: Final = 20
"""Results under way to the broker at once."""
LOOK_S: Final = 0.02
STATE_EVERY_S: Final = 0.2
CONNECT_S: Final = 1.5
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
FAREWELL_S: Final = 0.5


@dataclass(frozen=True)
class Broker:
    config: MqttConfig
    password: str | None
    tls: ssl.SSLContext | None


class _Lost(Exception):
    """The broker is not there, hung up, or refused."""


@contextmanager
def _peer() -> Iterator[None]:
    """What goes wrong in here comes from the broker, be it rubbish."""
    try:
        yield
    except (OSError, ValueError, LookupError, struct.error) as error:
        raise _Lost(str(error).rstrip(".") or type(error).__name__) from error


class Link:
    def __init__(self, topic: str, station: str) -> None:
        self._topic = f"{topic}/{station}"
        self._station = station
        self._lock = threading.Lock()
        self._status: Status | None = None
        self._seen = 0
        """RESULT_SEQ of the last result that was taken over."""
        self._waiting: deque[bytes] = deque()
        self._under_way: deque[tuple[MQTTMessageInfo, bytes]] = deque()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._well = True
        self.failure: str | None = None
        self._counters = dict.fromkeys(("connections", "errors", "results", "states", "dropped_results"), 0)

    def open(self, broker: Broker) -> None:
        self._thread = threading.Thread(target=self._run, args=(broker,), name=f"mqtt {self._station}", daemon=True)
        self._thread.start()

    def tell(self, status: Status) -> None:
        payloads = [result_payload(self._station, status.run_tag, result) for result in self._unseen(status.ring)]
        with self._lock:
            self._status = status
            for payload in payloads:
                self._waiting.append(payload)
            self._cut()

    def end(self) -> None:
        self._ending.set()

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join(CONNECT_S + FAREWELL_S - 0.2)

    def counters(self) -> dict[str, int]:
        return dict(self._counters)

    def _unseen(self, ring: tuple[Result, ...]) -> list[Result]:
        """Results that were not there at the last call, oldest first."""
        found: list[Result] = []
        for result in ring:
            if result.seq == self._seen:
                break
            found.append(result)
        if found:
            self._seen = found[0].seq
        return found[::-1]

    def _cut(self) -> None:
        while len(self._waiting) > KEPT:
            self._waiting.popleft()
            self._counters["dropped_results"] += 1

    def _run(self, broker: Broker) -> None:
        try:
            self._reconnecting(broker)
        except Exception as error:
            self.failure = f"plc.mqtt of station {self._station}: {type(error).__name__}: {error}"
            log.exception("%s", self.failure)

    def _reconnecting(self, broker: Broker) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._ending.is_set():
            connections = self._counters["connections"]
            try:
                self._session(broker)
            except _Lost as error:
                self._lost(broker, error)
            pause_s = FIRST_PAUSE_S if self._counters["connections"] > connections else 2 * pause_s
            self._ending.wait(min(pause_s, LONGEST_PAUSE_S))

    def _session(self, broker: Broker) -> None:
        """From one connecting to its end."""
        client = self._client(broker)
        try:
            self._connect(client, broker.config)
            with _peer():
                client.publish(f"{self._topic}/online", b"1", qos=1, retain=True)
            shown, state_at = b"", 0.0
            while not self._ending.is_set():
                self._turn(client)
                if time.monotonic() >= state_at:
                    state_at = time.monotonic() + STATE_EVERY_S
                    shown = self._show_state(client, shown)
                self._publish_results(client)
            self._farewell(client, shown)
        finally:
            self._take_back()
            with _peer():
                client.disconnect()

    def _client(self, broker: Broker) -> Client:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        # The same name each time: the broker ends what it may still have of this station, and sends its will before it
        # hears of the new connection, never after.
        client = Client(CallbackAPIVersion.VERSION2, client_id=f"sad-plc:{self._topic}")
        client.connect_timeout = CONNECT_S
        client.will_set(f"{self._topic}/online", b"0", qos=1, retain=True)
        if broker.config.user is not None:
            client.username_pw_set(broker.config.user, broker.password)
        if broker.tls is not None:
            client.tls_set_context(broker.tls)
        return client

    def _connect(self, client: Client, config: MqttConfig) -> None:
        host, port = host_and_port(config.address)
        refusals: list[str] = []
        client.on_connect = lambda _c, _u, _flags, reason, _p: refusals.append(str(reason) if reason.is_failure else "")
        with _peer():
            client.connect(host, port, config.keep_alive_s)
        until_s = time.monotonic() + CONNECT_S
        while not refusals:
            if time.monotonic() > until_s:
                raise _Lost("nothing that speaks MQTT answers")
            if self._ending.is_set():
                raise _Lost("the gateway ends")
            self._turn(client, allow_refusal=True)
        if refusals[0]:
            raise _Lost(f"refused ({refusals[0]}); mend plc.mqtt.user and password_file, or the broker's list")
        self._counters["connections"] += 1
        if not self._well:
            self._well = True
            log.info("station %s: MQTT broker %s is back", self._station, config.address)

    def _turn(self, client: Client, allow_refusal: bool = False) -> None:
        from paho.mqtt.client import MQTT_ERR_CONN_REFUSED, error_string

        with _peer():
            code = client.loop(LOOK_S)
        if code and not (allow_refusal and code == MQTT_ERR_CONN_REFUSED):
            raise _Lost(error_string(code).rstrip("."))

    def _show_state(self, client: Client, shown: bytes) -> bytes:
        with self._lock:
            status = self._status
        if status is None:
            return shown
        payload = state_payload(self._station, status)
        if payload != shown:
            with _peer():
                client.publish(f"{self._topic}/state", payload, qos=1, retain=True)
            self._counters["states"] += 1
        return payload

    def _publish_results(self, client: Client) -> None:
        while self._under_way and _acknowledged(self._under_way[0][0]):
            self._under_way.popleft()
            self._counters["results"] += 1
        while len(self._under_way) < WINDOW:
            with self._lock:
                if not self._waiting:
                    return
                payload = self._waiting.popleft()
            with _peer():
                self._under_way.append((client.publish(f"{self._topic}/result", payload, qos=1), payload))

    def _take_back(self) -> None:
        """What the broker did not acknowledge waits again, in its order."""
        with self._lock:
            while self._under_way:
                info, payload = self._under_way.pop()
                if _acknowledged(info):
                    self._counters["results"] += 1
                else:
                    self._waiting.appendleft(payload)
            self._cut()

    def _farewell(self, client: Client, shown: bytes) -> None:
        self._show_state(client, shown)
        with _peer():
            last = client.publish(f"{self._topic}/online", b"0", qos=1, retain=True)
        until_s = time.monotonic() + FAREWELL_S
        while time.monotonic() < until_s:
            self._publish_results(client)
            self._turn(client)
            if _acknowledged(last) and not self._under_way and not self._waiting:
                return

    def _lost(self, broker: Broker, error: _Lost) -> None:
        self._counters["errors"] += 1
        if self._well and not self._ending.is_set():
            self._well = False
            log.warning(
                "station %s: MQTT broker %s: %s. Trying on; the newest %s results wait",
                *(self._station, broker.config.address, str(error), KEPT),
            )


def _acknowledged(info: MQTTMessageInfo) -> bool:
    """False also for what could not even be sent."""
    try:
        return info.is_published()
    except (RuntimeError, ValueError):
        return False
