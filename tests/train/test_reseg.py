"""Method reseg: what the network compares, who learns from what, and a run from the command line to a bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sad_export.cost import cost_of
from sad_export.onnx_graph import onnx_from_graph
from sad_runtime.cameras.demo.dataset import write_dataset
from sad_runtime.cameras.demo.parts import render
from sad_runtime.errors import ConfigError
from sad_runtime.manifest import InputSpec
from sad_runtime.schema import parse
from sad_train.cli import main
from sad_train.config import TrainConfig
from sad_train.data.profile import Profile, measured_profile
from sad_train.examples import Examples
from sad_train.graph import InspectionGraph
from sad_train.losses.overlap import overlap_loss
from sad_train.losses.restoration import feature_restoration_loss, picture_restoration_loss, with_hardest
from sad_train.methods.base import Batch, Outcome
from sad_train.methods.reseg import ResegLearner, ResegMaker
from sad_train.methods.table import maker_for
from sad_train.networks.reseg import BLOCK_PX, ReSeg, blocks_of
from sad_train.pixels import Picture
from sad_train.run import Run

QUICK = ("--method", "reseg", "--size", "64", "--batch", "4", "--workers", "0", "--steps", "4")


def washer(index: int) -> Picture:
    return render("washer", seed=1, index=index, size_px=64).image


def config_of(network: str = "narrow_resnet18", **reseg: object) -> TrainConfig:
    values = {"method": "reseg", "network": network, "size_px": 64, "batch": 4, "reseg": reseg}
    return parse(TrainConfig, values, "test")


def learner_of(**reseg: object) -> ResegLearner:
    torch.manual_seed(0)
    return ResegLearner(config_of(**reseg), measured_profile([washer(0)]), 3)


def batch_of(good: int, anomalous: int) -> Batch:
    torch.manual_seed(1)
    labels = torch.zeros(good + anomalous, 64, 64)
    labels[good:, 8:24, 8:24] = 1
    pictures = torch.randn(good + anomalous, 3, 64, 64)
    return {"picture": pictures, "good": pictures * (1 - labels[:, None]), "label": labels}


def touched(part: torch.nn.Module | None) -> bool:
    """Whether a gradient reached any weight."""
    assert part is not None
    return any(weight.grad is not None and bool(weight.grad.any()) for weight in part.parameters())


def test_the_overlap_loss_is_dice_of_each_picture_that_has_a_defect() -> None:
    labels = torch.zeros(2, 4, 4)
    labels[0, 0, :3] = 1
    logits = torch.full((2, 4, 4), -30.0)
    logits[0, 0, :2] = 30
    assert float(overlap_loss(logits, labels)) == pytest.approx(1 - (2 * 2 + 1) / (2 + 3 + 1), abs=1e-6)
    assert float(overlap_loss(logits[1:], labels[1:])) == 0


def test_a_tiny_defect_that_is_missed_costs_as_much_as_a_large_one() -> None:
    def missed(side: int) -> float:
        label = torch.zeros(1, 64, 64)
        label[0, :side, :side] = 1
        return float(overlap_loss(torch.full((1, 64, 64), -30.0), label))

    assert missed(3) == pytest.approx(missed(30), abs=0.11)


def test_restoration_counts_the_hardest_tenth_again_and_is_nothing_for_what_is_restored() -> None:
    places = torch.zeros(10, 10)
    places[0] = 1
    assert float(with_hardest(places)) == pytest.approx((0.1 + 1.0) / 2)
    maps = [torch.rand(2, 8, 4, 4), torch.rand(2, 16, 2, 2)]
    assert float(feature_restoration_loss(maps, maps)) == pytest.approx(0, abs=1e-5)
    assert float(picture_restoration_loss(maps[0], maps[0])) == 0
    assert float(feature_restoration_loss(maps, [one.flip(1) for one in maps])) > 0.1


@pytest.mark.parametrize("channels", [1, 3])
def test_the_fixed_convolution_lays_pixels_out_as_the_restored_picture_is_learnt(channels: int) -> None:
    network, picture = ReSeg(channels, "narrow_resnet18"), torch.randn(2, channels, 32, 64)
    laid = F.conv2d(picture, network.head.blocks, stride=BLOCK_PX)
    assert torch.equal(laid, blocks_of(picture))


@pytest.mark.parametrize(("network", "features"), [("narrow_resnet18", 128), ("resnet18", 256)])
def test_the_network_has_the_shapes_it_says(network: str, features: int) -> None:
    made = ReSeg(3, network).eval()
    with torch.no_grad():
        seen, found = made(torch.randn(1, 3, 64, 96)), made.found(torch.randn(1, 3, 64, 96))
    assert seen.heatmap.shape == (1, 1, 32, 48)
    assert seen.features.shape == (1, features, 4, 6)
    assert found.restored is not None
    assert [one.shape for one in found.restored.features] == [one.shape for one in found.features]
    assert found.restored.picture.shape == (1, 48, 16, 24)


def test_a_restored_part_that_is_as_it_should_be_leaves_nothing_to_compare() -> None:
    """Before it has learnt anything: the comparison starts as a difference."""
    torch.manual_seed(0)
    head = ReSeg(3, "narrow_resnet18").head
    for compare, channels in zip(head.compare, (32, 64, 128), strict=True):
        same = torch.rand(1, channels, 4, 4)
        apart = compare.get_submodule("0")(torch.cat([same, same], 1)).detach()
        assert float(apart.abs().max()) < 1e-3


@pytest.mark.parametrize(("network", "most_gmac"), [("narrow_resnet18", 1.0), ("resnet18", 4.4)])
def test_both_sizes_keep_to_their_budget_with_operators_that_every_engine_takes(network: str, most_gmac: float) -> None:
    import onnx

    config = parse(TrainConfig, {"method": "reseg", "network": network, "reseg": {"places": "on"}}, "test")
    learner = ResegLearner(config, measured_profile([washer(0)]), 3)
    graph = InspectionGraph(learner.network, InputSpec(height=256, width=256, channels=3), config).eval()
    model = onnx_from_graph(graph)
    gmac = cost_of(model).gmac
    assert gmac is not None
    assert gmac <= most_gmac
    kinds = {node.op_type for node in onnx.load_from_string(model).graph.node}
    plain = {"Conv", "Relu", "MaxPool", "Resize", "Concat", "Add"}
    ends = {
        "Cast",
        "Transpose",
        "Mul",
        "Sub",
        "Squeeze",
        "AveragePool",
        "ReduceMax",
        "ReduceMean",
        "Constant",
        "Pad",
        "DepthToSpace",
    }
    assert kinds <= plain | ends


def test_each_loss_reaches_those_who_learn_from_it_and_nobody_else() -> None:
    learner, batch = learner_of(), batch_of(2, 2)
    reached = {}
    for name in ("pixels", "overlap", "features", "picture"):
        learner.zero_grad(set_to_none=True)
        learner(batch)[name].backward()
        network = learner.network
        parts = {"trunk": network.trunk, "restorer": network.restorer, "head": network.head}
        reached[name] = {part for part, module in parts.items() if touched(module)}
    assert reached["pixels"] == reached["overlap"] == {"trunk", "restorer", "head"}
    assert reached["features"] == reached["picture"] == {"trunk", "restorer"}


def test_looking_at_good_pictures_for_a_target_leaves_the_running_means_alone() -> None:
    """They would otherwise be of pictures half of which are seen twice."""
    learner, batch = learner_of(), batch_of(2, 2)
    learner.train()
    learner(batch)
    once = {name: value.clone() for name, value in learner.network.trunk.state_dict().items()}
    learner._seen(batch["good"])
    assert all(torch.equal(value, once[name]) for name, value in learner.network.trunk.state_dict().items())
    assert learner.network.trunk.training


def test_a_batch_without_any_anomaly_gives_finite_losses() -> None:
    losses = learner_of()(batch_of(3, 0))
    assert all(bool(value.isfinite()) for value in losses.values())


@pytest.mark.parametrize(
    ("wishes", "losses"),
    [
        ({"restores": False}, {"pixels", "overlap"}),
        ({"compares_pictures": False}, {"pixels", "overlap", "features"}),
        ({"overlap_weight": 0, "feature_weight": 0}, {"pixels", "picture"}),
    ],
)
def test_what_is_not_wanted_is_left_out(wishes: dict[str, object], losses: set[str]) -> None:
    learner = learner_of(**wishes)
    assert set(learner(batch_of(2, 2))) == losses
    assert (learner.network.restorer is None) == (wishes.get("restores") is False)


def test_a_network_that_is_no_encoder_of_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="small_unet is no encoder for method reseg; take one of narrow_resnet18"):
        ResegLearner(config_of("small_unet"), measured_profile([washer(0)]), 3)


def test_places_are_learnt_of_parts_that_lie_alike() -> None:
    profile = measured_profile([washer(index) for index in range(4)])
    assert profile.aligned
    restorer = ResegLearner(config_of(), profile, 3).network.restorer
    assert restorer is not None
    assert restorer.places is not None
    assert [tuple(one.shape[1:]) for one in restorer.places.maps] == [
        (128, 4, 4),
        (64, 8, 8),
        (32, 16, 16),
        (48, 16, 16),
    ]
    assert _without_places(config_of(places="off"), profile)
    assert _without_places(config_of(), profile.model_copy(update={"aligned": False}))


def _without_places(config: TrainConfig, profile: Profile) -> bool:
    restorer = ResegLearner(config, profile, 3).network.restorer
    return restorer is not None and restorer.places is None


def test_the_first_slots_are_clean_and_a_picture_that_shows_nothing_is_never_called_anomalous() -> None:
    maker = ResegMaker(config_of(mix={"nsa": 1, "spot": 0, "hairline": 0, "change": 0}), measured_profile([washer(0)]))
    rng = np.random.default_rng(0)
    outcomes = [maker.sample(slot, washer(0), lambda: washer(1), rng).outcome for slot in range(4)]
    assert outcomes == [Outcome.CLEAN, Outcome.ANOMALOUS, Outcome.ANOMALOUS, Outcome.ANOMALOUS]
    black = np.zeros_like(washer(0))
    failed = maker.sample(3, black, lambda: black, rng)
    assert failed.outcome is Outcome.NO_PLACE
    assert not failed.values["label"].any()
    assert not failed.values["picture"].any()


def test_a_picture_and_the_good_one_behind_it_stand_in_the_same_light() -> None:
    """Noise included: what is to be undone is the defect alone."""
    pictures = np.stack([washer(index) for index in range(6)])
    profile = measured_profile(list(pictures))
    config = config_of()
    examples = Examples(pictures, config, maker_for(config, profile), profile)
    for index in range(8):
        values = examples.example(index).values
        unchanged = (examples.unlit(index)[1].values["label"] == 0) & (
            examples.unlit(index)[1].values["picture"] == examples.unlit(index)[1].values["good"]
        ).all(2)
        apart = np.abs(values["picture"].astype(int) - values["good"]).max(2)[unchanged]
        assert np.mean(apart > 0) < 0.05, "a blur spreads a defect by a pixel or two"


@pytest.fixture(scope="module")
def washers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 good washers to train on, 4 good and 4 defective ones to judge, of 64 pixels. Do not write to it."""
    folder = tmp_path_factory.mktemp("parts") / "washer"
    write_dataset(folder, "washer", n_train=12, n_good=4, n_defect=4, seed=1, size_px=64)
    return folder


@pytest.fixture(scope="module")
def finished(washers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 4 steps. Do not write to it."""
    out = tmp_path_factory.mktemp("runs") / "washer"
    assert main(["--data", str(washers), "--out", str(out), *QUICK]) == 0
    return out


def test_a_run_says_every_loss(finished: Path) -> None:
    for row in Run(finished).metrics():
        parts = [row[f"loss_{name}"] for name in ("pixels", "overlap", "features", "picture")]
        assert row["loss"] == pytest.approx(sum(parts))


def test_it_exports_and_its_bundle_opens_and_judges(
    finished: Path, washers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sad_export.cli import main as export
    from sad_train.evaluation.cli import main as evaluate

    bundle = tmp_path / "washer.sad"
    assert export([str(finished), "--out", str(bundle)]) == 0
    capsys.readouterr()
    assert evaluate([str(bundle), "--data", str(washers), "--json"]) in (0, 2)
    said = json.loads(capsys.readouterr().out)
    assert said["method"] == "reseg"
