"""Runs several stations, a process each: starts, watches, restarts with back-off, stops them together.

One that fails takes no other with it. One that ends with 0, or for a reason that a restart does not mend (2, 4: see
errors.py), stays ended; one whose loop hangs is killed and started again.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

from sad_runtime.ops.sd_listen import Listening

log = logging.getLogger("sad.plant")
LOOK_S = 0.1
WATCHDOG_S = 2.0
READ_OUT_S = 1.0
ABORT_S = 1.0
BACK_OFF_S = (1.0, 2.0, 5.0, 10.0, 30.0)
WELL_AFTER_S = 60.0
"""A station that ran so long is started again without waiting longer than the first time."""
FINAL = (0, 2, 4)
"""Exit codes after which nobody starts it again."""


class Supervised:
    """One station's process."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], out: TextIO, prefix: str
    ) -> None:
        self.name = name
        self.code: int | None = None
        """Of its last end, once it is not to be started again."""
        self._command, self._out, self._prefix = command, out, prefix
        self._listening = Listening(WATCHDOG_S)
        self._environment = {**environment, **self._listening.environment}
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._tries, self._starts_s, self._started_s = 0, 0.0, 0.0
        self._aborted_s: float | None = None

    @property
    def ready(self) -> bool:
        return self._process is not None and self._listening.ready

    def look(self, stopping: bool) -> None:
        """Starts it when it is due, notices its end, kills it when it hangs."""
        if self.code is not None:
            return
        if self._process is None:
            if stopping:
                self.code = 0
            elif time.monotonic() >= self._starts_s:
                self._start()
            return
        code = self._process.poll()
        if code is not None:
            self._ended(code, stopping)
        elif not stopping and self._listening.hangs:
            self._end_hanging(self._process)

    def send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._read_out()
        self._listening.close()

    def _end_hanging(self, process: subprocess.Popen[str]) -> None:
        """SIGABRT has Python write where every thread stood (plant_station.py); a stopped process needs SIGKILL."""
        if self._aborted_s is None:
            log.error("station %s: its loop stands still; ending process %d", self.name, process.pid)
            self._aborted_s = time.monotonic()
            process.send_signal(signal.SIGABRT)
        elif time.monotonic() - self._aborted_s > ABORT_S:
            process.kill()

    def _start(self) -> None:
        self._listening.begin()
        self._aborted_s = None
        self._started_s = time.monotonic()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=self._environment,
            start_new_session=True,  # Ctrl-C in a terminal reaches this process only, which passes it on once
        )
        log.info("station %s: process %d", self.name, self._process.pid)
        self._reader = threading.Thread(
            target=self._pass_on, args=(self._process,), name=f"log {self.name}", daemon=True
        )
        self._reader.start()

    def _pass_on(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                self._out.write(f"{self._prefix}{line}")
                self._out.flush()

    def _read_out(self) -> None:
        if self._reader is not None:
            self._reader.join(READ_OUT_S)  # a descendant that outlives the station may hold its stderr open
        self._process = self._reader = None

    def _ended(self, code: int, stopping: bool) -> None:
        self._read_out()
        if code in FINAL or stopping:
            self.code = code
            log.log(logging.INFO if code == 0 else logging.ERROR, "station %s: ended with %d", self.name, code)
            return
        if time.monotonic() - self._started_s > WELL_AFTER_S:
            self._tries = 0
        pause_s = BACK_OFF_S[min(self._tries, len(BACK_OFF_S) - 1)]
        self._tries += 1
        self._starts_s = time.monotonic() + pause_s
        log.error("station %s: ended with %d; starting it again in %g s", self.name, code, pause_s)


def supervise(
    commands: Mapping[str, Sequence[str]],
    stop: threading.Event,
    *,
    environment: Mapping[str, str],
    out: TextIO,
    prefixed: bool = True,
    beat: Callable[[bool], None] = lambda ready: None,
) -> dict[str, int]:
    """Returns when all have ended: their exit codes. `beat` is called every 0.1 s, with whether all are ready.

    `stop` asks them to finish; how long that may take is each station's own affair.
    """
    stations = [
        Supervised(name, command, environment, out, f"[{name}] " if prefixed else "")
        for name, command in commands.items()
    ]
    told = False
    try:
        while any(station.code is None for station in stations):
            stopping = stop.is_set()
            if stopping and not told:
                told = True
                for station in stations:
                    station.send(signal.SIGTERM)
            for station in stations:
                station.look(stopping)
            beat(all(station.ready or station.code is not None for station in stations))
            time.sleep(LOOK_S) if stopping else stop.wait(LOOK_S)
    finally:
        for station in stations:
            station.close()
    return {station.name: station.code or 0 for station in stations}
