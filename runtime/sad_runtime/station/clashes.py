"""What two stations of a plant must not share, and one station must not name twice: cameras, ports, folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sad_runtime.cameras.masked import masked
from sad_runtime.cameras.uri import device_of
from sad_runtime.errors import UsageError
from sad_runtime.ops.host_port import host_and_port
from sad_runtime.station.config import StationConfig
from sad_runtime.station.state_folder import StateFolder, state_root


def check_apart(stations: Mapping[str, StationConfig]) -> None:
    """Raises UsageError naming both stations."""
    taken: dict[str, str] = {}
    for name, config in stations.items():
        for what, key in (*_devices(config), *_addresses(config)):
            first = taken.setdefault(key, f"{name}: {what}")
            if first != f"{name}: {what}":
                raise UsageError(f"stations {first} and {name}: {what} are the same. Give each its own")
    folders = {name: StateFolder(state_root(config.state).resolve(), name).folder for name, config in stations.items()}
    for name, folder in folders.items():
        for other, around in folders.items():
            if name != other and folder.is_relative_to(around):
                raise UsageError(f"station {name}: its state folder {folder} lies in that of {other}. Name another")


def _devices(config: StationConfig) -> Iterator[tuple[str, str]]:
    uri = config.camera.uri
    device = device_of(uri) if uri is not None else None
    if device is not None:
        yield f"camera {masked(uri or '')}", f"camera {device}"


def _addresses(config: StationConfig) -> Iterator[tuple[str, str]]:
    """(what stands in the file, what it takes): two of them are not to take the same."""
    named = [(f"feed.{key}", address) for key, address in config.feed.bound()]
    for what, address in named:
        kind, _, rest = address.partition("://")
        port = rest.rpartition(":")[2] if kind == "tcp" else ""
        if port.isdigit():
            yield f"{what} {address}", f"port {port}"
        elif kind == "ipc":
            yield f"{what} {address}", f"socket {rest}"
    if config.metrics.address is not None and (number := host_and_port(config.metrics.address)[1]):
        yield f"metrics.address {config.metrics.address}", f"port {number}"
