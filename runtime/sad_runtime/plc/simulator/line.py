"""The simulated line: belt, PLC, gateway and judge in step, one scan after the other.

The belt moves by one scan's way with each scan, so a computer that is short of breath slows the belt, not the PLC. Only
what lies beyond the wire, that is gateway and station, lives in real time; a line that has to wait for them rejects.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sad_runtime.errors import SadError
from sad_runtime.plc.register_map import status_values
from sad_runtime.plc.simulator.belt import Belt, Moved, encoder_at
from sad_runtime.plc.simulator.faults import PlcFaults
from sad_runtime.plc.simulator.link import Link
from sad_runtime.plc.simulator.program import Inputs, Outputs, Program
from sad_runtime.plc.simulator.score import Score
from sad_runtime.plc.simulator.tracking import Tracked
from sad_runtime.plc.simulator.view import Sight, View
from sad_runtime.plc.simulator.witness import Witness
from sad_runtime.plc.status import Bit, CommandBlock, Fault

ANSWER_S = 5.0
READY_S = 30.0
LAST_WORD_S = 1.0
"""How long decisions are waited for when the belt is empty."""
REACTION_MS, HOLD_MS = 1000.0, 300.0
"""After which the operator presses CLEAR_FAULT, and how long."""
LATCHED = (Fault.RESTARTED, Fault.BAD_COMMAND)


@dataclass(frozen=True)
class Parts:
    """What a line is put together from; all of it open."""

    belt: Belt
    program: Program
    link: Link
    score: Score
    view: View
    faults: PlcFaults
    witness: Witness | None = None


class Line:
    def __init__(self, parts: Parts, scan_s: float, stop: Callable[[], bool]) -> None:
        """`stop` is asked once a scan."""
        self.operator_presses = 0
        self._parts, self._scan_s, self._stop = parts, scan_s, stop
        self._due_s = 0.0
        self._lets_pass = self._stopped = False
        self._latched_ms: float | None = None
        self._dice = random.Random(parts.belt.plan.seed)

    def run(self) -> None:
        """Until the last part has left, or `stop`. Raises SadError where no gateway, or no feed, answers."""
        self._wait_for_answer()
        self._wait_for_ready()
        began_s = time.monotonic()
        while not self._parts.belt.over and not self._stop():
            self._next_scan()
            self._turn(time.monotonic() - began_s)
        self._wait_for_last_word()

    def _wait_for_answer(self) -> None:
        """The link's first words are an empty command block: ENABLE is 0, nothing is asked for."""
        link, witness = self._parts.link, self._parts.witness
        until_s = time.monotonic() + ANSWER_S
        while not self._stop():
            link.send(CommandBlock())
            heard = witness is None or witness.heard
            if link.registers is not None and heard:
                return
            if time.monotonic() > until_s:
                raise SadError(_silence(link, witness))
            time.sleep(self._scan_s)

    def _wait_for_ready(self) -> None:
        """The belt stands until parts can be inspected, but not for ever: what happens then is worth seeing too."""
        until_s = time.monotonic() + READY_S
        while not self._parts.program.ready and time.monotonic() < until_s and not self._stop():
            self._next_scan()
            self._scan(Moved((), ()), frozenset())

    def _wait_for_last_word(self) -> None:
        until_s = time.monotonic() + LAST_WORD_S
        while time.monotonic() < until_s:
            self._next_scan()
            self._scan(Moved((), ()), frozenset())
            self._judge()
        for part in self._parts.program.queue:  # the last one may have left, and still stand in the gate's window
            self._parts.score.followed(part)
        self._parts.score.settle()
        self._parts.view.close()

    def _turn(self, seconds: float) -> None:
        """One scan's time passes, in the world and in the PLC."""
        on = self._parts.faults.at(seconds)
        moved = self._parts.belt.advance(self._scan_s)
        for number in moved.out_of_sight:
            self._parts.score.out_of_sight(number, time.time_ns())
        for part in moved.at_camera:
            self._parts.score.entered(part)
        for part in moved.at_gate:
            self._parts.score.left(part, passed=self._lets_pass, at_ns=time.monotonic_ns())
        self._scan(moved, on)
        self._judge()

    def _scan(self, moved: Moved, faults: frozenset[str]) -> None:
        program, link = self._parts.program, self._parts.link
        link.cut("cable" in faults)
        link.scribble(self._dice if "garbage" in faults else None)
        if "plc-stop" in faults:
            self._lets_pass, self._stopped = False, True  # outputs fall when a PLC stops
            self._show(None, faults)
            return
        if self._stopped:
            self._stopped = False
            self._forget_followed()
            program.restart()
        outputs = program.scan(self._inputs(moved))
        self._lets_pass = outputs.lets_pass
        link.send(self._parts.faults.spoilt(outputs.command))
        for part in outputs.left:
            self._parts.score.followed(part)
        self._show(outputs, faults)

    def _inputs(self, moved: Moved) -> Inputs:
        now_ms, registers = time.monotonic() * 1e3, self._parts.link.registers
        return Inputs(
            now_ms=now_ms,
            encoder=self._parts.belt.encoder,
            registers=registers,
            at_camera=tuple(part.encoder for part in moved.at_camera),
            clear=self._operator_presses(registers, now_ms),
            wall_ns=time.time_ns(),
        )

    def _operator_presses(self, registers: Sequence[int] | None, now_ms: float) -> bool:
        """Somebody reads the panel, and clears what stays until it is cleared."""
        if self._latched_ms is None:
            if registers is not None and _latched(registers):
                self._latched_ms = now_ms
            return False
        since_ms = now_ms - self._latched_ms
        if since_ms >= REACTION_MS + HOLD_MS:
            self._latched_ms = None
            self.operator_presses += 1
        return REACTION_MS <= since_ms < REACTION_MS + HOLD_MS

    def _forget_followed(self) -> None:
        """The PLC's queue is gone with its STOP: what it knew of those parts up to then is all it ever will."""
        for part in self._parts.program.queue:
            part.reject("PLC stopped")
            self._parts.score.followed(part)

    def _judge(self) -> None:
        if self._parts.witness is not None:
            for decision in self._parts.witness.new():
                self._parts.score.decided(decision)
        self._parts.score.settle(time.monotonic_ns())

    def _show(self, outputs: Outputs | None, faults: frozenset[str]) -> None:
        parts = self._parts
        parts.view.show(
            Sight(
                now_ms=time.monotonic() * 1e3,
                places=self._places(),
                registers=parts.link.registers,
                lets_pass=self._lets_pass,
                left=outputs.left if outputs else (),
                counts=parts.score.counts,
                why=parts.link.why,
                faults=faults,
            )
        )

    def _places(self) -> list[tuple[float, Tracked | None]]:
        belt = self._parts.belt
        followed = {part.start: part for part in self._parts.program.queue}
        return [
            ((belt.position_mm - began_mm) / belt.plan.camera_to_gate_mm, followed.get(encoder_at(began_mm)))
            for _, began_mm in belt.between
        ]

    def _next_scan(self) -> None:
        """A scan that came late does not hurry the next one."""
        now_s = time.monotonic()
        if self._due_s > now_s:
            time.sleep(self._due_s - now_s)
        self._due_s = max(self._due_s, now_s) + self._scan_s


def _latched(registers: Sequence[int]) -> bool:
    status = status_values(registers)
    bits = Bit(int(status["STATUS"]))
    return bool(bits & (Bit.MISSED_TRIGGER | Bit.RESULT_OVERRUN)) or status["FAULT_CODE"] in LATCHED


def _silence(link: Link, witness: Witness | None) -> str:
    if link.registers is None:
        return (
            f"no gateway answers: {link.why}. Start one with sad-plc, or say where it is: --modbus HOST:PORT --unit N"
        )
    why = (witness.failure if witness else None) or "no station speaks there"
    return f"the feed cannot be heard: {why}. Say where it is with --feed ADDR, or --feed none to do without a judge"
