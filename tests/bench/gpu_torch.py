"""Torch-CUDA in place of TensorRT, where no TensorRT takes the chip: the same network, named for what it is.

Says what the GPU and CUDA graphs can do; says nothing of TensorRT, and is no backend of the runtime.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from figure import Figure, spread
from material import SIZE_PX, SPEC

NAME = "torch-CUDA, not TensorRT"
Outputs = tuple[Any, ...]
"""Tensors: heatmap, score, embedding."""


def available() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def figures(rounds: int, runs: int) -> list[Figure]:
    """One picture, fp32, with and without a CUDA graph, in turn with the bare network without copies."""
    import torch

    from sad_train.config import TrainConfig
    from sad_train.graph import InspectionGraph
    from sad_train.networks.small_unet import SmallUNet

    torch.manual_seed(0)
    graph = InspectionGraph(SmallUNet(SPEC.channels), SPEC, TrainConfig(size_px=SIZE_PX)).eval().cuda()
    pinned = torch.zeros((1, *SPEC.shape), dtype=torch.uint8).pin_memory()
    picture = pinned.cuda()
    with torch.inference_mode():
        replay = _captured(graph, picture)

        def eager() -> None:
            picture.copy_(pinned, non_blocking=True)
            [output.cpu() for output in graph(picture)]

        def graphed() -> None:
            picture.copy_(pinned, non_blocking=True)
            [output.cpu() for output in replay()]

        ways: dict[str, Callable[[], object]] = {
            "eager, with copies": eager,
            "CUDA graph, with copies": graphed,
            "eager, bare": lambda: graph(picture),
            "CUDA graph, bare": replay,
        }
        times = _in_turn(ways, rounds, runs)
    return [
        Figure(
            f"{NAME}: one picture, {way}",
            "ms",
            spread(times[f"{way}, with copies"]),
            spread(times[f"{way}, bare"]),
            "the same without copies",
            "more",
        )
        for way in ("eager", "CUDA graph")
    ]


def _captured(graph: Callable[..., Outputs], picture: Any) -> Callable[[], Outputs]:
    import torch

    side: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # the first runs allocate, and torch wants them on another stream
    with torch.cuda.stream(side):
        for _ in range(3):
            graph(picture)
    torch.cuda.synchronize()
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        outputs = graph(picture)

    def replay() -> Outputs:
        recorded.replay()
        return outputs

    return replay


def _in_turn(ways: dict[str, Callable[[], object]], rounds: int, runs: int) -> dict[str, list[float]]:
    import torch

    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            for run in range(runs + 1):
                began_s = time.perf_counter()
                way()
                torch.cuda.synchronize()
                if run:  # the first after another way is not counted
                    times[name].append(1e3 * (time.perf_counter() - began_s))
    return times
