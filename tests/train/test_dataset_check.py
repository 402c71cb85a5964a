"""The check before training: everything wrong is found and named, nothing is cried over."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from folders import write_mvtec, write_picture
from sad_train.data.dataset import read_dataset
from sad_train.data.dataset_check import DatasetCheck, check_dataset

PART_PX = 128


def part(seed: int, size_px: int = PART_PX) -> NDArray[np.uint8]:
    """A disc as all parts of one kind are, with a surface of its own."""
    rng = np.random.default_rng(seed)
    surface = cv2.GaussianBlur(rng.normal(0, 60, (size_px, size_px)), (0, 0), 2)
    disc = np.zeros((size_px, size_px))
    cv2.circle(disc, (size_px // 2, size_px // 2), size_px // 3, 120.0, -1)
    return np.asarray(np.clip(60 + disc + surface, 0, 255), dtype=np.uint8)


def write_set(root: Path, train: int = 12, test: int = 4) -> Path:
    for split, count, first in (("train", train, 0), ("test", test, 1000)):
        for index in range(count):
            write_picture(root / split / "good" / f"{index:03}.png", part(first + index))
    return root


def checked(root: Path) -> DatasetCheck:
    return check_dataset(read_dataset(root))


def test_a_clean_set_raises_no_complaint(tmp_path: Path) -> None:
    check = checked(write_set(tmp_path))
    assert (check.errors, check.warnings) == ([], [])
    assert check.sizes == {f"{PART_PX}x{PART_PX}x1": 16}
    assert len(check.digests) == 16


def test_every_unreadable_training_picture_is_named_not_just_the_first(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    (root / "train" / "good" / "003.png").write_bytes(b"")
    (root / "train" / "good" / "005.png").write_bytes((root / "train" / "good" / "005.png").read_bytes()[:200])
    (root / "train" / "good" / "007.png").write_text("not a picture")
    errors = checked(root).errors
    assert [name for error in errors for name in ("003", "005", "007") if name in error] == ["003", "005", "007"]
    assert "empty file" in errors[0]
    assert "truncated" in errors[1]


def test_an_unreadable_test_picture_is_a_warning(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    (root / "test" / "good" / "001.png").write_bytes(b"")
    check = checked(root)
    assert check.errors == []
    assert any("001.png" in warning and "test picture" in warning for warning in check.warnings)


def test_a_mask_of_another_size_is_an_error(tmp_path: Path) -> None:
    root = write_mvtec(tmp_path)
    write_picture(root / "ground_truth" / "spot" / "000_mask.png", np.zeros((32, 32), np.uint8))
    assert any("the mask is 32x32" in error for error in checked(root).errors)


def test_exact_copies_are_found_within_train_and_across_the_splits(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    copy = (root / "train" / "good" / "001.png").read_bytes()
    (root / "train" / "good" / "900.png").write_bytes(copy)
    (root / "test" / "good" / "901.png").write_bytes((root / "train" / "good" / "002.png").read_bytes())
    warnings = checked(root).warnings
    assert any("in train more than once: train/good/001.png = train/good/900.png" in text for text in warnings)
    assert any("in train and in test" in text and "002.png" in text and "901.png" in text for text in warnings)


def test_a_picture_saved_again_as_jpeg_is_nearly_the_same(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    write_picture(root / "train" / "good" / "900.jpg", part(4))
    write_picture(root / "test" / "good" / "901.jpg", part(6))
    warnings = checked(root).warnings
    assert any("nearly the same picture stands in train twice: train/good/004.png" in text for text in warnings)
    assert any("nearly" in text and "train and in test" in text and "901.jpg" in text for text in warnings)
    assert len(warnings) == 2


def test_one_picture_under_other_light_stands_out(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    write_picture(root / "train" / "good" / "005.png", np.asarray(part(77) // 3, dtype=np.uint8))
    (warning,) = checked(root).warnings
    assert "005.png" in warning
    assert "brighter or darker" in warning


def test_mixed_sizes_and_mixed_colours_are_told(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    write_picture(root / "train" / "good" / "005.png", part(5, 80))
    write_picture(root / "train" / "good" / "006.png", np.repeat(part(6)[..., np.newaxis], 3, axis=2))
    warnings = checked(root).warnings
    assert any("11 of 128x128, 1 of 80x80" in text for text in warnings)
    assert any("15 pictures are grey, 1 are in colour" in text for text in warnings)


def test_the_digest_of_the_data_follows_the_pictures_and_not_their_names(tmp_path: Path) -> None:
    before = checked(write_set(tmp_path)).data_digest
    good = tmp_path / "train" / "good"
    (good / "000.png").rename(good / "zzz.png")
    assert checked(tmp_path).data_digest == before
    write_picture(good / "zzz.png", part(4321))
    assert checked(tmp_path).data_digest != before


def test_progress_counts_every_picture(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    check_dataset(read_dataset(write_set(tmp_path)), lambda done, total: seen.append((done, total)))
    assert seen[0] == (1, 16)
    assert seen[-1] == (16, 16)
