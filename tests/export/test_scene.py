"""What is learnt from good pictures: limits that let good parts through, and notice what happens to a camera."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sad_export.scene import FLOORS, Learnt, learnt
from sad_export.spoiling import SPOILT, blurred, cut_short, exposed, shifted, tinted
from sad_runtime.bundle import read_bundle, write_bundle
from sad_runtime.errors import BundleError
from sad_runtime.scene.bundled import drift_for, guard_for
from sad_runtime.scene.config import SceneConfig
from sad_runtime.scene.guard import SceneGuard
from sad_runtime.verdict import Reason
from scenes import part


def goods(count: int = 40, *, wander_px: float = 1.0, channels: int = 3) -> NDArray[np.uint8]:
    rng = np.random.default_rng(3)
    return np.stack(
        [
            exposed(part(seed, x=rng.normal(0, wander_px), channels=channels), rng.uniform(0.97, 1.03))
            for seed in range(count)
        ]
    )


def guard_of(found: Learnt) -> SceneGuard:
    return SceneGuard(found.limits, found.reference)


@pytest.fixture(scope="module")
def line() -> Learnt:
    return learnt(goods())


def test_good_parts_of_another_day_pass_without_a_word(line: Learnt) -> None:
    guard = guard_of(line)
    rng = np.random.default_rng(9)
    for seed in range(1000, 1060):
        look = guard.look(exposed(part(seed, x=rng.normal(0, 1)), rng.uniform(0.92, 1.08)))
        assert (look.fault, look.warnings) == (None, []), look


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (exposed(part(), 0.0), Reason.BLACK),
        (exposed(part(), 0.3), Reason.BLACK),
        (exposed(part(), 2.0), Reason.SATURATED),
        (blurred(part(), 3), Reason.BLURRED),
        (shifted(part(), 12), Reason.MOVED),
        (shifted(part(), 0, -12), Reason.MOVED),
        (tinted(part(), 0.2), Reason.SCENE),
        (cut_short(part()), Reason.INCOMPLETE),
    ],
)
def test_what_happens_to_a_camera_is_noticed(line: Learnt, picture: NDArray[np.uint8], reason: Reason) -> None:
    assert guard_of(line).look(picture).fault is reason


def test_a_set_without_any_spread_still_leaves_room_for_the_light(line: Learnt) -> None:
    same = learnt(np.stack([part(0)] * 20))
    guard = guard_of(same)
    for factor in (0.93, 1.07):
        look = guard.look(exposed(part(5, x=0.5), factor))
        assert (look.fault, look.warnings) == (None, []), look


def test_parts_that_lie_anywhere_get_no_limit_for_their_place() -> None:
    wandering = learnt(goods(60, wander_px=14))
    assert "shift" in wandering.left_out
    assert "shift" not in wandering.limits.bands
    assert guard_of(wandering).look(part(1, x=15)).fault is None


def test_parts_without_texture_get_no_limit_for_their_focus() -> None:
    rng = np.random.default_rng(0)
    plain = np.stack([np.clip(rng.normal(120, 1.5, (64, 64, 1)), 0, 255).astype(np.uint8) for _ in range(20)])
    smooth = np.stack([blurred(picture, 4) for picture in plain])
    found = learnt(smooth)
    assert {"focus", "shift", "likeness"} <= set(found.left_out)
    assert found.limits.bands.keys().isdisjoint(found.left_out)


def test_a_black_picture_among_the_good_ones_does_not_let_all_black_ones_through() -> None:
    pictures = goods(60)
    pictures[7] = 0
    assert guard_of(learnt(pictures)).look(exposed(part(), 0.0)).fault is not None


def test_grey_pictures_have_no_limits_of_colour() -> None:
    found = learnt(goods(12, channels=1))
    assert found.limits.bands.keys().isdisjoint({"blue", "red"})
    assert "colour cast of 15 %" not in found.noticed


def test_one_good_picture_is_enough_to_learn_something() -> None:
    found = learnt(part(0)[np.newaxis])
    assert guard_of(found).look(part(1)).fault is None
    assert guard_of(found).look(exposed(part(1), 0.3)).fault is Reason.BLACK


def test_a_larger_set_widens_no_limit_by_much() -> None:
    few, many = learnt(goods(20)).limits.bands, learnt(goods(80)).limits.bands
    for name in ("brightness", "focus", "shift"):
        for one, other in zip(few[name].model_dump().values(), many[name].model_dump().values(), strict=True):
            assert one is other is None or one == pytest.approx(other, rel=0.5, abs=1.5)


def test_what_was_noticed_is_told_for_every_spoiling(line: Learnt) -> None:
    assert set(line.noticed) == set(SPOILT)
    assert line.noticed["black"] == line.noticed["lower half missing"] == 1.0
    assert set(line.ranges) == set(FLOORS)


def test_a_reference_and_embeddings_are_read_without_pickle(line: Learnt) -> None:
    with np.load(io.BytesIO(line.to_npz()), allow_pickle=False) as arrays:
        assert arrays["reference"].shape == (64, 64)


def test_an_exported_bundle_carries_its_guard(washer_bundle: Path, washers: Path) -> None:
    from sad_runtime.pictures import read_picture

    bundle = read_bundle(washer_bundle)
    assert bundle.manifest.scene is not None
    assert bundle.manifest.scene.pictures == 16
    guard = guard_for(bundle, SceneConfig())
    assert guard is not None
    for path in sorted((washers / "train" / "good").iterdir()):
        picture = read_picture(path)
        assert guard.look(picture).fault is None
        assert guard.look(exposed(picture, 0.3)).fault is Reason.BLACK
    assert "What the scene guard expects" in bundle.read("report.html").decode()
    assert '"left_out"' in bundle.read("parity.json").decode()


@pytest.mark.parametrize("name", ["washer", "board", "fabric"])
def test_no_unseen_rendered_part_is_called_a_fault_good_or_defective(name: str) -> None:
    from sad_runtime.cameras.demo.parts import defects_of, render

    guard = guard_of(learnt(np.stack([render(name, seed=1, index=index, size_px=64).image for index in range(16)])))
    for index in range(100, 112):
        look = guard.look(render(name, seed=1, index=index, size_px=64).image)
        assert (look.fault, look.warnings) == (None, []), look
    for defect in defects_of(name):
        look = guard.look(render(name, seed=1, index=200, defect=defect, size_px=64).image)
        assert look.fault is None, (defect, look)


def test_an_exported_bundle_knows_its_embeddings(washer_bundle: Path) -> None:
    bundle = read_bundle(washer_bundle)
    with np.load(io.BytesIO(bundle.read("scene.npz")), allow_pickle=False) as arrays:
        mean, spread = arrays["fp32_embedding_mean"], arrays["fp32_embedding_spread"]
        assert mean.shape == spread.shape
        assert int(arrays["fp32_embedding_count"]) == len(bundle.names("calibration"))
    far = drift_for(bundle, "fp32", 5, SceneConfig())
    for _ in range(300):
        last = far.saw(mean + 10 * spread, 0.5)
    assert (last.parts, last.scores) == (True, False)
    assert drift_for(bundle, "int8", 5, SceneConfig()).saw(mean, 0.5).distance == 0.0


def test_a_guard_can_be_switched_off_and_its_limits_moved(washer_bundle: Path) -> None:
    bundle = read_bundle(washer_bundle)
    assert guard_for(bundle, SceneConfig(enabled=False)) is None
    strict = guard_for(bundle, SceneConfig(limits={"brightness": (254.0, None)}))
    assert strict is not None
    assert strict.look(np.full((64, 64, 3), 200, np.uint8) + np.eye(64, dtype=np.uint8)[:, :, None]).fault is not None


@pytest.mark.parametrize("rubbish", [b"", b"PK\x03\x04", b"\x93NUMPY", b"pickle" * 20])
def test_a_bundle_whose_scene_is_rubbish_is_refused(washer_bundle: Path, tmp_path: Path, rubbish: bytes) -> None:
    whole = read_bundle(washer_bundle)
    files = {name: data for name, data in whole.files.items() if name not in ("manifest.json", "digests.txt")}
    path = tmp_path / "odd.sad"
    write_bundle(path, whole.manifest, files | {"scene.npz": rubbish})
    with pytest.raises(BundleError, match=r"scene\.npz"):
        guard_for(read_bundle(path), SceneConfig())


def test_a_bundle_without_a_scene_has_the_fixed_limits(tiny_bundle: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    assert bundle.manifest.scene is None
    guard = guard_for(bundle, SceneConfig())
    assert guard is not None
    assert guard.look(np.zeros((64, 64, 3), np.uint8)).fault is not None
    assert guard.look(part()).fault is None
    assert not drift_for(bundle, "fp32", 9, SceneConfig()).saw(np.zeros(3, np.float32), 0.5).parts
