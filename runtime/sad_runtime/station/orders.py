"""What the command socket asks for, turned into what the station does. Called in the feed's command thread.

Every trigger that is understood gets a decision, also one that is refused. The reply to `recipe` and `rollback` comes
when the change-over is through; commands sent meanwhile wait, and triggers among them are answered as not online. A
change-over that was answered with "no" for want of time does not take place later.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING

from sad_runtime.errors import SadError
from sad_runtime.messages import Command, CommandReply
from sad_runtime.station.config import TriggerMode
from sad_runtime.station.part import Part
from sad_runtime.station.ticking import TICK_S
from sad_runtime.verdict import Reason

if TYPE_CHECKING:
    from sad_runtime.station.station import Station

CHANGE_OVER_S = 120.0
SWAP_S = 60.0
"""For a change-over that cannot be withdrawn any more: the camera may have to be opened anew, and once more with its
old settings; the old engine has to go."""
BACKLOG_S = 0.05
"""Triggers read so soon after a change-over were sent during it: nobody knows how old they are."""


class Orders:
    def __init__(self, station: Station) -> None:
        self._station = station
        self._backlog_until_s = 0.0

    def __call__(self, command: Command) -> CommandReply:
        error = self._carried_out(command)
        in_force = self._station.changes.in_force if command.op in ("recipe", "rollback") else None
        return CommandReply(
            id=command.id,
            ok=error is None,
            error=error,
            recipe=in_force.id if in_force else None,
            model_digest=in_force.digest if in_force else None,
        )

    def _carried_out(self, command: Command) -> str | None:
        """None, or why not."""
        station = self._station
        if command.op == "trigger":
            return self._trigger(command)
        if command.op == "recipe":
            if (unknown := station.changes.unknown(command.recipe or 0)) is not None:
                station.equipment.happenings.tell("recipe_refused", "error", unknown)
                return unknown  # the line is not stopped for it
            order = station.changes.order(command.recipe or 0, command.model_digest)
            return self._change_over(order, f"recipe {command.recipe} was")
        if command.op == "rollback":
            return self._change_over(station.changes.order_back(command.recipe), "the version before was")
        if command.op == "ack":
            station.equipment.journal.acknowledge(station.equipment.run, command.seq or 0)
        elif command.op in ("pause", "resume"):
            station.standing.paused = command.op == "pause"
        elif command.op == "resync":
            station.supply.resync()
        return None

    def _trigger(self, command: Command) -> str | None:
        started_ns = time.monotonic_ns()
        station = self._station
        trigger = station.trigger
        if trigger.mode is not TriggerMode.SOFTWARE and not trigger.announced:
            return f"this station's trigger is '{trigger.mode.value}'; start it with --trigger software"
        part = Part(
            started_ns=started_ns,
            deadline_ms=command.deadline_ms or station.changes.recipe.deadline_ms,
            trigger_id=command.trigger_id,
            part_id=command.part_id,
            encoder=command.encoder,
        )
        if time.monotonic() < self._backlog_until_s:
            station.intake.refuse(part, Reason.NOT_ONLINE)
            return Reason.NOT_ONLINE.value
        reason = station.intake.hand_in(part)
        return None if reason is None else reason.value

    def _change_over(self, outcome: Future[None], what: str) -> str | None:
        end_s = time.monotonic() + CHANGE_OVER_S
        try:
            while not outcome.done() and time.monotonic() < end_s:
                if self._station.standing.stop.is_set():
                    outcome.cancel()
                    return "the station stops"
                wait([outcome], TICK_S)
            if outcome.cancel():
                return f"{what} not loaded within {CHANGE_OVER_S:.0f} s; the order is withdrawn"
            outcome.result(SWAP_S)
        except SadError as error:
            return str(error)
        except FutureTimeout:
            return f"{what} being put in force when its time was up; see the recipe in the heartbeat"
        finally:
            self._backlog_until_s = time.monotonic() + BACKLOG_S
        return None
