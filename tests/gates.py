"""A gate with a clock of its own, a station that says what the test says, a PLC that writes what the test writes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sad_runtime.messages import Command, CommandReply, Decision, Event, Heartbeat
from sad_runtime.plc.account import Note
from sad_runtime.plc.answer import Answer
from sad_runtime.plc.gate import Gate
from sad_runtime.plc.status import CommandBlock, Control, Status
from sad_runtime.verdict import Reason, State, Verdict

STATION = "line1"
MS = 1_000_000


class Stage:
    """Time goes on only by `after`; the station beats every 100 ms while `beating`."""

    def __init__(self, *, enabled: bool = True, **changes: Any) -> None:
        self.now_ns = 10_000 * MS
        self.gate = Gate(identity="gateway-1", now_ns=self.now_ns, **changes)
        self.run, self.seq = "run-1", 0
        self.beating, self.online = True, True
        self.state, self.recipe, self.deadline_ms = State.READY, 1, 500
        self.block = CommandBlock()
        self.orders: list[Command] = []
        self.notes: list[Note] = []
        self.plc_lives = True
        self.encoders: dict[tuple[int, int], int] = {}
        """Of triggered parts, as the station says them back."""
        self._beat_ns = self.now_ns - 100 * MS
        self.after(0)
        self.write()
        if enabled:
            self.write(Control.ENABLE)
        self.after(10)

    def after(self, ms: float) -> Status:
        """Lets time pass, in turns of 10 ms like the lane's."""
        end_ns = self.now_ns + round(ms * MS)
        while True:
            self._turn()
            if self.now_ns >= end_ns:
                return self.status
            self.now_ns = min(end_ns, self.now_ns + 10 * MS)

    @property
    def status(self) -> Status:
        self.orders += self.gate.take_orders()
        status = self.gate.status()
        self.notes += self.gate.take_notes()
        return status

    def write(self, control: int | None = None, **values: int) -> Status:
        """The PLC writes its block; what is not named stays."""
        control = self.block.control if control is None else control
        self.block = replace(self.block, control=int(control), **values)
        self.gate.commanded(self.block, self.now_ns)
        return self.status

    def trigger(self, trigger_id: int, part_id: int, **values: int) -> Status:
        """A rising TRIGGER; the station says yes."""
        enabled = self.block.control & Control.ENABLE
        self.write(enabled)
        before = len(self.orders)
        self.write(enabled | Control.TRIGGER, trigger_id=trigger_id, part_id=part_id, **values)
        self.encoders[trigger_id, part_id] = self.block.encoder
        if len(self.orders) > before:
            self.answer(self.orders[-1])
        return self.status

    def answer(self, command: Command, answer: Answer | None = None) -> Status:
        """None: the station says yes."""
        self.gate.replied(command, answer or CommandReply(id=command.id, ok=True), self.now_ns)
        return self.status

    def decide(self, verdict: Verdict = Verdict.PASS, age_ms: float = 20.0, **changes: Any) -> Status:
        self.seq += 1
        self.gate.decided(self.decision(verdict, **changes), age_ms, self.now_ns)
        return self.status

    def decision(self, verdict: Verdict = Verdict.PASS, **changes: Any) -> Decision:
        reason = {Verdict.PASS: Reason.OK, Verdict.FAIL: Reason.SCORE}.get(verdict, Reason.NO_IMAGE)
        values = {
            "run": self.run,
            "station": STATION,
            "seq": self.seq,
            "mono_ns": self.now_ns,
            "boot_id": "boot",
            "verdict": verdict,
            "reason": reason,
            "score": 1.5,
            "threshold": 4.0,
            "deadline_ms": self.deadline_ms,
            "recipe": self.recipe,
            "encoder": self.encoders.get((changes.get("trigger_id", -1), changes.get("part_id", -1))),
        }
        return Decision(**(values | changes))

    def restart_station(self) -> Status:
        self.run, self.seq = f"{self.run}+", 0
        if self.beating:
            self._beat_ns = self.now_ns - 100 * MS
        return self.after(0)

    def event(self, code: str) -> Status:
        self.gate.happened(Event(run=self.run, station=STATION, code=code, level="error", text=code))
        return self.status

    def _turn(self) -> None:
        if self.beating and self.now_ns - self._beat_ns >= 100 * MS:
            self._beat_ns = self.now_ns
            self.gate.heard(self._beat(), self.now_ns)
            if self.plc_lives:
                beat = (self.block.plc_heartbeat + 1) & 0xFFFF
                self.block = replace(self.block, plc_heartbeat=beat)
                if self.block.control:
                    self.gate.commanded(self.block, self.now_ns)
        self.gate.tick((self.now_ns - self._beat_ns) / MS, self.now_ns)

    def _beat(self) -> Heartbeat:
        return Heartbeat(
            run=self.run,
            station=STATION,
            seq_last=self.seq,
            state=self.state,
            online=self.online,
            loop_count=1,
            quiet_ms=250,
            recipe=self.recipe,
            deadline_ms=self.deadline_ms,
            mono_ns=self.now_ns,
            boot_id="boot",
        )
