"""The training loop, to be read in one sitting: data, step, check, save."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from sad_runtime.cli.progress import Progress
from sad_runtime.errors import SadError
from sad_runtime.manifest import InputSpec
from sad_train.config import TrainConfig
from sad_train.examples import Examples, FromStep
from sad_train.graph import InspectionGraph, network_for
from sad_train.methods import nsa
from sad_train.profile import Profile
from sad_train.run import Checkpoint, Provenance, Run
from sad_train.validation import validation_metrics

NOTES = 20
"""How many times a run writes its metrics."""


def train(
    run: Run,
    pictures: NDArray[np.uint8],
    watched: NDArray[np.uint8],
    spec: InputSpec,
    config: TrainConfig,
    profile: Profile,
    provenance: Provenance,
    *,
    device: str,
    resume: Checkpoint | None = None,
) -> Checkpoint:
    """Trains on `pictures` (n, H, W, C) uint8 for `config.steps` steps and leaves the last checkpoint in `run`.

    `watched` are validation pictures, scored now and then to be reported; nothing is chosen by them.
    """
    torch.manual_seed(config.seed)
    examples = Examples(pictures, config, nsa.recipe_for(config.nsa, profile), profile)
    graph = InspectionGraph(network_for(config, spec.channels), spec, config).to(
        device, memory_format=torch.channels_last
    )  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(graph.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    step, seconds_before = 0, 0.0
    if resume is not None:
        graph.network.load_state_dict(resume.network)
        optimiser.load_state_dict(resume.optimiser)
        step, seconds_before = resume.step, resume.seconds
    amp = _mixed_precision(device)
    scaler = torch.amp.GradScaler(device, enabled=amp is torch.float16)

    def checkpoint() -> Checkpoint:
        _check_finite(all(bool(weight.isfinite().all()) for weight in graph.parameters()), step, run)
        seconds = seconds_before + time.monotonic() - started
        state, moments = graph.network.state_dict(), optimiser.state_dict()
        return Checkpoint(step, seconds, config, spec, profile, provenance, state, moments)

    started = saved = time.monotonic()
    progress = Progress("training", config.steps, done=step)
    losses: list[float] = []
    empty = 0
    waited_s = 0.0
    graph.train()
    batches = _batches(examples, step, config, device)
    while step < config.steps:
        asked = time.monotonic()
        images, labels, patches = next(batches)
        waited_s += time.monotonic() - asked
        empty += int((patches == 0).sum()) - examples.clean

        for group in optimiser.param_groups:
            group["lr"] = _learning_rate(step, config)
        x = graph.normalised(images.to(device, non_blocking=True)).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device, amp or torch.bfloat16, enabled=amp is not None):
            logits, _ = graph.logits(x)
        loss = nsa.loss(logits.float(), labels.to(device, non_blocking=True), config)
        optimiser.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.step(optimiser)
        scaler.update()
        step += 1

        value = float(loss.detach())
        losses.append(value)
        _check_finite(math.isfinite(value), step, run)
        if step % max(1, config.steps // NOTES) == 0 or step == config.steps:
            notes = {
                "step": step,
                "loss": float(np.mean(losses)),
                "without_patch": empty / (len(losses) * (config.batch - examples.clean)),
                "loader_share": waited_s / (time.monotonic() - started),
            }
            run.note(notes | validation_metrics(graph, watched, examples, device))
            losses.clear()
            empty = 0
            graph.train()
        if time.monotonic() - saved > config.checkpoint_every_s:
            run.save(checkpoint())
            saved = time.monotonic()
        progress.step(step, f"loss {value:.4f}")
    last = checkpoint()
    run.save(last)
    return last


def _batches(
    examples: Examples, step: int, config: TrainConfig, device: str
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    workers = config.workers if config.workers is not None else max(1, torch.get_num_threads() - 1)
    loader = DataLoader(
        examples,
        batch_size=config.batch,
        sampler=FromStep(examples, step),
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,  # workers share the pictures instead of copying them
        pin_memory=device == "cuda",
        prefetch_factor=4 if workers else None,
        worker_init_fn=_single_threaded,
    )
    return iter(loader)


def _check_finite(finite: bool, step: int, run: Run) -> None:
    if not finite:
        raise SadError(
            f"{run.folder}: the loss or a weight is not a number at step {step}; the last good checkpoint is kept. "
            "Lower learning_rate, or look for odd pictures with sad-train --check"
        )


def _single_threaded(worker: int) -> None:
    """Worker processes share the cores; OpenCV's own threads would fight over them."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def _learning_rate(step: int, config: TrainConfig) -> float:
    """A short linear start, then one cosine to the final rate."""
    start = min(50, config.steps // 10)
    if step < start:
        return config.learning_rate * (step + 1) / start
    share = (step - start) / max(1, config.steps - start)
    span = config.learning_rate - config.final_learning_rate
    return config.final_learning_rate + span * (1 + math.cos(math.pi * share)) / 2


def _mixed_precision(device: str) -> torch.dtype | None:
    """bf16 on GPUs that have it, else fp16; full precision on a CPU."""
    if device != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
