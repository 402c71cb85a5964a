"""Two output lines, for a gate without a PLC: RUN changes with every heartbeat, PASS is on only for a part that may go.

PASS alone is no proof: when a process is killed, or its box freezes, most chips leave their lines as they were. Whoever
reads them opens the gate only while PASS is on and RUN changed within the last 350 ms (a retriggerable time relay on
RUN serves), and pulls both lines to off by resistors.

Through gpiod 2 and the kernel's character device, /dev/gpiochipN, on a Jetson too (`gpioinfo` names the lines; the pin
must be set to GPIO output by jetson-io). Tried with a stand-in for the lines only: neither a chip nor a Jetson was at
hand.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from sad_runtime.errors import MissingExtra, UsageError
from sad_runtime.files import reason_of
from sad_runtime.plc.base import OnCommand, Plc
from sad_runtime.plc.config import GpioConfig
from sad_runtime.plc.status import Status
from sad_runtime.verdict import Verdict

log = logging.getLogger(__name__)
SILENT_NS: Final = 350_000_000
"""PASS goes off when the gateway says nothing for so long."""
MS: Final = 1_000_000


class Lines(Protocol):
    """PASS and RUN of a chip, both off at first."""

    def set(self, line: int, on: bool) -> None:
        """Raises OSError when the chip is gone."""

    def close(self) -> None:
        """Lets go of both."""


class GpiodLines:
    """`on` is the logical level: `active_low` turns it round in the kernel."""

    def __init__(self, config: GpioConfig) -> None:
        try:
            import gpiod
            from gpiod.line import Direction, Value
        except ImportError:
            raise MissingExtra("gpiod", "plc", "plc.gpio") from None
        settings = gpiod.LineSettings(
            direction=Direction.OUTPUT, output_value=Value.INACTIVE, active_low=config.active_low
        )
        lines = (config.pass_line, config.run_line)
        try:
            self._request: Any = gpiod.request_lines(config.chip, consumer="sad-plc", config={lines: settings})
        except OSError as error:
            raise UsageError(
                f"plc.gpio: lines {lines[0]} and {lines[1]} of {config.chip} cannot be had ({reason_of(error)}). "
                "gpiodetect and gpioinfo tell which there are, and who uses them"
            ) from None
        except ValueError as error:
            raise UsageError(f"plc.gpio: {config.chip} has no lines {lines[0]} and {lines[1]} ({error})") from None
        self._values = {False: Value.INACTIVE, True: Value.ACTIVE}

    def set(self, line: int, on: bool) -> None:
        self._request.set_value(line, self._values[on])

    def close(self) -> None:
        self._request.release()


class Permission:
    """Until when PASS is on; pure. Times are CLOCK_MONOTONIC, ns."""

    def __init__(self, pulse_ns: int | None) -> None:
        self.until_ns = 0
        self._pulse_ns = pulse_ns
        self._pulsed: tuple[str, int] | None = None

    def shown(self, status: Status, now_ns: int) -> None:
        result = status.result
        if status.shown_verdict is not Verdict.PASS or result is None:
            self.until_ns = 0
        elif self._pulse_ns is None:
            self.until_ns = result.until_ns
        elif self._pulsed != (result.run, result.seq):
            self._pulsed = (result.run, result.seq)
            self.until_ns = min(now_ns + self._pulse_ns, result.until_ns)


class Gpio(Plc):
    """`open_lines` is there for stand-ins. A thread sets the lines, for one on an I2C expander takes milliseconds."""

    def __init__(
        self, config: GpioConfig, station: str, open_lines: Callable[[GpioConfig], Lines] = GpiodLines
    ) -> None:
        self._config = config
        self._station = station
        self._open_lines = open_lines
        self._news = threading.Condition()
        self._newest: Status | None = None
        self._told_ns = 0
        self._ending = False
        self._thread: threading.Thread | None = None
        self._failure: str | None = None
        self._counters = dict.fromkeys(("pass_on", "silences"), 0)

    def connect(self, on_command: OnCommand) -> None:
        lines = self._open_lines(self._config)
        name = f"gpio {self._station}"
        self._thread = threading.Thread(target=self._run, args=(lines,), name=name, daemon=True)
        self._thread.start()

    def write(self, station: str, status: Status) -> None:
        with self._news:
            self._newest, self._told_ns = status, time.monotonic_ns()
            self._news.notify()

    def close(self) -> None:
        with self._news:
            self._ending = True
            self._news.notify()
        if self._thread is not None:
            self._thread.join(1.5)

    def counters(self) -> dict[str, int]:
        """`pass_on`: how often PASS went on; `silences`: how often it went off for want of a word of the gateway."""
        return dict(self._counters)

    @property
    def failure(self) -> str | None:
        return self._failure

    def _run(self, lines: Lines) -> None:
        try:
            try:
                self._driving(lines)
            finally:
                _all_off(lines, (self._config.pass_line, self._config.run_line))
        except Exception as error:
            self._failure = f"plc.gpio of station {self._station}, {self._config.chip}: {error or type(error).__name__}"
            log.exception("%s", self._failure)

    def _driving(self, lines: Lines) -> None:
        pulse_ms = self._config.pulse_ms
        permission = Permission(None if pulse_ms is None else pulse_ms * MS)
        run = on = False
        seen: Status | None = None
        while True:
            status, told_ns = self._next(seen, min(permission.until_ns, self._told_ns + SILENT_NS) if on else None)
            if self._ending or status is None:
                return
            now_ns = time.monotonic_ns()
            if status is not seen:
                permission.shown(status, now_ns)
            if now_ns >= told_ns + SILENT_NS and now_ns < permission.until_ns:
                permission.until_ns = 0
                self._counters["silences"] += 1
            if (now_ns < permission.until_ns) != on:
                on = not on
                lines.set(self._config.pass_line, on)
                self._counters["pass_on"] += on
            if seen is not None and status.heartbeat != seen.heartbeat:
                run = not run
                lines.set(self._config.run_line, run)
            seen = status

    def _next(self, seen: Status | None, until_ns: int | None) -> tuple[Status | None, int]:
        """Waits for another status, for `until_ns`, or for the end. What was said last, and when."""
        with self._news:
            while not self._ending and self._newest is seen:
                left_ns = None if until_ns is None else until_ns - time.monotonic_ns()
                if left_ns is not None and left_ns <= 0:
                    break
                self._news.wait(None if left_ns is None else left_ns / 1e9)
            return self._newest, self._told_ns


def _all_off(lines: Lines, each: tuple[int, int]) -> None:
    try:
        for line in each:
            lines.set(line, False)
    finally:
        lines.close()
