"""A run's network as a backend, so that evaluation in torch goes the very way a bundle goes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sad_runtime.backends.base import Backend, Outputs, check_outputs
from sad_runtime.errors import UsageError
from sad_runtime.manifest import InputSpec
from sad_train.graph import InspectionGraph
from sad_train.methods.base import Learner
from sad_train.methods.table import learner_for, method_named
from sad_train.run import Checkpoint, Run


class TorchBackend(Backend):
    """fp32, on the CPU. Not in the table of backends: an edge box has no torch."""

    name = "torch"

    def __init__(self, graph: InspectionGraph, spec: InputSpec) -> None:
        super().__init__(b"", spec)
        self.graph = graph

    def open(self) -> None:
        self.graph.eval()

    @torch.no_grad()
    def infer(self, pictures: NDArray[np.uint8]) -> Outputs:
        values = [output.numpy() for output in self.graph(torch.from_numpy(pictures))]
        return check_outputs(Outputs(*values), pictures, self.name)

    def close(self) -> None:
        """Nothing to give back."""


def graph_from_checkpoint(checkpoint: Checkpoint) -> InspectionGraph:
    """The trained graph, ready to infer. Raises UsageError for a method that inspects nothing."""
    learner = learner_from_checkpoint(checkpoint)
    return InspectionGraph(learner.network, checkpoint.spec, checkpoint.config).eval()


def learner_from_checkpoint(checkpoint: Checkpoint) -> Learner:
    """What was trained, with the weights that ship. Raises UsageError for a method that inspects nothing."""
    if not method_named(checkpoint.config.method).inspects:
        raise UsageError(
            f"a run of method {checkpoint.config.method} only prepares weights for others; it judges nothing"
        )
    learner = learner_for(checkpoint.config, checkpoint.profile, checkpoint.spec.channels)
    learner.load_state_dict(checkpoint.learner if checkpoint.average is None else checkpoint.average)
    return learner


def torch_backend_from_run(run: Path) -> TorchBackend:
    checkpoint = Run(run).load()
    return TorchBackend(graph_from_checkpoint(checkpoint), checkpoint.spec)
