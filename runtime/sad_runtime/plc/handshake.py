"""TRIGGER, TRIGGER_ACK and the parts under way: who was asked for, what the station took, what was missed. Pure."""

from __future__ import annotations

from sad_runtime.messages import Command
from sad_runtime.plc.account import Account
from sad_runtime.plc.answer import Answer, NoReply
from sad_runtime.plc.order_book import OrderBook
from sad_runtime.plc.status import CommandBlock
from sad_runtime.plc.triggers import Name, Pending, Triggers
from sad_runtime.verdict import Reason

REASONS = {reason.value for reason in Reason}


class Handshake:
    """Methods that return a text refuse a command: it says why."""

    def __init__(self, account: Account, orders: OrderBook, *, can_order: bool) -> None:
        self.triggers = Triggers()
        self.acknowledged = False
        """TRIGGER_ACK."""
        self.missed = False
        """MISSED_TRIGGER, until somebody clears it."""
        self.takes_triggers = can_order
        """As far as the station has said."""
        self._account, self._orders, self._can_order = account, orders, can_order
        self._asked: Name | None = None
        """The part that TRIGGER stands for and that the station has not taken yet."""

    def rose(self, part: Pending, deadline_ms: int, refused: Reason | None, now_ns: int) -> str | None:
        """TRIGGER. `refused`: why no part at all can be taken now."""
        if self.triggers.taken(part.name) or self._account.results.waits(*part.name):
            if (first := self.triggers.given_up(part.name)) is not None:
                self._account.add_own(Reason.MISMATCH, now_ns, first)  # nobody can tell whose verdict it will be
            self._miss(part, Reason.MISMATCH, now_ns)
            return f"TRIGGER for part {part.part_id}, trigger {part.trigger_id}, which is still under way"
        if refused is not None or self.triggers.full:
            self._miss(part, refused if refused is not None else Reason.QUEUE_FULL, now_ns)
            return None
        self._asked = part.name
        self.triggers.add(part)
        self._account.note("trigger", f"{deadline_ms} ms", part)
        self._orders.give(
            "trigger",
            trigger_id=part.trigger_id,
            part_id=part.part_id,
            encoder=part.encoder,
            deadline_ms=deadline_ms,
        )
        return None

    def fell(self, now_ns: int) -> None:
        """Before its ACK: the PLC has given the part up."""
        self.acknowledged = False
        asked, self._asked = self._asked, None
        if asked is not None and (part := self.triggers.given_up(asked)) is not None:
            self._account.add_own(Reason.MISMATCH, now_ns, part)

    def answered(self, command: Command, answer: Answer, now_ns: int) -> str | None:
        """Where the station refuses for a reason that decisions know, the decision comes; else nobody will speak."""
        name = (command.trigger_id or 0, command.part_id or 0)
        if answer is NoReply.NO_ANSWER:
            return None  # it may have been heard: the decision comes, or the deadline
        if not isinstance(answer, NoReply) and (answer.ok or answer.error in REASONS):
            self.triggers.ours = True
            if self._asked == name:
                self.acknowledged, self._asked = True, None
            return None
        if (part := self.triggers.refused(name)) is not None:
            self._account.add_own(Reason.NOT_ONLINE, now_ns, part)
        if self._asked == name:
            self._asked = None
        if isinstance(answer, NoReply):
            return None
        self.takes_triggers = False
        return f"the station takes no trigger: {answer.error}"

    def give_up(self, reason: Reason, now_ns: int, *, forget: bool) -> None:
        """All parts under way are INVALID. `forget`: the station will not speak of them any more."""
        for part in self.triggers.give_up_all(forget=forget):
            self._account.add_own(reason, now_ns, part)

    def look(self, now_ns: int) -> None:
        """Parts whose decision did not come in time."""
        for part in self.triggers.overdue(now_ns):
            self._account.add_own(Reason.LATE, now_ns, part)

    def restarted(self, now_ns: int) -> None:
        """The station began anew; what it takes is to be found out again."""
        self.takes_triggers, self._asked = self._can_order, None
        self.give_up(Reason.NOT_ONLINE, now_ns, forget=True)

    def _miss(self, part: Pending, reason: Reason, now_ns: int) -> None:
        self.missed = True
        self._account.count(missed_trigger=1)
        self._account.note("missed", reason.value, part)
        self._account.add_own(reason, now_ns, part)


def pending_from(block: CommandBlock, deadline_ms: int, now_ns: int) -> Pending:
    until_ns = now_ns + deadline_ms * 1_000_000
    return Pending(block.trigger_id, block.part_id, block.encoder, now_ns, until_ns)
