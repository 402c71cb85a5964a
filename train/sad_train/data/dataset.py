"""Reads a set of pictures: the MVTec layout, a folder of good pictures, or `demo:PART?...` rendered on the spot.

Only paths are gathered here. What the pictures are like is dataset_check.py's question, and reading them is
sad_runtime.pictures'. Free of torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sad_runtime.errors import DataError
from sad_runtime.pictures import picture_files, read_picture
from sad_train.data.rendered import is_rendered, rendered_folder

GOOD = "good"
MIN_GOOD = 8
EXPECTED = (
    "Expected train/good (and, to measure, test/good, test/DEFECT, ground_truth/DEFECT), a folder 'good', "
    "or the good pictures themselves; png, jpg, bmp or tiff"
)


@dataclass(frozen=True)
class Sample:
    """One picture, what it shows (`good` or the defect type), and where its defect is, if that was drawn."""

    path: Path
    label: str
    mask: Path | None
    split: str
    """`train` or `test`."""

    @property
    def is_good(self) -> bool:
        return self.label == GOOD


@dataclass(frozen=True)
class Dataset:
    """The pictures of one part; every list sorted by path."""

    name: str
    root: Path
    train_good: list[Path]
    test: list[Sample]
    ignored: list[str] = field(default_factory=list)
    """Folders beside `good` that belong to no layout: not read, but named, so that nobody misses them."""
    sets: list[list[Path]] = field(default_factory=list)
    """The good pictures by the set they are from, where several sets were joined."""


def read_dataset(source: str | Path, *, for_training: bool = True) -> Dataset:
    """The data set at `source`. Raises DataError for what cannot be used, naming what was found.

    With `for_training`, at least MIN_GOOD good pictures are asked for; evaluation can do with a test split alone.
    """
    if is_rendered(source):
        part, root = rendered_folder(str(source))
        dataset = _from_folder(root, part)
    else:
        root = Path(source).expanduser()
        _check_folder(root)
        dataset = _from_folder(root, _name(root))
    if for_training and len(dataset.train_good) < MIN_GOOD:
        raise DataError(_too_few(dataset))
    if not dataset.train_good and not dataset.test:
        raise DataError(f"{root}: {_found(root)}. {EXPECTED}")
    return dataset


def joined_datasets(datasets: Sequence[Dataset]) -> Dataset:
    """The good pictures of several sets as one, to learn from only."""
    first, *others = datasets
    if not others:
        return first
    return Dataset(
        "+".join(dataset.name for dataset in datasets),
        first.root,
        sorted(path for dataset in datasets for path in dataset.train_good),
        [],
        sets=[dataset.train_good for dataset in datasets],
    )


def read_mask(sample: Sample, shape: tuple[int, int]) -> NDArray[np.bool_] | None:
    """(H, W): True where the defect is (any value above 0); None when nobody drew it.

    `shape` is the picture's (H, W). Raises DataError when the mask is of another size.
    """
    if sample.mask is None:
        return None
    mask = read_picture(sample.mask)
    if mask.shape[:2] != shape:
        raise DataError(
            f"{sample.mask}: the mask is {mask.shape[1]}x{mask.shape[0]}, its picture {sample.path.name} is "
            f"{shape[1]}x{shape[0]}; a mask must have its picture's size"
        )
    return np.asarray(mask > 0 if mask.ndim == 2 else (mask > 0).any(axis=2))


def _check_folder(root: Path) -> None:
    if not root.exists():
        raise DataError(f"{root}: no such folder")
    if not root.is_dir():
        raise DataError(f"{root}: a file; --data takes a folder of pictures, or demo:washer for rendered ones")


def _from_folder(root: Path, name: str) -> Dataset:
    if (root / "train").is_dir() or (root / "test").is_dir():
        train = picture_files(root / "train" / GOOD)
        return Dataset(name, root, train, _test_samples(root), _strangers(root / "train"))
    if (root / GOOD).is_dir():
        return Dataset(name, root, picture_files(root / GOOD), [], _strangers(root))
    return Dataset(name, root, picture_files(root), [])


def _test_samples(root: Path) -> list[Sample]:
    samples = []
    for folder in _folders(root / "test"):
        pictures = picture_files(folder)
        truth = root / "ground_truth" / folder.name
        masks = {} if folder.name == GOOD else _masks(truth)
        _check_masks(masks, pictures, truth)
        for path in pictures:
            mask = masks.get(f"{path.stem}_mask") or masks.get(path.stem)
            samples.append(Sample(path, folder.name, mask, "test"))
    return samples


def _masks(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in picture_files(folder)} if folder.is_dir() else {}


def _check_masks(masks: dict[str, Path], pictures: list[Path], folder: Path) -> None:
    known = {path.stem for path in pictures} | {f"{path.stem}_mask" for path in pictures}
    orphans = sorted(path.name for stem, path in masks.items() if stem not in known)
    if orphans:
        raise DataError(
            f"{folder}: {_some(orphans)} without a picture in test/{folder.name}; a mask is named like its picture, "
            "NAME_mask.png or NAME.png. Remove it or add the picture"
        )


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _strangers(folder: Path) -> list[str]:
    return [path.name for path in _folders(folder) if path.name != GOOD and picture_files(path)]


def _name(root: Path) -> str:
    for folder in (root.resolve(), *root.resolve().parents):
        if folder.name not in ("", "train", GOOD):
            return folder.name
    return "part"


def _too_few(dataset: Dataset) -> str:
    have = len(dataset.train_good)
    if not have:
        return f"{dataset.root}: no good pictures to learn from; {_found(dataset.root)}. {EXPECTED}"
    return (
        f"{dataset.root}: {have} good picture{'s' if have > 1 else ''}; at least {MIN_GOOD} are needed, "
        "50 or more are advised. Run: sad-capture --camera 0 --out FOLDER --count 200"
    )


def _found(root: Path) -> str:
    """What stands in `root` and, where there is one, in its train folder."""
    places = [root, root / "train"] if (root / "train").is_dir() else [root]
    return "; ".join(f"found {_contents(place)} in {place.name or place}" for place in places)


def _contents(folder: Path) -> str:
    folders = [f"{path.name}/" for path in _folders(folder)]
    pictures = len(picture_files(folder))
    others = sum(1 for path in folder.iterdir() if path.is_file()) - pictures
    parts = [_some(folders)] if folders else []
    parts += [f"{count} {what}" for count, what in ((pictures, "pictures"), (others, "other files")) if count > 0]
    return " and ".join(parts) or "nothing"


def _some(names: list[str], limit: int = 5) -> str:
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")
