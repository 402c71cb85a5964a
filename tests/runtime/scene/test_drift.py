"""Drift is told when it is there, and its false alarms keep the promise that they are seldom."""

from __future__ import annotations

import numpy as np
import pytest

from sad_runtime.decide import p_value
from sad_runtime.scene.drift import DriftWatch, PartDrift, ScoreDrift
from sad_runtime.scene.embedding import Embeddings


def first_alarm(drift: ScoreDrift, p_values: np.ndarray) -> int | None:
    return next((index for index, value in enumerate(p_values) if drift.saw(float(value))), None)


def test_good_parts_raise_no_alarm_more_often_than_promised() -> None:
    """With p-values known exactly (a very large calibration set), at most one run in ten alarms in a tenth of `parts`;
    with a small `parts` the promise is near enough to see."""
    rng = np.random.default_rng(0)
    runs = [first_alarm(ScoreDrift(10**9, 1000), rng.uniform(size=100)) for _ in range(400)]
    assert sum(alarm is not None for alarm in runs) / len(runs) <= 0.1


@pytest.mark.parametrize("good", [20, 50, 200])
def test_few_calibration_parts_raise_no_false_alarm(good: int) -> None:
    """Conformal p-values from a small set are far from uniform for any one set; the caution has to cover that."""
    alarms = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        calibration = sorted(rng.normal(size=good))
        scores = rng.normal(size=3000)
        p_values = np.array([p_value(float(score), calibration) for score in scores])
        alarms += first_alarm(ScoreDrift(good, 1_000_000), p_values) is not None
    assert alarms <= 1


@pytest.mark.parametrize(("good", "within"), [(20, 200), (50, 90), (200, 60)])
def test_scores_that_creep_up_are_told_within_some_dozen_parts(good: int, within: int) -> None:
    rng = np.random.default_rng(1)
    calibration = sorted(rng.normal(size=good))
    drift = ScoreDrift(good, 1_000_000)
    crept = rng.normal(4, 1, size=400)
    found = first_alarm(drift, np.array([p_value(float(score), calibration) for score in crept]))
    assert found is not None
    assert found < within


def test_defects_at_one_in_twenty_are_no_drift() -> None:
    rng = np.random.default_rng(2)
    p_values = np.where(rng.uniform(size=20_000) < 0.05, 0.001, rng.uniform(size=20_000))
    assert first_alarm(ScoreDrift(500, 1_000_000), p_values) is None


def test_an_alarm_ends_when_good_parts_come_again() -> None:
    rng = np.random.default_rng(3)
    drift = ScoreDrift(500, 1000)
    for _ in range(5000):
        drift.saw(0.001)
    assert drift.alarm
    for _ in range(1000):
        drift.saw(float(rng.uniform()))
    assert not drift.alarm


@pytest.mark.parametrize("drift", [ScoreDrift(0, 1000), ScoreDrift(100, 0)])
def test_without_calibration_parts_or_when_switched_off_scores_raise_nothing(drift: ScoreDrift) -> None:
    assert not any(drift.saw(value) for value in [0.0, float("nan"), 1.0] * 500)


def goods(rng: np.random.Generator, count: int = 60) -> np.ndarray:
    return (rng.normal(size=(count, 16)) * np.linspace(0.1, 3, 16) + 5).astype(np.float32)


def test_parts_like_those_learnt_from_are_no_drift_and_others_are() -> None:
    rng = np.random.default_rng(4)
    drift = PartDrift(Embeddings.of(goods(rng)))
    assert not any(drift.saw(embedding) for embedding in goods(rng, 2000))
    assert drift.distance < 0.5
    moved = goods(rng, 600) + np.linspace(0.1, 3, 16, dtype=np.float32) * 2
    alarms = [drift.saw(embedding) for embedding in moved]
    assert not alarms[20]
    assert alarms[-1]
    assert not [drift.saw(embedding) for embedding in goods(rng, 1500)][-1]


def test_a_few_wild_parts_are_no_drift() -> None:
    rng = np.random.default_rng(5)
    drift = PartDrift(Embeddings.of(goods(rng)))
    parts = goods(rng, 1000)
    parts[::50] = 1e6
    assert not any(drift.saw(part) for part in parts)


def test_embeddings_that_are_no_numbers_or_of_another_size_are_passed_over() -> None:
    drift = PartDrift(Embeddings.of(goods(np.random.default_rng(6))))
    for _ in range(300):
        assert not drift.saw(np.full(16, np.nan, np.float32))
        assert not drift.saw(np.zeros(3, np.float32))
    assert drift.distance == 0.0


def test_a_number_that_never_moves_does_not_cry_at_the_first_rounding() -> None:
    constant = goods(np.random.default_rng(7))
    constant[:, 3] = 1.0
    good = Embeddings.of(constant)
    assert (good.spread > 0).all()
    drift = PartDrift(good)
    assert not any(drift.saw(embedding + np.float32(1e-3)) for embedding in constant.repeat(5, axis=0))


def test_both_are_told_at_once() -> None:
    rng = np.random.default_rng(8)
    watch = DriftWatch(ScoreDrift(100, 1000), PartDrift(Embeddings.of(goods(rng))))
    for embedding in goods(rng, 300) + 40:
        last = watch.saw(embedding, 0.01)
    assert (last.scores, last.parts) == (True, True)
    assert last.distance > 3
    assert DriftWatch(ScoreDrift(0, 0), None).saw(embedding, 0.01).distance == 0.0


@pytest.mark.parametrize(("good", "too_few"), [(5, True), (12, True), (13, False), (60, False)])
def test_with_too_few_calibration_parts_there_is_no_alarm_and_that_is_known(good: int, too_few: bool) -> None:
    scores = ScoreDrift(good, 1_000_000)
    assert scores.too_few is too_few
    alarmed = [scores.saw(1 / (good + 1)) for _ in range(3000)]
    assert any(alarmed) is not too_few
