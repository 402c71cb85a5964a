"""Any camera whose maker ships a GenTL producer (a `.cti` file), through harvesters: `genicam://SERIAL?cti=PATH`.

What follows the `//` is a serial number, or the id or name that the producer gives the camera. How soon a camera that
went away is noticed, and whether pictures carry times, is up to the producer.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sad_runtime.cameras.arrival import Arrivals
from sad_runtime.cameras.base import Camera, Frame, Setting
from sad_runtime.cameras.features import check_software_trigger, driver_words, locked, silent_after_s
from sad_runtime.cameras.pixel_format import picture_from_raw
from sad_runtime.errors import CameraError, MissingExtra, UsageError
from sad_runtime.preprocess import Picture
from sad_runtime.schema import Strict

BUFFERS = 10
SHORTEST_S = 0.001
"""harvesters takes a timeout of 0 for none at all."""
IN_USE = (3, 4)
"""GenTL's DEVICE_ACCESS_STATUS: NOACCESS and BUSY."""


class GenicamOptions(Strict):
    cti: str
    """The producer's file, as the camera's maker installs it."""


def harvesters() -> tuple[Any, Any, Any]:
    """`harvesters.core`, and the `gentl` and `genapi` of genicam. Raises MissingExtra."""
    try:
        from genicam import genapi, gentl
        from harvesters import core
    except ImportError as error:
        raise MissingExtra(f"harvesters ({error})", "camera", "genicam://") from None
    return core, gentl, genapi


class GenicamCamera(Camera):
    live = True

    def __init__(self, uri: str, serial: str, options: GenicamOptions, settings: Mapping[str, Setting]) -> None:
        super().__init__(uri)
        self._producer = Path(options.cti)
        if not self._producer.is_file():
            raise UsageError(
                f"camera {uri}: no file {self._producer}. cti= names the GenTL producer that came with the camera; "
                "sad-runtime --list-cameras shows those found in GENICAM_GENTL64_PATH"
            )
        self.silent_after_s = silent_after_s(settings.get("TriggerMode"))
        self._serial = serial
        self._settings = settings
        self._harvester: Any = None
        self._acquirer: Any = None
        self._incomplete = 0
        self._arrivals = Arrivals(sixteen_bits=False)

    def open(self) -> None:
        self.close()
        core, gentl, genapi = harvesters()
        self._harvester = core.Harvester()
        try:
            self._harvester.add_file(str(self._producer.absolute()), check_validity=True)
            self._harvester.update()
            info = self._info()
            self._acquirer = self._harvester.create(info)
            self._configure(info, genapi)
            self._start(core)
        except (gentl.GenericException, genapi.GenericException, OSError, ValueError) as error:
            self.close()
            raise CameraError(f"camera {self.uri}: {driver_words(error)}") from None
        except CameraError:
            self.close()
            raise

    def grab(self, timeout_s: float) -> Frame | None:
        if self._acquirer is None:
            raise CameraError(f"camera {self.uri}: not open")
        _, gentl, _ = harvesters()
        until_s = time.monotonic() + timeout_s
        while True:
            left_s = until_s - time.monotonic()
            try:
                buffer = self._acquirer.try_fetch(timeout=max(SHORTEST_S, left_s))
            except gentl.GenericException as error:
                raise CameraError(f"camera {self.uri}: {driver_words(error)}") from None
            if buffer is not None:
                with buffer:
                    return self._frame(buffer)
            if self._incomplete:
                self._incomplete -= 1
                return self._arrivals.frame(_nothing, frame_id=None, stamp_ns=0, missing="buffer not filled")
            if left_s <= SHORTEST_S:
                return None

    def trigger(self) -> None:
        if self._acquirer is None:
            raise CameraError(f"camera {self.uri}: not open")
        check_software_trigger(self.facts, self.uri)
        _, _, genapi = harvesters()
        try:
            self._acquirer.remote_device.node_map.TriggerSoftware.execute()
        except (genapi.GenericException, AttributeError) as error:
            raise CameraError(f"camera {self.uri}: TriggerSoftware: {driver_words(error)}") from None

    def close(self) -> None:
        acquirer, self._acquirer = self._acquirer, None
        harvester, self._harvester = self._harvester, None
        if harvester is None:
            return
        _, gentl, genapi = harvesters()
        with suppress(gentl.GenericException, genapi.GenericException):
            if acquirer is not None:
                acquirer.stop()
                acquirer.destroy()
        with suppress(gentl.GenericException, genapi.GenericException):
            harvester.reset()

    def _info(self) -> Any:
        found = list(self._harvester.device_info_list)
        named = [info for info in found if self._serial in names_of(info)]
        if len(named) != 1:
            there = ", ".join(f"{told(info, 'serial_number')} ({told(info, 'display_name')})" for info in found)
            how_many = f"{len(named)} cameras bear this name" if named else "no such camera"
            raise CameraError(
                f"camera {self.uri}: {how_many} at {self._producer.name}; there is {there or 'none'}. "
                "Is it powered, its cable in, and the producer the one of its maker?"
            )
        if named[0].access_status in IN_USE:
            raise CameraError(f"camera {self.uri}: another program holds it. Stop that one (its maker's viewer?)")
        return named[0]

    def _configure(self, info: Any, genapi: Any) -> None:
        nodes = HarvesterNodes(self._acquirer.remote_device.node_map, genapi)
        identity = {name: told(info, key) for name, key in IDENTITY.items()}
        self.facts = {**identity, **locked(nodes, self._settings, self.uri)}
        self.silent_after_s = silent_after_s(self.facts.get("TriggerMode"))
        extended = "GevGVSPExtendedIDMode" in nodes.names() and nodes.get("GevGVSPExtendedIDMode") == "On"
        self._arrivals = Arrivals(sixteen_bits=told(info, "tl_type") == "GEV" and not extended)

    def _start(self, core: Any) -> None:
        self._incomplete = 0
        self._acquirer.num_buffers = max(BUFFERS, self._acquirer.min_num_buffers)
        self._acquirer.add_callback(self._acquirer.Events.INCOMPLETE_BUFFER, _callback(core, self._count_incomplete))
        self._acquirer.start()

    def _count_incomplete(self) -> None:
        """harvesters hands an incomplete buffer back to the producer by itself, and only says that there was one."""
        self._incomplete += 1

    def _frame(self, buffer: Any) -> Frame:
        return self._arrivals.frame(
            lambda: _picture(buffer), frame_id=int(buffer.module.frame_id), stamp_ns=_stamp_ns(buffer)
        )


IDENTITY = {"vendor": "vendor", "model": "model", "serial": "serial_number"}


def _picture(buffer: Any) -> Picture:
    parts = buffer.payload.components
    if not parts or not parts[0].height:
        raise CameraError("the buffer holds no picture")
    part = parts[0]
    stride = part.data.nbytes // part.height if part.x_padding else None
    return picture_from_raw(part.data, part.width, part.height, part.data_format, stride=stride)


def _stamp_ns(buffer: Any) -> int:
    """0 where the producer gives none."""
    _, gentl, _ = harvesters()
    with suppress(gentl.GenericException, AttributeError):
        return int(buffer.timestamp_ns or 0)
    with suppress(gentl.GenericException, AttributeError, ZeroDivisionError):
        return int(buffer.timestamp) * 1_000_000_000 // int(buffer.timestamp_frequency)
    return 0


def _nothing() -> Picture:
    raise CameraError("the buffer holds no picture")


def _callback(core: Any, call: Any) -> Any:
    class Called(core.Callback):  # type: ignore[misc]
        def emit(self, context: Any) -> None:
            call()

    return Called()


def told(info: Any, name: str) -> str:
    """What the producer says of a device; many say less than GenTL has names for."""
    _, gentl, _ = harvesters()
    try:
        return str(getattr(info, name) or "")
    except gentl.GenericException:
        return ""


def names_of(info: Any) -> list[str]:
    return [told(info, name) for name in ("serial_number", "id_", "user_defined_name", "display_name")]


class HarvesterNodes:
    """The node map of a remote device."""

    def __init__(self, nodes: Any, genapi: Any) -> None:
        self._nodes = nodes
        self._genapi = genapi
        self._names = frozenset(name for name in dir(nodes) if nodes.has_node(name))

    def names(self) -> Collection[str]:
        return self._names

    def get(self, name: str) -> Setting:
        try:
            value = self._nodes.get_node(name).value
        except (self._genapi.GenericException, AttributeError) as error:
            raise CameraError(f"it holds no value that could be set ({driver_words(error)})") from None
        return value  # type: ignore[no-any-return]

    def set(self, name: str, value: Setting) -> None:
        node = self._nodes.get_node(name)
        try:
            node.value = value
        except self._genapi.GenericException as error:
            choices = getattr(node, "symbolics", ())
            raise CameraError(driver_words(error) + (f"; it takes {', '.join(choices)}" if choices else "")) from None
