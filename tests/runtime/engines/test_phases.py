"""One share out of nested phases: it starts at 0, never goes back, and ends at 1."""

from __future__ import annotations

import pytest

from sad_runtime.engines.phases import Phases


def test_a_phase_is_one_step_of_the_phase_around_it() -> None:
    told: list[tuple[float, str]] = []
    phases = Phases(lambda share, name: told.append((round(share, 3), name)))
    phases.start("build", None, 4)
    phases.step("build", 0)
    phases.start("tune", "build", 2)
    phases.start("layer", "tune", 5)
    phases.step("layer", 4)
    phases.finish("layer")
    phases.step("tune", 0)
    phases.finish("tune")
    phases.step("build", 1)
    phases.finish("build")
    assert told == [
        (0.25, "build"),
        (0.375, "layer"),
        (0.375, "layer"),
        (0.375, "tune"),
        (0.5, "tune"),
        (0.5, "build"),
        (1.0, "build"),
    ]


@pytest.mark.parametrize("steps", [0, 1])
def test_what_does_not_add_up_does_no_harm(steps: int) -> None:
    told: list[float] = []
    phases = Phases(lambda share, _: told.append(share))
    phases.step("never started", 3)
    phases.finish("never started")
    phases.start("short", "never started", steps)
    phases.step("short", 7)
    assert told == [1.0]
