"""Reads pretrained weights into a ResNet: a file in torchvision's or timm's layout, or a run of `--method backbone`.

Nothing is ever downloaded. Files come from anywhere, so only weights are read from them: `.safetensors`, or PyTorch's
own format with everything but tensors refused. Files from elsewhere are taken to expect RGB, as torchvision's do; our
graphs feed BGR, normalised with the same figures, so the first convolution is turned round on loading.
"""

from __future__ import annotations

import pickle
import re
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sad_runtime.errors import ConfigError, DataError, MissingExtra
from sad_runtime.schema import parse
from sad_train.config import TrainConfig
from sad_train.networks.resnet import ResNet
from sad_train.networks.trunks import TRUNKS
from sad_train.run import CHECKPOINT_KEYS, CHECKPOINT_SCHEMA, Provenance, Run

HOUSE_METHOD = "backbone"
TORN = (
    *(OSError, RuntimeError, ValueError, EOFError, LookupError, TypeError, AttributeError, AssertionError),
    *(struct.error, pickle.UnpicklingError),
)
"""All that torch.load was seen to raise on files cut short or with single bits turned."""
FAMILIES = {
    (False, (2, 2, 2, 2)): "ResNet-18",
    (False, (3, 4, 6, 3)): "ResNet-34",
    (True, (3, 4, 6, 3)): "ResNet-50",
    (True, (3, 4, 23, 3)): "ResNet-101",
    (True, (3, 8, 36, 3)): "ResNet-152",
}
"""By whether the blocks are bottlenecks, and how many each stage has."""
LISTED = 4


@dataclass(frozen=True)
class BackboneFile:
    """Weights with torchvision's names, wherever they came from."""

    path: Path
    weights: Mapping[str, Tensor]
    house: str | None
    """What a house backbone calls itself, for the bundle; None for a file from elsewhere, which then expects RGB."""

    @property
    def name(self) -> str:
        return self.house or self.path.name


def read_backbone(path: Path) -> BackboneFile:
    """Reads a weights file, a run folder or its checkpoint. Raises DataError saying what is wrong with it."""
    if not path.exists():
        raise DataError(
            f"{path}: no such backbone. Name a file of ResNet weights (.pth, .pt, .safetensors) or a run of "
            f"sad-train --method {HOUSE_METHOD}"
        )
    file = Run(path).checkpoint_file if path.is_dir() else path
    if not file.exists():
        raise DataError(f"{path}: a folder without a checkpoint. Run: sad-train --method {HOUSE_METHOD} --out {path}")
    values = _safetensors(file) if file.suffix == ".safetensors" else _torch_file(file)
    if values.keys() >= CHECKPOINT_KEYS:
        return _from_checkpoint(file, values)
    values = values.get("state_dict", values)
    if not isinstance(values, dict):
        raise DataError(f"{file}: 'state_dict' in it is no table of weights")
    weights = {str(name).removeprefix("module."): value for name, value in values.items() if isinstance(value, Tensor)}
    return BackboneFile(path, weights, house=None)


@torch.no_grad()
def load_backbone(trunk: ResNet, file: BackboneFile, network: str) -> None:
    """Fills `trunk`, which the configuration calls `network`. Raises ConfigError when the file holds another."""
    if (holds := architecture(file.weights)) != (wanted := architecture(trunk.state_dict())):
        fitting = [name for name, shape in TRUNKS.items() if holds == _described(*shape)]
        mend = f"Add --network {fitting[0]}, or name another file" if fitting else "Name another file"
        raise ConfigError(f"{file.path}: holds {holds}, the configuration says {network} ({wanted}). {mend}")
    own = {name: value for name, value in trunk.state_dict().items() if not name.endswith("num_batches_tracked")}
    if missing := [name for name in own if name not in file.weights]:
        raise ConfigError(f"{file.path}: {len(missing)} of {len(own)} weights are missing: {_some(missing)}")
    if strange := [name for name in file.weights if _belongs(name, trunk) and name not in trunk.state_dict()]:
        raise ConfigError(f"{file.path}: is another network than {network}, which has no {_some(strange)}")
    chosen = {name: file.weights[name].float() for name in own}
    chosen["conv1.weight"] = _first_convolution(chosen["conv1.weight"], trunk.conv1.in_channels, file)
    if wrong := [name for name, value in own.items() if chosen[name].shape != value.shape]:
        raise ConfigError(f"{file.path}: {len(wrong)} weights are of another shape than {network}'s: {_some(wrong)}")
    if broken := [name for name, value in chosen.items() if not bool(value.isfinite().all())]:
        raise DataError(f"{file.path}: {len(broken)} weights hold something that is no number: {_some(broken)}")
    trunk.load_state_dict(chosen, strict=False)


def architecture(weights: Mapping[str, Tensor]) -> str:
    """`a ResNet-18`, `a ResNet-18 of width 32`, or what else the names and shapes of weights say."""
    blocks: dict[int, int] = {}
    for name in weights:
        if found := re.match(r"layer(\d)\.(\d+)\.conv1\.weight$", name):
            stage, block = int(found[1]), int(found[2])
            blocks[stage] = max(blocks.get(stage, 0), block + 1)
    stem, inner = weights.get("conv1.weight"), weights.get("layer1.0.conv1.weight")
    if stem is None or inner is None:
        return f"no ResNet (its first weights: {_some(list(weights))})" if weights else "no weights"
    bottleneck, counts = "layer1.0.conv3.weight" in weights, tuple(blocks[stage] for stage in sorted(blocks))
    family = next(
        (name for (deep, known), name in FAMILIES.items() if deep == bottleneck and known[: len(counts)] == counts),
        f"ResNet of {', '.join(map(str, counts))} {'bottlenecks' if bottleneck else 'blocks'} a stage",
    )
    return _with_width(family, stem.shape[0]) + (f", blocks of {inner.shape[0]}" if inner.shape[0] != len(stem) else "")


def _described(depth: int, width: int) -> str:
    return _with_width(f"ResNet-{depth}", width)


def _with_width(family: str, width: int) -> str:
    return f"a {family}" if width == 64 else f"a {family} of width {width}"


def _belongs(name: str, trunk: ResNet) -> bool:
    """Whether a weight lies within the stages that `trunk` has: later stages and classifiers are not asked for."""
    place = name.partition(".")[0]
    return place in ("conv1", "bn1") or place in {f"layer{stage + 1}" for stage in range(len(trunk.widths))}


def _first_convolution(weight: Tensor, channels: int, file: BackboneFile) -> Tensor:
    """RGB becomes BGR; for grey pictures the channels are summed; a grey backbone sees the mean of three channels."""
    if weight.shape[1] == 3 and file.house is None:
        weight = weight.flip(1)
    if weight.shape[1] == 3 and channels == 1:
        return weight.sum(1, keepdim=True)
    if weight.shape[1] == 1 and channels == 3:
        return weight.expand(-1, 3, -1, -1) / 3
    return weight


def _torch_file(path: Path) -> dict[Any, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that are refused below
            values = torch.load(path, map_location="cpu", weights_only=True)
    except TORN as error:
        text = str(error)
        if code := re.search(r"GLOBAL (\w[\w.]*\w) (?:was not an allowed|whose module)", text):
            raise DataError(
                f"{path}: holds more than weights (a pickled {code[1]}), and loading that would run code in it; "
                "it was refused. Save the weights alone, where the file comes from: "
                "torch.save(model.state_dict(), 'weights.pth')"
            ) from None
        if "TorchScript" in text:
            raise DataError(f"{path}: a TorchScript program; save its weights alone: model.state_dict()") from None
        raise DataError(f"{path}: damaged, or not a file of PyTorch weights. Copy it again") from None
    if not isinstance(values, dict):
        raise DataError(f"{path}: holds a {type(values).__name__}, not a table of weights by name")
    return values


def _safetensors(path: Path) -> dict[Any, Any]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError:
        raise MissingExtra("safetensors", "train", f"reading {path.name}") from None
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: damaged, or not a safetensors file ({error}). Copy it again") from None


def _from_checkpoint(path: Path, values: dict[Any, Any]) -> BackboneFile:
    if values["schema"] != CHECKPOINT_SCHEMA:
        raise DataError(f"{path}: written by another version of sad. Train it again: sad-train --restart")
    config = parse(TrainConfig, values["config"], str(path))
    if config.method != HOUSE_METHOD:
        raise DataError(
            f"{path}: a run of method {config.method}; a house backbone is made by sad-train --method {HOUSE_METHOD}"
        )
    if values["step"] < config.steps:
        raise DataError(
            f"{path}: this training stopped at step {values['step']} of {config.steps}. Give its command again"
        )
    provenance = parse(Provenance, values["provenance"], str(path))
    learner = values["average"] or values["learner"]
    weights = {name.removeprefix("network."): value for name, value in learner.items() if name.startswith("network.")}
    return BackboneFile(path, weights, house=f"house backbone ({config.network}, from pictures of {provenance.part})")


def _some(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (", …" if len(names) > LISTED else "")
