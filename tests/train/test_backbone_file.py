"""Weights from elsewhere: what is read, turned round and refused. No file here was downloaded; all are random."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sad_runtime.errors import ConfigError, DataError, MissingExtra
from sad_runtime.manifest import InputSpec
from sad_train.config import TrainConfig
from sad_train.graph import InspectionGraph
from sad_train.networks.backbone_file import load_backbone, read_backbone
from sad_train.networks.resnet import Depth, ResNet
from sad_train.networks.trunks import trunk_for

Weights = dict[str, Tensor]
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def weights_of(depth: Depth = 18, channels: int = 3, width: int = 8) -> Weights:
    """A state dict as torchvision saves it, with a classifier."""
    torch.manual_seed(depth)
    network = ResNet(depth, channels, width=width)
    return {**network.state_dict(), "fc.weight": torch.zeros(10, network.widths[-1]), "fc.bias": torch.zeros(10)}


@pytest.fixture(scope="module")
def full() -> Weights:
    """A whole ResNet-18. Do not write to it."""
    return weights_of(width=64)


def saved(values: Any, path: Path) -> Path:
    torch.save(values, path)
    return path


def loaded(path: Path, channels: int = 3, network: str = "resnet18") -> ResNet:
    trunk = trunk_for(network, channels, stages=3)
    load_backbone(trunk, read_backbone(path), network)
    return trunk.eval()


def refusal(path: Path, network: str = "resnet18") -> str:
    with pytest.raises((ConfigError, DataError)) as caught:
        loaded(path, network=network)
    message = str(caught.value)
    assert message.startswith(str(path))
    return message


def test_every_usual_wrapping_gives_the_same_weights(full: Weights, tmp_path: Path) -> None:
    parallel = {f"module.{name}": value for name, value in full.items()}
    bare = {name: value for name, value in full.items() if not name.endswith("num_batches_tracked")}
    save_file(full, tmp_path / "weights.safetensors")
    paths = [
        saved(full, tmp_path / "plain.pth"),
        saved({"epoch": 90, "state_dict": parallel}, tmp_path / "wrapped.pth.tar"),
        saved(bare, tmp_path / "of_old_torch.pth"),
        tmp_path / "weights.safetensors",
    ]
    torch.save(full, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    for path in [*paths, tmp_path / "legacy.pth"]:
        trunk = loaded(path)
        assert torch.equal(trunk.get_parameter("layer3.1.conv2.weight"), full["layer3.1.conv2.weight"]), path
        assert torch.equal(trunk.get_buffer("bn1.running_var"), full["bn1.running_var"])


def test_half_precision_is_read_as_full(full: Weights, tmp_path: Path) -> None:
    halves = {name: value.half() for name, value in full.items()}
    assert loaded(saved(halves, tmp_path / "half.pth")).conv1.weight.dtype is torch.float32


def test_our_bgr_graph_sees_what_torchvision_would_see_in_rgb(full: Weights, tmp_path: Path) -> None:
    picture = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    rgb = picture.flip(3).permute(0, 3, 1, 2) / 255
    theirs = ResNet(18, 3, stages=3).eval()
    theirs.load_state_dict(full, strict=False)
    graph = InspectionGraph(nn.Identity(), InputSpec(height=64, width=64, channels=3), TrainConfig(size_px=64))
    with torch.no_grad():
        expected = theirs((rgb - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1))
        found = loaded(saved(full, tmp_path / "rgb.pth"))(graph.prepared(picture))
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(theirs(graph.prepared(picture))[0], expected[0], atol=0.1)


def test_for_grey_pictures_the_channels_are_summed(full: Weights, tmp_path: Path) -> None:
    trunk = loaded(saved(full, tmp_path / "rgb.pth"), channels=1)
    grey = torch.randn(1, 1, 32, 32)
    expected = nn.functional.conv2d(grey.expand(-1, 3, -1, -1), full["conv1.weight"], stride=2, padding=3)
    torch.testing.assert_close(trunk.conv1(grey), expected, rtol=1e-4, atol=1e-4)


def test_a_grey_backbone_sees_the_mean_of_three_channels(tmp_path: Path) -> None:
    weights = weights_of(channels=1, width=64)
    trunk = loaded(saved(weights, tmp_path / "grey.pth"))
    colours = torch.randn(1, 3, 32, 32)
    expected = nn.functional.conv2d(colours.mean(1, keepdim=True), weights["conv1.weight"], stride=2, padding=3)
    torch.testing.assert_close(trunk.conv1(colours), expected, rtol=1e-4, atol=1e-4)


def test_a_wrong_architecture_names_both(full: Weights, tmp_path: Path) -> None:
    path = saved(full, tmp_path / "weights.pth")
    message = refusal(path, "resnet50")
    assert "holds a ResNet-18, the configuration says resnet50 (a ResNet-50). Add --network resnet18" in message
    message = refusal(saved(weights_of(50, width=64), tmp_path / "deep.pth"))
    assert "holds a ResNet-50, the configuration says resnet18 (a ResNet-18). Add --network resnet50" in message


def test_what_we_have_no_network_for_is_described(tmp_path: Path) -> None:
    odd = weights_of(width=8)
    assert "holds a ResNet-18 of width 8" in refusal(saved(odd, tmp_path / "narrow.pth"))
    more = {f"layer{stage}.{block}.conv1.weight": odd["bn1.weight"] for stage in (1, 2, 3, 4) for block in range(3, 6)}
    assert "holds a ResNet of 6, 6, 6, 6 blocks a stage" in refusal(saved(odd | more, tmp_path / "odd.pth"))
    other = {"patch_embed.proj.weight": torch.zeros(2), "blocks.0.norm1.weight": torch.zeros(2)}
    assert "no ResNet (its first weights: patch_embed.proj.weight" in refusal(saved(other, tmp_path / "vit.pth"))
    assert "holds no weights" in refusal(saved({"epoch": 3}, tmp_path / "empty.pth"))


def test_missing_weights_are_counted_and_the_first_named(full: Weights, tmp_path: Path) -> None:
    cut = {name: value for name, value in full.items() if "bn2" not in name}
    message = refusal(saved(cut, tmp_path / "cut.pth"))
    assert "24 of 75 weights are missing: layer1.0.bn2.weight, layer1.0.bn2.bias, layer1.0.bn2.running_mean," in message
    assert message.endswith(", …")


def test_a_network_with_more_in_its_stages_is_another_network(full: Weights, tmp_path: Path) -> None:
    """timm's seresnet18 has all of ResNet-18's weights and computes something else."""
    more = full | {"layer1.0.se.fc1.weight": torch.zeros(4)}
    assert "another network than resnet18, which has no layer1.0.se.fc1.weight" in refusal(saved(more, tmp_path / "se"))


def test_weights_of_another_shape_are_refused(full: Weights, tmp_path: Path) -> None:
    grouped = full | {"layer2.0.conv2.weight": torch.zeros(128, 4, 3, 3)}
    assert "1 weights are of another shape" in refusal(saved(grouped, tmp_path / "grouped.pth"))


def test_weights_that_are_no_numbers_are_refused(full: Weights, tmp_path: Path) -> None:
    broken = full | {"bn1.weight": torch.full((64,), float("nan"))}
    assert "1 weights hold something that is no number: bn1.weight" in refusal(saved(broken, tmp_path / "nan.pth"))


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("new", [True, False])
def test_code_in_a_file_is_refused_and_never_run(full: Weights, tmp_path: Path, new: bool) -> None:
    trace = tmp_path / "it ran"
    torch.save({**full, "extra": Bomb(trace)}, tmp_path / "bomb.pth", _use_new_zipfile_serialization=new)
    message = refusal(tmp_path / "bomb.pth")
    assert "holds more than weights" in message
    assert "would run code" in message
    assert "torch.save(model.state_dict()" in message
    assert not trace.exists()


def test_a_whole_pickled_network_is_refused_with_the_way_out(tmp_path: Path) -> None:
    assert "a pickled torch.nn.modules.linear.Linear" in refusal(saved(nn.Linear(1, 1), tmp_path / "model.pth"))


@pytest.mark.parametrize("new", [True, False])
def test_a_damaged_file_is_called_so_wherever_it_was_cut(tmp_path: Path, new: bool) -> None:
    path = tmp_path / "cut.pth"
    torch.save({"conv1.weight": torch.zeros(400)}, path, _use_new_zipfile_serialization=new)
    data = path.read_bytes()
    for length in range(0, len(data) - 4, 97):
        path.write_bytes(data[:length])
        assert "damaged, or not a file of PyTorch weights" in refusal(path), length


def test_files_of_another_kind_are_refused(full: Weights, tmp_path: Path) -> None:
    (tmp_path / "notes.pth").write_text("these are no weights")
    assert "damaged, or not a file of PyTorch weights" in refusal(tmp_path / "notes.pth")
    save_file(full, tmp_path / "cut.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "cut.safetensors").read_bytes()[:5000])
    assert "damaged, or not a safetensors file" in refusal(tmp_path / "cut.safetensors")
    assert "holds a list, not a table of weights" in refusal(saved([torch.zeros(2)], tmp_path / "list.pth"))


def test_a_backbone_that_is_not_there_says_what_one_is(tmp_path: Path) -> None:
    assert "no such backbone. Name a file of ResNet weights" in refusal(tmp_path / "nowhere.pth")
    assert "a folder without a checkpoint. Run: sad-train --method backbone" in refusal(tmp_path)


def test_without_safetensors_the_command_to_install_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights.safetensors").touch()
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(MissingExtra, match=r"pip install 'sad-inspection\[train\]'"):
        read_backbone(tmp_path / "weights.safetensors")
