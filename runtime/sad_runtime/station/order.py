"""One order for a change-over, and the future that tells its giver what became of it."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field

from sad_runtime.errors import UsageError


class Overtaken(UsageError):
    """A newer order ends the wait for an engine."""


class Withdrawn(UsageError):
    """Nobody waits for the order any more."""


@dataclass(frozen=True)
class Order:
    recipe: int | None
    """None: the one in force."""
    model_digest: str | None = None
    """The model that it must be."""
    back: bool = False
    """To the version before."""
    outcome: Future[None] = field(default_factory=Future)
    """Done when the recipe is in force. One that could be cancelled does not take place any more."""

    def begun(self) -> bool:
        """From now on it cannot be withdrawn. False when it was."""
        told = self.outcome
        return not told.cancelled() and (told.running() or told.set_running_or_notify_cancel())

    def refuse(self, why: BaseException) -> None:
        """Tells who gave it, if he still waits."""
        if self.begun():
            self.outcome.set_exception(why)
