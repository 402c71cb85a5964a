"""The demo's last stretch: the same line triggered by a PLC. Station, gateway and PLC are a process each."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from sad_runtime.errors import SadError
from sad_runtime.subscriber import Subscriber

STATION = "demo-plc"
PATIENCE_S = 60.0
FPS = 60
"""Pictures come all the time; the PLC's trigger says which one is of a part."""


def belt(camera: str, bundle: Path, out: Path, parts: int) -> None:
    """Prints what the simulated PLC made of `parts`. Raises SadError when a part passed that must not have."""
    camera = f"{camera}&fps={FPS}&drop=1"
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sad-"))
        addresses = {name: f"ipc://{folder}/{name}" for name in ("decisions", "heatmaps", "snapshot", "commands")}
        modbus, log = f"127.0.0.1:{_free_port()}", stack.enter_context((out / "plc.log").open("w"))
        state = ["--state", folder, "--station", STATION]
        flags = [word for name, address in addresses.items() for word in (f"--{name}", address)]
        station = ["sad_runtime.cli.runtime", "--camera", camera, "--bundle", str(bundle), "--trigger", "software"]
        gateway = ["sad_runtime.cli.plc", "--feed", addresses["decisions"], "--commands", addresses["commands"]]
        for words in ([*station, *flags], [*gateway, "--modbus", modbus]):
            process = subprocess.Popen([sys.executable, "-m", *words, *state], stderr=log)
            stack.callback(process.kill)
        _until_ready(addresses["decisions"])
        plc = ["--modbus", modbus, "--feed", addresses["decisions"], "--camera", camera, "--view", "plain"]
        simulate = [sys.executable, "-m", "sad_runtime.cli.plc", "simulate", *plc, "--parts", str(parts)]
        code = subprocess.run([*simulate, "--speed-mm-s", "500"], check=False).returncode
    if code:
        raise SadError(f"the simulated PLC ended with exit code {code}; see above and {out / 'plc.log'}")


def _until_ready(address: str) -> None:
    with Subscriber(address, station=STATION) as feed:
        until_s = time.monotonic() + PATIENCE_S
        while not (feed.heartbeat is not None and feed.heartbeat.online):
            if time.monotonic() > until_s:
                raise SadError("the station was not ready in time")
            feed.poll(100)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
