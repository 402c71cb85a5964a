"""The parity gate: identical engines pass, rounding passes and is counted, a broken engine is caught."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from sad_export.golden import golden_indices
from sad_export.parity import RATE_LIMIT, Comparison, Cut, Limits, Replay, compared, map_difference, noise_of, replay
from sad_export.parity_set import ParityPicture
from sad_runtime.backends.base import Backend, Outputs
from sad_runtime.decide import Thresholds
from sad_runtime.errors import BackendError
from sad_runtime.manifest import InputSpec
from sad_train.graph import NEVER

SIDE, GOODS, BADS = 32, 40, 40
CUT = 2.0
LIMITS = Limits()
SHIPPED = Thresholds(score=CUT, pixel=2.0, heatmap_low=0.0)


def pictures() -> list[ParityPicture]:
    blank = np.zeros((SIDE, SIDE, 1), np.uint8)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[8:20, 8:20] = True
    good = [ParityPicture(f"good {index}", "good", blank) for index in range(GOODS)]
    return good + [ParityPicture(f"synthetic {index}", "synthetic", blank, mask) for index in range(BADS)]


def trained() -> Replay:
    """Good parts score from -2 to CUT, anomalies from CUT + 0.5 to 8; heatmaps are warm where the anomaly is."""
    rng = np.random.default_rng(0)
    scores = np.concatenate([np.linspace(-2, CUT, GOODS), np.linspace(CUT + 0.5, 8, BADS)])
    heatmaps = rng.normal(0, 0.5, (GOODS + BADS, SIDE, SIDE)).astype(np.float32)
    heatmaps[GOODS:, 8:20, 8:20] += 5
    return Replay("torch", scores, heatmaps, 1.0)


def engine(**changes: NDArray[np.floating]) -> Replay:
    return replace(trained(), engine="tensorrt", **changes)  # type: ignore[arg-type]


def judged(other: Replay, cut: float = CUT, limits: Limits = LIMITS) -> Comparison:
    """As the export does it: noise, golden pictures, comparison. `cut`: the threshold set on the other engine."""
    reference = trained()
    golden = golden_indices(pictures(), reference.scores, CUT, noise_of(reference, [other], limits))
    return compared(reference, other, pictures(), golden, (Cut(SHIPPED, CUT), Cut(SHIPPED, cut)), limits)


def rounded(scale: float) -> NDArray[np.float64]:
    return np.asarray(trained().scores + np.random.default_rng(1).uniform(-scale, scale, GOODS + BADS))


def test_an_identical_engine_passes_with_nothing_to_count() -> None:
    found = judged(engine())
    assert found.failures == []
    assert (found.flips, found.near_flips) == (0, 0)
    assert (found.score_max_difference, found.heatmap_max_difference, found.heatmap_iou) == (0, 0, 1)
    assert found.score_spearman == pytest.approx(1)
    assert (found.false_rejects_worse, found.detection_worse, found.rate_limit) == (0, 0, RATE_LIMIT)
    assert found.image_auroc == 1
    assert found.aupro is not None
    assert found.aupro > 0.95


def test_rounding_passes_and_a_part_on_the_threshold_that_flips_is_counted() -> None:
    scores = rounded(1e-4)
    scores[GOODS - 1] = CUT + 1e-4  # this part's own score is the threshold
    found = judged(engine(scores=scores), cut=CUT + 1e-4)
    assert found.failures == []
    assert (found.flips, found.near_flips) == (0, 1)


@pytest.mark.parametrize("shift", [-3.0, 3.0])
def test_an_engine_that_shifts_every_score_is_caught_though_its_own_threshold_shifts_along(shift: float) -> None:
    found = judged(engine(scores=trained().scores + shift), cut=CUT + shift)
    assert found.flips > 0
    assert any(f"{found.flips} golden picture(s) judged otherwise" in failure for failure in found.failures)
    assert any("scores differ by 3 on average" in failure for failure in found.failures)


def test_a_shift_that_flips_no_golden_picture_is_caught_all_the_same() -> None:
    found = judged(engine(scores=trained().scores - 0.4), cut=CUT - 0.4)
    assert (found.flips, found.false_rejects_worse) == (0, 0)
    assert len(found.failures) == 1
    assert "scores differ by 0.4 on average, more than this precision explains" in found.failures[0]


def test_one_golden_picture_judged_otherwise_fails() -> None:
    scores = trained().scores.copy()
    scores[0] = CUT + 1
    found = judged(engine(scores=scores))
    assert found.flips == 1
    assert "1 golden picture(s) judged otherwise than by the trained model" in found.failures


def test_wrong_heatmaps_under_right_scores_are_caught() -> None:
    turned = np.ascontiguousarray(trained().heatmaps[:, ::-1, ::-1])
    found = judged(engine(heatmaps=turned))
    assert len(found.failures) == 2
    assert "heatmaps differ by" in found.failures[0]
    assert found.failures[1].startswith("AUPRO falls by")
    assert found.heatmap_iou < 0.5


def test_int8_may_stand_further_off_but_its_figures_may_not_fall() -> None:
    reference = trained()
    off = reference.scores + np.random.default_rng(3).uniform(-0.3, 0.3, GOODS + BADS)
    assert judged(engine(scores=off), limits=LIMITS.of("fp16")).failures
    assert judged(engine(scores=off), limits=LIMITS.of("int8")).failures == []
    strict = replace(LIMITS.of("int8"), spearman=0.9999)
    assert any("scores rank otherwise" in text for text in judged(engine(scores=off), limits=strict).failures)


def test_with_few_pictures_one_pair_that_changes_places_does_not_fail_the_auroc() -> None:
    scores = trained().scores.copy()
    scores[GOODS] = CUT - 1e-3  # one anomaly a hair below one good part, whose own score is the threshold
    found = judged(engine(scores=scores), limits=replace(LIMITS.of("int8"), auroc_drop=0.0))
    assert found.image_auroc is not None
    assert found.image_auroc < 1
    assert not any("AUROC" in text for text in found.failures), found.failures


def test_scores_of_good_and_bad_that_come_closer_fail_by_auroc() -> None:
    scores = trained().scores.copy()
    scores[GOODS : GOODS + 4] = 0.0  # four anomalies among the good
    found = judged(engine(scores=scores), limits=LIMITS.of("int8"))
    assert any(text.startswith("image AUROC falls by") for text in found.failures), found.failures


def test_heatmaps_that_round_otherwise_pass() -> None:
    noisy = trained().heatmaps + np.random.default_rng(2).normal(0, 1e-4, trained().heatmaps.shape).astype(np.float32)
    assert judged(engine(heatmaps=noisy)).failures == []


def test_more_rejected_good_parts_fail_by_rate() -> None:
    """At the threshold set on the engine itself, so that a shift alone does not count."""
    scores = trained().scores.copy()
    scores[: GOODS // 4] = CUT + 1
    found = judged(engine(scores=scores))
    assert found.false_rejects_worse == pytest.approx(0.25)
    assert "rejects 25.0 points more good pictures" in found.failures


def test_fewer_anomalies_found_fail_by_rate() -> None:
    found = judged(engine(), cut=6.0)
    assert found.detection_worse > 0.5
    assert any("points fewer anomalies" in failure for failure in found.failures)


def test_finding_more_and_rejecting_less_never_fails_by_rate() -> None:
    reference, better = trained(), engine()
    found = compared(reference, better, pictures(), [], (Cut(SHIPPED, 3.0), Cut(SHIPPED, CUT)), LIMITS)
    assert found.detection_worse < 0
    assert found.failures == []


def test_one_picture_more_in_forty_is_within_the_paired_interval() -> None:
    found = judged(engine(), cut=float(trained().scores[GOODS - 2]))
    assert found.false_rejects_worse == pytest.approx(1 / GOODS)
    assert found.rate_limit > 1 / GOODS
    assert found.failures == []


def test_a_broken_engine_does_not_widen_the_noise_that_golden_pictures_are_chosen_by() -> None:
    reference = trained()
    spread = float(np.ptp(reference.scores))
    assert noise_of(reference, [engine(), engine(scores=rounded(1e-3))], LIMITS) == pytest.approx(1e-3, rel=0.1)
    assert noise_of(reference, [engine(scores=reference.scores + 5)], LIMITS) == LIMITS.mean * spread
    assert noise_of(reference, [], LIMITS) == noise_of(reference, [engine()], LIMITS) == 1e-7


class Spoilt(Backend):
    """A stand-in whose score or heatmap of the second picture is no number."""

    name = "spoilt"
    seen = 0

    def __init__(self, *, score: float = 0.0, pixel: float = 0.0) -> None:
        super().__init__(b"", InputSpec(height=SIDE, width=SIDE, channels=1))
        self.score, self.pixel = score, pixel

    def open(self) -> None: ...

    def close(self) -> None: ...

    def infer(self, pictures: NDArray[np.uint8]) -> Outputs:
        self.seen += 1
        broken = self.seen == 2
        heatmap = np.zeros(pictures.shape[:3], np.float32)
        heatmap[0, 3, 4] = self.pixel if broken else 0
        score = np.array([self.score if broken else 0], np.float32)
        return Outputs(heatmap, score, np.zeros((1, 4), np.float32))


@pytest.mark.parametrize("spoilt", [{"score": np.nan}, {"score": np.inf}, {"pixel": np.nan}], ids=str)
def test_an_engine_that_gives_no_number_is_an_error_at_once(spoilt: dict[str, float]) -> None:
    with Spoilt(**spoilt) as backend, pytest.raises(BackendError, match=r"spoilt: .* not a finite number"):
        replay(backend, pictures()[:3])


def test_a_replay_keeps_the_order_of_the_pictures() -> None:
    with Spoilt(score=7.0) as backend:
        found = replay(backend, pictures()[:4])
    assert found.engine == "spoilt"
    assert found.scores.tolist() == [0, 7, 0, 0]
    assert found.heatmaps.shape == (4, SIDE, SIDE)
    assert found.latency_ms > 0


def test_pixels_that_are_never_judged_neither_widen_nor_thin_out_the_limits() -> None:
    """With three quarters of the picture ignored, a heatmap that went flat is caught all the same."""
    reference = trained()
    maps = reference.heatmaps.copy()
    maps[:, :, SIDE // 4 :] = NEVER
    ignored = replace(reference, heatmaps=maps)
    flat = maps.copy()
    flat[:, :, : SIDE // 4] = maps[:, :, : SIDE // 4].mean()
    cut = Cut(SHIPPED, CUT)
    found = compared(ignored, replace(ignored, heatmaps=flat), pictures(), [], (cut, cut), LIMITS.of("int8"))
    assert any(text.startswith("heatmaps differ by") for text in found.failures), found.failures
    assert map_difference(ignored, ignored).spread < np.ptp(maps) / 1.5


def test_a_value_where_nothing_is_judged_fails() -> None:
    reference = trained()
    maps = reference.heatmaps.copy()
    maps[:, 0] = NEVER
    wrong = maps.copy()
    wrong[3, 0, 0] = 1.0
    cut, ignored = Cut(SHIPPED, CUT), replace(reference, heatmaps=maps)
    found = compared(ignored, replace(ignored, heatmaps=wrong), pictures(), [], (cut, cut), LIMITS.of("int8"))
    assert any("where nothing is judged" in text for text in found.failures), found.failures
