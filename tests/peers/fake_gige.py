"""Aravis's fake GigE camera on 127.0.0.1: real GigE Vision over a real socket, and one that can lose packets or die."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peers.system_gi import _show_system_gi

PROGRAM = "arv-fake-gv-camera-0.8"
PACKAGES = "aravis-tools gir1.2-aravis-0.8 python3-gi"
SERIAL = "SAD1"
START_S = 10.0


def why_no_aravis() -> str:
    """Empty where Aravis can be used in this process and its fake camera be run, else why not."""
    from sad_runtime.cameras.aravis import aravis
    from sad_runtime.errors import UsageError

    if shutil.which(PROGRAM) is None:
        return f"no {PROGRAM}; packages: {PACKAGES}"
    _show_system_gi()
    try:
        aravis()
    except UsageError as error:
        return str(error)
    return ""


@contextmanager
def fake_camera(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """One at a time on this machine, whoever runs tests beside us: two on one address answer for each other."""
    from sad_runtime.cameras.aravis import aravis, devices

    lock = Path(tempfile.gettempdir()) / "sad-fake-gige.lock"
    with lock.open("w", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [PROGRAM, "-i", "127.0.0.1", "-s", SERIAL, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            until_s = time.monotonic() + START_S
            while not any(device["serial"] == SERIAL for device in devices(aravis())):
                assert time.monotonic() < until_s, "the fake camera does not answer"
            yield process
        finally:
            process.kill()
            process.wait()
