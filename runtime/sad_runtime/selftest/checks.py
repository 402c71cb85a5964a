"""The one table of checks, in the order of the report, and how each is run."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sad_runtime.backends.table import GPU_BACKENDS
from sad_runtime.bundle import Bundle, read_bundle, sha256_hex
from sad_runtime.cuda.table import MEMORIES
from sad_runtime.engines.api import tensorrt_installed
from sad_runtime.engines.settings import EngineSettings
from sad_runtime.errors import GateFailed, SadError
from sad_runtime.selftest.cameras import camera_lines
from sad_runtime.selftest.child import in_child, raised
from sad_runtime.selftest.jetson import jetson_lines
from sad_runtime.selftest.line import Line, absent, bad
from sad_runtime.selftest.system import clock_line, disk_line, system_lines
from sad_runtime.signing_keys import trusted_keys

HERE = "sad_runtime.selftest"
QUICK_S = 60.0
BUILDING_S = 1800.0
"""An engine for the GPU may have to be built first."""


@dataclass(frozen=True)
class Wish:
    """What the self-test is to look at. `bundle` None: none was found, for the reason `no_bundle`."""

    state: Path
    engines: EngineSettings
    bundle: Path | None = None
    no_bundle: str = ""
    trust: Sequence[str] = ()
    threads: int = 0
    serials: bool = False
    precision: str | None = None
    """What the station runs; None: not known."""


def lines_of(wish: Wish) -> Iterator[Line]:
    """As they come: a check that takes long keeps nobody from reading the others."""
    device = wish.engines.device
    settings = wish.engines.model_dump()
    yield from _here("versions", system_lines)
    yield from _here("state folder", lambda: [disk_line(wish.state)])
    yield from _here("clock", lambda: [clock_line()])
    yield from _here("jetson", jetson_lines)
    yield from in_child("opencv", f"{HERE}.opencv:opencv_lines", limit_s=QUICK_S)
    yield from _here("cameras", lambda: camera_lines(wish.serials))
    yield from in_child("zeromq", f"{HERE}.feed:feed_lines", limit_s=QUICK_S)
    gpu = in_child("gpu", f"{HERE}.gpu:gpu_lines", [device], limit_s=QUICK_S)
    yield from gpu
    for memory in MEMORIES:
        yield from in_child(memory, f"{HERE}.gpu:memory_lines", [memory, device], limit_s=QUICK_S)
    for engine in ("openvino", "onnxruntime"):
        yield from in_child(engine, f"{HERE}.engines:{engine}_lines", limit_s=QUICK_S)
    for kind in ("tensorrt", "tensorrt_rtx"):
        yield from in_child(kind, f"{HERE}.engines:tensorrt_lines", [kind, settings], limit_s=BUILDING_S)
    yield from _on_bundle(wish, settings, gpu[0].data.get("compute_capability"))


def _on_bundle(wish: Wish, settings: dict[str, Any], gpu: str | None) -> Iterator[Line]:
    """Every engine that can run here with every model in the bundle. `gpu`: its compute capability, if there is one."""
    if wish.bundle is None:
        yield absent("bundle", f"none to try: {wish.no_bundle}")
        return
    try:
        bundle = read_bundle(wish.bundle, trusted_keys(wish.trust))
    except SadError as error:
        line = bad("bundle", str(error), "Nothing could be tried with it.")
        yield line.model_copy(update={"gate": isinstance(error, GateFailed)})
        return
    yield _told(bundle)
    if wish.precision is not None and wish.precision not in bundle.manifest.precisions:
        have = ", ".join(sorted(bundle.manifest.precisions))
        yield bad("precision", f"no {wish.precision} model in this bundle", f"Ask for one it has ({have}).")
    identity = sha256_hex(bundle.digests)
    for engine in _engines(gpu):
        for precision in sorted(bundle.manifest.precisions):
            limit_s = BUILDING_S if engine.startswith("tensorrt") else 2 * QUICK_S
            arguments = [str(wish.bundle.absolute()), precision, engine, wish.threads, settings]
            yield from in_child(
                f"{engine} {precision}",
                f"{HERE}.golden:golden_lines",
                [*arguments, list(wish.trust), identity],
                limit_s=limit_s,
            )


def _engines(gpu: str | None) -> list[str]:
    """As `installed_backends`, but no driver is called in this process."""
    on_gpu = [kind.name for kind in GPU_BACKENDS if gpu and kind.runs_on(gpu) and tensorrt_installed(kind.name)]
    return on_gpu + [name for name in ("openvino", "onnxruntime") if importlib.util.find_spec(name) is not None]


def _told(bundle: Bundle) -> Line:
    manifest = bundle.manifest
    height, width, channels = manifest.input.shape
    kinds = ", ".join(sorted(manifest.precisions))
    text = f"{bundle.path.name}: {manifest.method}, {width}x{height}x{channels}, models {kinds}, {manifest.created}"
    digests = {name: entry.sha256 for name, entry in sorted(manifest.precisions.items())}
    return Line(about="bundle", standing="ok", text=text, data={"digests": digests})


def _here(about: str, check: Callable[[], list[Line]]) -> list[Line]:
    """A check that only reads files, in this process."""
    try:
        return check()
    except Exception as error:  # noqa: BLE001  whatever it is, the other checks go on
        return [raised(about, error)]
