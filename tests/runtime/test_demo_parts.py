"""Rendered parts: the same arguments give the same picture, and masks say exactly what the defect changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from sad_runtime.cameras.demo.dataset import write_dataset
from sad_runtime.cameras.demo.light import light_from, shade
from sad_runtime.cameras.demo.parts import DEFECTS, PARTS, defects_of, render
from sad_runtime.cameras.demo.sensor import camera_from, levels, margin_px
from sad_runtime.cameras.demo.surface import Window, whole
from sad_runtime.errors import DataError

KINDS = [(part, defect) for part in sorted(PARTS) for defect in defects_of(part)]
SMALL = 128


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(H, W) largest difference over the channels, grey levels."""
    apart = np.abs(one.astype(np.int64) - other.astype(np.int64))
    return np.asarray(apart.max(axis=2), dtype=np.int64)


@pytest.mark.parametrize("part", sorted(PARTS))
def test_the_same_arguments_give_the_same_picture_in_any_order(part: str) -> None:
    kind = defects_of(part)[0]
    first = render(part, seed=3, index=7, defect=kind, size_px=SMALL)
    render(part, seed=3, index=8, size_px=SMALL)
    again = render(part, seed=3, index=7, defect=kind, size_px=SMALL)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)


@pytest.mark.parametrize("part", sorted(PARTS))
def test_another_process_renders_the_same_picture(part: str) -> None:
    here = render(part, seed=1, index=2, defect="stain", size_px=SMALL)
    script = (
        "import sys; from sad_runtime.cameras.demo.parts import render;"
        f"r = render({part!r}, seed=1, index=2, defect='stain', size_px={SMALL});"
        "sys.stdout.buffer.write(r.image.tobytes() + r.mask.tobytes())"
    )
    there = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, timeout=60)
    assert there.stdout == here.image.tobytes() + here.mask.tobytes()


@pytest.mark.parametrize("part", sorted(PARTS))
def test_another_index_or_seed_is_another_part_under_another_light(part: str) -> None:
    picture = render(part, seed=0, index=0, size_px=SMALL).image
    for seed, index in ((0, 1), (1, 0)):
        other = render(part, seed=seed, index=index, size_px=SMALL).image
        assert np.mean(difference(picture, other) > 5) > 0.2


@pytest.mark.parametrize("size_px", [96, 200, 512])
@pytest.mark.parametrize("part", sorted(PARTS))
def test_a_picture_has_the_size_asked_for(part: str, size_px: int) -> None:
    rendered = render(part, seed=0, index=0, size_px=size_px)
    assert rendered.image.shape == (size_px, size_px, 3)
    assert rendered.image.dtype == np.uint8
    assert rendered.mask.shape == (size_px, size_px)
    assert rendered.mask.dtype == np.uint8


@pytest.mark.parametrize("part", ["board", "washer"])
def test_a_larger_picture_shows_the_same_part(part: str) -> None:
    """Fabric is left out: its yarns, a few pixels wide, hardly survive the smaller size."""
    small = render(part, seed=0, index=0, size_px=128).image
    large = render(part, seed=0, index=0, size_px=256).image
    shrunk = np.asarray(cv2.resize(large, (128, 128), interpolation=cv2.INTER_AREA))
    assert np.corrcoef(small.ravel(), shrunk.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("part", sorted(PARTS))
def test_a_good_picture_has_an_empty_mask(part: str) -> None:
    rendered = render(part, seed=0, index=5, size_px=SMALL)
    assert rendered.defect == "good"
    assert not rendered.mask.any()


@pytest.mark.parametrize(("part", "defect"), KINDS)
@pytest.mark.parametrize("defect_px", [3, 8, 30, None])
def test_the_mask_is_exactly_what_the_defect_changed(part: str, defect: str, defect_px: float | None) -> None:
    """Good and defective twin share their noise, so outside the mask they agree to the last bit."""
    good = render(part, seed=2, index=1, size_px=SMALL)
    bad = render(part, seed=2, index=1, defect=defect, size_px=SMALL, defect_px=defect_px)
    changed = difference(good.image, bad.image)
    assert bad.defect == defect
    assert set(np.unique(bad.mask)) == {0, 255}
    assert changed[bad.mask == 0].max() == 0
    # Inside, light differs by more than 2 levels before noise; rounding and a little noise may hide one.
    assert np.mean(changed[bad.mask == 255] >= 2) > 0.95
    assert changed.max() >= 10


@pytest.mark.parametrize(("part", "defect"), [kind for kind in KINDS if kind[1] not in ("missing", "misprint")])
def test_a_larger_defect_changes_more_pixels(part: str, defect: str) -> None:
    areas = [
        sum(
            np.count_nonzero(render(part, seed=4, index=i, defect=defect, size_px=160, defect_px=px).mask)
            for i in range(3)
        )
        for px in (3, 12, 36)
    ]
    assert areas[0] < areas[1] < areas[2]
    assert areas[0] < 3 * 250


@pytest.mark.parametrize("part", sorted(PARTS))
def test_a_window_rendered_alone_equals_the_whole_picture(part: str) -> None:
    """Defects are rendered in their own window only; a seam there would be a mask with nothing in it."""
    surface = PARTS[part].build(np.random.default_rng(0), SMALL)
    rng = np.random.default_rng(1)
    light = light_from(rng, SMALL)
    camera = camera_from(rng, light, SMALL)
    linear = camera.expose(shade(surface, light), whole(SMALL))
    inner = Window(40, 50, 70, 95)
    outer = inner.grown(margin_px(light), SMALL)
    alone = camera.expose(shade(surface.cut(outer), light), outer)[inner.within(outer)]
    assert np.abs(levels(alone) - levels(linear[inner.slices()])).max() < 0.01


def test_there_are_eight_defect_kinds_and_every_part_has_five() -> None:
    assert {"washer", "board", "fabric"} <= set(PARTS)
    assert len({defect for _, defect in KINDS}) >= 8
    assert {defect for _, defect in KINDS} == set(DEFECTS)
    for part in PARTS:
        kinds = defects_of(part)
        assert len(kinds) >= 5
        assert list(kinds) == sorted(kinds)


@pytest.mark.parametrize("part", sorted(PARTS))
def test_brightness_alone_does_not_find_the_defects(part: str) -> None:
    kinds = defects_of(part)
    good = [render(part, seed=6, index=i, size_px=96).image.mean() for i in range(40)]
    turns = [(100 + i, kinds[i % len(kinds)]) for i in range(40)]
    bad = [render(part, seed=6, index=i, defect=kind, size_px=96).image.mean() for i, kind in turns]
    area = np.mean([float(b > g) + 0.5 * float(b == g) for g in good for b in bad])
    assert 0.25 < area < 0.75


def test_an_unknown_part_is_refused_with_the_known_names() -> None:
    with pytest.raises(DataError, match=r"'gear'.*board, fabric, washer"):
        render("gear", seed=0, index=0)
    with pytest.raises(DataError, match=r"board, fabric, washer"):
        defects_of("gear")


def test_an_unknown_defect_is_refused_with_the_known_names() -> None:
    with pytest.raises(DataError, match=r"'misprint'.*fabric.*good, contamination, crack"):
        render("fabric", seed=0, index=0, defect="misprint")


@pytest.mark.parametrize(
    "wrong",
    [{"seed": -1}, {"index": -1}, {"size_px": 8}, {"defect_px": 2.0, "defect": "stain"}, {"size_px": 100_000}],
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, int | float | str]) -> None:
    arguments: dict[str, object] = {"seed": 0, "index": 0, **wrong}
    with pytest.raises(DataError):
        render("washer", **arguments)  # type: ignore[arg-type]


def test_a_data_set_has_the_mvtec_layout_and_is_complete(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    folder = tmp_path / "fabric"
    write_dataset(
        folder,
        "fabric",
        n_train=3,
        n_good=2,
        n_defect=8,
        seed=1,
        size_px=96,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert len(list(folder.glob("train/good/*.png"))) == 3
    assert len(list(folder.glob("test/good/*.png"))) == 2
    assert {path.name for path in (folder / "test").iterdir()} == {"good", *defects_of("fabric")}
    images = sorted(p.relative_to(folder / "test") for p in folder.glob("test/*/*.png") if p.parent.name != "good")
    masks = sorted(p.relative_to(folder / "ground_truth") for p in folder.glob("ground_truth/*/*.png"))
    assert len(images) == 8
    assert [str(mask) for mask in masks] == [str(image.with_suffix("")) + "_mask.png" for image in images]
    assert all(np.asarray(cv2.imread(str(folder / "ground_truth" / mask), 0)).any() for mask in masks)
    assert seen == [(done, 13) for done in range(1, 14)]
    assert [path.name for path in tmp_path.iterdir()] == ["fabric"]


def test_more_training_pictures_leave_the_test_set_as_it_was(tmp_path: Path) -> None:
    for name, n_train in (("few", 1), ("more", 2)):
        write_dataset(tmp_path / name, "washer", n_train=n_train, n_good=1, n_defect=1, seed=0, size_px=96)
    for path in ("train/good/000.png", "test/good/000.png", "test/burr/000.png"):
        assert (tmp_path / "few" / path).read_bytes() == (tmp_path / "more" / path).read_bytes()


def test_a_killed_write_is_not_taken_for_a_complete_set(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    script = (
        "import os, pathlib; from sad_runtime.cameras.demo.dataset import write_dataset;"
        f"write_dataset(pathlib.Path({str(folder)!r}), 'board', n_train=4, n_good=1, n_defect=1, seed=0,"
        " size_px=96, progress=lambda done, total: os._exit(9) if done == 3 else None)"
    )
    killed = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert killed.returncode == 9
    assert not folder.exists()
    write_dataset(folder, "board", n_train=1, n_good=1, n_defect=1, seed=0, size_px=96)
    assert (folder / "train" / "good" / "000.png").is_file()


def test_an_interrupted_write_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(
            tmp_path / "set", "board", n_train=2, n_good=1, n_defect=1, seed=0, size_px=96, progress=interrupt
        )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("keep me")
    with pytest.raises(DataError, match="already there"):
        write_dataset(tmp_path, "washer", n_train=1, n_good=0, n_defect=0, seed=0, size_px=96)
    assert (tmp_path / "notes.txt").read_text() == "keep me"
