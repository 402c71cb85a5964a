"""Fine-tuning for INT8: less is lost than before, always the same, and what does not help is not taken."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sad_export.onnx_graph import onnx_from_graph
from sad_export.precisions.fake_quantisation import Rounding
from sad_export.precisions.finetuned import Tuned, finetuned
from sad_export.precisions.quantised import quantisable
from sad_runtime.errors import DataError
from sad_runtime.schema import parse
from sad_train.config import TrainConfig
from sad_train.graph import InspectionGraph
from sad_train.networks.seen import Seen
from small_graphs import SIDE, pictures, small_graph


def weights_of(graph: InspectionGraph) -> list[torch.Tensor]:
    return [value.clone() for value in graph.state_dict().values()]


@pytest.fixture(scope="module")
def hostile() -> InspectionGraph:
    return small_graph(hostile=True)


@pytest.fixture(scope="module")
def tuned(hostile: InspectionGraph) -> Tuned:
    return finetuned(hostile, pictures(40), steps=80, seed=0, rate=1e-3)


def test_a_graph_with_a_channel_a_hundred_times_too_large_loses_less(hostile: InspectionGraph, tuned: Tuned) -> None:
    assert tuned.helped
    assert tuned.after < 0.8 * tuned.before
    assert tuned.graph is not hostile
    assert tuned.text.startswith("fine-tuned: ")


@torch.no_grad()
def test_its_weights_are_what_int8_has(tuned: Tuned) -> None:
    """So that a layer that stays in float says what it said in tuning."""
    kept = weights_of(tuned.graph)
    with Rounding():
        tuned.graph(torch.from_numpy(pictures(1)))
    for one, other in zip(kept, weights_of(tuned.graph), strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-7)


def test_what_was_given_is_left_alone(hostile: InspectionGraph, tuned: Tuned) -> None:
    untouched = small_graph(hostile=True)
    for one, other in zip(weights_of(hostile), weights_of(untouched), strict=True):
        assert torch.equal(one, other)


@torch.no_grad()
def test_in_float_it_still_says_what_the_trained_graph_says(hostile: InspectionGraph, tuned: Tuned) -> None:
    image = torch.from_numpy(pictures(8, seed=5))
    one, other = tuned.graph(image)[0], hostile(image)[0]
    assert float((one - other).abs().mean()) < 0.05 * float(other.max() - other.min())


def test_the_same_seed_gives_the_same_weights(hostile: InspectionGraph, tuned: Tuned) -> None:
    again, other = (finetuned(hostile, pictures(40), steps=80, seed=seed, rate=1e-3) for seed in (0, 1))
    assert (again.before, again.after) == (tuned.before, tuned.after)
    assert all(torch.equal(*pair) for pair in zip(weights_of(again.graph), weights_of(tuned.graph), strict=True))
    assert other.before != tuned.before, "other pictures are held out"


def test_it_exports_with_the_same_convolutions(hostile: InspectionGraph, tuned: Tuned) -> None:
    before, after = (onnx.load_from_string(onnx_from_graph(one)) for one in (hostile, tuned.graph))
    assert len(quantisable(before)) == len(quantisable(after))
    assert all(not weights.requires_grad for weights in tuned.graph.parameters())


class Whitened(nn.Module):
    """Ends in a convolution by numbers that were measured, as densities do."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 8, 3, 4, 1)
        self.register_buffer("whitening", torch.randn(8, 8, 1, 1))

    def forward(self, x: torch.Tensor) -> Seen:
        features = self.features(x)
        white = F.conv2d(features, self.get_buffer("whitening"))
        return Seen((white * white).mean(1, keepdim=True), features)


def test_what_was_measured_of_good_pictures_is_never_changed() -> None:
    torch.manual_seed(2)
    given = small_graph()
    graph = InspectionGraph(Whitened(), given.spec, parse(TrainConfig, {"size_px": SIDE}, "test")).eval()
    found = finetuned(graph, pictures(30), steps=30, seed=0, rate=1e-3)
    assert found.helped
    assert torch.equal(found.graph.network.get_buffer("whitening"), graph.network.get_buffer("whitening"))
    assert not torch.equal(
        found.graph.network.get_parameter("features.weight"), graph.network.get_parameter("features.weight")
    )


@pytest.mark.parametrize("rate", [1.0, float("inf")])
def test_a_graph_that_got_worse_is_not_taken(hostile: InspectionGraph, rate: float) -> None:
    found = finetuned(hostile, pictures(20), steps=5, seed=0, rate=rate)
    assert not found.helped
    assert found.graph is hostile
    assert "left as trained" in found.text


def test_extremes_widen_ranges_and_are_not_learnt_from(hostile: InspectionGraph) -> None:
    dull = np.clip(pictures(20), 110, 130)
    glaring = np.where(pictures(6) > 127, 255, 0).astype(np.uint8)
    alone, wide = (finetuned(hostile, dull, steps=0, seed=0, extremes=one) for one in (None, glaring))
    assert wide.before > alone.before, "the same pictures, in coarser steps"


def test_too_few_pictures_are_refused(hostile: InspectionGraph) -> None:
    with pytest.raises(DataError, match="9 pictures to fine-tune INT8 with; at least 10"):
        finetuned(hostile, pictures(9), steps=5, seed=0)
