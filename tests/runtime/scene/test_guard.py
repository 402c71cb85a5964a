"""One fault, the most telling; warnings before it; nothing where there is no limit."""

from __future__ import annotations

import numpy as np
import pytest

from sad_runtime.scene.guard import SceneFault, SceneGuard
from sad_runtime.scene.limits import FIXED, Band, SceneLimits, with_overrides
from sad_runtime.scene.position import Reference, thumbnail_of
from sad_runtime.verdict import Reason
from scenes import SIDE_PX, exposed, part

REFERENCE = Reference(thumbnail_of(part()))
LIMITS = SceneLimits(
    pictures=50,
    bands={
        "brightness": Band(low=70, warn_low=85, warn_high=115, high=140, usual=100),
        "highlights": Band(low=60, warn_low=90),
        "saturated": Band(warn_high=0.05, high=0.2),
        "focus": Band(low=0.27, warn_low=0.31, usual=0.355),
        "contrast": Band(low=10, high=90),
        "red": Band(low=1.0, high=1.2),
        "shift": Band(warn_high=3, high=6),
        "likeness": Band(low=0.5, warn_low=0.7),
        "repeated": Band(warn_high=0.05, high=0.12),
    },
    least_likeness=0.5,
)


@pytest.fixture
def guard() -> SceneGuard:
    return SceneGuard(LIMITS, REFERENCE)


def test_a_good_picture_is_left_alone(guard: SceneGuard) -> None:
    for seed in range(20):
        look = guard.look(part(seed))
        assert (look.fault, look.why, look.warnings) == (None, "", [])


def half(picture: np.ndarray) -> np.ndarray:
    picture[SIDE_PX // 2 :] = 128
    return picture


def warm(picture: np.ndarray) -> np.ndarray:
    picture[..., 2] = exposed(picture[..., 2], 1.15)
    return picture


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (exposed(part(), 0.0), Reason.BLACK),
        (exposed(part(), 0.3), Reason.BLACK),
        (exposed(part(), 2.5), Reason.SATURATED),
        (part(blur_px=3), Reason.BLURRED),
        (part(x=9), Reason.MOVED),
        (half(part()), Reason.INCOMPLETE),
        (warm(part()), Reason.SCENE),
        (np.random.default_rng(0).integers(0, 210, (SIDE_PX, SIDE_PX, 3)).astype(np.uint8), Reason.SCENE),
    ],
)
def test_every_fault_has_its_reason(guard: SceneGuard, picture: np.ndarray, reason: Reason) -> None:
    look = guard.look(picture)
    assert look.fault is reason, look
    assert look.why
    with pytest.raises(SceneFault) as raised:
        guard.check(picture)
    assert (raised.value.reason, str(raised.value)) == (reason, look.why)


def test_a_warning_comes_before_the_fault_and_says_what_is_expected(guard: SceneGuard) -> None:
    look = guard.look(exposed(part(), 0.8))
    assert look.fault is None
    assert look.warnings == [f"brightness {look.measures.brightness:.0f} of 255; at least 85 expected"]


def test_warnings_can_be_switched_off_and_faults_stay() -> None:
    quiet = SceneGuard(LIMITS, REFERENCE, warn=False)
    assert quiet.look(exposed(part(), 0.8)).warnings == []
    assert quiet.look(exposed(part(), 0.3)).fault is Reason.BLACK


def test_without_a_reference_nothing_has_moved() -> None:
    assert SceneGuard(LIMITS).look(part(x=12)).fault is None


def test_what_hardly_looks_like_the_reference_is_not_called_moved(guard: SceneGuard) -> None:
    strange = part()[:, ::-1].transpose(1, 0, 2).copy()
    look = guard.look(strange)
    assert look.fault is not Reason.MOVED or look.measures.likeness >= LIMITS.least_likeness


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (np.zeros((64, 64, 3), np.uint8), Reason.BLACK),
        (np.full((64, 64, 3), 128, np.uint8), Reason.INCOMPLETE),
        (np.full((64, 64, 1), 255, np.uint8), Reason.SATURATED),
        (np.random.default_rng(0).integers(0, 6, (64, 64, 3)).astype(np.uint8), Reason.BLACK),
        (half(part()), Reason.INCOMPLETE),
        (part(), None),
        (exposed(part(), 0.3), None),
        (part(blur_px=5), None),
        (part(channels=1), None),
    ],
)
def test_a_bundle_without_limits_has_the_fixed_ones(picture: np.ndarray, reason: Reason | None) -> None:
    assert SceneGuard(FIXED).look(picture).fault is reason


def test_an_override_takes_the_place_of_the_fault_limits_and_keeps_the_warnings_inside() -> None:
    moved = with_overrides(LIMITS, {"brightness": (90, 200), "focus": None, "dark": (None, 0.5)})
    assert moved.bands["brightness"] == Band(low=90, warn_low=None, warn_high=115, high=200, usual=100)
    assert "focus" not in moved.bands
    assert moved.bands["dark"].high == 0.5
    assert SceneGuard(moved, REFERENCE).look(part(blur_px=3)).fault is None
    assert LIMITS.bands["brightness"].low == 70


def test_limits_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="must rise"):
        Band(low=31, warn_low=30)
