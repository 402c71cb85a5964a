"""Method anoseg: its losses against hand-computed figures, who learns from what, and a run from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sad_runtime.cameras.demo.dataset import write_dataset
from sad_runtime.cameras.demo.parts import render
from sad_runtime.cli.progress import Progress
from sad_runtime.pictures import read_picture
from sad_runtime.schema import parse
from sad_train.cli import main
from sad_train.config import TrainConfig
from sad_train.data.profile import measured_profile
from sad_train.losses.adversarial_pair import deceiving_loss, discriminator_loss
from sad_train.losses.balanced_l1 import balanced_l1_loss
from sad_train.methods.anoseg import AnoSegLearner, AnoSegMaker
from sad_train.methods.base import Batch, Outcome
from sad_train.networks.coordconv import CoordConv2d
from sad_train.networks.pair_discriminator import PairDiscriminator
from sad_train.networks.reconstruction_head import ReconstructionHead
from sad_train.pixels import Picture
from sad_train.run import Run

QUICK = ("--method", "anoseg", "--size", "64", "--batch", "4", "--workers", "0", "--steps", "4")


def washer(index: int) -> Picture:
    return render("washer", seed=1, index=index, size_px=64).image


def config_of(**anoseg: float) -> TrainConfig:
    return parse(TrainConfig, {"method": "anoseg", "size_px": 64, "batch": 4, "anoseg": anoseg}, "test")


def learner_of(**anoseg: float) -> AnoSegLearner:
    torch.manual_seed(0)
    return AnoSegLearner(config_of(**anoseg), measured_profile([washer(0)]), 3)


def batch_of(good: int, anomalous: int) -> Batch:
    torch.manual_seed(1)
    labels = torch.zeros(good + anomalous, 64, 64)
    labels[good:, 8:24, 8:24] = 1
    return {"picture": torch.randn(good + anomalous, 3, 64, 64), "label": labels}


def logits_of(*probabilities: float) -> Tensor:
    return torch.logit(torch.tensor(probabilities))


def touched(part: torch.nn.Module | None) -> bool:
    """Whether a gradient reached any weight."""
    assert part is not None
    return any(weight.grad is not None and bool(weight.grad.any()) for weight in part.parameters())


def gradients_of(learner: AnoSegLearner, name: str, batch: Batch) -> None:
    learner.zero_grad(set_to_none=True)
    learner(batch)[name].backward()


def test_the_pixel_loss_weighs_rare_anomalous_pixels_like_the_many_good_ones() -> None:
    logits, masks = logits_of(0.25, 0.1, 0.2, 0.3), torch.tensor([1.0, 0.0, 0.0, 0.0])
    assert float(balanced_l1_loss(logits, masks)) == pytest.approx((0.75 + 0.2) / 2)
    assert float(balanced_l1_loss(logits[1:], masks[1:])) == pytest.approx(0.2 / 2)


def test_the_pixel_loss_of_an_empty_heatmap_is_no_good_way_out() -> None:
    """Under the plain mean it would be: 2 anomalous pixels of 100, and a heatmap that finds them with false alarms."""
    masks = torch.zeros(100)
    masks[:2] = 1
    empty, found = torch.full((100,), -9.0), torch.full((100,), -9.0)
    found[:5] = 9
    plain = [float((logits.sigmoid() - masks).abs().mean()) for logits in (empty, found)]
    assert plain[0] < plain[1]
    assert float(balanced_l1_loss(found, masks)) < float(balanced_l1_loss(empty, masks))


def test_the_adversarial_losses_are_half_squares_from_their_targets() -> None:
    true, false = torch.tensor([0.9, 0.5]), torch.tensor([0.0, 0.4])
    assert float(discriminator_loss(true, false)) == pytest.approx((0.16 / 2 + 0.16 / 2) / 2)
    assert float(deceiving_loss(false)) == pytest.approx((0.81 + 0.25) / 2 / 2)
    nothing = torch.zeros(0)
    assert float(discriminator_loss(nothing, nothing)) == float(deceiving_loss(nothing)) == 0


def test_discriminator_and_reconstruction_have_the_shapes_they_say() -> None:
    assert PairDiscriminator(3)(torch.zeros(2, 3, 64, 96), torch.zeros(2, 1, 64, 96)).shape == (2, 1, 4, 6)
    assert ReconstructionHead(128, 3)(torch.zeros(2, 128, 2, 3)).shape == (2, 3, 16, 24)


def test_each_loss_reaches_those_who_learn_from_it_and_nobody_else() -> None:
    learner, batch = learner_of(adversarial=0.1, reconstruction=0.5), batch_of(2, 2)
    reached = {}
    for name in ("segmentation", "reconstruction", "deceiving", "discriminator"):
        gradients_of(learner, name, batch)
        parts = {"network": learner.network, "painter": learner.painter, "discriminator": learner.discriminator}
        reached[name] = {part for part, module in parts.items() if touched(module)}
    assert reached == {
        "segmentation": {"network"},
        "reconstruction": {"network", "painter"},
        "deceiving": {"network"},
        "discriminator": {"discriminator"},
    }


def test_good_pictures_alone_are_reconstructed_and_judged() -> None:
    learner, batch = learner_of(adversarial=0.1, reconstruction=0.5).eval(), batch_of(2, 2)
    alone = {name: values[:2] for name, values in batch.items()}
    assert learner.painter is not None
    with torch.no_grad():
        all_four, two = learner(batch), learner(alone)
        painted = learner.painter(learner.network(alone["picture"]).features)
    for name in ("reconstruction", "deceiving", "discriminator"):
        assert float(all_four[name]) == pytest.approx(float(two[name]), rel=1e-4)
    expected = F.l1_loss(painted, F.avg_pool2d(alone["picture"], 4))
    assert float(two["reconstruction"]) == pytest.approx(0.5 * float(expected), rel=1e-5)


def test_descending_the_deceiving_loss_makes_the_discriminator_take_the_map_for_true() -> None:
    learner, batch = learner_of(adversarial=1.0), batch_of(2, 2)
    before = float(learner(batch)["deceiving"].detach())
    optimiser = torch.optim.SGD(learner.network.parameters(), 0.1)
    for _ in range(5):
        gradients_of(learner, "deceiving", batch)
        optimiser.step()
    assert float(learner(batch)["deceiving"].detach()) < before


def test_a_batch_without_good_pictures_gives_every_weight_a_gradient() -> None:
    """Several processes share a batch, and wait for each other's gradients."""
    learner = learner_of(adversarial=0.1, reconstruction=0.5)
    torch.stack(list(learner(batch_of(0, 3)).values())).sum().backward()  # type: ignore[no-untyped-call]
    for name, weight in learner.named_parameters():
        assert weight.grad is not None, name
        assert bool(weight.grad.isfinite().all()), name


@pytest.mark.parametrize(
    ("weights", "losses"),
    [
        ({"adversarial": 0.1, "reconstruction": 0.0}, {"segmentation", "deceiving", "discriminator"}),
        ({"adversarial": 0.0, "reconstruction": 0.5}, {"segmentation", "reconstruction"}),
        ({"adversarial": 0.0, "reconstruction": 0.0}, {"segmentation"}),
    ],
)
def test_a_weight_of_nothing_leaves_its_term_and_its_network_out(weights: dict[str, float], losses: set[str]) -> None:
    learner = learner_of(**weights)
    assert set(learner(batch_of(2, 2))) == losses
    assert (learner.painter is None) == (weights["reconstruction"] == 0)
    assert (learner.discriminator is None) == (weights["adversarial"] == 0)


def test_the_first_slots_are_clean_and_a_picture_that_shows_nothing_is_never_called_anomalous() -> None:
    maker = AnoSegMaker(config_of(), measured_profile([washer(index) for index in range(4)]))
    rng = np.random.default_rng(0)
    outcomes = [maker.sample(slot, washer(0), lambda: washer(1), rng).outcome for slot in range(4)]
    assert outcomes == [Outcome.CLEAN, Outcome.ANOMALOUS, Outcome.ANOMALOUS, Outcome.ANOMALOUS]
    black = np.zeros_like(washer(0))
    failed = maker.sample(3, black, lambda: black, rng)
    assert failed.outcome is Outcome.NO_PLACE
    assert not failed.values["label"].any()
    assert not failed.values["picture"].any()


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


def test_a_run_says_every_loss_and_shows_what_it_was_fed(finished: Path) -> None:
    run = Run(finished)
    assert run.load().profile.aligned
    for row in run.metrics():
        parts = [row[f"loss_{name}"] for name in ("segmentation", "reconstruction", "deceiving", "discriminator")]
        assert row["loss"] == pytest.approx(sum(parts))
        assert row["without_patch"] == 0
    assert read_picture(finished / "previews" / "synthetic.png").std() > 0


def test_a_stopped_run_goes_on_and_ends_as_an_unbroken_one(finished: Path, washers: Path, tmp_path: Path) -> None:
    often = tmp_path / "often.yaml"
    often.write_text("checkpoint_every_s: 0.000001\n")
    arguments = ["--data", str(washers), "--out", str(tmp_path / "run"), *QUICK, "--config", str(often)]

    def stop(self: Progress, done: int, note: str = "") -> None:
        if self.what == "training" and done == 3:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "step", stop)
        assert main(arguments) == 130
    assert Run(tmp_path / "run").load().step < 4
    assert main(arguments) == 0
    whole, resumed = Run(finished).load(), Run(tmp_path / "run").load()
    assert whole.step == resumed.step == 4
    assert any(name.startswith("discriminator.") for name in whole.learner)
    assert all(torch.equal(value, resumed.learner[name]) for name, value in whole.learner.items())


def test_it_exports_and_its_bundle_opens_and_judges(
    finished: Path, washers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What ships holds neither discriminator nor reconstruction, and the coordinates as a constant."""
    import onnx

    from sad_export.cli import main as export
    from sad_runtime.bundle import read_bundle
    from sad_train.evaluation.cli import main as evaluate

    bundle = tmp_path / "washer.sad"
    assert export([str(finished), "--out", str(bundle)]) == 0
    opened = read_bundle(bundle)
    assert opened.manifest.method == "anoseg"
    model = onnx.load_from_string(opened.model("fp32"))
    trained = Run(finished).load().learner
    learnt = sum(name.startswith("network.") and value.ndim == 4 for name, value in trained.items())
    convolutions = sum(node.op_type == "Conv" for node in model.graph.node)
    assert convolutions == learnt + 2, "one more enlarges the heatmap, one pools its peak"
    capsys.readouterr()
    assert evaluate([str(bundle), "--data", str(washers), "--json"]) in (0, 2)
    said = json.loads(capsys.readouterr().out)
    assert said["method"] == "anoseg"


def test_the_presets_of_anoseg_take_coordinates_for_parts_that_lie_alike(finished: Path) -> None:
    config, profile = Run(finished).config(), Run(finished).load().profile
    learner = AnoSegLearner(config, profile, 3)
    assert config.coords == "auto"
    assert any(isinstance(module, CoordConv2d) for module in learner.network.modules())
