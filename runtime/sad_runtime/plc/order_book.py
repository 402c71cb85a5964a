"""Orders for the station, and those whose end the PLC waits for (CMD_DONE, RECIPE_OK). Pure."""

from __future__ import annotations

from sad_runtime.messages import Command, Heartbeat
from sad_runtime.verdict import State

WAITED_FOR = ("recipe", "resync")


class OrderBook:
    def __init__(self) -> None:
        self.waiting: str | None = None
        """The order whose end the PLC waits for."""
        self.done = False
        self.wanted_recipe: int | None = None
        """What the PLC asked for last."""
        self._id = 0
        self._orders: list[Command] = []

    def give(self, op: str, **fields: int) -> None:
        self._id += 1
        self._orders.append(Command.model_validate({"id": self._id, "op": op, **fields}))

    def give_and_wait(self, op: str, **fields: int) -> bool:
        """False while another one is not through."""
        if self.waiting is not None:
            return False
        self.waiting, self.done = op, False
        self.give(op, **fields)
        return True

    def through(self, op: str) -> None:
        """Well or not."""
        if self.waiting == op:
            self.waiting, self.done = None, True

    def taken_back(self) -> None:
        """The PLC has seen CMD_DONE."""
        self.done = False

    def take(self) -> list[Command]:
        orders, self._orders = self._orders, []
        return orders

    def recipe_ok(self, beat: Heartbeat) -> bool:
        """The recipe that the PLC wants is in force; any, where it never asked."""
        if self.waiting == "recipe":
            return False
        if self.wanted_recipe is None:
            return beat.state is not State.PREOPERATIONAL
        return beat.recipe == self.wanted_recipe
