"""Several processes training one run, as torchrun starts them: one a GPU, or on CPUs with gloo.

    torchrun --no-python --nproc-per-node 2 sad-train --data parts/capsule --device cuda

Each process makes its own share of every batch and gradients are averaged, so the batch in the configuration is the
whole one. The first process alone writes the run folder.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from sad_runtime.errors import UsageError


@dataclass(frozen=True)
class Ranks:
    """This process among `count`; `device` is its own."""

    device: str
    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def cuda(self) -> bool:
        return self.device.startswith("cuda")

    def share(self, batch: int, step: int) -> list[int]:
        """The places of a step's batch that this process makes; `batch` divides by `count`.

        Drawn anew for every step: whether kinds of examples stand in blocks of the batch or take turns, every process
        sees their mix. With plain strides one of two would get all good pictures, the other all pastes.
        """
        if self.count == 1:
            return list(range(batch))
        drawn = np.random.default_rng(step).permutation(batch)
        return sorted(drawn[self.rank :: self.count].tolist())

    def together(self, learner: nn.Module) -> nn.Module:
        """`learner` with its gradients averaged over all processes in every backward pass."""
        return learner if self.count == 1 else DistributedDataParallel(learner, device_ids=None)

    def now(self) -> float:
        """Monotonic seconds, once the device has done what it was given."""
        if self.cuda:
            torch.cuda.synchronize(self.device)
        return time.monotonic()

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            distributed.barrier()


def launched_together() -> bool:
    """Whether torchrun started this process, maybe beside others."""
    return distributed.is_available() and distributed.is_torchelastic_launched()


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """The group that torchrun's environment describes, or this process alone. `device` is auto, cpu or cuda."""
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise UsageError("--device cuda: torch sees no CUDA GPU here")
    kind = ("cuda" if there else "cpu") if device == "auto" else device
    if not launched_together():
        yield Ranks(kind)
        return
    backend = "gloo"
    if kind == "cuda":
        kind, backend = f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}", "nccl"
        torch.cuda.set_device(kind)
    distributed.init_process_group(backend)
    yield Ranks(kind, distributed.get_rank(), distributed.get_world_size())
    # Not after an error: this one would wait for the others, which wait for it. What still holds the group goes first:
    # freed at the interpreter's end instead, its threads have been seen to abort the process.
    distributed.barrier()
    gc.collect()
    distributed.destroy_process_group()
