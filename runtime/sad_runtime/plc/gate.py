"""Between feed and PLC: what the PLC may be shown, and what its commands mean. Pure: no sockets, no clock, one thread.

Everything that happens goes in with its time; `status` is what to show now, `take_orders` what to tell the station,
`take_notes` what to write down. A part passes only by a decision of the run that is going on, that came in time, while
the station is heard. All else is INVALID or nothing (reference: docs/plc.md, "The rules").
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from sad_runtime.messages import Command, Decision, Event, Heartbeat
from sad_runtime.plc.answer import Answer, NoReply
from sad_runtime.plc.faults import Faults
from sad_runtime.plc.results import Results
from sad_runtime.plc.status import (
    KNOWN_CONTROL,
    RING,
    Bit,
    CommandBlock,
    Control,
    Counters,
    Fault,
    Result,
    Status,
    Warn,
    check,
)
from sad_runtime.plc.triggers import Pending, Triggers
from sad_runtime.verdict import Reason, State, Verdict

STALE_MS = 330.0
"""Three heartbeats missed, and a little: feed loss is to be seen within 350 ms."""
BEAT_NS = 100_000_000
UNREAD_NS = 1_000_000_000
U16, U32 = 0xFFFF, 0xFFFF_FFFF
REASONS = {reason.value for reason in Reason}
WAITED_FOR = ("recipe", "resync")
"""Orders whose end CMD_DONE tells."""


@dataclass(frozen=True)
class Note:
    """Something to be written down; `kind` as in record.py."""

    kind: str
    text: str = ""
    result: Result | None = None
    part_id: int | None = None
    trigger_id: int | None = None


class Gate:
    def __init__(self, *, identity: str, plc_silent_ms: int = 1000, now_ns: int = 0) -> None:
        """`identity`: of this start of the gateway; with the station's run it makes RUN_TAG."""
        self._identity = identity
        self._plc_silent_ns = plc_silent_ms * 1_000_000
        self._results, self._triggers, self._faults = Results(), Triggers(), Faults()
        self._beat: Heartbeat | None = None
        self._fresh = False
        self._block: CommandBlock | None = None
        """None: nothing was written yet; the first one is only what later ones are compared with."""
        self._enabled = False
        self._heartbeat, self._counted_ns = 0, now_ns
        self._plc_moved_ns = now_ns
        self._counters = Counters()
        self._ack_bit = self._missed = False
        self._waiting: str | None = None
        """The order whose end the PLC waits for."""
        self._done = False
        self._wanted_recipe: int | None = None
        self._command_id = 0
        self._orders: list[Command] = []
        self._notes: list[Note] = []

    # -- from the station

    def heard(self, beat: Heartbeat) -> None:
        """A heartbeat; whether it is fresh, `tick` is told."""
        before, self._beat = self._beat, beat
        if before is not None and before.run != beat.run:
            self._restarted(f"run {before.run} ended, run {beat.run} began")
        self._faults.saw_state(beat.state, beat.online)

    def decided(self, decision: Decision, age_ms: float, now_ns: int) -> None:
        """A live decision, `age_ms` since its trigger."""
        if self._beat is not None and decision.run != self._beat.run:
            self._note("late", f"decision {decision.seq} of run {decision.run}, which is not the one going on")
            self._count(lost=1)
            return
        self._faults.saw_decision(decision)
        if self._triggers.was_overdue(decision):
            self._triggers.answered(decision)
            self._note("late", f"decision {decision.seq}, {decision.verdict.value}: its part was INVALID already")
            self._count(lost=1)
            return
        part = self._triggers.answered(decision)
        named = (decision.trigger_id, decision.part_id) != (None, None)
        if part is None and named and self._triggers.ours:
            self._faults.warn(Warn.FOREIGN)
            self._note("foreign", f"decision {decision.seq} is on a part that this PLC did not trigger")
            return
        self._triggers.ours = self._triggers.ours or part is not None
        self._add(self._result_of(decision, part, age_ms, now_ns))

    def missed(self, count: int, now_ns: int) -> None:
        """So many decisions were lost on the way. Where the PLC triggers, their parts come out by their deadline."""
        self._count(lost=count)
        self._faults.warn(Warn.LOST)
        self._note("lost", f"{count} decisions never got here")
        if not self._triggers.ours:
            for _ in range(min(count, RING)):
                self._add_own(Reason.LATE, now_ns)

    def happened(self, event: Event) -> None:
        self._faults.saw_event(event)

    def schema_unknown(self, text: str, now_ns: int) -> None:
        """The station speaks a major that means other things."""
        self._faults.set(Fault.SCHEMA_UNKNOWN)
        self._note("fault", text)
        self._lose_feed(now_ns)

    def replied(self, command: Command, answer: Answer, now_ns: int) -> None:
        """What the station answered to an order."""
        self._faults.warn(Warn.NO_ANSWER, isinstance(answer, NoReply))
        if command.op == "trigger":
            self._trigger_answered(command, answer, now_ns)
        if command.op not in WAITED_FOR:
            return
        error = answer.value if isinstance(answer, NoReply) else answer.error
        self._note("order", f"{command.op} {command.recipe or ''}: {error or 'done'}".replace(" :", ":"))
        if error is not None:
            self._faults.set(Fault.BAD_COMMAND)
        elif command.op == "resync":
            self._resynced(now_ns)
        if self._waiting == command.op:
            self._waiting, self._done = None, True

    # -- from the PLC

    def commanded(self, block: CommandBlock, now_ns: int) -> None:
        """The command block as the PLC wrote it."""
        before, self._block = self._block, block
        if block.control & ~KNOWN_CONTROL:
            self._refuse_command(f"CONTROL {block.control:#06x} has bits that mean nothing")
            self._block = before
            return
        if before is None:
            before = replace(block, control=block.control & ~Control.ENABLE)
        if block.plc_heartbeat != before.plc_heartbeat:
            self._plc_moved_ns = now_ns
        self._follow_levels(block, before, now_ns)
        risen = block.control & ~before.control
        if block.ack_seq != before.ack_seq:
            self._acknowledge(block.ack_seq)
        if risen & Control.RESULT_ACK and (shown := self._results.oldest_unread) is not None:
            self._acknowledge(shown.seq)
        if risen & Control.CLEAR_FAULT:
            self._clear()
        if risen & Control.RESET_COUNTERS:
            self._counters = Counters()
        if risen & Control.LOAD_RECIPE:
            self._load_recipe(block.recipe_request)
        if risen & Control.RESYNC:
            self._order_waited_for("resync")
        if risen & Control.TRIGGER:
            self._trigger(block, now_ns)

    # -- time

    def tick(self, silent_ms: float, now_ns: int) -> None:
        """Every few ms. `silent_ms`: since the station's last heartbeat, infinity before the first."""
        fresh = self._beat is not None and silent_ms < STALE_MS
        if self._fresh and not fresh:
            self._lose_feed(now_ns)
        elif fresh and not self._fresh:
            self._fresh = True
            self._faults.set(Fault.FEED_STALE, False)
            self._counted_ns = now_ns - BEAT_NS
            self._note("fault", "the station is heard")
        if self._fresh and now_ns - self._counted_ns >= BEAT_NS:
            self._heartbeat = (self._heartbeat + 1) & U16
            self._counted_ns = max(self._counted_ns + BEAT_NS, now_ns - BEAT_NS)
        self._watch_plc(now_ns)
        for part in self._triggers.overdue(now_ns):
            self._add_own(Reason.LATE, now_ns, part)
        self._note_spoilt(self._results.expire(now_ns), "nobody took it within its deadline")
        oldest = self._results.oldest_unread
        waits = self._results.waits_for_ack and oldest is not None and now_ns - oldest.made_ns > UNREAD_NS
        self._faults.warn(Warn.UNREAD, waits)

    def own_record_fails(self, fails: bool) -> None:
        self._faults.warn(Warn.OWN_RECORD, fails)

    # -- what comes out

    def status(self) -> Status:
        """What to show. Raises Unsafe where that could be misread."""
        beat, results = self._beat, self._results
        return check(
            Status(
                bits=self._bits(),
                heartbeat=self._heartbeat,
                fault=self._faults.code,
                warn=self._faults.warnings,
                run_tag=self._run_tag(),
                result=results.shown,
                ring=tuple(results.ring),
                queue=results.queue,
                recipe=beat.recipe if beat else 0,
                model_digest=beat.model_digest if beat else "",
                counters=self._counters,
                state=beat.state.value if beat else "",
                run=beat.run if beat else "",
            )
        )

    def take_orders(self) -> list[Command]:
        orders, self._orders = self._orders, []
        return orders

    def take_notes(self) -> list[Note]:
        notes, self._notes = self._notes, []
        return notes

    # -- inside

    @property
    def _online(self) -> bool:
        return self._fresh and self._beat is not None and self._beat.online

    @property
    def _ready(self) -> bool:
        """But for the TRIGGER bit, which must be low."""
        blocked = (Fault.TRIGGER_MISMATCH, Fault.PLC_LOST, Fault.SCHEMA_UNKNOWN)
        return (
            self._online
            and self._enabled
            and not self._triggers.full
            and not any(fault in self._faults for fault in blocked)
            and self._waiting is None
        )

    def _bits(self) -> Bit:
        control = self._block.control if self._block else 0
        unread = self._results.oldest_unread
        lit = {
            Bit.ONLINE: self._online,
            Bit.TRIGGER_READY: self._ready and not control & Control.TRIGGER,
            Bit.TRIGGER_ACK: self._ack_bit,
            Bit.BUSY: len(self._triggers) > 0,
            Bit.FAULT: self._faults.code is not Fault.NONE,
            Bit.WARN: bool(self._faults.warnings),
            Bit.RESULT_OVERRUN: self._results.overrun,
            Bit.MISSED_TRIGGER: self._missed,
            Bit.RECIPE_OK: self._recipe_ok(),
            Bit.SIMULATED: self._results.shown is not None and self._results.shown.simulated,
            Bit.FEED_STALE: not self._fresh,
            Bit.CMD_DONE: self._done,
        }
        if not self._fresh:
            lit[Bit.INVALID] = True
        elif unread is not None:
            lit[Bit.RESULT_VALID] = True
            lit[{Verdict.PASS: Bit.PASS, Verdict.FAIL: Bit.FAIL}.get(unread.verdict, Bit.INVALID)] = True
        return Bit(sum(bit for bit, on in lit.items() if on))

    def _recipe_ok(self) -> bool:
        if not self._fresh or self._beat is None or self._waiting == "recipe":
            return False
        if self._wanted_recipe is None:
            return self._beat.state is not State.PREOPERATIONAL
        return self._beat.recipe == self._wanted_recipe

    def _run_tag(self) -> int:
        if self._beat is None:
            return 0
        digest = hashlib.sha256(f"{self._beat.run} {self._identity}".encode()).digest()
        return int.from_bytes(digest[:4], "big") or 1

    def _result_of(self, decision: Decision, part: Pending | None, age_ms: float, now_ns: int) -> Result:
        left_ms = decision.deadline_ms - age_ms
        until_ns = now_ns + round(max(0.0, left_ms) * 1e6)
        if part is not None:
            until_ns = min(until_ns, part.until_ns)
        result = Result(
            seq=self._results.next_seq(),
            verdict=decision.verdict,
            reason=decision.reason,
            part_id=(part.part_id if part else decision.part_id or 0) & U32,
            trigger_id=(part.trigger_id if part else decision.trigger_id or 0) & U16,
            encoder=(part.encoder if part else decision.encoder or 0) & U32,
            score=decision.score,
            threshold=decision.threshold,
            regions=tuple(decision.regions),
            latency_ms=decision.age_ms,
            age_ms=max(age_ms, (now_ns - part.seen_ns) / 1e6) if part else age_ms,
            captured_ns=decision.captured_ns or 0,
            recipe=decision.recipe,
            model_digest=decision.model_digest,
            run=decision.run,
            feed_seq=decision.seq,
            simulated="simulated" in decision.flags,
            made_ns=now_ns,
            until_ns=until_ns,
        )
        if result.verdict is Verdict.INVALID:
            return result
        if not self._fresh:
            return result.spoilt(Reason.NOT_ONLINE)
        if Fault.TRIGGER_MISMATCH in self._faults:
            return result.spoilt(Reason.MISMATCH)
        return result if now_ns < until_ns else result.spoilt(Reason.LATE)

    def _add(self, result: Result) -> None:
        dropped = self._results.add(result)
        self._count(
            total=1,
            passed=result.verdict is Verdict.PASS,
            failed=result.verdict is Verdict.FAIL,
            invalid=result.verdict is Verdict.INVALID,
        )
        self._notes.append(Note("result", "", result))
        if dropped is not None:
            self._note_spoilt([dropped.spoilt(Reason.QUEUE_FULL)], "dropped unread: eight newer ones wait")

    def _add_own(self, reason: Reason, now_ns: int, part: Pending | None = None) -> None:
        """INVALID, for want of a decision."""
        self._add(
            Result(
                seq=self._results.next_seq(),
                verdict=Verdict.INVALID,
                reason=reason,
                part_id=part.part_id if part else 0,
                trigger_id=part.trigger_id if part else 0,
                encoder=part.encoder if part else 0,
                age_ms=(now_ns - part.seen_ns) / 1e6 if part else 0.0,
                run=self._beat.run if self._beat else "",
                made_ns=now_ns,
                until_ns=part.until_ns if part else now_ns,
            )
        )

    def _restarted(self, text: str) -> None:
        """The old run's unread verdicts count no more, and nobody will judge the parts that were under way."""
        self._note("restart", text)
        self._faults.restarted()
        self._faults.set(Fault.RESTARTED)
        self._note_spoilt(self._results.spoil(Reason.NOT_ONLINE), "the station was started anew")
        for part in self._triggers.give_up(forget=True):
            self._add_own(Reason.NOT_ONLINE, part.seen_ns, part)

    def _lose_feed(self, now_ns: int) -> None:
        self._fresh = False
        self._faults.set(Fault.FEED_STALE)
        self._note("fault", "the station is not heard")
        self._note_spoilt(self._results.spoil(Reason.NOT_ONLINE), "the station is not heard any more")
        for part in self._triggers.give_up(forget=False):
            self._add_own(Reason.NOT_ONLINE, now_ns, part)

    def _follow_levels(self, block: CommandBlock, before: CommandBlock, now_ns: int) -> None:
        enabled = bool(block.control & Control.ENABLE)
        if enabled and not self._enabled:
            self._results.forget_unread()
            self._plc_moved_ns = now_ns
            self._note("plc", "the PLC takes part (ENABLE)")
        elif self._enabled and not enabled:
            self._faults.set(Fault.PLC_LOST, False)
            self._note("plc", "the PLC takes no part any more")
        self._enabled = self._results.waits_for_ack = enabled
        if not block.control & Control.TRIGGER:
            self._ack_bit = False
        if not block.control & (Control.LOAD_RECIPE | Control.RESYNC):
            self._done = False

    def _trigger(self, block: CommandBlock, now_ns: int) -> None:
        beat, name = self._beat, (block.trigger_id, block.part_id)
        deadline_ms = block.deadline_ms or (beat.deadline_ms if beat else 1000)
        part = Pending(*name, block.encoder, now_ns, now_ns + deadline_ms * 1_000_000)
        if self._triggers.taken(name):
            self._refuse_command(
                f"TRIGGER for part {block.part_id}, trigger {block.trigger_id}, which has no result yet"
            )
            self._miss(part, Reason.MISMATCH, now_ns)
        elif not self._ready:
            self._miss(part, Reason.QUEUE_FULL if self._triggers.full else Reason.NOT_ONLINE, now_ns)
        else:
            self._ack_bit = True
            self._triggers.add(part)
            self._notes.append(Note("trigger", f"{deadline_ms} ms", None, part.part_id, part.trigger_id))
            self._order(
                "trigger",
                trigger_id=part.trigger_id,
                part_id=part.part_id,
                encoder=part.encoder,
                deadline_ms=deadline_ms,
            )

    def _miss(self, part: Pending, reason: Reason, now_ns: int) -> None:
        self._missed = True
        self._count(missed_trigger=1)
        self._notes.append(Note("missed", reason.value, None, part.part_id, part.trigger_id))
        self._add_own(reason, now_ns, part)

    def _trigger_answered(self, command: Command, answer: Answer, now_ns: int) -> None:
        """Where the station refuses for a reason that decisions know, the decision comes; else nobody will speak."""
        if answer is NoReply.NO_ANSWER:
            return  # it may have been heard: the decision comes, or the deadline
        if not isinstance(answer, NoReply) and (answer.ok or answer.error in REASONS):
            self._triggers.ours = True
            return
        part = self._triggers.refused((command.trigger_id or 0, command.part_id or 0))
        if not isinstance(answer, NoReply):
            self._refuse_command(f"the station takes no trigger: {answer.error}")
        if part is not None:
            self._add_own(Reason.NOT_ONLINE, now_ns, part)

    def _acknowledge(self, seq: int) -> None:
        read = self._results.acknowledge(seq)
        if read is None:
            if not self._results.already_read(seq) and seq != 0:
                self._refuse_command(f"ACK_SEQ {seq} is of no result")
            return
        for result in read:
            self._notes.append(Note("acknowledged", "", result))
            if result.feed_seq is not None and self._beat is not None and result.run == self._beat.run:
                self._order("ack", seq=result.feed_seq)

    def _clear(self) -> None:
        self._note("cleared", f"fault {self._faults.code.value}")
        self._faults.clear()
        self._missed = self._results.overrun = False

    def _load_recipe(self, recipe: int) -> None:
        if recipe == 0:
            self._refuse_command("LOAD_RECIPE with RECIPE_REQUEST 0")
        elif self._order_waited_for("recipe", recipe=recipe):
            self._wanted_recipe = recipe

    def _order_waited_for(self, op: str, **fields: int) -> bool:
        if self._waiting is not None:
            self._refuse_command(f"{op} while {self._waiting} is not through")
            return False
        self._waiting, self._done = op, False
        self._order(op, **fields)
        return True

    def _resynced(self, now_ns: int) -> None:
        self._faults.set(Fault.TRIGGER_MISMATCH, False)
        for part in self._triggers.give_up(forget=True):
            self._add_own(Reason.MISMATCH, now_ns, part)

    def _watch_plc(self, now_ns: int) -> None:
        lost = self._enabled and now_ns - self._plc_moved_ns > self._plc_silent_ns
        if lost and Fault.PLC_LOST not in self._faults:
            self._note("plc", "PLC_HEARTBEAT stands still")
            self._note_spoilt(self._results.spoil(Reason.LATE), "the PLC is not heard any more")
        elif not lost and Fault.PLC_LOST in self._faults:
            self._note("plc", "PLC_HEARTBEAT moves again")
        self._faults.set(Fault.PLC_LOST, lost)

    def _refuse_command(self, text: str) -> None:
        self._faults.set(Fault.BAD_COMMAND)
        self._note("fault", text)

    def _order(self, op: str, **fields: int) -> None:
        self._command_id += 1
        self._orders.append(Command.model_validate({"id": self._command_id, "op": op, **fields}))

    def _count(self, **more: int) -> None:
        counts = self._counters
        self._counters = replace(counts, **{name: (getattr(counts, name) + n) & U32 for name, n in more.items()})

    def _note(self, kind: str, text: str) -> None:
        self._notes.append(Note(kind, text))

    def _note_spoilt(self, results: list[Result], why: str) -> None:
        self._notes.extend(Note("spoilt", why, result) for result in results)
