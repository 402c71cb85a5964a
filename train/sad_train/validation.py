"""How a training stands, in figures that need no defects: validation pictures, clean and with synthetic anomalies.

These are shown, not chosen by. The anomalies are the same for every method (NSA's, with constants measured from the
good set); they say whether a training learns, not how well it will find real defects.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from sad_train.data.profile import Profile
from sad_train.graph import InspectionGraph
from sad_train.metrics.image import image_auroc
from sad_train.synthesis.nsa import nsa_anomaly
from sad_train.synthesis.nsa_recipe import probe_recipe

MOST_PICTURES = 64
"""More would take longer than they are worth: they are judged twenty times a training."""


def validation_metrics(
    graph: InspectionGraph, pictures: NDArray[np.uint8], profile: Profile, seed: int, device: str
) -> dict[str, float]:
    """`synthetic_auroc` and the mean scores of clean and anomalous validation pictures; {} when there are none.

    A picture in which nothing shows is clean, so it is left out of the anomalous ones.
    """
    if not len(pictures):
        return {}
    pictures = pictures[:: -(-len(pictures) // MOST_PICTURES)]
    rng, recipe = np.random.default_rng([seed, 104729]), probe_recipe(profile)
    made = [nsa_anomaly(picture, pictures[index - 1], recipe, rng) for index, picture in enumerate(pictures)]
    anomalous = [one.picture for one in made if one.shows]
    clean = scores(graph, pictures, device)
    if not anomalous:
        return {"clean_score": float(clean.mean())}
    found = scores(graph, np.stack(anomalous), device)
    labels = np.repeat([False, True], [len(clean), len(found)])
    return {
        "synthetic_auroc": float(image_auroc(labels, np.concatenate([clean, found])) or 0.0),
        "clean_score": float(clean.mean()),
        "synthetic_score": float(found.mean()),
    }


@torch.no_grad()
def scores(graph: InspectionGraph, pictures: NDArray[np.uint8], device: str) -> NDArray[np.float64]:
    """(n,) scores of pictures (n, H, W, C) uint8."""
    chunks = [pictures[start : start + graph.at_once] for start in range(0, len(pictures), graph.at_once)]
    return np.concatenate([graph(torch.from_numpy(chunk).to(device))[1].double().cpu().numpy() for chunk in chunks])
