"""Pictures that show what a training was fed and what it learnt: `previews/` of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from sad_runtime.decide import Thresholds
from sad_runtime.errors import DataError
from sad_runtime.files import made_folder, write_atomically
from sad_runtime.heatmap import overlay
from sad_runtime.manifest import InputSpec
from sad_runtime.pictures import encode_png
from sad_train.config import TrainConfig
from sad_train.data.dataset import Dataset
from sad_train.data.goodset import all_grey, loaded
from sad_train.data.profile import MOST_PICTURES, Profile, measured_profile
from sad_train.examples import Examples
from sad_train.graph import NEVER, InspectionGraph
from sad_train.methods.base import Outcome, Sample
from sad_train.methods.table import maker_for, method_named
from sad_train.pixels import Picture
from sad_train.run import Checkpoint, Run
from sad_train.synthesis.nsa import nsa_anomaly
from sad_train.synthesis.nsa_recipe import probe_recipe
from sad_train.torch_backend import graph_from_checkpoint

SHOWN = 12
SIDE_PX = 192
EXAMPLES_CAPTION = "What it trains on: a good picture, the anomaly made of it, and where it was changed"


def write_previews(
    run: Run, checkpoint: Checkpoint, pictures: NDArray[np.uint8], watched: NDArray[np.uint8]
) -> dict[str, str]:
    """Writes the preview pictures; returns file name -> caption."""
    config, profile = checkpoint.config, checkpoint.profile
    made = example_grid(pictures, config, profile)
    grids = {} if made is None else {"synthetic.png": (made, EXAMPLES_CAPTION)}
    if method_named(config.method).inspects:
        kind = "validation" if len(watched) else "training"
        goods = list(watched[:SHOWN] if len(watched) else pictures[:SHOWN])
        rng, recipe = np.random.default_rng(config.seed), probe_recipe(profile)
        anomalies = [nsa_anomaly(good, goods[index - 1], recipe, rng).picture for index, good in enumerate(goods)]
        clean, found = _overlays(graph_from_checkpoint(checkpoint), goods, anomalies)
        grids |= {
            "heatmaps_good.png": (_grid(clean), f"Heatmaps of good {kind} pictures"),
            "heatmaps_synthetic.png": (_grid(found), f"The same {kind} pictures with synthetic anomalies"),
        }
    for name, (grid, _) in grids.items():
        write_atomically(run.previews / name, encode_png(grid))
    return {name: caption for name, (_, caption) in grids.items()}


def write_example_grid(dataset: Dataset, config: TrainConfig, path: Path) -> Path | None:
    """What training on `dataset` would be fed; None for a method that makes no anomalies.

    Raises DataError for one that wants to and finds no place for any in these pictures.
    """
    channels = config.channels or (1 if all_grey(dataset.train_good) else 3)
    spec = InputSpec(height=config.size_px, width=config.size_px, channels=channels)
    pictures = loaded(dataset.train_good[:MOST_PICTURES], spec, config.roi_box)
    profile = measured_profile(list(pictures))
    grid = example_grid(pictures, config, profile)
    if grid is None:
        examples = Examples(pictures, config, maker_for(config, profile), profile)
        if any(examples.unlit(index)[1].outcome is Outcome.NO_PLACE for index in range(config.batch)):
            raise DataError(f"{dataset.root}: method {config.method} finds no place for any anomaly in these pictures")
        return None
    made_folder(path.parent)
    write_atomically(path, encode_png(grid))
    return path


def example_grid(pictures: NDArray[np.uint8], config: TrainConfig, profile: Profile) -> Picture | None:
    """What the method's maker does to good pictures (n, H, W, C): before, after, and the label or the difference.

    None when it does nothing.
    """
    examples = Examples(pictures, config, maker_for(config, profile), profile)
    tiles: list[Picture] = []
    for index in range(min(len(examples), 8 * SHOWN)):
        if len(tiles) == SHOWN:
            break
        before, made = examples.unlit(index)
        if made.outcome is Outcome.ANOMALOUS:
            tiles.append(_stacked(_colour(before), _colour(made.values["picture"]), _mark(before, made)))
    return _grid(tiles) if tiles else None


def _mark(before: Picture, made: Sample) -> Picture:
    """(h, w, 3): the label where the method has one, else the change, its largest in white."""
    label = made.values.get("label")
    if label is None:
        change = np.abs(made.values["picture"].astype(np.float32) - before).mean(axis=2)
        label = change / max(1.0, float(change.max()))
    return _mask(label)


@torch.no_grad()
def _overlays(graph: InspectionGraph, *groups: Sequence[Picture]) -> list[list[Picture]]:
    """The pictures of each group with their heatmaps below, on one scale: no good pixel of the first is above it."""
    heatmaps = [graph(torch.from_numpy(np.stack(group)))[0].numpy() for group in groups]
    judged = heatmaps[0][heatmaps[0] > NEVER]
    low, high = float(np.median(judged)), float(judged.max())
    scale = Thresholds(score=high, pixel=high, heatmap_low=min(low, high - 1e-3))
    return [
        [_stacked(_colour(picture), overlay(picture, heatmap, scale)) for picture, heatmap in zip(*pair, strict=True)]
        for pair in zip(groups, heatmaps, strict=True)
    ]


def _colour(picture: Picture) -> Picture:
    return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture


def _mask(label: NDArray[np.float32]) -> Picture:
    return np.repeat(np.rint(label * 255).astype(np.uint8)[..., np.newaxis], 3, axis=2)


def _stacked(*tiles: Picture) -> Picture:
    return np.vstack([cv2.resize(tile, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA) for tile in tiles])


def _grid(tiles: Sequence[Picture], columns: int = 6) -> Picture:
    blank = np.zeros_like(tiles[0])
    padded = [*tiles, *[blank] * (-len(tiles) % columns)]
    rows = [np.hstack(padded[start : start + columns]) for start in range(0, len(padded), columns)]
    return np.vstack(rows)
