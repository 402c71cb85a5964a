"""Which method and which layers: the best measured, the most sensitive first, no more float than it is worth."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from onnx import ModelProto

from sad_export.graph_edit import constants_of
from sad_export.precisions.choice import (
    GOOD_AUPRO_DROP,
    GOOD_ERROR,
    GOOD_RANKS,
    MOST_FLOAT,
    Apart,
    ApartOf,
    Choice,
    Way,
    chosen,
)
from sad_export.precisions.quantised import quantisable, quantised
from unets import amplitudes, unet

LAYERS = ("stem", "down", "join", "head")
INPUTS = ("normalised", "a", "joined", "c")


class Errors:
    """Says of a model the sum of what each of its INT8 layers costs; counts how often it was asked."""

    def __init__(self, model: ModelProto, **costs: float) -> None:
        self._model, self._costs = model, costs
        self.asked = 0

    def __call__(self, model: ModelProto) -> Apart:
        self.asked += 1
        inputs = {node.name: node.input[0] for node in model.graph.node}
        return Apart(sum(cost for name, cost in self._costs.items() if inputs[name].endswith("_dq")), 1.0, 0.0)


def ranges(model: ModelProto) -> dict[str, dict[str, float]]:
    seen = amplitudes(model, *INPUTS)
    return {"max": seen, "mse": {name: value / 2 for name, value in seen.items()}}


def choice_of(model: ModelProto, apart_of: ApartOf, methods: Sequence[str]) -> Choice:
    """Biases are not corrected: these ways make the same file."""

    def make(way: Way, layers: Sequence[str]) -> ModelProto:
        return quantised(model, ranges(model)[way.method], layers)

    return chosen(model, make, apart_of, methods)


def test_with_errors_small_enough_every_layer_is_int8() -> None:
    model = unet(channels=64)
    found = choice_of(model, Errors(model, stem=GOOD_ERROR / 2), ["max", "mse"])
    assert sorted(found.in_int8) == sorted(LAYERS)
    assert found.apart.error == GOOD_ERROR / 2


def test_the_method_with_the_least_error_is_taken() -> None:
    model = unet(channels=64)
    wide, narrow = ranges(model)["max"], ranges(model)["mse"]

    def apart(quantised: ModelProto) -> Apart:
        constants = constants_of(quantised)
        if "a_scale" not in constants:
            return Apart(0.0, 1.0, 0.0)
        scale = float(constants["a_scale"])
        narrower = abs(scale - narrow["a"] / 127) < abs(scale - wide["a"] / 127)
        return Apart(0.001 if narrower else 0.002, 1.0, 0.0)

    found = choice_of(model, apart, ["max", "mse"])
    assert found.way == Way("mse")
    assert {name: one.error for name, one in found.ways.items()} == {
        "max": 0.002,
        "max, biases corrected": 0.002,
        "mse": 0.001,
        "mse, biases corrected": 0.001,
    }


def test_the_layers_that_cost_most_go_back_to_float() -> None:
    model = unet(channels=64)
    found = choice_of(model, Errors(model, stem=0.05, head=0.02, down=0.001), ["max"])
    assert [layer.name for layer in found.layers] == ["stem", "head", "down", "join"], "most sensitive first"
    assert {layer.name for layer in found.layers if layer.in_float} == {"stem", "head"}
    assert found.apart.error == 0.001


def test_a_layer_that_is_much_of_the_work_stays_int8_whatever_it_costs() -> None:
    model = unet(channels=64)
    found = choice_of(model, Errors(model, join=0.5, head=0.1), ["max"])
    work = {layer.name: layer.work for layer in found.layers}
    assert work["join"] > MOST_FLOAT
    assert sum(work.values()) <= 1
    assert {layer.name for layer in found.layers if layer.in_float} == {"head"}


def test_layers_that_do_not_help_end_the_search() -> None:
    model = unet(channels=64)

    def apart(quantised: ModelProto) -> Apart:
        return Apart(0.1 if any(node.op_type == "QuantizeLinear" for node in quantised.graph.node) else 0.0, 1.0, 0.0)

    found = choice_of(model, apart, ["max"])
    assert found.in_int8 == [layer.name for layer in found.layers]
    assert found.apart.error == 0.1


def test_scores_that_rank_otherwise_send_layers_back_to_float_though_the_error_is_small() -> None:
    model = unet(channels=64)

    def apart(quantised: ModelProto) -> Apart:
        inputs = {node.name: node.input[0] for node in quantised.graph.node}
        spoilt = inputs["head"].endswith("_dq")
        return Apart(0.004 if spoilt else 0.001, GOOD_RANKS - 0.01 if spoilt else 1.0, 0.0)

    found = choice_of(model, apart, ["max"])
    assert [layer.name for layer in found.layers if layer.in_float] == ["head"]
    assert found.apart == Apart(0.001, 1.0, 0.0)


def test_all_three_figures_must_be_good_enough_and_what_mends_one_counts() -> None:
    assert Apart(GOOD_ERROR * 0.99, GOOD_RANKS + 1e-6, GOOD_AUPRO_DROP * 0.99).good_enough
    for bad in (Apart(GOOD_ERROR * 1.1, 1, 0), Apart(0, GOOD_RANKS - 0.001, 0), Apart(0, 1, GOOD_AUPRO_DROP * 1.1)):
        assert not bad.good_enough
    assert Apart(0.0, 1.0, -0.1).excess == 0, "an AUPRO that rises pays for nothing"
    assert Apart(GOOD_ERROR, 0.9, 0.2).excess < Apart(2 * GOOD_ERROR, 0.9, 0.2).excess


def test_a_layer_that_is_hardly_any_work_goes_first() -> None:
    """Else a dear one would go that the cheap one makes needless."""
    model = unet(channels=64)
    found = choice_of(model, Errors(model, down=0.009, stem=0.008), ["max"])
    assert [layer.name for layer in found.layers if layer.in_float] == ["stem"]


def test_every_layer_is_asked_for_once_alone() -> None:
    model = unet(channels=64)
    errors = Errors(model)
    choice_of(model, errors, ["max", "mse"])
    assert errors.asked == 2 * 2 + len(quantisable(model))


def test_corrected_biases_are_kept_where_they_serve_and_with_them_every_file() -> None:
    model = unet(channels=64)
    made: list[Way] = []

    def make(way: Way, layers: Sequence[str]) -> ModelProto:
        made.append(way)
        return quantised(model, ranges(model)[way.method], layers)

    def apart(_: ModelProto) -> Apart:
        return Apart(0.02 if made[-1].corrected else 0.03, 1.0, 0.0)

    found = chosen(model, make, apart, ["max"])
    assert found.way == Way("max", corrected=True)
    assert made[-1] == found.way, "what goes back to float is tried in the way that was chosen"
    assert found.apart.error == 0.02


def test_a_convolution_of_one_channel_counts_as_one_of_sixteen() -> None:
    """Engines compute that many at a time: on a CPU it takes as long."""
    model = unet(channels=16)
    work = {layer.name: layer.work for layer in choice_of(model, Errors(model), ["max"]).layers}
    assert work["head"] == pytest.approx(work["join"] / 2), "of half as many input channels at the same size"
