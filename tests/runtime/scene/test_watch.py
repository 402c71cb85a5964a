"""Events at the beginning and the end of something, not at every picture."""

from __future__ import annotations

from sad_runtime.scene.drift import Drift
from sad_runtime.scene.guard import Look, SceneGuard
from sad_runtime.scene.limits import Band, SceneLimits
from sad_runtime.scene.watch import SceneWatch, Transition
from sad_runtime.verdict import Reason
from scenes import exposed, part

GUARD = SceneGuard(SceneLimits(pictures=9, bands={"brightness": Band(low=60, warn_low=85)}))
GOOD, DIM, DARK = (GUARD.look(exposed(part(), factor)) for factor in (1.0, 0.75, 0.3))


def codes(watch: SceneWatch, *looks: Look) -> list[tuple[str, str]]:
    return [(told.code, told.level) for look in looks for told in watch.looked(look)]


def test_a_fault_is_told_once_when_it_begins_and_once_when_it_is_over() -> None:
    watch = SceneWatch()
    assert codes(watch, GOOD, DARK, DARK) == [("black", "error")]
    assert codes(watch, GOOD, DARK, GOOD, GOOD) == []
    assert codes(watch, GOOD) == [("black_over", "info")]


def test_a_warning_is_told_when_it_lasts_and_over_when_that_lasts() -> None:
    watch = SceneWatch()
    assert codes(watch, DIM, DIM, GOOD, DIM, DIM) == []
    assert codes(watch, DIM, DIM) == [("scene_warning", "warning")]
    assert codes(watch, *[GOOD] * 9, DIM, *[GOOD] * 9) == []
    told = watch.looked(GOOD)
    assert [(one.code, one.data["measure"]) for one in told] == [("scene_warning_over", "brightness")]


def test_a_warning_says_what_is_expected() -> None:
    watch = SceneWatch()
    told = [one for _ in range(3) for one in watch.looked(DIM)]
    assert told == [
        Transition(
            "scene_warning",
            "warning",
            DIM.warnings[0],
            {"measure": "brightness", "value": round(DIM.measures.brightness, 4)},
        )
    ]


def test_a_frozen_camera_is_told_like_any_fault() -> None:
    watch = SceneWatch()
    assert [told.code for _ in range(5) for told in watch.fault(Reason.FROZEN, "the same picture again")] == ["frozen"]
    assert codes(watch, GOOD, GOOD, GOOD) == [("frozen_over", "info")]


def test_a_line_that_flickers_does_not_flood_the_log() -> None:
    watch = SceneWatch()
    assert codes(watch, *[GOOD, DARK] * 500) == [("black", "error")]


def test_drift_is_told_on_change_only() -> None:
    watch = SceneWatch()
    states = [Drift(False, False, 0.1), Drift(True, False, 0.2), Drift(True, True, 1.3), Drift(False, True, 1.3)]
    assert [[told.code for told in watch.drifted(state)] for state in states] == [
        [],
        ["score_drift"],
        ["part_drift"],
        ["score_drift_over"],
    ]
    assert watch.drifted(states[-1]) == []


def test_another_recipe_begins_anew_but_a_frozen_camera_stays_frozen() -> None:
    watch = SceneWatch()
    watch.looked(DARK)
    watch.fault(Reason.FROZEN, "again")
    assert [told.code for told in watch.forget()] == ["black_over"]
    assert watch.fault(Reason.FROZEN, "again") == []
    assert codes(watch, DARK) == [("black", "error")]
