"""Reading data sets: what is accepted, and how what is not is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bundles import good_picture
from folders import defect_mask, write_goods, write_mvtec, write_picture
from sad_runtime.errors import DataError
from sad_train.data.dataset import read_dataset, read_mask


def test_the_mvtec_layout_is_read_with_its_masks(tmp_path: Path) -> None:
    dataset = read_dataset(write_mvtec(tmp_path / "capsule"))
    assert dataset.name == "capsule"
    assert len(dataset.train_good) == 10
    assert [sample.label for sample in dataset.test] == ["good"] * 6 + ["spot"] * 6
    assert all((sample.mask is None) == sample.is_good for sample in dataset.test)
    assert {sample.split for sample in dataset.test} == {"test"}
    assert dataset.train_good == sorted(dataset.train_good)


def test_a_mask_may_carry_its_pictures_own_name(tmp_path: Path) -> None:
    root = write_mvtec(tmp_path)
    for mask in (root / "ground_truth" / "spot").iterdir():
        mask.rename(mask.with_name(mask.name.replace("_mask", "")))
    assert all(sample.mask is not None for sample in read_dataset(root).test if not sample.is_good)


def test_a_flat_folder_is_all_good(tmp_path: Path) -> None:
    write_goods(tmp_path / "washer", 9)
    dataset = read_dataset(tmp_path / "washer")
    assert (len(dataset.train_good), dataset.test, dataset.name) == (9, [], "washer")


def test_a_folder_with_only_good_inside_is_enough(tmp_path: Path) -> None:
    write_goods(tmp_path / "washer" / "good", 9)
    assert len(read_dataset(tmp_path / "washer").train_good) == 9
    assert read_dataset(tmp_path / "washer" / "good").name == "washer"


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".jpg", ".JPEG", ".bmp", ".tif", ".TIFF"])
def test_every_kind_of_picture_counts_whatever_the_case_of_its_suffix(tmp_path: Path, suffix: str) -> None:
    for index in range(8):
        picture = good_picture(index)
        write_picture(tmp_path / f"{index}{suffix}", picture if index % 2 else np.ascontiguousarray(picture[..., 0]))
    assert len(read_dataset(tmp_path).train_good) == 8


def test_folders_without_pictures_and_other_files_are_passed_over(tmp_path: Path) -> None:
    root = write_mvtec(tmp_path)
    (root / "test" / "notes").mkdir()
    (root / "train" / "good" / "readme.txt").write_text("bring more")
    (root / "train" / "good" / "raw").mkdir()
    dataset = read_dataset(root)
    assert len(dataset.train_good) == 10
    assert {sample.label for sample in dataset.test} == {"good", "spot"}


def test_defects_beside_good_are_named_though_not_read(tmp_path: Path) -> None:
    write_goods(tmp_path / "good", 8)
    write_goods(tmp_path / "scratched", 2)
    assert read_dataset(tmp_path).ignored == ["scratched"]


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        read_dataset(tmp_path / "nowhere")


def test_a_folder_without_good_says_what_it_found_and_what_it_expects(tmp_path: Path) -> None:
    write_goods(tmp_path / "train" / "okay", 8)
    with pytest.raises(DataError, match=r"no good pictures.*okay/ in train.*Expected train/good"):
        read_dataset(tmp_path)


def test_three_pictures_are_too_few_and_the_number_needed_is_told(tmp_path: Path) -> None:
    write_goods(tmp_path, 3)
    with pytest.raises(DataError, match="3 good pictures; at least 8 are needed"):
        read_dataset(tmp_path)


def test_measuring_needs_no_training_pictures(tmp_path: Path) -> None:
    root = write_mvtec(tmp_path, train=0)
    assert len(read_dataset(root, for_training=False).test) == 12
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="found nothing in empty"):
        read_dataset(tmp_path / "empty", for_training=False)


def test_a_mask_without_its_picture_is_refused(tmp_path: Path) -> None:
    root = write_mvtec(tmp_path)
    write_picture(root / "ground_truth" / "spot" / "777_mask.png", defect_mask())
    with pytest.raises(DataError, match=r"777_mask\.png without a picture in test/spot"):
        read_dataset(root)


def test_a_mask_of_another_size_is_refused_when_read(tmp_path: Path) -> None:
    root = write_mvtec(tmp_path)
    write_picture(root / "ground_truth" / "spot" / "000_mask.png", np.zeros((32, 48), np.uint8))
    sample = next(sample for sample in read_dataset(root).test if sample.mask is not None)
    with pytest.raises(DataError, match=r"the mask is 48x32, its picture 000\.png is 64x64"):
        read_mask(sample, (64, 64))


def test_any_grey_above_zero_belongs_to_a_mask(tmp_path: Path) -> None:
    root = write_mvtec(tmp_path)
    faint = np.zeros((64, 64, 3), np.uint8)
    faint[1, 2, 2] = 1
    write_picture(root / "ground_truth" / "spot" / "000_mask.png", faint)
    sample = next(sample for sample in read_dataset(root).test if sample.mask is not None)
    mask = read_mask(sample, (64, 64))
    assert mask is not None
    assert mask.sum() == 1
    assert mask[1, 2]
