"""Grad-CAM of the CutPaste methods' classifier: the heatmap that their whole-picture network has to offer, to compare.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017. What is
explained is the classifier's log odds of any paste against good, before the Gaussian density, as the paper's Grad-CAM
figures do. It needs gradients and the training head, so it is neither exported nor run on a line: `sad-evaluate RUN
--heatmap gradcam` measures it beside the network of crops. Scores stay the network's own.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from sad_runtime.errors import UsageError
from sad_runtime.inspector import Inspector
from sad_train.evaluation.subject import Subject
from sad_train.graph import InspectionGraph
from sad_train.methods.cutpaste import CutPasteLearner
from sad_train.methods.table import METHODS
from sad_train.networks.seen import Seen
from sad_train.run import Checkpoint, Run
from sad_train.torch_backend import TorchBackend, learner_from_checkpoint

WITH_CLASSIFIER = tuple(name for name in METHODS if name.startswith("cutpaste"))


class GradCamNetwork(nn.Module):
    """The learner's network with the classifier's activation map (N, 1, h, w), >= 0, for a heatmap."""

    def __init__(self, learner: CutPasteLearner) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, x: Tensor) -> Seen:
        network = self.learner.network
        features = network.features(x)
        score = network.density(features.mean((2, 3)))
        return Seen(activation_map(features, self.learner), features, score)


@torch.enable_grad()
def activation_map(features: Tensor, learner: CutPasteLearner) -> Tensor:
    """(N, K, h, w) -> (N, 1, h, w): channels weighted by the mean slope of the log odds, what is below 0 cut off."""
    leaf = features.detach().requires_grad_()
    logits = learner.logits(leaf)
    odds = logits[:, 1:].logsumexp(1) - logits[:, 0]
    (slopes,) = torch.autograd.grad(odds.sum(), leaf)
    return (slopes.mean((2, 3), keepdim=True) * features).sum(1, keepdim=True).relu().detach()


def with_gradcam(subject: Subject, run: Path) -> Subject:
    """The subject opened from the folder `run`, with Grad-CAM for heatmaps; its method says so.

    Raises UsageError for a run whose method has no classifier.
    """
    checkpoint = Run(run).load()
    backend = TorchBackend(_graph(checkpoint), checkpoint.spec)
    inspector = Inspector(backend, subject.inspector.thresholds, roi=subject.inspector.roi)
    return replace(subject, inspector=inspector, method=f"{subject.method} with Grad-CAM")


def _graph(checkpoint: Checkpoint) -> InspectionGraph:
    config, learner = checkpoint.config, learner_from_checkpoint(checkpoint)
    if not isinstance(learner, CutPasteLearner):
        raise UsageError(
            f"--heatmap gradcam: method {config.method} has no classifier to explain; "
            f"only {', '.join(WITH_CLASSIFIER)} have"
        )
    return InspectionGraph(GradCamNetwork(learner), checkpoint.spec, config).eval()
