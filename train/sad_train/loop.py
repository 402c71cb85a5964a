"""The training loop, to be read in one sitting: data, step, look, save."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from sad_runtime.cli.progress import Progress
from sad_runtime.errors import ConfigError, SadError
from sad_runtime.manifest import InputSpec
from sad_train.config import TrainConfig
from sad_train.data.profile import Profile
from sad_train.distributed import Ranks
from sad_train.examples import OUTCOME, Examples, FromStep
from sad_train.examples_batched import BatchedExamples
from sad_train.graph import InspectionGraph
from sad_train.methods.base import Batch, Learner, Outcome
from sad_train.methods.table import batch_maker_for, learner_for, maker_for
from sad_train.run import Checkpoint, Provenance, Run
from sad_train.settling import settle
from sad_train.validation import validation_metrics

NOTES = 20
"""How many times a run writes its metrics."""
LOOK_EVERY = 10
"""Steps between looks at the loss and at where time goes: each makes a GPU wait."""


def train(
    run: Run,
    pictures: NDArray[np.uint8],
    watched: NDArray[np.uint8],
    spec: InputSpec,
    config: TrainConfig,
    profile: Profile,
    provenance: Provenance,
    ranks: Ranks,
    *,
    resume: Checkpoint | None = None,
) -> Checkpoint:
    """Trains on `pictures` (n, H, W, C) uint8 for `config.steps` steps and leaves the last checkpoint in `run`.

    `watched` are validation pictures, scored now and then to be reported; nothing is chosen by them.
    """
    torch.manual_seed(config.seed)
    learner = learner_for(config, profile, spec.channels)
    if resume is None:
        learner.start(run.folder)
    else:
        learner.load_state_dict(resume.learner)
    learner.to(ranks.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    learnt = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    optimiser = _optimiser(learnt, config)
    average = _average(learner, config)
    autocast, scaler = _mixed_precision(ranks)
    step, seconds_before = 0, 0.0
    if resume is not None:
        optimiser.load_state_dict(resume.optimiser)
        if resume.scaler:  # nothing is kept of a scale that was not in use
            scaler.load_state_dict(resume.scaler)
        if average is not None and resume.average is not None:
            average.module.load_state_dict(resume.average)
            average.n_averaged.fill_(resume.step)  # at 0 it would begin anew with the weights of the next step
        step, seconds_before = resume.step, resume.seconds
    shipped = learner if average is None else cast(Learner, average.module)
    graph = InspectionGraph(shipped.network, spec, config).to(ranks.device)

    def checkpoint() -> Checkpoint:
        kept = [*learner.state_dict().values(), *shipped.state_dict().values()]  # running means and densities too
        _check_finite(all(bool(value.isfinite().all()) for value in kept), step, run)
        return Checkpoint(
            step=step,
            seconds=seconds_before + time.monotonic() - started,
            config=config,
            spec=spec,
            profile=profile,
            provenance=provenance,
            learner=learner.state_dict(),
            optimiser=optimiser.state_dict(),
            average=None if average is None else average.module.state_dict(),
            scaler=scaler.state_dict(),
        )

    started = saved = time.monotonic()
    progress = Progress("training", config.steps, done=step)
    diary, shown = _Diary(), ""
    together = ranks.together(learner)
    losses_of: Callable[[Batch], dict[str, Tensor]] = torch.compile(together) if config.compile else together
    batches = _batches(pictures, step, config, profile, ranks)
    learner.train()
    while step < config.steps:
        looked = (step + 1) % LOOK_EVERY == 0 or step + 1 == config.steps
        asked = ranks.now() if looked else 0.0
        batch = next(batches)
        given = ranks.now() if looked else 0.0
        diary.count(batch.pop(OUTCOME))

        for group in optimiser.param_groups:
            group["lr"] = _learning_rate(step, config)
        torch.manual_seed(config.seed * 1_000_003 + step)  # whatever a learner draws is the same after a resume
        with autocast():
            losses = losses_of(_on_device(batch, graph, ranks))
            loss = torch.stack(list(losses.values())).sum()
        optimiser.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if config.clip_gradients is not None:
            scaler.unscale_(optimiser)
            torch.nn.utils.clip_grad_norm_(learnt, config.clip_gradients)
        scaler.step(optimiser)
        scaler.update()
        if average is not None:
            average.update_parameters(learner)
        step += 1

        diary.add(losses)
        if looked:
            value = float(loss.detach())
            _check_finite(math.isfinite(value), step, run)
            shown = f"loss {value:.4f}"
            diary.time(given - asked, ranks.now() - asked)
        progress.step(step, shown)
        if not ranks.first:
            continue
        if step == config.steps:
            settle(shipped, graph, pictures, ranks.device)
        if step % max(1, config.steps // NOTES) == 0 or step == config.steps:
            notes = {"step": step, **diary.notes()}
            if shipped.judges:
                graph.eval()
                notes |= validation_metrics(graph, watched, profile, config.seed, ranks.device)
            run.note(notes)
            diary.clear()
            learner.train()
        if step < config.steps and time.monotonic() - saved > config.checkpoint_every_s:
            run.save(checkpoint())
            saved = time.monotonic()
    last = checkpoint()
    if ranks.first:
        run.save(last)
    ranks.wait()
    return last


class _Diary:
    """What happened since the last note."""

    def __init__(self) -> None:
        self.waited_s = self.stepped_s = 0.0
        """Of the steps that were timed since the training began: waiting for examples, and in all."""
        self.clear()

    def clear(self) -> None:
        self.steps = 0
        self.sums: dict[str, Tensor] = {}
        self.wanted: Tensor | int = 0
        self.without: Tensor | int = 0

    def count(self, outcomes: Tensor) -> None:
        self.wanted = self.wanted + (outcomes != Outcome.CLEAN).sum()
        self.without = self.without + (outcomes == Outcome.NO_PLACE).sum()

    def add(self, losses: dict[str, Tensor]) -> None:
        self.steps += 1
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.detach().float()

    def time(self, waited_s: float, stepped_s: float) -> None:
        self.waited_s += waited_s
        self.stepped_s += stepped_s

    def notes(self) -> dict[str, float]:
        means = {name: float(total) / self.steps for name, total in self.sums.items()}
        parts = {} if len(means) == 1 else {f"loss_{name}": value for name, value in means.items()}
        return {
            "loss": sum(means.values()),
            **parts,
            "without_patch": int(self.without) / max(1, int(self.wanted)),
            "loader_share": self.waited_s / max(self.stepped_s, 1e-9),
        }


def _batches(
    pictures: NDArray[np.uint8], step: int, config: TrainConfig, profile: Profile, ranks: Ranks
) -> Iterator[Batch]:
    """From `step` on, made on the GPU if the method can, else by worker processes."""
    on_device = batch_maker_for(config, profile)
    if config.examples == "device" or (config.examples == "auto" and ranks.cuda and on_device is not None):
        if on_device is None:
            raise ConfigError(f"examples: device: method {config.method} makes its examples in worker processes only")
        return BatchedExamples(pictures, config, on_device, profile, ranks).batches(step)
    workers = _workers(config, ranks)
    loader = DataLoader(
        Examples(pictures, config, maker_for(config, profile), profile),
        batch_sampler=FromStep(config, step, ranks),
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,  # workers share the pictures instead of copying them
        pin_memory=ranks.cuda,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_single_threaded,
    )
    return iter(loader)


def _workers(config: TrainConfig, ranks: Ranks) -> int:
    """Torch's number of threads would not do: torchrun sets it to one, however many cores there are."""
    if config.workers is not None:
        return config.workers
    return max(1, len(os.sched_getaffinity(0)) // ranks.count - 1)


def _on_device(batch: Batch, graph: InspectionGraph, ranks: Ranks) -> Batch:
    """The batch where it is learnt from, its pictures as networks take them."""
    there = {name: values.to(ranks.device, non_blocking=True) for name, values in batch.items()}
    return {
        name: _normalised(values, graph) if values.dtype == torch.uint8 else values for name, values in there.items()
    }


def _normalised(pictures: Tensor, graph: InspectionGraph) -> Tensor:
    return graph.normalised(pictures).contiguous(memory_format=torch.channels_last)


def _optimiser(learnt: list[torch.nn.Parameter], config: TrainConfig) -> torch.optim.Optimizer:
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimiser == "sgd":
        return torch.optim.SGD(learnt, lr=rate, momentum=0.9, weight_decay=decay)
    kind = torch.optim.Adam if config.optimiser == "adam" else torch.optim.AdamW
    return kind(learnt, lr=rate, weight_decay=decay)


def _average(learner: Learner, config: TrainConfig) -> AveragedModel | None:
    """The decay rises to the one asked for: with 0.999 at once, 45 % of what ships after 800 steps is the first's."""
    if config.ema is None:
        return None
    asked = config.ema

    def mean(average: Tensor, value: Tensor, updates: Tensor | int) -> Tensor:
        if not average.is_floating_point():
            return value
        decay = ((1 + torch.as_tensor(updates)) / (10 + torch.as_tensor(updates))).clamp(max=asked)
        return average.lerp(value, (1 - decay).to(average.dtype))

    return AveragedModel(learner, avg_fn=mean, use_buffers=True)


def _check_finite(finite: bool, step: int, run: Run) -> None:
    if not finite:
        raise SadError(
            f"{run.folder}: the loss, a weight or a running mean is not a number at step {step}; the last good "
            "checkpoint is kept. Lower learning_rate, or look for odd pictures with sad-train --check"
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


def _mixed_precision(ranks: Ranks) -> tuple[Callable[[], AbstractContextManager[object]], torch.amp.GradScaler]:
    """bf16 on GPUs that have it, else fp16 with a loss scale; full precision on a CPU."""
    kind = ranks.device.partition(":")[0]
    has_bf16 = not ranks.cuda or torch.cuda.is_bf16_supported(including_emulation=False)
    dtype = torch.bfloat16 if has_bf16 else torch.float16
    scaler = torch.amp.GradScaler(kind, enabled=dtype is torch.float16)
    return lambda: torch.autocast(kind, dtype, enabled=ranks.cuda), scaler
