"""The parity gate against an engine that is right on average and wrong on one picture, or in one place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sad_export.golden import golden_indices
from sad_export.parity import Comparison, Cut, Limits, Replay, compared, noise_of
from sad_export.parity_set import ParityPicture
from sad_runtime.decide import Thresholds

GOODS, BADS, SIDE, CUT = 100, 100, 16, 2.0


def pictures() -> list[ParityPicture]:
    blank, mask = np.zeros((SIDE, SIDE, 1), np.uint8), np.zeros((SIDE, SIDE), bool)
    mask[4:8, 4:8] = True
    good = [ParityPicture(f"good {index}", "good", blank) for index in range(GOODS)]
    return good + [ParityPicture(f"synthetic {index}", "synthetic", blank, mask) for index in range(BADS)]


def trained() -> Replay:
    scores = np.concatenate([np.linspace(-2, CUT, GOODS), np.linspace(CUT + 0.5, 8, BADS)])
    heatmaps = np.random.default_rng(0).normal(0, 0.5, (GOODS + BADS, SIDE, SIDE)).astype(np.float32)
    heatmaps[GOODS:, 4:8, 4:8] += 5
    return Replay("torch", scores, heatmaps, 1.0)


def judged(other: Replay) -> Comparison:
    golden = golden_indices(pictures(), trained().scores, CUT, noise_of(trained(), [other], Limits()))
    cut = Cut(Thresholds(CUT, 2.0, 0.0), CUT)
    return compared(trained(), other, pictures(), golden, (cut, cut), Limits())


def test_one_anomaly_that_would_pass_fails_the_export_though_it_is_not_golden() -> None:
    golden = golden_indices(pictures(), trained().scores, CUT, 1e-4)
    missed = next(index for index in range(GOODS + 50, GOODS + BADS) if index not in golden)
    scores = trained().scores.copy()
    scores[missed] = CUT - 1
    found = judged(replace(trained(), engine="tensorrt", scores=scores))
    assert found.flips == 0
    assert found.detection_worse < found.rate_limit
    assert any(failure.startswith("scores differ by up to") for failure in found.failures), found.failures


@pytest.mark.parametrize("wrong", [3.0, -3.0])
def test_a_heatmap_that_is_wrong_in_one_corner_fails_the_export(wrong: float) -> None:
    heatmaps = trained().heatmaps.copy()
    heatmaps[3, 0, 0] += wrong
    found = judged(replace(trained(), engine="tensorrt", heatmaps=heatmaps))
    assert any(failure.startswith("heatmaps differ by up to") for failure in found.failures), found.failures
