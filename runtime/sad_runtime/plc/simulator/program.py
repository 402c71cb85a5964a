"""How a PLC program that works with sad-plc is written: one `scan` a cycle, from registers to command block and gate.

The same program in Structured Text is docs/plc/SadInspection.st; the steps here have its numbers. Pure: no clock, no
socket, nothing of the world but what stands in Inputs. The default is reject.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from sad_runtime.plc.register_map import status_values
from sad_runtime.plc.simulator.tracking import U16, U32, Queue, Tracked, travelled
from sad_runtime.plc.status import MAP_VERSION, VERDICT_CODE, Bit, CommandBlock, Control, Fault
from sad_runtime.verdict import Reason, Verdict

HEARTBEAT_LIMIT_MS = 350.0
HANDSHAKE_LIMIT_MS = 250.0
"""No TRIGGER_ACK by then: that part is rejected."""
START_MS = 300.0
"""ENABLE stays 0 for so long after a start: unread results of before are forgotten by the gateway."""
RECIPE_AGAIN_MS = 5000.0
ONLY_PASS = Bit.RESULT_VALID | Bit.PASS
VERDICT_BITS = Bit.RESULT_VALID | Bit.PASS | Bit.FAIL | Bit.INVALID
VERDICT_WORDS = {code: verdict.value if verdict else "nothing" for verdict, code in VERDICT_CODE.items()}
REASON_WORDS = {reason.code: reason.value for reason in Reason}

Values = Mapping[str, float]


@dataclass(frozen=True)
class Settings:
    gate_offset: int
    """Encoder counts from the camera's light barrier to the gate."""
    gate_window: int
    """The gate is held for a part so many counts before and behind it; two parts must be further apart than twice."""
    deadline_ms: int
    """From TRIGGER to the result: what the way to the gate leaves at full speed. 0: the recipe's own."""
    sight: int = 0
    """Counts that a part may have moved on at its TRIGGER, and when the station has taken that: what is in the picture
    after that is the next part. What a streaming camera needs till its next picture is left out of it."""
    recipe: int | None = None
    """To be loaded at the start; None: what is in force."""
    allow_simulated: bool = False
    """For commissioning only: results of stand-ins count."""
    first_part_id: int = 1
    first_trigger_id: int = 1


@dataclass(frozen=True)
class Inputs:
    now_ms: float
    encoder: int
    """Of the belt, now."""
    registers: Sequence[int] | None = None
    """Registers 0 to 63, read in one request; None while there is no connection."""
    at_camera: tuple[int, ...] = ()
    """Encoder counts that a fast input has latched at the light barrier since the last scan."""
    clear: bool = False
    """The button on the panel."""
    wall_ns: int = 0
    """Wall clock; only handed on."""


@dataclass(frozen=True)
class Outputs:
    command: CommandBlock
    lets_pass: bool
    """The gate; False rejects."""
    left: tuple[Tracked, ...]
    """Parts that are behind the gate now."""


class Step(IntEnum):
    IDLE = 0
    TRIGGER_SET = 1
    TAKEN_BACK = 2
    UNANSWERED = 3


class Program:
    """Scan by scan. `alive`, `ready`, `queue` and `restarts` are for the panel."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.queue = Queue(settings.gate_offset, settings.gate_window)
        self.alive = self.ready = False
        self.restarts = 0
        self._command = CommandBlock()
        self._next_part_id, self._next_trigger_id = settings.first_part_id, settings.first_trigger_id
        self._forget()

    def restart(self) -> None:
        """From STOP to RUN. Nobody knows what happened on the belt meanwhile, so nothing on it passes; numbers go on
        (VAR RETAIN), so that no result of before can be taken for one of now."""
        self.queue = Queue(self.settings.gate_offset, self.settings.gate_window)
        self._forget()

    def _forget(self) -> None:
        self._started_ms: float | None = None
        self._beat: float | None = None
        self._beat_seen = False
        self._beat_ms = 0.0
        self._run_tag: float | None = None
        self._step, self._step_ms = Step.IDLE, 0.0
        self._asking: Tracked | None = None
        self._recipe_ms: float | None = None
        self._enabled = False

    def scan(self, inputs: Inputs) -> Outputs:
        status = _whole(inputs.registers)
        now_ms = inputs.now_ms
        self._started_ms = now_ms if self._started_ms is None else self._started_ms
        self._enabled = now_ms - self._started_ms >= START_MS
        self._watch(status, now_ms)
        self._see_restart(status, now_ms)
        self._read_result(status, now_ms)
        self._shake_hands(status, inputs)
        self._follow_new_parts(inputs)
        self._trigger(status, inputs)
        lets_pass = self.queue.lets_pass(inputs.encoder) and self.alive
        left = tuple(self.queue.leave(inputs.encoder))
        self._tell(status, inputs)
        return Outputs(self._command, lets_pass, left)

    # 1. Do the registers belong together, and is anybody there?
    def _watch(self, status: Values | None, now_ms: float) -> None:
        if status is not None:
            if self._beat is not None and status["HEARTBEAT"] != self._beat:  # only a change proves life
                self._beat_seen, self._beat_ms = True, now_ms
            self._beat = status["HEARTBEAT"]
        if now_ms - self._beat_ms > HEARTBEAT_LIMIT_MS:
            self._beat_seen = False
        self.alive = status is not None and self._beat_seen and not _bits(status) & Bit.FEED_STALE
        self.ready = self.alive and status is not None and self._may_trigger(status)

    def _may_trigger(self, status: Values) -> bool:
        bits = _bits(status)
        return (
            self._enabled
            and bool(bits & Bit.ONLINE)
            and self.settings.recipe in (None, status["RECIPE"])
            and status["FAULT_CODE"] != Fault.TRIGGER_MISMATCH
        )

    # 2. A restart of either side, or silence: what was good counts no more.
    def _see_restart(self, status: Values | None, now_ms: float) -> None:
        if status is not None and status["RUN_TAG"] != self._run_tag:
            self.restarts += self._run_tag is not None
            self._run_tag = status["RUN_TAG"]
            self._command = replace(self._command, control=0, ack_seq=0)  # results may be counted anew
            self._recipe_ms = None if self._recipe_ms is None else now_ms
            self.queue.reject_all("restart")
        elif status is not None and not self.alive:
            self.queue.reject_all("silence")
        elif status is None and not self._beat_seen:
            self.queue.reject_all("no connection")

    # 3. The result shown.
    def _read_result(self, status: Values | None, now_ms: float) -> None:
        if status is None or not self.alive or not _bits(status) & Bit.RESULT_VALID or status["RESULT_SEQ"] == 0:
            return
        parts = self.queue.named(int(status["TRIGGER_ID"]), int(status["PART_ID"]))
        for part in parts:
            if part.result_ms is None:
                part.result_ms = now_ms
                part.late = part.in_gate or not self._in_time(part, now_ms)
            if not part.judged and self._may_pass(status, part, now_ms) and len(parts) == 1:
                part.judged = part.good = True
                part.told = _verdict_text(status)
            elif not part.judged or not self._says_pass(status):  # also one that was PASS until it waited too long
                part.reject("late" if part.late else self._why(status, part))
        self._command = replace(self._command, ack_seq=int(status["RESULT_SEQ"]))

    def _may_pass(self, status: Values, part: Tracked, now_ms: float) -> bool:
        """The rule of the gate: everything here, or reject."""
        return (
            self._says_pass(status)
            and self._beat_seen  # HEARTBEAT has changed within its limit
            and status["RUN_TAG"] == self._run_tag
            and (status["TRIGGER_ID"], status["PART_ID"]) == (part.trigger_id, part.part_id)
            and status["ENCODER"] == part.start  # triggered here on the belt: a name that was given twice is seen
            and self._in_time(part, now_ms)
            and not part.in_gate
        )

    def _says_pass(self, status: Values) -> bool:
        """What the registers must say. VERDICT and the bits come from two places: a word that is stuck at 0 or at
        0xFFFF is no PASS."""
        bits = _bits(status)
        return (
            status["MAP_VERSION"] == MAP_VERSION
            and status["RESULT_SEQ"] == status["RESULT_SEQ_COPY"]
            and bits & VERDICT_BITS == ONLY_PASS  # RESULT_VALID, PASS, not FAIL, not INVALID
            and status["VERDICT"] == VERDICT_CODE[Verdict.PASS]
            and not bits & Bit.FEED_STALE
            and (not bits & Bit.SIMULATED or self.settings.allow_simulated)
            and self.settings.recipe in (None, status["RECIPE"])
        )

    def _why(self, status: Values, part: Tracked) -> str:
        return "result of another part" if status["ENCODER"] != part.start else _verdict_text(status)

    def _in_time(self, part: Tracked, now_ms: float) -> bool:
        limit_ms = self.settings.deadline_ms
        return part.asked_ms is not None and (limit_ms == 0 or now_ms - part.asked_ms < limit_ms)

    # 4. TRIGGER until TRIGGER_ACK, then not TRIGGER until not TRIGGER_ACK.
    def _shake_hands(self, status: Values | None, inputs: Inputs) -> None:
        now_ms = inputs.now_ms
        acknowledged = status is not None and bool(_bits(status) & Bit.TRIGGER_ACK)
        waited_ms = now_ms - self._step_ms
        if self._step is Step.TRIGGER_SET and self._asking is not None:
            if acknowledged:
                self._asking.taken = True
                if self._out_of_sight(self._asking, inputs):
                    self._asking.reject("TRIGGER taken late")
                self._go(Step.TAKEN_BACK, now_ms)
            elif self._asking.judged or waited_ms > HANDSHAKE_LIMIT_MS or not self.alive:
                self._asking.reject("TRIGGER not taken")
                self._go(Step.UNANSWERED, now_ms)
        elif (
            status is not None
            and not acknowledged
            and (self._step is Step.TAKEN_BACK or waited_ms > HANDSHAKE_LIMIT_MS)
        ):
            self._go(Step.IDLE, now_ms)

    def _go(self, step: Step, now_ms: float) -> None:
        self._step, self._step_ms = step, now_ms

    # 5. A new part: it is followed in any case, and inspected where that is possible.
    def _follow_new_parts(self, inputs: Inputs) -> None:
        for start in inputs.at_camera:
            self.queue.add(Tracked(self._next_part_id, self._next_trigger_id, start))
            self._next_part_id = (self._next_part_id + 1) % U32
            self._next_trigger_id = (self._next_trigger_id + 1) % U16

    def _trigger(self, status: Values | None, inputs: Inputs) -> None:
        waiting = [part for part in self.queue if not part.judged and part.asked_ms is None]
        for part in waiting[:-1]:
            part.reject("not triggered")  # the next one is under the camera
        if not waiting or status is None:
            return
        part = waiting[-1]
        if self.ready and self._step is Step.IDLE and _bits(status) & Bit.TRIGGER_READY:
            part.asked_ms, part.asked_ns, self._asking = inputs.now_ms, inputs.wall_ns, part
            self._go(Step.TRIGGER_SET, inputs.now_ms)
            self._command = replace(
                self._command,
                part_id=part.part_id,
                trigger_id=part.trigger_id,
                deadline_ms=self.settings.deadline_ms,
                encoder=part.start,
            )
        elif self._out_of_sight(part, inputs):
            part.reject("not triggered")

    def _out_of_sight(self, part: Tracked, inputs: Inputs) -> bool:
        return travelled(part.start, inputs.encoder) > self.settings.sight

    # 6. The gate: tracking.Queue.lets_pass

    # 7. What the gateway is told.
    def _tell(self, status: Values | None, inputs: Inputs) -> None:
        control = Control(0)
        if self._enabled:
            control |= Control.ENABLE
        if self._step is Step.TRIGGER_SET:
            control |= Control.TRIGGER
        if inputs.clear:
            control |= Control.CLEAR_FAULT
        if status is not None and self._enabled:
            control |= self._change_over(status, inputs.now_ms)
        if self._wants_resync(status):
            control |= Control.RESYNC
        self._command = replace(
            self._command,
            control=int(control),
            plc_heartbeat=(self._command.plc_heartbeat + 1) % U16,
            recipe_request=self.settings.recipe or 0,
        )

    def _change_over(self, status: Values, now_ms: float) -> Control:
        """LOAD_RECIPE until CMD_DONE; again after a while where another recipe is in force then."""
        held = self._recipe_ms is not None and bool(self._command.control & Control.LOAD_RECIPE)
        if held:
            return Control(0) if _bits(status) & Bit.CMD_DONE else Control.LOAD_RECIPE
        if self.settings.recipe in (None, status["RECIPE"]) or not self.alive or any(not p.judged for p in self.queue):
            return Control(0)
        if self._recipe_ms is not None and now_ms - self._recipe_ms < RECIPE_AGAIN_MS:
            return Control(0)
        self._recipe_ms = now_ms
        return Control.LOAD_RECIPE

    def _wants_resync(self, status: Values | None) -> bool:
        """Pictures and parts may be off by one: no part is inspected until none waits for a result, then RESYNC."""
        return (
            status is not None
            and status["FAULT_CODE"] == Fault.TRIGGER_MISMATCH
            and not _bits(status) & Bit.CMD_DONE
            and all(part.judged for part in self.queue)
        )


def _whole(registers: Sequence[int] | None) -> Values | None:
    """None for registers that do not belong together, or that mean something else than this program thinks."""
    if registers is None:
        return None
    status = status_values(registers)
    whole = status["MAP_VERSION"] == MAP_VERSION and status["RESULT_SEQ"] == status["RESULT_SEQ_COPY"]
    return status if whole else None


def _bits(status: Values) -> Bit:
    return Bit(int(status["STATUS"]))


def _verdict_text(status: Values) -> str:
    """`PASS ok`, `INVALID late`."""
    verdict, reason = int(status["VERDICT"]), int(status["REASON"])
    return f"{VERDICT_WORDS.get(verdict, f'verdict {verdict}')} {REASON_WORDS.get(reason, f'reason {reason}')}"
