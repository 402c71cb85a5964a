"""The one table of ways to a PLC: which key of the configuration opens which kind."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TypeVar

from sad_runtime.errors import UsageError
from sad_runtime.ops.host_port import host_and_port
from sad_runtime.plc.base import Plc
from sad_runtime.plc.config import ModbusConfig, MqttConfig, OpcUaConfig, PlcConfig
from sad_runtime.plc.register_map import COMMAND_SIZE, STATUS_SIZE

LOOK_UP_S = 1.0
"""How long a name server is waited for."""


@dataclass(frozen=True)
class Way:
    """An opened kind, and the stations that it serves."""

    kind: str
    """The key of the configuration."""
    name: str
    plc: Plc
    stations: tuple[str, ...]


def ways_from(configs: Mapping[str, PlcConfig], folder: Path) -> list[Way]:
    """For stations by name. Servers on one address are one server. `folder`: for certificates that are made here.

    Raises UsageError where two stations want different things of one server.
    """
    configs = {name: config if config.ways else _default(config) for name, config in configs.items()}
    _check_apart(configs)
    return [way for open_ in (_modbus, _opcua, _mqtt, _each) for way in open_(configs, folder)]


def _check_apart(configs: Mapping[str, PlcConfig]) -> None:
    """Two stations that write into one place would each let the other's parts go."""
    taken: dict[tuple[object, ...], str] = {}
    homes = _homes(configs.values())
    for name, config in configs.items():
        for what, place in _places(config, homes):
            first = taken.setdefault(place, name)
            if first != name:
                raise UsageError(f"stations {first} and {name} both use {what}. Give each its own")


def _homes(configs: Iterable[PlcConfig]) -> Mapping[str, Sequence[str]]:
    """Addresses as written -> what they lead to: one PLC may be written in two ways."""
    clients = [client for config in configs for client in (config.modbus_client, config.s7) if client is not None]
    addresses = {client.address for client in clients}
    return {address: _resolved(address) if len(addresses) > 1 else [address] for address in addresses}


def _resolved(address: str) -> list[str]:
    """As written where that is not known at once; a name server may be away for long."""
    host, port = host_and_port(address)
    found: list[str] = []

    def look_up() -> None:
        with suppress(OSError, UnicodeError):
            found.extend(f"{entry[4][0]} {port}" for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))

    asking = threading.Thread(target=look_up, name="plc-look-up", daemon=True)
    asking.start()
    asking.join(LOOK_UP_S)
    return list(found) or [f"{host} {port}"]


def _places(config: PlcConfig, homes: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, tuple[object, ...]]]:
    """(what to call it, what it is)"""
    if (client := config.modbus_client) is not None:
        blocks = {"status": (client.status_at, STATUS_SIZE), "commands": (client.commands_at, COMMAND_SIZE)}
        for block, (at, size) in blocks.items():
            for home, register in product(homes[client.address], range(at, at + size) if at is not None else ()):
                yield f"plc.modbus_client {block} at {at}", ("modbus", home, client.unit, register)
    if (s7 := config.s7) is not None:
        for home, number in product(homes[s7.address], (s7.status_db, s7.commands_db)):
            if number is not None:
                yield f"plc.s7 data block {number}", ("s7", home, number)
    if (gpio := config.gpio) is not None:
        for line in (gpio.pass_line, gpio.run_line):
            yield f"plc.gpio line {line}", ("gpio", gpio.chip, line)


def _default(config: PlcConfig) -> PlcConfig:
    return config.model_copy(update={"modbus": ModbusConfig()})


def _modbus(configs: Mapping[str, PlcConfig], folder: Path) -> Iterator[Way]:
    for address, group in _by_address(configs, lambda config: config.modbus, but=frozenset({"unit"})).items():
        from sad_runtime.plc.modbus.server import ModbusServer

        units = {name: config.unit or number for number, (name, config) in enumerate(group.items(), 1)}
        yield Way("modbus", f"modbus {address}", ModbusServer(next(iter(group.values())), units), tuple(group))


def _opcua(configs: Mapping[str, PlcConfig], folder: Path) -> Iterator[Way]:
    for address, group in _by_address(configs, lambda config: config.opcua).items():
        from sad_runtime.plc.opcua.way import OpcUa

        yield Way("opcua", f"opcua {address}", OpcUa(next(iter(group.values())), list(group), folder), tuple(group))


def _mqtt(configs: Mapping[str, PlcConfig], folder: Path) -> Iterator[Way]:
    for address, group in _by_address(configs, lambda config: config.mqtt).items():
        from sad_runtime.plc.mqtt.way import Mqtt

        yield Way("mqtt", f"mqtt {address}", Mqtt(next(iter(group.values())), list(group)), tuple(group))


def _each(configs: Mapping[str, PlcConfig], folder: Path) -> Iterator[Way]:
    """Ways that belong to one station."""
    for name, config in configs.items():
        if config.modbus_client is not None:
            from sad_runtime.plc.modbus.client import ModbusClient

            client = config.modbus_client
            yield Way("modbus_client", f"modbus_client {client.address}", ModbusClient(client, name), (name,))
        if config.s7 is not None:
            from sad_runtime.plc.s7.way import S7

            yield Way("s7", f"s7 {config.s7.address}", S7(config.s7, name), (name,))
        if config.gpio is not None:
            from sad_runtime.plc.gpio import Gpio

            yield Way("gpio", f"gpio {config.gpio.chip}", Gpio(config.gpio, name), (name,))


S = TypeVar("S", ModbusConfig, OpcUaConfig, MqttConfig)


def _by_address(
    configs: Mapping[str, PlcConfig], section: Callable[[PlcConfig], S | None], *, but: frozenset[str] = frozenset()
) -> dict[str, dict[str, S]]:
    """Address -> station -> its section. All that share an address must say the same, `but` for these keys."""
    found: dict[str, dict[str, S]] = {}
    for name, config in configs.items():
        wanted = section(config)
        if wanted is None:
            continue
        group = found.setdefault(wanted.address, {})
        first = next(iter(group.items()), None)
        if first is not None and first[1].model_dump(exclude=set(but)) != wanted.model_dump(exclude=set(but)):
            raise UsageError(
                f"stations {first[0]} and {name} share {wanted.address} but say different things of it. "
                "Say it once for all stations, or give each an address of its own"
            )
        group[name] = wanted
    return found
