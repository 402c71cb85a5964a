"""GigE Vision and USB3 Vision cameras of every maker, through Aravis 0.8: `gige://SERIAL`, `usb3://SERIAL`.

Aravis and PyGObject come as Debian packages; there are no wheels to rely on. What follows the `//` is a serial number,
an IP address, or one of Aravis's own device ids. Reading waits in Aravis, so the station gets this camera behind a
process of its own. Aravis notices a dead GigE camera after 6 s (its heartbeat); a free-running one is missed sooner,
for it is silent.
"""

from __future__ import annotations

import sysconfig
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from sad_runtime.cameras.arrival import Arrivals
from sad_runtime.cameras.base import Camera, Frame, Setting
from sad_runtime.cameras.features import check_software_trigger, locked, silent_after_s
from sad_runtime.cameras.pixel_format import picture_from_raw
from sad_runtime.errors import CameraError, UsageError
from sad_runtime.preprocess import Picture

BUFFERS = (8, 32)
BUFFER_BYTES = 256 * 1024**2
"""Aravis keeps an incomplete picture for 0.2 s in case its packets still come: at 50 a second that takes 10 buffers."""
SLICE_S = 0.1
PROTOCOLS = {"gige": "GigEVision", "usb3": "USB3Vision"}
PACKAGES = "gir1.2-aravis-0.8 python3-gi"


def aravis() -> Any:
    """Aravis by introspection. Raises UsageError naming the packages."""
    try:
        import gi

        gi.require_version("Aravis", "0.8")
        from gi.repository import Aravis
    except (ImportError, ValueError) as error:
        raise UsageError(
            f"gige:// and usb3:// need Aravis and PyGObject ({error}). Run: sudo apt-get install {PACKAGES}. "
            "In a virtual environment of the system's own Python version, then let it see them: "
            f"ln -s /usr/lib/python3/dist-packages/gi {sysconfig.get_path('purelib')}/gi"
        ) from None
    return Aravis


class AravisCamera(Camera):
    live = True

    def __init__(self, uri: str, serial: str, settings: Mapping[str, Setting]) -> None:
        super().__init__(uri)
        self.silent_after_s = silent_after_s(settings.get("TriggerMode"))
        self._serial = serial
        self._settings = settings
        self._camera: Any = None
        self._stream: Any = None
        self._on_lost: int = 0
        self._lost = False
        self._pixel_format = ""
        self._arrivals = Arrivals(sixteen_bits=False)

    def open(self) -> None:
        self.close()
        api = aravis()
        from gi.repository import GLib

        try:
            self._camera = api.Camera.new(self._device_id(api))
            self._configure(api)
            self._start(api)
        except GLib.Error as error:
            self.close()
            raise CameraError(f"camera {self.uri}: {error.message}") from None
        except CameraError:
            self.close()
            raise

    def grab(self, timeout_s: float) -> Frame | None:
        until_s = time.monotonic() + timeout_s
        while True:
            if self._stream is None:
                raise CameraError(f"camera {self.uri}: not open")
            if self._lost:
                raise CameraError(f"camera {self.uri}: no longer answers (unplugged, no power, or taken over)")
            left_s = until_s - time.monotonic()
            buffer = self._stream.timeout_pop_buffer(int(1e6 * min(max(left_s, 0.0), SLICE_S)))
            if buffer is not None:
                return self._frame(buffer)
            if left_s <= SLICE_S and not self._lost:
                return None

    def trigger(self) -> None:
        if self._camera is None:
            raise CameraError(f"camera {self.uri}: not open")
        check_software_trigger(self.facts, self.uri)
        _asked(partial(self._camera.execute_command, "TriggerSoftware"), f"camera {self.uri}: TriggerSoftware: ")

    def close(self) -> None:
        camera, self._camera = self._camera, None
        stream, self._stream = self._stream, None
        if camera is None:
            return
        from gi.repository import GLib

        if self._on_lost:
            camera.get_device().disconnect(self._on_lost)
            self._on_lost = 0
        if stream is not None and not self._lost:  # a camera that is gone would be asked in vain for seconds
            with suppress(GLib.Error):
                camera.stop_acquisition()

    def _device_id(self, api: Any) -> str:
        """Aravis's id of the camera that was asked for. Without this search it would stream into nowhere (0.8.26)."""
        protocol = PROTOCOLS[self.uri.partition(":")[0]]
        found = [device for device in devices(api) if device["protocol"] == protocol]
        named = [
            device for device in found if self._serial in (device["serial"], device["address"], device["device_id"])
        ]
        if len(named) == 1:
            return named[0]["device_id"]
        there = ", ".join(f"{device['serial']} ({device['vendor']} {device['model']})" for device in found) or "none"
        if named:
            raise CameraError(
                f"camera {self.uri}: {len(named)} cameras bear this name. Give the id or address of the right one: "
                f"{', '.join(device['device_id'] for device in named)}"
            )
        raise CameraError(
            f"camera {self.uri}: no such {protocol} camera; there is {there}. Is it powered, and its cable in? "
            + (
                "A GigE camera must have an address in the same network as this box: see sad-runtime --list-cameras"
                if protocol == "GigEVision"
                else "May this user open it? The udev rule aravis.rules of Aravis gives the right"
            )
        )

    def _configure(self, api: Any) -> None:
        device = self._camera.get_device()
        gige = self._camera.is_gv_device()
        if gige and not device.is_controller():
            raise CameraError(
                f"camera {self.uri}: another program holds it. Stop that one (a viewer, a second station?)"
            )
        device.set_range_check_policy(api.RangeCheckPolicy.ENABLE)
        device.set_access_check_policy(api.AccessCheckPolicy.ENABLE)
        nodes = AravisNodes(api, device)
        identity = {
            "vendor": self._camera.get_vendor_name(),
            "model": self._camera.get_model_name(),
            "serial": self._camera.get_device_serial_number() or self._serial,
        }
        self.facts = {**identity, **locked(nodes, self._settings, self.uri)}
        self.silent_after_s = silent_after_s(self.facts.get("TriggerMode"))
        self._pixel_format = self._camera.get_pixel_format_as_string()
        self._arrivals = Arrivals(sixteen_bits=gige and not _extended_ids(nodes))

    def _start(self, api: Any) -> None:
        self._lost = False
        self._on_lost = self._camera.get_device().connect("control-lost", self._control_lost)
        self._stream = self._camera.create_stream(None, None)
        if self._stream is None:
            raise CameraError(f"camera {self.uri}: gives no stream")
        payload = self._camera.get_payload()
        for _ in range(min(max(BUFFER_BYTES // max(1, payload), BUFFERS[0]), BUFFERS[1])):
            self._stream.push_buffer(api.Buffer.new_allocate(payload))
        self._camera.start_acquisition()

    def _control_lost(self, _device: Any) -> None:
        """Called in Aravis's heartbeat thread."""
        self._lost = True

    def _frame(self, buffer: Any) -> Frame:
        """The buffer goes back to the stream in any case."""
        status = buffer.get_status().value_nick
        missing = "" if status == "success" else status.replace("-", " ")
        try:
            return self._arrivals.frame(
                lambda: _picture(buffer, self._pixel_format),
                frame_id=buffer.get_frame_id(),
                stamp_ns=0 if missing else buffer.get_timestamp(),
                missing=missing,
            )
        finally:
            self._stream.push_buffer(buffer)


def _picture(buffer: Any, pixel_format: str) -> Picture:
    data, height = buffer.get_image_data(), buffer.get_image_height()
    padded = buffer.get_image_padding()[0] != 0
    return picture_from_raw(
        data, buffer.get_image_width(), height, pixel_format, stride=len(data) // max(1, height) if padded else None
    )


def devices(api: Any) -> list[dict[str, str]]:
    """All cameras that answer (takes a second): `device_id`, `address`, `vendor`, `model`, `serial`, `protocol`."""
    api.update_device_list()
    return [
        {
            "device_id": api.get_device_id(number) or "",
            "address": api.get_device_address(number) or "",
            "vendor": api.get_device_vendor(number) or "",
            "model": api.get_device_model(number) or "",
            "serial": api.get_device_serial_nbr(number) or "",
            "protocol": api.get_device_protocol(number) or "",
        }
        for number in range(api.get_n_devices())
    ]


class AravisNodes:
    """The node map of an Aravis device. Only features that the camera publishes below Root count."""

    def __init__(self, api: Any, device: Any) -> None:
        self._api = api
        self._device = device
        self._map = device.get_genicam()
        self._names = frozenset(_below(api, self._map, "Root", set()))

    def names(self) -> Collection[str]:
        return self._names

    def get(self, name: str) -> Setting:
        return self._verb(name, "get")()  # type: ignore[no-any-return]

    def set(self, name: str, value: Setting) -> None:
        set_value = self._verb(name, "set")
        try:
            set_value(value)
        except CameraError as error:
            raise CameraError(f"{error}{self._choices(name)}") from None

    def _verb(self, name: str, verb: str) -> Callable[..., Any]:
        """The call that gets or sets a feature of this type; it raises CameraError."""
        method = getattr(self._device, f"{verb}_{self._type(name)}_feature_value")
        return lambda *value: _asked(partial(method, name, *value))

    def _type(self, name: str) -> str:
        node, api = self._map.get_node(name), self._api
        if isinstance(node, (api.GcEnumeration, api.GcString)):
            return "string"
        if isinstance(node, api.GcBoolean):
            return "boolean"
        if isinstance(node, api.GcFloat):
            return "float"
        if isinstance(node, api.GcInteger):
            return "integer"
        raise CameraError("it holds no value that could be set")

    def _choices(self, name: str) -> str:
        if not isinstance(self._map.get_node(name), self._api.GcEnumeration):
            return ""
        return f"; it takes {', '.join(self._device.dup_available_enumeration_feature_values_as_strings(name))}"


def _below(api: Any, genicam: Any, name: str, seen: set[str]) -> Iterator[str]:
    """The features under a category, each once."""
    if name in seen:
        return
    seen.add(name)
    node = genicam.get_node(name)
    if isinstance(node, api.GcCategory):
        for feature in node.get_features():
            yield from _below(api, genicam, feature, seen)
    elif node is not None:
        yield name


def _asked(ask: Callable[[], Any], what: str = "") -> Any:
    """Raises CameraError with Aravis's words."""
    from gi.repository import GLib

    try:
        return ask()
    except GLib.Error as error:
        raise CameraError(f"{what}{error.message}") from None


def _extended_ids(nodes: AravisNodes) -> bool:
    """Whether a GigE camera numbers its pictures with 64 bits."""
    name = "GevGVSPExtendedIDMode"
    return name in nodes.names() and nodes.get(name) == "On"
