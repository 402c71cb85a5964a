"""What `sad-runtime --check` looks at besides the configuration itself; no device is opened and nothing is written.

Bundles of all recipes, their ROIs against the pictures as far as their size is known, the state folder, the addresses.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import socket
from collections.abc import Mapping

import numpy as np

from sad_runtime.cameras.base import EndOfStream, Setting
from sad_runtime.cameras.masked import masked
from sad_runtime.cameras.table import raw_camera_for
from sad_runtime.cameras.uri import device_of
from sad_runtime.errors import DataError, MissingExtra, UsageError
from sad_runtime.ops.host_port import host_and_port
from sad_runtime.preprocess import Picture, check_size, model_picture
from sad_runtime.station.clashes import check_apart
from sad_runtime.station.config import StationConfig
from sad_runtime.station.lock import running
from sad_runtime.station.recipes import Recipe, recipe_from
from sad_runtime.station.selection import Selection
from sad_runtime.station.state_folder import StateFolder

FIRST_PICTURE_S = 5.0


def check_all(selection: Selection) -> list[str]:
    """Raises UsageError for what would stop the station or every part of it. Returns remarks for people."""
    config = selection.config
    check_apart({config.station: config})
    recipes = [selection.recipe]
    for number, wanted in config.recipes.items():
        if number != selection.recipe.id:
            recipes.append(recipe_from(number, wanted, config, selection.folder.thresholds))
    picture = _picture(config)
    for recipe in recipes:
        _check_roi(recipe, picture if picture is not None else _picture_of(recipe.camera), config)
    check_state(selection.folder)
    if config.metrics.address is not None and importlib.util.find_spec("prometheus_client") is None:
        raise MissingExtra("prometheus-client", "metrics", "metrics.address")
    holder = running(selection.folder.lock)
    if holder is not None:
        return [f"station {config.station} is running now (process {holder}), so its addresses were not tried"]
    for what, host, port in tcp_addresses(config):
        check_free(what, host, port)
    return []


def check_state(folder: StateFolder) -> None:
    """Raises UsageError where the station's folder, or what stands in for it so far, cannot be written."""
    there = folder.pictures
    while not there.exists() and there != there.parent:
        if there.is_symlink():
            raise UsageError(f"{there}: leads nowhere. Remove it, or name another place with --state DIR")
        there = there.parent
    if not there.is_dir():
        raise UsageError(f"{there}: Not a directory. Move that file, or name another place with --state DIR")
    journal = [path for path in (folder.journal, folder.lock) if path.exists()]
    for path in (there, *journal):
        if not os.access(path, os.W_OK) or (path.is_dir() and not os.access(path, os.X_OK)):
            raise UsageError(f"{path}: cannot be written. Mend its rights, or name another place with --state DIR")


def tcp_addresses(config: StationConfig) -> list[tuple[str, str, int]]:
    """(key and address, host, port) of all that the station listens on at a port of its own choice."""
    found = [
        (f"feed.{key} {address}", *host_and_port(address.removeprefix("tcp://")))
        for key, address in config.feed.bound()
        if address.startswith("tcp://") and not address.endswith(":*")
    ]
    if config.metrics.address is not None:
        found.append((f"metrics.address {config.metrics.address}", *host_and_port(config.metrics.address)))
    return found


def check_free(what: str, host: str, port: int) -> None:
    """Binds and lets go at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("" if host == "*" else host, port))
        except socket.gaierror:
            return  # the name of an interface, which libzmq knows
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise UsageError(
                    f"{what}: already in use, by another station or another program. Stop that one, "
                    "or give this station its own addresses"
                ) from None
            raise UsageError(f"{what}: cannot be bound ({error.strerror or error})") from None


def _picture(config: StationConfig) -> Picture | None:
    """The first of a folder, file or rendered series; None of a camera."""
    uri = config.camera.uri
    if uri is None or device_of(uri) is not None:
        return None
    try:
        with raw_camera_for(uri, config.camera.settings) as camera:
            frame = camera.grab(FIRST_PICTURE_S)
    except EndOfStream:
        return None
    return frame.picture if frame is not None else None


def _picture_of(settings: Mapping[str, Setting]) -> Picture | None:
    """Of the size that a camera is set to, where it is."""
    width, height = settings.get("width_px"), settings.get("height_px")
    if isinstance(width, (int, float)) and isinstance(height, (int, float)) and width >= 1 and height >= 1:
        return np.zeros((int(height), int(width)), np.uint8)
    return None


def _check_roi(recipe: Recipe, picture: Picture | None, config: StationConfig) -> None:
    try:
        if picture is not None:
            model_picture(picture, recipe.bundle.manifest.input, recipe.roi)
            check_size(picture, recipe.roi, recipe.bundle.manifest.judged)
        elif recipe.roi is not None:
            check_size(np.zeros((1, 1), np.uint8), recipe.roi, recipe.bundle.manifest.judged)
    except DataError as error:
        raise UsageError(f"recipe {recipe.id} with camera {masked(config.camera.uri or '')}: {error}") from None
