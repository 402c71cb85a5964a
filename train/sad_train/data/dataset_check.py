"""The check of a data set before anything is learnt from it: what cannot be read, what is twice there, what stands out.

Plain data comes back: errors that must be mended, warnings to think about, and the digest of every file. Whether the
parts are aligned is training's question.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sad_runtime.errors import DataError
from sad_runtime.pictures import decode_picture
from sad_runtime.preprocess import Picture
from sad_train.data.dataset import Dataset, Sample, read_mask

THUMBNAIL_PX = 64
NEAR_CORRELATION = 0.99
"""Copies saved again as JPEG (quality 40 and up), scaled by half or made noisier stand at 0.99 to 1.00; different parts
of five real sets at most at 0.98, but for pictures of one and the same part (thumbnails less their mean)."""
BRIGHTNESS_Z = 6.0
LISTED = 8


@dataclass(frozen=True)
class DatasetCheck:
    """What was found. Nothing was changed, and nothing is left out of the set on its own."""

    errors: list[str]
    warnings: list[str]
    digests: dict[Path, str]
    """SHA-256 of every file that was read."""
    data_digest: str
    """SHA-256 over the digests of the good training pictures, whatever their names and order."""
    sizes: dict[str, int]
    """Pictures by `WIDTHxHEIGHTxCHANNELS`."""


@dataclass
class _Seen:
    digests: dict[Path, str] = field(default_factory=dict)
    shapes: dict[Path, tuple[int, int, int]] = field(default_factory=dict)
    brightness: dict[Path, float] = field(default_factory=dict)
    thumbnails: dict[Path, NDArray[np.float32]] = field(default_factory=dict)
    unreadable: dict[Path, str] = field(default_factory=dict)
    bad_masks: list[str] = field(default_factory=list)


def check_dataset(dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> DatasetCheck:
    """Reads every picture once. `progress` gets (done, total)."""
    seen = _Seen()
    samples = [Sample(path, "good", None, "train") for path in dataset.train_good] + dataset.test
    for done, sample in enumerate(samples, start=1):
        _look(sample, seen)
        if progress is not None:
            progress(done, len(samples))
    train = set(dataset.train_good)
    errors = [message for path, message in seen.unreadable.items() if path in train] + seen.bad_masks
    warnings = [f"{message} (test picture)" for path, message in seen.unreadable.items() if path not in train]
    warnings += _shape_warnings(dataset, seen)
    warnings += _copy_warnings(dataset, seen)
    warnings += _brightness_warnings(dataset.train_good, seen)
    warnings += _layout_warnings(dataset)
    return DatasetCheck(
        errors=errors,
        warnings=warnings,
        digests=seen.digests,
        data_digest=digest_of(seen.digests[path] for path in dataset.train_good if path in seen.digests),
        sizes=dict(Counter("x".join(map(str, shape)) for shape in seen.shapes.values()).most_common()),
    )


def joined_checks(datasets: Sequence[Dataset], checks: Sequence[DatasetCheck]) -> DatasetCheck:
    """What was found in several sets, as of one; each was looked at by itself, for they may well differ."""
    digests = {path: digest for check in checks for path, digest in check.digests.items()}
    sizes: Counter[str] = Counter()
    for check in checks:
        sizes.update(check.sizes)
    return DatasetCheck(
        errors=[error for check in checks for error in check.errors],
        warnings=[warning for check in checks for warning in check.warnings],
        digests=digests,
        data_digest=digest_of(digests[path] for dataset in datasets for path in dataset.train_good),
        sizes=dict(sizes),
    )


def digest_of(digests: Iterable[str]) -> str:
    """One SHA-256 for a set of files, from the SHA-256 of each; names and order do not matter."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def _look(sample: Sample, seen: _Seen) -> None:
    path = sample.path
    try:
        data = path.read_bytes()
        seen.digests[path] = hashlib.sha256(data).hexdigest()
        picture = decode_picture(data, str(path))
    except OSError as error:
        seen.unreadable[path] = f"{path}: cannot be read ({error.strerror})"
        return
    except DataError as error:
        seen.unreadable[path] = str(error)
        return
    try:
        read_mask(sample, picture.shape[:2])
    except DataError as error:
        seen.bad_masks.append(str(error))
    seen.shapes[path] = (picture.shape[1], picture.shape[0], 1 if picture.ndim == 2 else 3)
    seen.brightness[path] = float(picture.mean())
    seen.thumbnails[path] = _thumbnail(picture)


def _thumbnail(picture: Picture) -> NDArray[np.float32]:
    """(THUMBNAIL_PX squared,): small, grey, of mean 0 and length 1 (all zero for a blank picture)."""
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    return _unit(np.asarray(small, dtype=np.float32).reshape(1, -1)).ravel()


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(length, 1e-6), dtype=np.float32)


def _shape_warnings(dataset: Dataset, seen: _Seen) -> list[str]:
    warnings = []
    sizes = Counter(
        f"{seen.shapes[path][0]}x{seen.shapes[path][1]}" for path in dataset.train_good if path in seen.shapes
    )
    if len(sizes) > 1:
        kinds = ", ".join(f"{count} of {size}" for size, count in sizes.most_common(4))
        more = f" and {len(sizes) - 4} more sizes" if len(sizes) > 4 else ""
        warnings.append(f"training pictures differ in size: {kinds}{more}; one camera gives one size")
    grey = [path for path, shape in seen.shapes.items() if shape[2] == 1]
    if grey and len(grey) < len(seen.shapes):
        warnings.append(f"{len(grey)} pictures are grey, {len(seen.shapes) - len(grey)} are in colour: {_names(grey)}")
    return warnings


def _copy_warnings(dataset: Dataset, seen: _Seen) -> list[str]:
    warnings = []
    by_digest: dict[str, list[Path]] = {}
    for path, digest in seen.digests.items():
        by_digest.setdefault(digest, []).append(path)
    train = set(dataset.train_good)
    copies = [paths for paths in by_digest.values() if len(paths) > 1]
    within = [paths for paths in copies if sum(path in train for path in paths) > 1]
    across = [paths for paths in copies if any(path in train for path in paths) and not train.issuperset(paths)]
    if within:
        warnings.append(f"the same file stands in train more than once: {_groups(within, dataset.root)}")
    if across:
        warnings.append(
            f"the same file stands in train and in test, so the test flatters: {_groups(across, dataset.root)}"
        )
    near = _near_copies([path for paths in by_digest.values() if (path := paths[0]) in seen.thumbnails], seen)
    near_within = [[a, b] for a, b in near if a in train and b in train]
    near_across = [[a, b] for a, b in near if (a in train) != (b in train)]
    if near_within:
        warnings.append(f"nearly the same picture stands in train twice: {_groups(near_within, dataset.root)}")
    if near_across:
        warnings.append(
            "nearly the same picture stands in train and in test, so the test flatters: "
            f"{_groups(near_across, dataset.root)}"
        )
    return warnings


def _near_copies(paths: Sequence[Path], seen: _Seen, chunk: int = 512) -> list[tuple[Path, Path]]:
    """Each picture with the earlier one most like it, if they agree in what sets them apart from the mean picture."""
    if len(paths) < 3:
        return []
    rows = np.stack([seen.thumbnails[path] for path in paths])
    rows = _unit(rows - rows.mean(axis=0))
    pairs = []
    for start in range(0, len(paths), chunk):
        alike = rows[start : start + chunk] @ rows.T
        for offset, row in enumerate(alike):
            index = start + offset
            if index and row[:index].max() >= NEAR_CORRELATION:
                pairs.append((paths[int(row[:index].argmax())], paths[index]))
    return pairs


def _brightness_warnings(paths: Sequence[Path], seen: _Seen) -> list[str]:
    known = [path for path in paths if path in seen.brightness]
    if len(known) < 5:
        return []
    values = np.array([seen.brightness[path] for path in known])
    middle = float(np.median(values))
    spread = max(1.4826 * float(np.median(np.abs(values - middle))), 1.0)
    far = [path for path, value in zip(known, values, strict=True) if abs(value - middle) > BRIGHTNESS_Z * spread]
    if not far:
        return []
    shown = ", ".join(f"{path.name} ({seen.brightness[path]:.0f})" for path in far[:LISTED])
    return [
        f"{len(far)} training picture{'s are' if len(far) > 1 else ' is'} far brighter or darker than the rest "
        f"(mean {middle:.0f} of 255): {shown}{_more(far)}. Are they good parts under the line's own light?"
    ]


def _layout_warnings(dataset: Dataset) -> list[str]:
    warnings = []
    if dataset.ignored:
        warnings.append(
            f"not read, beside 'good': {', '.join(dataset.ignored)}; defects belong in test/DEFECT to be measured"
        )
    drawn = {sample.label for sample in dataset.test if sample.mask is not None}
    bare = [sample.path for sample in dataset.test if sample.mask is None and sample.label in drawn]
    if bare:
        warnings.append(f"{len(bare)} defects have no mask though others of their type do: {_names(bare)}")
    return warnings


def _groups(groups: list[list[Path]], root: Path) -> str:
    shown = "; ".join(" = ".join(_relative(path, root) for path in group) for group in groups[:LISTED])
    return f"{shown}{_more(groups)}"


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(path.name for path in paths[:LISTED]) + _more(paths)


def _more(items: Sequence[object]) -> str:
    return f" and {len(items) - LISTED} more" if len(items) > LISTED else ""
