"""How many NSA training examples a core makes a second, beside the authors' recipe on the same pictures and constants.

CPU time of the whole process is counted, not the clock: a core's worth, whatever else the machine does. The recipe of
the paper has no nuisance light and pose; ours is measured with and without, both against the same reference. The
batched twin for GPUs is timed on the CPU in the same way, and on a GPU, where there is one, by the clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np
import torch
from figure import Figure, Spread, spread
from material import Material
from numpy.typing import NDArray

from sad_runtime.cameras.demo.parts import render
from sad_train.synthesis.nsa import NsaRecipe

PARTS = {"washer": "object", "fabric": "texture"}
PICTURES, ROUNDS, BLOCK = 12, 12, 8
BATCH = 64
BUDGET = Spread(10.0)
REFERENCE = "the authors' recipe (reference_nsa.py)"


def figures(material: Material, quick: bool) -> list[Figure]:
    threads, torch_threads = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        return [figure for part in PARTS for figure in _part(part, 1 if quick else ROUNDS)]
    finally:
        cv2.setNumThreads(threads)
        torch.set_num_threads(torch_threads)


def _part(part: str, rounds: int) -> list[Figure]:
    from reference_nsa import reference_example

    from sad_train.config import TrainConfig
    from sad_train.data.profile import measured_profile
    from sad_train.examples import Examples
    from sad_train.methods.table import maker_for
    from sad_train.synthesis.nsa import nsa_anomaly
    from sad_train.synthesis.nsa_recipe import recipe_for

    pictures = np.stack([render(part, seed=3, index=index).image for index in range(PICTURES)])
    config = TrainConfig(clean_share=0.0)  # every example an anomaly, as in the paper
    profile = measured_profile(list(pictures))
    recipe = recipe_for(config.nsa, profile)
    whole = Examples(pictures, config, maker_for(config, profile), profile)
    rng, reference_rng = np.random.default_rng(0), np.random.default_rng(0)

    def ours(number: int) -> None:
        nsa_anomaly(pictures[number % PICTURES], pictures[(number - 1) % PICTURES], recipe, rng)

    def reference(number: int) -> None:
        reference_example(pictures[number % PICTURES], pictures[(number - 1) % PICTURES], recipe, reference_rng)

    bare, nuisance, peer = _interleaved([ours, lambda number: whole.example(number), reference], rounds)
    batched = _batched_ms(pictures, recipe, "cpu", 1 if rounds == 1 else 3)
    kind = f"{part} ({PARTS[part]})"
    return [
        _rate(f"{kind}, per core", bare, peer),
        _rate(f"{kind} with nuisance light and pose, per core", nuisance, peer),
        Figure(f"  {kind}, CPU time of one", "ms", spread(bare), spread(peer), "", "alone"),
        _rate(f"{kind}, the batched twin on the CPU, per core", batched, peer, budget=None),
        *_on_gpu(kind, pictures, recipe),
    ]


def _on_gpu(kind: str, pictures: NDArray[np.uint8], recipe: NsaRecipe) -> list[Figure]:
    if not torch.cuda.is_available():
        return []
    rates = Spread(float(1e3 / np.mean(_batched_ms(pictures, recipe, "cuda", 20))))
    return [Figure(f"{kind}, the batched twin on the GPU, by the clock", "1/s", rates)]


def _batched_ms(pictures: NDArray[np.uint8], recipe: NsaRecipe, device: str, rounds: int) -> list[float]:
    """ms an example, for each batch of BATCH: CPU time, or the clock's on a GPU. A first batch is not counted."""
    from sad_train.synthesis.nsa_batched import nsa_batch

    here = torch.from_numpy(pictures)[torch.arange(BATCH) % len(pictures)].to(device)
    there, generator = here.roll(1, 0), torch.Generator().manual_seed(0)
    now = time.process_time if device == "cpu" else _synchronized
    times = []
    for _ in range(rounds + 1):
        began = now()
        nsa_batch(here, there, recipe, generator)
        times.append(1e3 * (now() - began) / BATCH)
    return times[1:]


def _synchronized() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def _rate(what: str, ours_ms: list[float], peer_ms: list[float], budget: Spread | None = BUDGET) -> Figure:
    rates = [Spread(float(1e3 / np.mean(times))) for times in (ours_ms, peer_ms)]
    return Figure(what, "1/s", rates[0], rates[1], REFERENCE, "times", at_least=budget)


def _interleaved(makers: list[Callable[[int], object]], rounds: int) -> list[list[float]]:
    """ms of CPU for each example of each maker, in blocks in turn; a first one of each is not counted."""
    times: list[list[float]] = [[] for _ in makers]
    for maker in makers:
        maker(0)
    for turn in range(rounds):
        for maker, taken in zip(makers, times, strict=True):
            for number in range(turn * BLOCK, (turn + 1) * BLOCK):
                began = time.process_time()
                maker(number)
                taken.append(1e3 * (time.process_time() - began))
    return times
