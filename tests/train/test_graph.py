"""The graph contract in torch: what goes in, what comes out, what the mask and the crop do to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from sad_runtime.errors import ConfigError
from sad_runtime.manifest import InputSpec
from sad_runtime.schema import parse
from sad_train.config import TrainConfig
from sad_train.data.profile import measured_profile
from sad_train.graph import MEAN_BGR, NEVER, STD_BGR, InspectionGraph
from sad_train.networks.seen import Seen
from sad_train.networks.segmenters import segmenter_for

SIZE = 64


class Brightness(nn.Module):
    """A network whose logit is ten times the normalised first channel, so that heatmaps are known beforehand."""

    def __init__(self, quarter: bool = False) -> None:
        super().__init__()
        self.quarter = quarter

    def forward(self, x: Tensor) -> Seen:
        logits = 10 * x[:, :1]
        return Seen(F.avg_pool2d(logits, 4) if self.quarter else logits, F.avg_pool2d(x, 32))


def graph_of(stub: nn.Module | None = None, *, size: int = SIZE, channels: int = 3, **settings: Any) -> InspectionGraph:
    config = parse(TrainConfig, {"size_px": size, **settings}, "test")
    spec = InputSpec(height=size, width=size, channels=channels)
    torch.manual_seed(0)
    flat = measured_profile([np.zeros(spec.shape, np.uint8)])
    return InspectionGraph(stub or segmenter_for(config, flat, channels), spec, config).eval()


def picture(seed: int = 0, count: int = 1, size: int = SIZE, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, channels)).astype(np.uint8)


@torch.no_grad()
def run(graph: InspectionGraph, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
    return tuple(output.numpy() for output in graph(torch.from_numpy(image)))


def logits_of(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What Brightness says of each pixel."""
    return np.asarray(10 * (image[..., 0] / 255 - MEAN_BGR[0]) / STD_BGR[0])


@pytest.mark.parametrize("network", ["small_unet", "nsa_resnet18"])
@pytest.mark.parametrize("channels", [1, 3])
def test_raw_pixels_go_in_and_heatmap_score_and_embedding_come_out(network: str, channels: int) -> None:
    graph = graph_of(channels=channels, network=network)
    heatmap, score, embedding = run(graph, picture(count=2, channels=channels))
    assert heatmap.shape == (2, SIZE, SIZE)
    assert score.shape == (2,)
    assert embedding.shape == (2, 128 if network == "small_unet" else 512)
    assert {heatmap.dtype, score.dtype, embedding.dtype} == {np.dtype(np.float32)}
    assert np.isfinite(heatmap).all()


def test_each_picture_of_a_batch_is_judged_as_if_alone() -> None:
    graph = graph_of()
    images = picture(count=3)
    together = run(graph, images)
    for index in range(3):
        alone = run(graph, images[index : index + 1])
        for whole, one in zip(together, alone, strict=True):
            assert whole[index] == pytest.approx(one[0], abs=1e-4)


def test_colours_are_normalised_in_opencvs_order() -> None:
    image = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    image[..., 2] = 255  # red
    normalised = graph_of().normalised(torch.from_numpy(image))
    expected = (np.array([0, 0, 1]) - MEAN_BGR) / STD_BGR
    assert normalised.shape == (1, 3, SIZE, SIZE)
    assert normalised[0, :, 5, 7].numpy() == pytest.approx(expected, abs=1e-5)


def test_the_heatmap_is_the_networks_logits_at_the_size_of_the_picture() -> None:
    image = picture()
    assert run(graph_of(Brightness()), image)[0] == pytest.approx(logits_of(image), abs=1e-4)
    coarse = run(graph_of(Brightness(quarter=True)), np.full((1, SIZE, SIZE, 3), 90, np.uint8))[0]
    assert coarse == pytest.approx(
        np.full((1, SIZE, SIZE), logits_of(np.full((1, 1, 1, 3), 90, np.uint8)).item()), abs=1e-4
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_peak_score_is_the_highest_mean_of_8_by_8_pixels_every_4(seed: int) -> None:
    image = picture(seed)
    logits = logits_of(image)[0]
    windows = [logits[y : y + 8, x : x + 8].mean() for y in range(0, SIZE - 7, 4) for x in range(0, SIZE - 7, 4)]
    assert run(graph_of(Brightness()), image)[1] == pytest.approx(max(windows), abs=1e-4)


def test_a_spot_anywhere_in_the_picture_raises_the_peak_score() -> None:
    graph = graph_of(Brightness())
    dark = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    ordinary = run(graph, dark)[1].item()
    for y, x in ((0, 0), (0, 60), (60, 60), (31, 33)):
        image = dark.copy()
        image[0, y : y + 4, x : x + 4] = 255
        assert run(graph, image)[1].item() > ordinary + 5


def test_the_mean_score_is_the_logit_of_the_mean_probability() -> None:
    image = picture()
    mean = (1 / (1 + np.exp(-logits_of(image)))).mean()
    assert run(graph_of(Brightness(), score="mean"), image)[1] == pytest.approx(np.log(mean / (1 - mean)), abs=1e-4)


@pytest.mark.parametrize("level", [0, 255])
def test_the_mean_score_stays_finite_where_every_pixel_is_sure(level: int) -> None:
    sure = graph_of(Brightness(), score="mean")
    sure.scale = 20 * torch.as_tensor(sure.scale)
    assert np.isfinite(run(sure, np.full((1, SIZE, SIZE, 3), level, np.uint8))[1]).all()


@pytest.mark.parametrize("score", ["peak", "mean"])
def test_what_lies_under_the_ignore_mask_never_counts(score: str) -> None:
    graph = graph_of(Brightness(), score=score)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[8:40, 12:50] = 255
    graph.ignore(mask)
    image = picture()
    hot = image.copy()
    hot[0, mask > 0] = 255
    heatmap, quiet, _ = run(graph, image)
    hot_heatmap, loud, _ = run(graph, hot)
    assert np.array_equal(heatmap, hot_heatmap)
    assert quiet == loud
    assert (heatmap[0, mask > 0] == NEVER).all()
    assert heatmap[0, mask == 0] == pytest.approx(logits_of(image)[0, mask == 0], abs=1e-4)


def test_an_ignored_area_beside_a_quiet_part_does_not_raise_the_score() -> None:
    graph = graph_of(Brightness())
    dark = np.full((1, SIZE, SIZE, 3), 60, np.uint8)
    before = run(graph, dark)[1]
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[:, 32:] = 255
    graph.ignore(mask)
    assert run(graph, dark)[1] <= before


def test_the_papers_crop_sees_the_centre_and_never_judges_the_rim() -> None:
    graph = graph_of(Brightness(), crop_px=32)
    image = picture()
    heatmap = run(graph, image)[0]
    centre = (slice(None), slice(16, 48), slice(16, 48))
    assert heatmap[centre] == pytest.approx(logits_of(image)[centre], abs=1e-4)
    rim = np.ones((1, SIZE, SIZE), bool)
    rim[centre] = False
    assert (heatmap[rim] == NEVER).all()
    image[rim] = 255
    assert np.array_equal(run(graph, image)[0], heatmap)


def test_an_uneven_rim_is_padded_to_the_full_size() -> None:
    assert run(graph_of(Brightness(), size=65, crop_px=32), picture(size=65))[0].shape == (1, 65, 65)


@pytest.mark.parametrize("settings", [{"size_px": 100}, {"size_px": 64, "crop_px": 96}, {"size_px": 64, "crop_px": 50}])
def test_sizes_that_no_network_takes_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        parse(TrainConfig, settings, "test")


def test_a_one_channel_graph_takes_one_channel() -> None:
    heatmap, score, _ = run(graph_of(channels=1), picture(channels=1))
    assert heatmap.shape == (1, SIZE, SIZE)
    assert score.shape == (1,)
