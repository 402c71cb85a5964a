"""Several stations from one file: `stations:` holds what is particular to each, all other keys are shared by all.

    stations:
      line1: {camera: {uri: gige://21438546}}
      line2: {camera: {uri: gige://21438547}, trigger: {mode: software}}
    trigger: {deadline_ms: 200}

Sections are merged key by key, what a station says wins. Station n has its shared ports moved by 10 n (the first is
number 0); an address that a station names itself stays as it is. What comes out are ordinary StationConfigs.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from sad_runtime.errors import ConfigError, UsageError
from sad_runtime.feed.address import shifted
from sad_runtime.ops.host_port import host_and_port
from sad_runtime.schema import parse
from sad_runtime.station.clashes import check_apart
from sad_runtime.station.config import StationConfig

STATIONS = "stations"
PORTS = 10
SOCKETS = ("decisions", "heatmaps", "snapshot", "commands")


def is_plant(values: object) -> bool:
    return isinstance(values, Mapping) and STATIONS in values


def plant_from(values: Mapping[str, Any], where: str) -> dict[str, StationConfig]:
    """Every station by name, in the order of the file.

    Raises ConfigError for what does not fit, UsageError where two of them want the same camera, port or folder.
    """
    own = values[STATIONS]
    shared = {key: value for key, value in values.items() if key != STATIONS}
    if not isinstance(own, Mapping) or not own:
        raise ConfigError(f"{where}: stations: expected names with the keys of each, as in {{line1: {{camera: ...}}}}")
    if "station" in shared:
        raise ConfigError(f"{where}: 'station' names one station; in a plant the names are the keys of 'stations'")
    found = {}
    for number, (name, section) in enumerate(own.items()):
        found[str(name)] = _station(str(name), section, shared, number, f"{where}: stations.{name}")
    check_apart(found)
    return found


def station_of(plant: Mapping[str, StationConfig], name: str) -> StationConfig:
    """Raises UsageError naming the nearest one."""
    if name in plant:
        return plant[name]
    near = difflib.get_close_matches(name, plant, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(plant)}"
    raise UsageError(f"--station {name}: no such station in this plant; {hint}")


def _station(name: str, section: Any, shared: Mapping[str, Any], number: int, where: str) -> StationConfig:
    section = {} if section is None else section
    if not isinstance(section, Mapping):
        raise ConfigError(f"{where}: expected keys and values, found {type(section).__name__}")
    if "station" in section:
        raise ConfigError(f"{where}: leave 'station' out; its name is {name}")
    # Parsed without moved ports first, so that a wrong key or address is reported as it stands in the file.
    config = parse(StationConfig, {**_merged(shared, section), "station": name}, where)
    moved = {"feed": _moved_feed(config, section, number * PORTS), "metrics": _moved_metrics(config, section, number)}
    return parse(StationConfig, _merged(config.model_dump(), moved), where)


def _merged(under: Mapping[Any, Any], over: Mapping[Any, Any]) -> dict[Any, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = _merged(below, value)
        else:
            merged[key] = value
    return merged


def _moved_feed(config: StationConfig, section: Mapping[str, Any], ports: int) -> dict[str, Any]:
    said = section.get("feed") or {}
    addresses = {name: getattr(config.feed, name) for name in SOCKETS if name not in said}
    return {name: [shifted(address, ports) for address in found] for name, found in addresses.items()}


def _moved_metrics(config: StationConfig, section: Mapping[str, Any], number: int) -> dict[str, Any]:
    address = config.metrics.address
    if address is None or "address" in (section.get("metrics") or {}) or host_and_port(address)[1] == 0:
        return {}
    head, _, port = address.rpartition(":")
    return {"address": f"{head}:{int(port) + number * PORTS}"}
