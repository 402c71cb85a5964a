"""From a station's file and the flags of `sad-plc` to the stations of a gateway. Opens nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sad_runtime.errors import UsageError
from sad_runtime.feed.address import as_reached, check_address, is_on_this_computer
from sad_runtime.feed.curve_keys import ClientKeys, client_keys
from sad_runtime.plc.config import ModbusConfig, OpcUaConfig, PlcConfig, is_loopback
from sad_runtime.plc.gateway import GatewayStation
from sad_runtime.plc.lane import LaneSettings
from sad_runtime.schema import M, parse, yaml_values
from sad_runtime.station.config import StationConfig
from sad_runtime.station.plant import is_plant, plant_from, station_of
from sad_runtime.station.state_folder import StateFolder, state_root


@dataclass(frozen=True)
class Flags:
    """What the command line says; None: nothing."""

    config: Path | None = None
    station: str | None = None
    state: Path | None = None
    feed: str | None = None
    commands: str | None = None
    keys: ClientKeys | None = None
    modbus: str | None = None
    opcua: str | None = None


@dataclass(frozen=True)
class Selected:
    stations: list[GatewayStation]
    state: Path
    metrics: str | None


def selected(flags: Flags) -> Selected:
    """Raises UsageError."""
    configs = _configs(flags)
    if len(configs) > 1 and (flags.feed or flags.commands):
        raise UsageError("--feed and --commands are of one station: add --station NAME, one of " + ", ".join(configs))
    stations = [_station(config, flags) for config in configs.values()]
    first = next(iter(configs.values()))
    return Selected(stations, flags.state or state_root(first.state), first.plc.metrics)


def _configs(flags: Flags) -> dict[str, StationConfig]:
    if flags.config is None:
        name = flags.station or "line1"
        return {name: parse(StationConfig, {"station": name}, "--station")}
    values: Any = yaml_values(flags.config)
    if is_plant(values):
        plant = plant_from(values, str(flags.config))
        return {flags.station: station_of(plant, flags.station)} if flags.station else plant
    config = parse(StationConfig, values, str(flags.config))
    if flags.station is not None and flags.station != config.station:
        raise UsageError(f"--station {flags.station}: {flags.config} is of station {config.station}")
    return {config.station: config}


def _station(config: StationConfig, flags: Flags) -> GatewayStation:
    plc = _with_flags(config.plc, flags)
    folder = StateFolder(flags.state or state_root(config.state), config.station)
    keys = flags.keys or _keys(plc)
    settings = LaneSettings(
        station=config.station,
        feed=_feed(config, plc, flags, keys),
        commands=_commands(config, plc, flags, folder),
        keys=keys,
        plc_silent_ms=plc.plc_silent_ms,
        trigger_within_ms=plc.trigger_within_ms,
    )
    return GatewayStation(settings, plc, folder)


def _with_flags(plc: PlcConfig, flags: Flags) -> PlcConfig:
    changes: dict[str, Any] = {}
    if flags.modbus is not None:
        changes["modbus"] = _over(ModbusConfig, plc.modbus, {"address": flags.modbus}, "--modbus")
    if flags.opcua is not None:
        address = flags.opcua.removeprefix("opc.tcp://").partition("/")[0]
        plain = {"plain_text": True} if plc.opcua is None and is_loopback(address) else {}
        changes["opcua"] = _over(OpcUaConfig, plc.opcua, {"address": address, **plain}, "--opcua")
    return plc.model_copy(update=changes)


def _over(kind: type[M], section: M | None, changes: Mapping[str, Any], where: str) -> M:
    return parse(kind, (section.model_dump() if section is not None else {}) | dict(changes), where)


def _keys(plc: PlcConfig) -> ClientKeys | None:
    source = plc.source
    if source.server_key is None or source.key is None:
        return None
    return client_keys(Path(source.server_key).expanduser(), Path(source.key).expanduser())


def _feed(config: StationConfig, plc: PlcConfig, flags: Flags, keys: ClientKeys | None) -> str:
    said = flags.feed or plc.source.feed
    if said is not None:
        return check_address(said)
    addresses = config.feed.decisions
    socket_files = [address for address in addresses if address.startswith("ipc://")]
    address = socket_files[0] if socket_files else addresses[0]
    if address.endswith(":*"):
        raise UsageError(f"feed.decisions {address}: takes a port that nobody knows before; name one, or give --feed")
    if config.feed.security.curve is not None and not socket_files and keys is None:
        raise UsageError(
            f"station {config.station}: its feed is encrypted. Name plc.source.server_key and .key (made with "
            "sad-keys), or give the feed an ipc address too, which programs on this box read without keys"
        )
    return as_reached(address, "tcp://127.0.0.1:1") or address


def _commands(config: StationConfig, plc: PlcConfig, flags: Flags, folder: StateFolder) -> str | None:
    """None where the station is on another computer and nobody said where its command socket is."""
    said = flags.commands or plc.source.commands
    if said is not None:
        return check_address(said)
    reached = flags.feed or plc.source.feed
    if reached is not None and not is_on_this_computer(reached):
        return None
    if config.feed.commands:
        files = [address for address in config.feed.commands if address.startswith("ipc://")]
        return as_reached((files or config.feed.commands)[0], "tcp://127.0.0.1:1")
    return check_address(f"ipc://{folder.commands.absolute()}")
