"""What a station's file may say of the scene guard."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from sad_runtime.scene.limits import Measure
from sad_runtime.schema import Strict


def _none_or_two(after: int) -> int:
    if after == 1:
        raise ValueError("every picture is the first of its kind; 2 is the least, 0 switches it off")
    return after


class SceneConfig(Strict):
    enabled: bool = True
    warn: bool = True
    frozen_after: Annotated[int, Field(ge=0, le=1000), AfterValidator(_none_or_two)] = 2
    """So many equal pictures in a row are a camera that hangs; 0: never."""
    drift_parts: int = Field(default=1_000_000, ge=0)
    """At most one false alarm of drifting scores in so many good parts, on average; 0: no drift alarm."""
    limits: dict[Measure, tuple[float | None, float | None] | None] = {}
    """[low, high] in place of the learnt fault limits; null: this measure is not judged."""

    @field_validator("limits")
    @classmethod
    def _in_order(
        cls, limits: dict[Measure, tuple[float | None, float | None] | None]
    ) -> dict[Measure, tuple[float | None, float | None] | None]:
        for measure, given in limits.items():
            if given is not None and given[0] is not None and given[1] is not None and given[0] >= given[1]:
                raise ValueError(f"{measure}: the low limit {given[0]:g} is not below the high one {given[1]:g}")
        return limits
