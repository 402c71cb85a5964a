"""Between feed and PLC: what the PLC may be shown, and what its commands mean. Pure: no sockets, no clock, one thread.

Everything that happens goes in with its time; `status` is what to show now, `take_orders` what to tell the station,
`take_notes` what to write down. A part passes only by a decision of the run that is going on, that came in time, while
the station is heard. All else is INVALID or nothing (reference: docs/plc.md, "The rules").
"""

from __future__ import annotations

from dataclasses import replace

from sad_runtime.messages import Command, Decision, Event, Heartbeat
from sad_runtime.plc.account import Account, Note
from sad_runtime.plc.answer import Answer, NoReply
from sad_runtime.plc.faults import Faults
from sad_runtime.plc.handshake import Handshake, pending_from
from sad_runtime.plc.judgement import Case
from sad_runtime.plc.order_book import WAITED_FOR, OrderBook
from sad_runtime.plc.pulse import PlcPulse, Pulse, run_tag
from sad_runtime.plc.status import KNOWN_CONTROL, Bit, CommandBlock, Control, Counters, Fault, Status, Warn, check
from sad_runtime.verdict import Reason, Verdict

STALE_MS = 330.0
"""Three heartbeats missed, and a little: feed loss is to be seen within 350 ms."""
UNREAD_NS = 1_000_000_000


class Gate:
    def __init__(
        self,
        *,
        identity: str,
        plc_silent_ms: int = 1000,
        trigger_within_ms: int = 150,
        can_order: bool = True,
        first_seq: int = 1,
        now_ns: int = 0,
    ) -> None:
        """`identity`: of this start of the gateway; with the station's run it makes RUN_TAG. `can_order`: there is a
        command socket. `first_seq`: RESULT_SEQ of the first result.
        """
        self._identity = identity
        self._within_ms = trigger_within_ms
        self._account, self._orders = Account(first_seq), OrderBook()
        self._handshake = Handshake(self._account, self._orders, can_order=can_order)
        self._faults = Faults()
        self._beat: Heartbeat | None = None
        self._fresh = False
        self._block: CommandBlock | None = None
        """None: nothing was written yet; the first one is only what later ones are compared with."""
        self._enabled = False
        self._pulse, self._plc_pulse = Pulse(now_ns), PlcPulse(plc_silent_ms * 1_000_000, now_ns)

    # -- from the station

    def heard(self, beat: Heartbeat, now_ns: int) -> None:
        """A heartbeat; whether it is fresh, `tick` is told."""
        before, self._beat = self._beat, beat
        self._account.run = beat.run
        if before is not None and before.run != beat.run:
            self._restarted(f"run {before.run} ended, run {beat.run} began", now_ns)
        self._faults.saw_state(beat.state, beat.online)

    def decided(self, decision: Decision, age_ms: float, now_ns: int) -> None:
        """A live decision, `age_ms` since its trigger."""
        if self._beat is not None and decision.run != self._beat.run:
            self._account.note("late", f"decision {decision.seq} of run {decision.run}, which is not the one going on")
            self._account.count(lost=1)
            return
        self._faults.saw_decision(decision)
        if self._handshake.triggers.was_overdue(decision):
            self._handshake.triggers.answered(decision)
            self._account.note(
                "late", f"decision {decision.seq}, {decision.verdict.value}: its part was INVALID already"
            )
            self._account.count(lost=1)
            return
        part = self._handshake.triggers.answered(decision)
        if part is None and self._handshake.triggers.ours:
            self._faults.warn(Warn.FOREIGN)
            self._account.note("foreign", f"decision {decision.seq} is on a part that this PLC did not trigger")
            return
        self._handshake.triggers.ours = self._handshake.triggers.ours or part is not None
        case = Case(decision, part, age_ms, now_ns, self._within_ms)
        if case.is_other_part:
            self._faults.mismatch()
            self._account.note(
                "fault", f"decision {decision.seq} has encoder {decision.encoder}, its trigger another one"
            )
        self._account.add(case.result(self._account.results.next_seq(), self._doubt() or case.doubt()))

    def missed(self, count: int, now_ns: int) -> None:
        """So many decisions were lost on the way. Where the PLC triggers, their parts come out by their deadline."""
        self._account.count(lost=count)
        self._faults.warn(Warn.LOST)
        self._account.note("lost", f"{count} decisions never got here")
        if not self._handshake.triggers.ours:
            self._account.add_lost(count, now_ns)

    def happened(self, event: Event) -> None:
        self._faults.saw_event(event)

    def schema_unknown(self, text: str, now_ns: int) -> None:
        """The station speaks a major that means other things."""
        self._faults.set(Fault.SCHEMA_UNKNOWN)
        self._account.note("fault", text)
        self._lose_feed(now_ns)

    def replied(self, command: Command, answer: Answer, now_ns: int) -> None:
        """What the station answered to an order."""
        self._faults.warn(Warn.NO_ANSWER, isinstance(answer, NoReply))
        if command.op == "trigger":
            self._refuse(self._handshake.answered(command, answer, now_ns))
        if command.op not in WAITED_FOR:
            return
        error = answer.value if isinstance(answer, NoReply) else answer.error
        self._account.note("order", f"{command.op} {command.recipe or ''}: {error or 'done'}".replace(" :", ":"))
        if error is not None:
            self._faults.set(Fault.BAD_COMMAND)
        elif command.op == "resync":
            self._resynced(now_ns)
        elif not isinstance(answer, NoReply) and self._beat is not None and answer.recipe is not None:
            digest = answer.model_digest or self._beat.model_digest
            self._beat = self._beat.model_copy(update={"recipe": answer.recipe, "model_digest": digest})
        self._orders.through(command.op)

    # -- from the PLC

    def commanded(self, block: CommandBlock, now_ns: int, *, of_old: bool = False) -> None:
        """The command block as the PLC wrote it. `of_old`: nobody knows when, so a TRIGGER in it is missed."""
        before, self._block = self._block, block
        if block.control & ~KNOWN_CONTROL:
            self._refuse_command(f"CONTROL {block.control:#06x} has bits that mean nothing")
            self._block = before
            return
        if before is None:
            before = replace(block, control=block.control & ~Control.ENABLE)
        if block.plc_heartbeat != before.plc_heartbeat:
            self._plc_pulse.moved(now_ns)
        self._follow_levels(block, before, now_ns)
        risen = block.control & ~before.control
        if block.ack_seq != before.ack_seq:
            self._acknowledge(block.ack_seq)
        if risen & Control.RESULT_ACK and (shown := self._account.results.oldest_unread) is not None:
            self._acknowledge(shown.seq)
        if risen & Control.CLEAR_FAULT:
            self._clear()
        if risen & Control.RESET_COUNTERS:
            self._account.counters = Counters()
        if risen & Control.LOAD_RECIPE:
            self._load_recipe(block.recipe_request)
        if risen & Control.RESYNC:
            self._give_and_wait("resync")
        if risen & Control.TRIGGER:
            deadline_ms = block.deadline_ms or (self._beat.deadline_ms if self._beat else 1000)
            part = pending_from(block, deadline_ms, now_ns)
            refused = Reason.LATE if of_old else None if self._ready else Reason.NOT_ONLINE
            self._refuse(self._handshake.rose(part, deadline_ms, refused, now_ns))
        self._account.expire(now_ns)

    # -- time

    def tick(self, silent_ms: float, now_ns: int) -> None:
        """Every few ms. `silent_ms`: since the station's last heartbeat, infinity before the first."""
        fresh = self._beat is not None and silent_ms < STALE_MS
        if self._fresh and not fresh:
            self._lose_feed(now_ns)
        elif fresh and not self._fresh:
            self._fresh = True
            self._faults.set(Fault.FEED_STALE, False)
            self._pulse.begin(now_ns)
            self._account.note("fault", "the station is heard")
        if self._fresh:
            self._pulse.beat(now_ns)
        self._watch_plc(now_ns)
        self._handshake.look(now_ns)
        self._account.expire(now_ns)
        oldest = self._account.results.oldest_unread
        waits = self._account.results.waits_for_ack and oldest is not None and now_ns - oldest.made_ns > UNREAD_NS
        self._faults.warn(Warn.UNREAD, waits)

    def own_record_fails(self, fails: bool) -> None:
        self._faults.warn(Warn.OWN_RECORD, fails)

    # -- what comes out

    def status(self) -> Status:
        """What to show. Raises Unsafe where that could be misread."""
        beat, results = self._beat, self._account.results
        return check(
            Status(
                bits=self._bits(),
                heartbeat=self._pulse.word,
                fault=self._faults.code,
                warn=self._faults.warnings,
                run_tag=run_tag(beat.run, self._identity) if beat else 0,
                result=results.shown,
                ring=tuple(results.ring),
                queue=results.queue,
                recipe=beat.recipe if beat else 0,
                model_digest=beat.model_digest if beat else "",
                counters=self._account.counters,
                state=beat.state.value if beat else "",
                run=beat.run if beat else "",
            )
        )

    def take_orders(self) -> list[Command]:
        return self._orders.take()

    def take_notes(self) -> list[Note]:
        return self._account.take_notes()

    # -- inside

    @property
    def _online(self) -> bool:
        return self._fresh and self._beat is not None and self._beat.online

    @property
    def _recipe_ok(self) -> bool:
        return self._fresh and self._beat is not None and self._orders.recipe_ok(self._beat)

    @property
    def _ready(self) -> bool:
        """But for the TRIGGER bit, which must be low."""
        blocked = (Fault.TRIGGER_MISMATCH, Fault.PLC_LOST, Fault.SCHEMA_UNKNOWN)
        return (
            self._online
            and self._enabled
            and self._handshake.takes_triggers
            and self._recipe_ok
            and not any(fault in self._faults for fault in blocked)
            and self._orders.waiting is None
        )

    def _bits(self) -> Bit:
        control = self._block.control if self._block else 0
        unread = self._account.results.oldest_unread
        lit = {
            Bit.ONLINE: self._online,
            Bit.TRIGGER_READY: self._ready and not self._handshake.triggers.full and not control & Control.TRIGGER,
            Bit.TRIGGER_ACK: self._handshake.acknowledged,
            Bit.BUSY: len(self._handshake.triggers) > 0,
            Bit.FAULT: self._faults.code is not Fault.NONE,
            Bit.WARN: bool(self._faults.warnings),
            Bit.RESULT_OVERRUN: self._account.results.overrun,
            Bit.MISSED_TRIGGER: self._handshake.missed,
            Bit.RECIPE_OK: self._recipe_ok,
            Bit.SIMULATED: self._account.results.shown is not None and self._account.results.shown.simulated,
            Bit.FEED_STALE: not self._fresh,
            Bit.CMD_DONE: self._orders.done,
        }
        if not self._fresh:
            lit[Bit.INVALID] = True
        elif unread is not None:
            lit[Bit.RESULT_VALID] = True
            lit[{Verdict.PASS: Bit.PASS, Verdict.FAIL: Bit.FAIL}.get(unread.verdict, Bit.INVALID)] = True
        return Bit(sum(bit for bit, on in lit.items() if on))

    def _doubt(self) -> Reason | None:
        """Why no verdict at all can be acted on now."""
        if not self._fresh:
            return Reason.NOT_ONLINE
        if Fault.TRIGGER_MISMATCH in self._faults or (self._orders.wanted_recipe is not None and not self._recipe_ok):
            return Reason.MISMATCH
        return None

    def _restarted(self, text: str, now_ns: int) -> None:
        """The old run's unread verdicts count no more, and nobody will judge the parts that were under way."""
        if self._orders.waiting is not None:
            self._refuse_command(f"{self._orders.waiting}: the station was started anew meanwhile")
            self._orders.through(self._orders.waiting)
        self._account.note("restart", text)
        self._faults.restarted()
        self._faults.set(Fault.RESTARTED)
        self._account.spoil(Reason.NOT_ONLINE, "the station was started anew")
        self._handshake.restarted(now_ns)

    def _lose_feed(self, now_ns: int) -> None:
        self._fresh = False
        self._faults.set(Fault.FEED_STALE)
        self._account.note("fault", "the station is not heard")
        self._account.spoil(Reason.NOT_ONLINE, "the station is not heard any more")
        self._handshake.give_up(Reason.NOT_ONLINE, now_ns, forget=False)

    def _follow_levels(self, block: CommandBlock, before: CommandBlock, now_ns: int) -> None:
        enabled = bool(block.control & Control.ENABLE)
        if enabled and not self._enabled:
            self._handshake.give_up(Reason.NOT_ONLINE, now_ns, forget=False)  # of the PLC's program before
            self._plc_pulse.moved(now_ns)
            self._account.note("plc", "the PLC takes part (ENABLE)")
        elif self._enabled and not enabled:
            self._faults.set(Fault.PLC_LOST, False)
            self._account.note("plc", "the PLC takes no part any more")
        self._enabled = enabled
        self._account.queueing(enabled)
        if not block.control & Control.TRIGGER:
            self._handshake.fell(now_ns)
        if not block.control & (Control.LOAD_RECIPE | Control.RESYNC):
            self._orders.taken_back()

    def _acknowledge(self, seq: int) -> None:
        read = self._account.acknowledge(seq)
        if read is None and not self._account.results.already_read(seq) and seq != 0:
            self._refuse_command(f"ACK_SEQ {seq} is of no result")
        for result in read or ():
            if result.feed_seq is not None and self._beat is not None and result.run == self._beat.run:
                self._orders.give("ack", seq=result.feed_seq)

    def _clear(self) -> None:
        self._account.note("cleared", f"fault {self._faults.code.value}")
        self._faults.clear()
        self._handshake.missed = self._account.results.overrun = False

    def _load_recipe(self, recipe: int) -> None:
        if recipe == 0:
            self._refuse_command("LOAD_RECIPE with RECIPE_REQUEST 0")
        elif self._give_and_wait("recipe", recipe=recipe):
            self._orders.wanted_recipe = recipe

    def _give_and_wait(self, op: str, **fields: int) -> bool:
        given = self._orders.give_and_wait(op, **fields)
        if not given:
            self._refuse_command(f"{op} while {self._orders.waiting} is not through")
        return given

    def _resynced(self, now_ns: int) -> None:
        self._faults.in_step()
        self._handshake.give_up(Reason.MISMATCH, now_ns, forget=False)

    def _watch_plc(self, now_ns: int) -> None:
        lost = self._enabled and self._plc_pulse.is_silent(now_ns)
        if lost and Fault.PLC_LOST not in self._faults:
            self._account.note("plc", "PLC_HEARTBEAT stands still")
            self._account.spoil(Reason.LATE, "the PLC is not heard any more")
        elif not lost and Fault.PLC_LOST in self._faults:
            self._account.note("plc", "PLC_HEARTBEAT moves again")
        self._faults.set(Fault.PLC_LOST, lost)

    def _refuse(self, text: str | None) -> None:
        """Why a command cannot be carried out; None: it can."""
        if text is not None:
            self._refuse_command(text)

    def _refuse_command(self, text: str) -> None:
        self._faults.set(Fault.BAD_COMMAND)
        self._account.note("fault", text)
