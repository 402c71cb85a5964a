"""A picture's score from its heatmap: windows of several sizes, each in its own measure, and nothing ignored."""

from __future__ import annotations

import torch
from torch import Tensor

from sad_train.networks.peak_score import LEAST_SPREAD, PeakScore

EVERYWHERE = torch.ones(1, 1, 1, 1)


def goods(count: int = 32) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(count, 1, 64, 64) - 4


def fitted(judged: Tensor = EVERYWHERE) -> PeakScore:
    score = PeakScore(2)
    score.fit(goods().split(8), judged)
    return score


def raised(side: int, by: float) -> Tensor:
    heatmap = goods(1)
    heatmap[:, :, 20 : 20 + side, 30 : 30 + side] += by
    return heatmap


def test_good_pictures_score_around_nothing() -> None:
    score = fitted()(goods(), EVERYWHERE)
    assert score.shape == (32,)
    assert abs(float(score.mean())) < 1.5


def test_a_small_strong_peak_and_a_wide_faint_one_both_stand_out() -> None:
    """The faint one would be lost in a maximum over the smallest window: noise alone goes as high."""
    score, highest = fitted(), float(fitted()(goods(), EVERYWHERE).max())
    assert float(score(raised(2, 8.0), EVERYWHERE)) > 2 * highest
    faint = raised(20, 0.5)
    assert float(score(faint, EVERYWHERE)) > 2 * highest
    smallest = (score.peaks(faint, EVERYWHERE)[:, 0] - score.level[0]) / score.spread[0]
    assert float(smallest) < highest


def test_what_is_ignored_changes_no_score() -> None:
    judged = torch.ones(1, 1, 128, 128)
    judged[:, :, 32:80, 50:100] = 0
    score = fitted(judged)
    before, after = score(raised(4, 0.0), judged), score(raised(4, 9.0), judged)
    assert torch.equal(before, after)
    assert torch.isfinite(before).all()


def test_pictures_that_are_all_alike_give_no_endless_scores() -> None:
    score = PeakScore(2)
    score.fit([torch.full((4, 1, 64, 64), -3.0)], EVERYWHERE)
    assert torch.equal(score.spread, torch.full_like(score.spread, LEAST_SPREAD))
    assert float(score(torch.full((1, 1, 64, 64), -3.0), EVERYWHERE)) == 0
