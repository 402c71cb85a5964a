"""How many NSA training examples a core makes a second, beside the authors' recipe on the same pictures and constants.

CPU time is counted, not the clock, in one thread: a core's worth, whatever else the machine does. The recipe of the
paper has no nuisance light and pose; ours is measured with and without, both against the same reference.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np
from figure import Figure, Spread, spread
from material import Material

from sad_runtime.cameras.demo.parts import render

PARTS = {"washer": "object", "fabric": "texture"}
PICTURES, ROUNDS, BLOCK = 12, 12, 8
BUDGET = Spread(10.0)
REFERENCE = "the authors' recipe (reference_nsa.py)"


def figures(material: Material, quick: bool) -> list[Figure]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return [figure for part in PARTS for figure in _part(part, 1 if quick else ROUNDS)]
    finally:
        cv2.setNumThreads(threads)


def _part(part: str, rounds: int) -> list[Figure]:
    from reference_nsa import reference_example

    from sad_train.config import TrainConfig
    from sad_train.examples import Examples
    from sad_train.methods.nsa import recipe_for
    from sad_train.profile import measured_profile
    from sad_train.synthesis.nsa import nsa_anomaly

    pictures = np.stack([render(part, seed=3, index=index).image for index in range(PICTURES)])
    config = TrainConfig(clean_share=0.0)  # every example an anomaly, as in the paper
    profile = measured_profile(list(pictures))
    recipe = recipe_for(config.nsa, profile)
    whole = Examples(pictures, config, recipe, profile)
    rng, reference_rng = np.random.default_rng(0), np.random.default_rng(0)

    def ours(number: int) -> None:
        nsa_anomaly(pictures[number % PICTURES], pictures[(number - 1) % PICTURES], recipe, rng)

    def reference(number: int) -> None:
        reference_example(pictures[number % PICTURES], pictures[(number - 1) % PICTURES], recipe, reference_rng)

    bare, nuisance, peer = _interleaved([ours, lambda number: whole.example(number), reference], rounds)
    kind = f"{part} ({PARTS[part]})"
    return [
        _rate(f"{kind}", bare, peer),
        _rate(f"{kind} with nuisance light and pose", nuisance, peer),
        Figure(f"  {kind}, CPU time of one", "ms", spread(bare), spread(peer), "", "alone"),
    ]


def _rate(what: str, ours_ms: list[float], peer_ms: list[float]) -> Figure:
    rates = [Spread(float(1e3 / np.mean(times))) for times in (ours_ms, peer_ms)]
    return Figure(f"{what}, per core", "1/s", rates[0], rates[1], REFERENCE, "times", at_least=BUDGET)


def _interleaved(makers: list[Callable[[int], object]], rounds: int) -> list[list[float]]:
    """ms of CPU for each example of each maker, in blocks in turn; a first one of each is not counted."""
    times: list[list[float]] = [[] for _ in makers]
    for maker in makers:
        maker(0)
    for turn in range(rounds):
        for maker, taken in zip(makers, times, strict=True):
            for number in range(turn * BLOCK, (turn + 1) * BLOCK):
                began = time.thread_time()
                maker(number)
                taken.append(1e3 * (time.thread_time() - began))
    return times
