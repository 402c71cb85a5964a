"""CutPaste: the pasted rectangle, the maker's kinds, and the methods from training to a bundle that opens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from profiles import WHOLE_PICTURE
from sad_runtime.bundle import read_bundle
from sad_runtime.errors import ConfigError, DataError
from sad_runtime.manifest import InputSpec
from sad_train.config import TrainConfig
from sad_train.graph import InspectionGraph
from sad_train.methods.base import Outcome
from sad_train.methods.cutpaste import CutPasteLearner, CutPasteMaker
from sad_train.methods.table import METHODS, learner_for, maker_for
from sad_train.networks.gaussian_density import FEWEST
from sad_train.pixels import Picture
from sad_train.run import Run
from sad_train.settling import settle
from sad_train.synthesis.colour_jitter import colour_jittered
from sad_train.synthesis.cutpaste import CutPasteRecipe, cutpaste
from sad_train.synthesis.pasted import Pasted

PAPER = CutPasteRecipe(area=(0.02, 0.15), aspect=(0.3, 3.3), jitter=0.1)
NAMES = tuple(name for name in METHODS if name.startswith("cutpaste"))
WAYS = {"cutpaste": 2, "cutpaste_scar": 2, "cutpaste_3way": 3}


@pytest.fixture
def speckled() -> Picture:
    return np.random.default_rng(3).integers(0, 256, (96, 128, 3), np.uint8)


def config(method: str = "cutpaste_3way", **keys: object) -> TrainConfig:
    return TrainConfig.model_validate(
        {"method": method, "network": "small_resnet", "size_px": 64, "batch": 6, "score": "network", **keys}
    )


def goods(count: int, side: int = 64) -> torch.Tensor:
    return torch.randn((count, 3, side, side), generator=torch.Generator().manual_seed(1))


def test_a_rectangle_of_the_published_size_and_shape_is_changed_and_nothing_else(speckled: Picture) -> None:
    for seed in range(40):
        pasted = cutpaste(speckled, PAPER, np.random.default_rng(seed))
        assert pasted is not None
        rows, columns = np.flatnonzero(pasted.mask.any(axis=1)), np.flatnonzero(pasted.mask.any(axis=0))
        tall, wide = len(rows), len(columns)
        assert pasted.mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert 0.9 * 0.02 < tall * wide / pasted.mask.size < 1.1 * 0.15
        assert 0.85 * 0.3 < wide / tall < 1.15 * 3.3
        assert (pasted.picture[~pasted.mask] == speckled[~pasted.mask]).all()
        assert (pasted.picture[pasted.mask] != speckled[pasted.mask]).any()


def test_what_is_pasted_comes_from_the_same_picture(speckled: Picture) -> None:
    speckled = speckled[:48, :48]
    still = CutPasteRecipe(PAPER.area, PAPER.aspect, jitter=0.0)
    pasted = cutpaste(speckled, still, np.random.default_rng(5))
    assert pasted is not None
    rows, columns = np.flatnonzero(pasted.mask.any(axis=1)), np.flatnonzero(pasted.mask.any(axis=0))
    patch = pasted.picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(int)
    windows = np.lib.stride_tricks.sliding_window_view(speckled, patch.shape)[..., 0, :, :, :]
    assert np.abs(windows.astype(int) - patch).max(axis=(2, 3, 4)).min() <= 1  # through HSV and back


def test_a_paste_that_cannot_be_seen_is_none() -> None:
    flat = np.full((64, 64, 1), 20, np.uint8)
    assert cutpaste(flat, PAPER, np.random.default_rng(0)) is None
    mask = np.zeros((64, 64), bool)
    assert not Pasted(flat, mask).shows(flat)


@pytest.mark.parametrize("channels", [1, 3])
def test_colour_jitter_stays_within_its_strength(channels: int) -> None:
    picture = np.full((8, 8, channels), 100, np.uint8)
    for seed in range(30):
        made = colour_jittered(picture, 0.1, np.random.default_rng(seed))
        assert made.shape == picture.shape
        assert 88 <= made.min() <= made.max() <= 112
    assert (colour_jittered(picture, 0.0, np.random.default_rng(0)) == picture).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_kinds_of_a_batch_follow_each_other(name: str, speckled: Picture) -> None:
    settings = config(name)
    maker = maker_for(settings, WHOLE_PICTURE)
    square = np.ascontiguousarray(speckled[:64, :64])
    for slot in range(6):
        sample = maker.sample(slot, square, lambda: square, np.random.default_rng(slot))
        kind = int(sample.values["kind"])
        assert kind == slot % WAYS[name]
        assert sample.outcome is (Outcome.ANOMALOUS if kind else Outcome.CLEAN)
        assert (sample.values["picture"] != square).any() == bool(kind)
        assert sample.values["patch"].shape == (settings.cutpaste.patches * 32, 32, 3)
        assert sample.values["patch_kind"].tolist() == [(slot + i) % WAYS[name] for i in range(8)]


def test_a_picture_on_which_no_paste_shows_is_called_good_and_counted() -> None:
    flat = np.full((64, 64, 3), 20, np.uint8)
    sample = maker_for(config(), WHOLE_PICTURE).sample(1, flat, lambda: flat, np.random.default_rng(0))
    assert sample.outcome is Outcome.NO_PLACE
    assert sample.values["kind"] == 0
    assert not sample.values["patch_kind"].any()
    assert (sample.values["picture"] == flat).all()


def test_a_batch_that_does_not_divide_by_the_kinds_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"batch: 16 does not divide by 3.*take 15"):
        maker_for(config(batch=16), WHOLE_PICTURE)


def test_crops_larger_than_half_the_picture_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"crops of 64 px are more than half of a picture of 64 px.*patch_px 32"):
        maker_for(config(cutpaste={"patch_px": 64}), WHOLE_PICTURE)
    with pytest.raises(ConfigError, match="take size_px 64 or more"):
        learner_for(config(size_px=32), WHOLE_PICTURE, 3)


def test_a_network_that_is_no_encoder_is_refused() -> None:
    with pytest.raises(ConfigError, match="small_unet is no encoder"):
        learner_for(config(network="small_unet"), WHOLE_PICTURE, 3)


@pytest.mark.parametrize("wrong", [{"area": [0.2, 0.1]}, {"area": [0.1, 2]}, {"aspect": [2, 3]}, {"patch_px": 36}])
def test_constants_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        config(cutpaste=wrong)


@pytest.mark.parametrize("aligned", [True, False])
def test_a_learner_judges_only_once_it_is_settled_and_keeps_what_it_fitted(aligned: bool) -> None:
    profile = WHOLE_PICTURE.model_copy(update={"aligned": aligned})
    learner = learner_for(config(), profile, 3).eval()
    assert not learner.judges
    with torch.no_grad():
        learner.settle(lambda: iter(torch.split(goods(12), 4)))
        seen = learner.network(goods(12))
        assert learner.judges
        assert seen.heatmap.shape == (12, 1, 64, 64)
        assert float(seen.heatmap.mean()) == pytest.approx(1, abs=0.4)
        other = learner_for(config(), profile, 3).eval()
        other.load_state_dict(learner.state_dict())
        assert other.judges
        assert torch.equal(other.network(goods(2)).heatmap, learner.network(goods(2)).heatmap)


def test_what_is_not_judged_neither_changes_the_score_nor_makes_good_pictures_look_bad() -> None:
    """An ignore mask at export: the density is fitted anew to pictures without what lies under it."""
    learner = learner_for(config(), WHOLE_PICTURE, 3)
    spec = InputSpec(height=64, width=64, channels=3)
    graph = InspectionGraph(learner.network, spec, config()).eval()
    pictures = np.random.default_rng(0).integers(0, 256, (24, 64, 64, 3), np.uint8)
    settle(learner, graph, pictures, "cpu")
    with torch.no_grad():
        whole = graph(torch.from_numpy(pictures))[1]
        mask = np.zeros((64, 64), np.uint8)
        mask[:, 40:] = 255
        graph.ignore(mask)
        unfitted = graph(torch.from_numpy(pictures))[1]
        settle(learner, graph, pictures, "cpu")
        before = graph(torch.from_numpy(pictures))[1]
        pictures[:, :, 40:] = 255 - pictures[:, :, 40:]
        after = graph(torch.from_numpy(pictures))[1]
    assert torch.equal(before, after)
    assert float(before.mean()) == pytest.approx(float(whole.mean()), rel=0.2)
    assert float(unfitted.mean()) > 1.3 * float(before.mean())


def test_a_crop_on_which_no_paste_shows_leaves_the_picture_what_it_is() -> None:
    """Crops are many and small: one flat one does not make the example count as failed."""
    half_flat = np.full((64, 64, 3), 128, np.uint8)
    half_flat[:, 32:] = np.random.default_rng(0).integers(0, 256, (64, 32, 3), np.uint8)
    maker = maker_for(config(cutpaste={"patches": 8}), WHOLE_PICTURE)
    made = [maker.sample(slot, half_flat, lambda: half_flat, np.random.default_rng(slot)) for slot in range(30)]
    assert all(sample.outcome is Outcome.CLEAN for sample in made[::3])
    for sample in made:
        assert (sample.outcome is Outcome.ANOMALOUS) == (sample.values["kind"] > 0)


def test_too_few_pictures_for_a_covariance_are_refused_with_their_number() -> None:
    learner = learner_for(config(), WHOLE_PICTURE, 3).eval()
    few = FEWEST - 1
    with torch.no_grad(), pytest.raises(DataError, match=f"{few} good pictures.*at least {FEWEST} are needed"):
        learner.settle(lambda: iter([goods(few)]))


def test_the_crop_around_a_pixel_is_that_of_the_picture_mirrored_at_its_border() -> None:
    learner = learner_for(config(), WHOLE_PICTURE, 3).eval()
    assert isinstance(learner, CutPasteLearner)
    picture = goods(1)
    with torch.no_grad():
        dense = learner.network.embedded_crops(picture)
        wide = torch.from_numpy(np.pad(picture.numpy(), ((0, 0), (0, 0), (16, 16), (16, 16)), mode="reflect"))
        for i, j in ((0, 0), (0, 8), (3, 5)):
            alone = learner.network.patches(wide[:, :, 8 * i : 8 * i + 32, 8 * j : 8 * j + 32])
            torch.testing.assert_close(alone[..., 0, 0], dense[..., i, j], atol=1e-4, rtol=0)


def test_strips_of_crops_come_apart_as_they_were_put_together(speckled: Picture) -> None:
    settings = config()
    learner = learner_for(settings, WHOLE_PICTURE, 3).eval()
    assert isinstance(learner, CutPasteLearner)
    maker = CutPasteMaker(settings, WHOLE_PICTURE, ("cutpaste", "scar"))
    made = [maker.sample(slot, speckled, lambda: speckled, np.random.default_rng(slot)).values for slot in range(2)]
    strips = torch.stack([torch.from_numpy(values["patch"]).permute(2, 0, 1).float() for values in made])
    seen: list[torch.Tensor] = []

    def watched(crops: torch.Tensor) -> torch.Tensor:
        seen.append(crops)
        return torch.zeros(16, 64, 1, 1)

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(learner.network.patches, "forward", watched)
        learner(
            {
                "picture": torch.zeros(2, 3, 64, 64),
                "kind": torch.zeros(2, dtype=torch.int64),
                "patch": strips,
                "patch_kind": torch.stack([torch.from_numpy(values["patch_kind"]) for values in made]),
            }
        )
    assert torch.equal(seen[0][9], strips[1, :, 32:64])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "opset"), [*((name, 20) for name in NAMES), ("cutpaste_3way", 17)])
def test_a_method_trains_exports_passes_parity_and_opens(
    name: str, opset: int, washers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sad_export.cli import main as export
    from sad_train.cli import main as train

    run, bundle = tmp_path / "run", tmp_path / "washer.sad"
    flags = ["--size", "64", "--steps", "4", "--batch", "6", "--workers", "0"]
    assert train(["--method", name, "--data", str(washers), "--out", str(run), *flags]) == 0
    notes = Run(run).metrics()
    assert "synthetic_auroc" not in notes[0]  # nothing is judged before a density is fitted
    assert notes[-1]["without_patch"] == 0
    assert export([str(run), "--out", str(bundle), "--opset", str(opset)]) == 0
    assert read_bundle(bundle).manifest.method == name


@pytest.fixture(scope="module")
def washers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 good washers of 64 pixels."""
    from sad_runtime.cameras.demo.dataset import write_dataset

    folder = tmp_path_factory.mktemp("parts") / "washer"
    write_dataset(folder, "washer", n_train=16, n_good=0, n_defect=0, seed=1, size_px=64)
    return folder
