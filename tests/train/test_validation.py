"""Validation figures: nothing is called an anomaly that is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sad_runtime.cameras.demo.parts import render
from sad_runtime.manifest import InputSpec
from sad_train import validation
from sad_train.config import TrainConfig
from sad_train.data.profile import measured_profile
from sad_train.graph import InspectionGraph
from sad_train.networks.seen import Seen
from sad_train.synthesis.nsa import Anomaly, nsa_anomaly

PICTURES = np.stack([render("washer", seed=1, index=index, size_px=64).image for index in range(6)])
PROFILE = measured_profile(list(PICTURES))


class Brightness(nn.Module):
    def forward(self, x: Tensor) -> Seen:
        return Seen(x.mean(1, keepdim=True), x)


def figures() -> dict[str, float]:
    graph = InspectionGraph(Brightness(), InputSpec(height=64, width=64, channels=3), TrainConfig(size_px=64))
    return validation.validation_metrics(graph, PICTURES, PROFILE, 0, "cpu")


def some_without(monkeypatch: pytest.MonkeyPatch, found: Iterator[bool]) -> None:
    """Where none is found the generator gives the picture back as it was; here scrambled, so that it would count."""

    def made(picture: np.ndarray, *rest: object) -> Anomaly:
        anomaly = nsa_anomaly(picture, *rest)  # type: ignore[arg-type]
        return (
            anomaly
            if next(found)
            else replace(anomaly, picture=np.zeros_like(picture), label=np.zeros_like(anomaly.label), patches=0)
        )

    monkeypatch.setattr(validation, "nsa_anomaly", made)


def test_a_picture_without_a_place_for_an_anomaly_is_not_counted_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = figures()
    some_without(monkeypatch, iter([True, False] * 3))
    some = figures()
    assert some["clean_score"] == whole["clean_score"]
    assert some["synthetic_score"] > torch.finfo(torch.float32).min
    assert abs(some["synthetic_score"] - whole["synthetic_score"]) < 0.5, "black pictures would be far below"


def test_without_any_anomaly_there_is_no_auroc(monkeypatch: pytest.MonkeyPatch) -> None:
    some_without(monkeypatch, iter([False] * 6))
    assert figures().keys() == {"clean_score"}


def test_of_many_pictures_at_most_64_are_judged_evenly_over_the_set(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[int] = []

    def scores(graph: InspectionGraph, pictures: np.ndarray, device: str) -> np.ndarray:
        judged.append(len(pictures))
        return np.arange(len(pictures), dtype=float)

    monkeypatch.setattr(validation, "scores", scores)
    graph = InspectionGraph(Brightness(), InputSpec(height=64, width=64, channels=3), TrainConfig(size_px=64))
    many = np.repeat(PICTURES, 30, axis=0)  # 180
    validation.validation_metrics(graph, many, PROFILE, 0, "cpu")
    assert judged[0] == 60  # every third
