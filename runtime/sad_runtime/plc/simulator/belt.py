"""The world the PLC stands in: a belt with parts, an encoder, a light barrier at the camera, a gate behind it. Pure.

Same seed, same belt. The speed swings by `swing` around its mean, as belts do, so that only the encoder tells where a
part is. The encoder is a 32-bit counter and wraps within the first metres: what is wrong with a wrap shows at once.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

U32 = 2**32
COUNTS_PER_MM = 10
ENCODER_AT_START = U32 - 20_000
"""Two metres before the wrap."""
SWING_S = 7.0
"""From one slowest moment to the next."""


@dataclass(frozen=True)
class BeltPlan:
    speed_mm_s: float = 200.0
    spacing_mm: float = 100.0
    """On average; one gap is `scatter` wider or narrower at most."""
    scatter: float = 0.3
    camera_to_gate_mm: float = 600.0
    swing: float = 0.1
    seed: int = 0
    parts: int = 0
    """How many come in all; 0: no end."""

    @property
    def narrowest_mm(self) -> float:
        return self.spacing_mm * (1 - self.scatter)

    @property
    def fastest_mm_s(self) -> float:
        return self.speed_mm_s * (1 + self.swing)


@dataclass(frozen=True)
class Passing:
    """The front of part `number` (from 0) was here, at this count of the encoder."""

    number: int
    encoder: int


@dataclass(frozen=True)
class Moved:
    at_camera: tuple[Passing, ...]
    at_gate: tuple[Passing, ...]
    out_of_sight: tuple[int, ...] = ()
    """Numbers of parts of which no picture can be taken any more: the next one may stand there by now."""


class Belt:
    def __init__(self, plan: BeltPlan) -> None:
        self.plan = plan
        self.between: deque[tuple[int, float]] = deque()
        """(part, position) of what is between camera and gate; a position is in mm of belt, counted at the camera."""
        self._in_sight: deque[tuple[int, float]] = deque()
        self.position_mm = 0.0
        self._now_s = 0.0
        self._dice = random.Random(plan.seed)
        self._next = 0
        self._next_mm = self._gap_mm()

    @property
    def encoder(self) -> int:
        return encoder_at(self.position_mm)

    @property
    def over(self) -> bool:
        """All parts have come and gone."""
        return self._ended and not self.between

    @property
    def _ended(self) -> bool:
        return 0 < self.plan.parts <= self._next

    def advance(self, seconds: float) -> Moved:
        """Moves on; says which fronts passed camera and gate meanwhile, in their order."""
        plan = self.plan
        swing = 1 + plan.swing * math.sin(2 * math.pi * self._now_s / SWING_S)
        self._now_s += seconds
        self.position_mm += plan.speed_mm_s * swing * seconds
        at_camera, at_gate = [], []
        while self._next_mm <= self.position_mm and not self._ended:
            self.between.append((self._next, self._next_mm))
            self._in_sight.append((self._next, self._next_mm))
            at_camera.append(Passing(self._next, encoder_at(self._next_mm)))
            self._next, self._next_mm = self._next + 1, self._next_mm + self._gap_mm()
        while self.between and self.between[0][1] + plan.camera_to_gate_mm <= self.position_mm:
            number, began_mm = self.between.popleft()
            at_gate.append(Passing(number, encoder_at(began_mm + plan.camera_to_gate_mm)))
        return Moved(tuple(at_camera), tuple(at_gate), tuple(self._gone_by()))

    def _gone_by(self) -> Iterator[int]:
        while self._in_sight and self._in_sight[0][1] + self.plan.narrowest_mm <= self.position_mm:
            yield self._in_sight.popleft()[0]

    def _gap_mm(self) -> float:
        return self.plan.spacing_mm * self._dice.uniform(1 - self.plan.scatter, 1 + self.plan.scatter)


def encoder_at(position_mm: float) -> int:
    """The encoder's count at a position of the belt."""
    return (ENCODER_AT_START + int(position_mm * COUNTS_PER_MM)) % U32
