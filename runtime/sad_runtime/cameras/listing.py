"""Which cameras there are: what `sad-runtime --list-cameras` shows, one kind at a time.

Drivers hang and crash while they look around. Each kind, and each GenTL producer, is therefore asked in a process of
its own with a time limit; `in_children` is what a command calls, `listed` is what runs in such a process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

from sad_runtime.cameras.kernel_listing import Node, nodes
from sad_runtime.errors import SadError

START = (
    "import sys; sys.path[:] = [path for path in sys.path if path]; "  # no file beside the user stands in for a package
    "from sad_runtime.cameras.listing import main; sys.exit(main(sys.argv[1:]))"
)
LIMIT_S = 10.0
DYING_S = 5.0
IN_USE, NO_RIGHT = "in use", "no right to open"


@dataclass(frozen=True)
class Found:
    uri: str
    """To be written after --camera."""
    model: str
    serial: str = ""
    standing: str = ""
    """`in use`, `no right to open`, or nothing where it is free or the driver does not tell."""


@dataclass(frozen=True)
class Listing:
    kind: str
    cameras: tuple[Found, ...] = ()
    trouble: str = ""
    """Why this kind could not be listed, and how to mend it."""


def in_children(producers: Sequence[Path], limit_s: float = LIMIT_S) -> list[Listing]:
    """All kinds at once, in a fixed order, within `limit_s`. `producers`: the `.cti` files to ask."""
    asked = [("v4l2",), ("aravis",), ("basler",)]
    children = [_Child(*arguments) for arguments in [*asked, *(("genicam", str(file)) for file in producers)]]
    until_s = time.monotonic() + limit_s
    return [child.answer(until_s) for child in children]


def producers_in(folders: str) -> list[Path]:
    """The `.cti` files of GENICAM_GENTL64_PATH's value: folders with colons between."""
    return sorted({file for folder in folders.split(os.pathsep) if folder for file in Path(folder).glob("*.cti")})


def listed(kind: str, *arguments: str) -> list[Found]:
    """Raises SadError where a package is missing; whatever a driver raises comes through."""
    return KINDS[kind](*arguments)


def main(argv: Sequence[str]) -> int:
    """The child's side: one JSON object on stdout. What libraries print there goes to stderr."""
    answers = os.dup(1)
    os.dup2(2, 1)
    try:
        answer: dict[str, object] = {"cameras": [asdict(found) for found in listed(*argv)]}
    except SadError as error:
        answer = {"trouble": str(error)}
    except Exception as error:  # noqa: BLE001  whatever a foreign driver raises is what is to be told
        answer = {"trouble": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    with os.fdopen(answers, "w", encoding="utf-8") as out:
        json.dump(answer, out)
    sys.stderr.flush()
    os._exit(0)  # a library that crashes while Python takes it down has answered before


class _Child:
    def __init__(self, kind: str, *arguments: str) -> None:
        self._kind = f"{kind} {Path(arguments[0]).name}" if arguments else kind
        self._out: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed by `answer`
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, kind, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def answer(self, until_s: float) -> Listing:
        with self._out:
            try:
                code = self._process.wait(max(0.0, until_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                return Listing(self._kind, trouble="its driver does not answer; look again, or take the driver out")
            finally:
                self._kill()
            self._out.seek(0)
            try:
                said = json.load(self._out)
            except ValueError:
                return Listing(self._kind, trouble=f"its driver ended the listing {_how(code)}; please report it")
        cameras = tuple(Found(**found) for found in said.get("cameras", ()))
        return Listing(self._kind, cameras, str(said.get("trouble", "")))

    def _kill(self) -> None:
        """One that waits inside a driver does not die of it, and is left behind."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(DYING_S)


def _how(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"


def _v4l2(root: str = "/") -> list[Found]:
    return [Found(str(node.path), node.model, node.serial, _standing(node)) for node in nodes(Path(root))]


def _standing(node: Node) -> str:
    if not node.may_open:
        return NO_RIGHT
    return IN_USE if node.in_use else ""


def _aravis() -> list[Found]:
    from sad_runtime.cameras.aravis import PROTOCOLS, aravis, devices

    schemes = {protocol: scheme for scheme, protocol in PROTOCOLS.items()}
    return [
        Found(
            f"{schemes[device['protocol']]}://{device['serial'] or device['device_id']}",
            f"{device['vendor']} {device['model']}",
            device["serial"],
        )
        for device in devices(aravis())
        if device["protocol"] in schemes
    ]


def _basler() -> list[Found]:
    from sad_runtime.cameras.basler import pypylon

    pylon, _ = pypylon()
    factory = pylon.TlFactory.GetInstance()
    return [
        Found(
            f"basler://{info.GetSerialNumber()}",
            f"{info.GetVendorName()} {info.GetModelName()}",
            info.GetSerialNumber(),
            "" if factory.IsDeviceAccessible(info) else IN_USE,
        )
        for info in factory.EnumerateDevices()
    ]


def _genicam(producer: str) -> list[Found]:
    from sad_runtime.cameras.genicam import IN_USE as CLOSED
    from sad_runtime.cameras.genicam import harvesters, told

    core, _, _ = harvesters()
    harvester = core.Harvester()
    harvester.add_file(producer, check_validity=True)
    harvester.update()
    return [
        Found(
            f"genicam://{told(info, 'serial_number') or told(info, 'id_')}?cti={quote(producer)}",
            f"{told(info, 'vendor')} {told(info, 'model')}",
            told(info, "serial_number"),
            IN_USE if info.access_status in CLOSED else "",
        )
        for info in harvester.device_info_list
    ]


KINDS: dict[str, Callable[..., list[Found]]] = {
    "v4l2": _v4l2,
    "aravis": _aravis,
    "basler": _basler,
    "genicam": _genicam,
}
