"""Basler cameras through pylon: `basler://SERIAL`. Its emulator (PYLON_CAMEMU=1) answers here as well.

What follows the `//` is a serial number, an IP address, or the name that the user gave the camera.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sad_runtime.cameras.arrival import Arrivals
from sad_runtime.cameras.base import Camera, Frame, Setting
from sad_runtime.cameras.features import check_software_trigger, driver_words, locked, silent_after_s
from sad_runtime.cameras.pixel_format import picture_from_raw
from sad_runtime.errors import CameraError, MissingExtra
from sad_runtime.preprocess import Picture

BUFFERS = 10
GIGE = "BaslerGigE"
NO_ID = 2**64 - 1
"""pylon's block id of a camera that numbers nothing."""
NANOSECONDS = 1_000_000_000


def pypylon() -> tuple[Any, Any]:
    """pypylon's `pylon` and `genicam`. Raises MissingExtra."""
    try:
        from pypylon import genicam, pylon
    except ImportError as error:
        raise MissingExtra(f"pypylon ({error})", "camera", "basler://") from None
    return pylon, genicam


class BaslerCamera(Camera):
    live = True

    def __init__(self, uri: str, serial: str, settings: Mapping[str, Setting]) -> None:
        super().__init__(uri)
        self.silent_after_s = silent_after_s(settings.get("TriggerMode"))
        self._serial = serial
        self._settings = settings
        self._camera: Any = None
        self._ticks_per_s = NANOSECONDS
        self._arrivals = Arrivals(sixteen_bits=False)

    def open(self) -> None:
        self.close()
        pylon, genicam = pypylon()
        try:
            info = self._info(pylon)
            self._camera = pylon.InstantCamera(pylon.TlFactory.GetInstance().CreateDevice(info))
            self._camera.Open()
            self._configure(info, genicam)
            self._camera.MaxNumBuffer.Value = BUFFERS
            self._camera.StartGrabbing(pylon.GrabStrategy_OneByOne)
        except genicam.GenericException as error:
            self.close()
            raise CameraError(f"camera {self.uri}: {driver_words(error)}") from None
        except CameraError:
            self.close()
            raise

    def grab(self, timeout_s: float) -> Frame | None:
        if self._camera is None:
            raise CameraError(f"camera {self.uri}: not open")
        pylon, genicam = pypylon()
        try:
            if self._camera.IsCameraDeviceRemoved():
                raise CameraError(f"camera {self.uri}: no longer answers (unplugged, or no power)")
            with self._camera.RetrieveResult(max(1, int(1e3 * timeout_s)), pylon.TimeoutHandling_Return) as result:
                return self._frame(result) if result.IsValid() else None
        except genicam.GenericException as error:
            raise CameraError(f"camera {self.uri}: {driver_words(error)}") from None

    def trigger(self) -> None:
        if self._camera is None:
            raise CameraError(f"camera {self.uri}: not open")
        check_software_trigger(self.facts, self.uri)
        _, genicam = pypylon()
        try:
            self._camera.GetNodeMap().GetNode("TriggerSoftware").Execute()
        except genicam.GenericException as error:
            raise CameraError(f"camera {self.uri}: TriggerSoftware: {driver_words(error)}") from None

    def close(self) -> None:
        camera, self._camera = self._camera, None
        if camera is None:
            return
        _, genicam = pypylon()
        try:
            camera.StopGrabbing()
            camera.Close()
        except genicam.GenericException:
            pass  # it is gone, and nothing is left to give back

    def _info(self, pylon: Any) -> Any:
        factory = pylon.TlFactory.GetInstance()
        found = list(factory.EnumerateDevices())
        named = [info for info in found if self._serial in _names_of(info)]
        if len(named) != 1:
            there = ", ".join(f"{info.GetSerialNumber()} ({info.GetModelName()})" for info in found) or "none"
            how_many = f"{len(named)} cameras bear this name" if named else "no such Basler camera"
            raise CameraError(
                f"camera {self.uri}: {how_many}; there is {there}. Is it powered, its cable in, its address in the "
                "same network as this box? See sad-runtime --list-cameras"
            )
        if not factory.IsDeviceAccessible(named[0]):
            raise CameraError(f"camera {self.uri}: another program holds it. Stop that one (pylon Viewer?)")
        return named[0]

    def _configure(self, info: Any, genicam: Any) -> None:
        nodes = PylonNodes(self._camera.GetNodeMap(), genicam)
        identity = {
            "vendor": info.GetVendorName(),
            "model": info.GetModelName(),
            "serial": info.GetSerialNumber(),
        }
        self.facts = {**identity, **locked(nodes, self._settings, self.uri)}
        self.silent_after_s = silent_after_s(self.facts.get("TriggerMode"))
        extended = _got(nodes, "GevGVSPExtendedIDMode", "Off") == "On"
        self._arrivals = Arrivals(sixteen_bits=info.GetDeviceClass() == GIGE and not extended)
        self._ticks_per_s = int(_got(nodes, "GevTimestampTickFrequency", NANOSECONDS)) or NANOSECONDS

    def _frame(self, result: Any) -> Frame:
        good = result.GrabSucceeded()
        block_id = int(result.BlockID)
        return self._arrivals.frame(
            lambda: _picture(result, self.facts["PixelFormat"]),
            frame_id=None if block_id == NO_ID else block_id,
            stamp_ns=int(result.TimeStamp) * NANOSECONDS // self._ticks_per_s if good else 0,
            missing="" if good else str(result.ErrorDescription or f"error {result.ErrorCode:#x}"),
            skipped=int(result.NumberOfSkippedImages) if block_id == NO_ID else 0,
        )


def _picture(result: Any, pixel_format: str) -> Picture:
    regular, stride = result.GetStride() if result.PaddingX else (False, 0)
    return picture_from_raw(
        result.GetBuffer(), result.Width, result.Height, pixel_format, stride=int(stride) if regular else None
    )


def _names_of(info: Any) -> list[str]:
    names = [info.GetSerialNumber(), info.GetFullName(), info.GetUserDefinedName()]
    return [*names, info.GetIpAddress()] if info.IsIpAddressAvailable() else names


class PylonNodes:
    """The node map of an open pylon camera."""

    def __init__(self, nodes: Any, genicam: Any) -> None:
        self._nodes = nodes
        self._genicam = genicam
        features = (parameter.GetNode() for parameter in nodes.GetNodes())
        self._names = frozenset(node.GetName() for node in features if node.IsFeature() and genicam.IsImplemented(node))

    def names(self) -> Collection[str]:
        return self._names

    def get(self, name: str) -> Setting:
        parameter = self._nodes.GetNode(name)
        if not hasattr(parameter, "Value"):
            raise CameraError("it holds no value that could be set")
        try:
            return parameter.Value  # type: ignore[no-any-return]
        except self._genicam.GenericException as error:
            raise CameraError(driver_words(error)) from None

    def set(self, name: str, value: Setting) -> None:
        parameter = self._nodes.GetNode(name)
        try:
            parameter.Value = value
        except self._genicam.GenericException as error:
            choices = getattr(parameter, "Symbolics", ())
            raise CameraError(driver_words(error) + (f"; it takes {', '.join(choices)}" if choices else "")) from None


def _got(nodes: PylonNodes, name: str, otherwise: Setting) -> Setting:
    return nodes.get(name) if name in nodes.names() else otherwise
