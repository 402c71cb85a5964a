"""What sad adds to an inference: capture of a part to its decision in a subscriber's hands, over bare inference.

A folder of pictures stands in for a camera at the rate of a line; a `Subscriber` in this process takes the decisions.
Bare inference is the same backend on the same pictures at the same rate, in this process, in blocks between the line's
(which is paused meanwhile), so that both see the same machine. Both clocks are CLOCK_MONOTONIC.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from figure import Figure, Spread, spread
from line import Line
from material import SPEC, Material
from numpy.typing import NDArray

from sad_runtime.backends.base import Backend
from sad_runtime.backends.openvino import OpenVINOBackend
from sad_runtime.pictures import picture_files, read_picture
from sad_runtime.subscriber import Subscriber
from sad_runtime.verdict import Verdict

RATES = (20, 60)
PARTS, BLOCK = 600, 50
QUIET_MS = 300.0
BUDGET = Spread(1.5, 5.0)
BARE = "Backend.infer on the same pictures at the same rate, in blocks between"
Times = dict[str, list[float]]


def figures(material: Material, quick: bool) -> list[Figure]:
    pictures = [read_picture(path) for path in picture_files(material.pictures, recursive=False)]
    found = []
    with OpenVINOBackend(material.model.read_bytes(), SPEC) as backend:
        backend.warm_up()
        for rate in RATES[-1:] if quick else RATES:
            line, bare = _interleaved(material, backend, pictures, rate, 20 if quick else PARTS)
            found += _figures(rate, line, bare)
        flat_out = _bare_block(backend, pictures, 20 if quick else 200, 0.0)
    return [*found, Figure("bare inference without a pause", "ms", spread(flat_out))]


def _figures(rate: int, line: Times, bare: list[float]) -> list[Figure]:
    total = Figure(
        f"decision at a subscriber, {rate} parts/s",
        "ms",
        spread(line["total"]),
        spread(bare),
        BARE,
        "more",
        at_most=BUDGET,
    )
    line["grab (over before the capture)"] = line.pop("grab")
    steps = [Figure(f"  {step}", "ms", spread(values)) for step, values in line.items() if step != "total"]
    return [total, *steps]


def _interleaved(
    material: Material, backend: Backend, pictures: Sequence[NDArray[np.uint8]], rate: int, parts: int
) -> tuple[Times, list[float]]:
    """(times of the line by step, of bare inference), ms, in turn."""
    line_times: Times = defaultdict(list)
    bare: list[float] = []
    camera = f"folder:{material.pictures}?fps={rate}&loop=1"
    with Line(material.bundle, camera, "--backend", "openvino") as line, Subscriber(line.decisions) as feed:
        line.next_decision(feed)
        for _ in range(max(1, parts // BLOCK)):
            line.order("resume")
            _line_block(line, feed, min(parts, BLOCK), line_times)
            line.order("pause")
            while feed.poll(QUIET_MS) is not None:
                pass  # what was under way; heartbeats go on
            bare += _bare_block(backend, pictures, min(parts, BLOCK), 1 / rate)
        if feed.lost:
            raise RuntimeError(f"{feed.lost} decisions were lost")
    return line_times, bare


def _line_block(line: Line, feed: Subscriber, parts: int, times: Times) -> None:
    """Adds `parts` decisions to `times`; the first after a pause is not counted, here as there."""
    line.next_decision(feed)
    for _ in range(parts):
        decision = line.next_decision(feed)
        total_ms = feed.age_ms(decision)
        if decision.verdict is not Verdict.PASS or feed.recovered(decision):
            raise RuntimeError(f"part {decision.seq} came out {decision.verdict.value} {decision.reason.value}")
        times["total"].append(total_ms)
        times["all but its own inference"].append(total_ms - decision.latency_ms["infer"])
        for step, value in decision.latency_ms.items():
            times[step].append(value)
        times["transport"].append(total_ms - decision.age_ms)


def _bare_block(backend: Backend, pictures: Sequence[NDArray[np.uint8]], parts: int, period_s: float) -> list[float]:
    """ms of `parts` inferences, one every `period_s`; one more before them is not counted."""
    times = []
    due_s = time.monotonic()
    for number in range(parts + 1):
        time.sleep(max(0.0, due_s - time.monotonic()))
        due_s = max(due_s, time.monotonic()) + period_s
        began = time.perf_counter()
        backend.infer(pictures[number % len(pictures)][np.newaxis])
        times.append(1e3 * (time.perf_counter() - began))
    return times[1:]
