"""Results and states to an MQTT broker, for MES and dashboards; payloads.py has what is sent.

Never for a gate: a broker tells of a lost gateway one and a half `keep_alive_s` later. Each station has a connection of
its own, for a connection has one last will. A gateway for the same station elsewhere throws this one out, and the
other way round: a station belongs to one gateway.

While the broker is away, the newest KEPT results of a station wait, the oldest beyond them are dropped and counted; of
states only the newest is sent. What the broker did not acknowledge goes out again to the next connection, so that a
result may come twice, (run_tag, seq) tells.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from pathlib import Path

from sad_runtime.errors import MissingExtra, UsageError
from sad_runtime.files import reason_of
from sad_runtime.plc.base import OnCommand, Plc
from sad_runtime.plc.config import MqttConfig
from sad_runtime.plc.mqtt.link import KEPT, Broker, Link
from sad_runtime.plc.status import Status

__all__ = ["KEPT", "Mqtt"]
log = logging.getLogger(__name__)


class Mqtt(Plc):
    def __init__(self, config: MqttConfig, stations: Sequence[str]) -> None:
        self._config = config
        self._links = {station: Link(config.topic, station) for station in stations}

    def connect(self, on_command: OnCommand) -> None:
        try:
            import paho.mqtt.client  # noqa: F401
        except ImportError:
            raise MissingExtra("paho-mqtt", "plc", "plc.mqtt") from None
        for station in self._links:
            _check_topic(f"{self._config.topic}/{station}")
        broker = Broker(self._config, _password(self._config), _tls(self._config))
        for link in self._links.values():
            link.open(broker)

    def write(self, station: str, status: Status) -> None:
        self._links[station].tell(status)

    def close(self) -> None:
        for link in self._links.values():
            link.end()
        for link in self._links.values():
            link.join()

    def counters(self) -> dict[str, int]:
        """`connections`, `errors`, `results` acknowledged by the broker, `states`, `dropped_results`."""
        each = [link.counters() for link in self._links.values()]
        return {name: sum(counters[name] for counters in each) for name in each[0]} if each else {}

    @property
    def failure(self) -> str | None:
        return next((link.failure for link in self._links.values() if link.failure is not None), None)


def _check_topic(topic: str) -> None:
    if any(sign in topic for sign in "+#\0") or topic.startswith("$"):
        raise UsageError(
            f"plc.mqtt: {topic!r} cannot be a topic: without +, #, and $ in front, please (plc.mqtt.topic)"
        )


def _password(config: MqttConfig) -> str | None:
    if config.password_file is None:
        return None
    path = Path(config.password_file)
    try:
        password = path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise UsageError(f"plc.mqtt.password_file {path}: cannot be read ({reason_of(error)})") from None
    except UnicodeDecodeError:
        raise UsageError(f"plc.mqtt.password_file {path}: not UTF-8 text; write the password alone into it") from None
    if not password:
        raise UsageError(f"plc.mqtt.password_file {path}: is empty; write the password into it")
    return password


def _tls(config: MqttConfig) -> ssl.SSLContext | None:
    if config.tls is None:
        return None
    where, tls = "plc.mqtt.tls", config.tls
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.key, password="")
    except ssl.SSLError as error:
        raise UsageError(f"{where}: {tls.ca}, {tls.certificate} or {tls.key} does not fit ({error})") from None
    except OSError as error:
        files = " or ".join(name for name in (tls.ca, tls.certificate, tls.key) if name)
        raise UsageError(f"{where}: {files} cannot be read ({reason_of(error)})") from None
    return context
