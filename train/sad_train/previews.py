"""Pictures that show what a training was fed and what it learnt: `previews/` of a run."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from sad_runtime.decide import Thresholds
from sad_runtime.files import write_atomically
from sad_runtime.heatmap import overlay
from sad_runtime.pictures import encode_png
from sad_train.examples import Example, Examples
from sad_train.graph import InspectionGraph
from sad_train.methods import nsa
from sad_train.pixels import Picture
from sad_train.run import Checkpoint, Run
from sad_train.synthesis.nsa import nsa_anomaly
from sad_train.torch_backend import graph_from_checkpoint

SHOWN = 12
SIDE_PX = 192
EVEN_ODDS = 0.0
"""The logit at which a pixel is as likely anomalous as not; the middle of the colour scale before calibration."""


def write_previews(
    run: Run, checkpoint: Checkpoint, pictures: NDArray[np.uint8], watched: NDArray[np.uint8]
) -> dict[str, str]:
    """Writes the preview pictures; returns file name -> caption."""
    recipe = nsa.recipe_for(checkpoint.config.nsa, checkpoint.profile)
    examples = Examples(pictures, checkpoint.config, recipe, checkpoint.profile)
    shown = _anomalous(examples)
    goods = list(watched[:SHOWN] if len(watched) else pictures[:SHOWN])
    rng = np.random.default_rng(checkpoint.config.seed)
    anomalies = [nsa_anomaly(good, goods[index - 1], recipe, rng).picture for index, good in enumerate(goods)]
    graph = graph_from_checkpoint(checkpoint)
    kind = "validation" if len(watched) else "training"
    grids = {
        "synthetic.png": (
            [_above(_colour(e.picture), _mask(e.label)) for e in shown],
            "Synthetic anomalies and labels",
        ),
        "heatmaps_good.png": (_overlays(graph, goods), f"Heatmaps of good {kind} pictures"),
        "heatmaps_synthetic.png": (_overlays(graph, anomalies), f"The same {kind} pictures with synthetic anomalies"),
    }
    for name, (tiles, _) in grids.items():
        write_atomically(run.previews / name, encode_png(_grid(tiles)))
    return {name: caption for name, (_, caption) in grids.items()}


def _anomalous(examples: Examples) -> list[Example]:
    made = (examples.example(index) for index in range(min(len(examples), 8 * SHOWN)))
    return [example for example in made if example.patches][:SHOWN]


@torch.no_grad()
def _overlays(graph: InspectionGraph, pictures: Sequence[Picture]) -> list[Picture]:
    heatmaps = graph(torch.from_numpy(np.stack(pictures)))[0].numpy()
    scale = Thresholds(score=EVEN_ODDS, pixel=EVEN_ODDS, heatmap_low=min(-1.0, float(np.median(heatmaps))))
    return [
        _above(_colour(picture), overlay(picture, heatmap, scale))
        for picture, heatmap in zip(pictures, heatmaps, strict=True)
    ]


def _colour(picture: Picture) -> Picture:
    return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture


def _mask(label: NDArray[np.float32]) -> Picture:
    return np.repeat(np.rint(label * 255).astype(np.uint8)[..., np.newaxis], 3, axis=2)


def _above(upper: Picture, lower: Picture) -> Picture:
    return np.vstack([cv2.resize(tile, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA) for tile in (upper, lower)])


def _grid(tiles: Sequence[Picture], columns: int = 6) -> Picture:
    if not tiles:
        return np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
    blank = np.zeros_like(tiles[0])
    padded = [*tiles, *[blank] * (-len(tiles) % columns)]
    rows = [np.hstack(padded[start : start + columns]) for start in range(0, len(padded), columns)]
    return np.vstack(rows)
