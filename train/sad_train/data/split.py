"""Which good pictures train, which calibrate the threshold, which watch the training. Written to `split.json`.

Calibration pictures are never seen in training; nothing is selected on them. The split depends on the seed and the
files' digests only, not on their names or order on disk. Of equal files one counts: a copy on the other side of the
split would be a calibration picture that training saw, and a copy on the same side adds no evidence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from sad_runtime.errors import DataError
from sad_runtime.schema import Strict

MIN_CALIBRATION, MAX_CALIBRATION = 5, 1000
MIN_GOOD = 8
MIN_TRAIN = 3


class Picked(Strict):
    path: str
    sha256: str


class Split(Strict):
    train: list[Picked]
    calibration: list[Picked]
    validation: list[Picked]

    def paths(self, share: str) -> list[Path]:
        """`share`: train, calibration or validation."""
        return [Path(picked.path) for picked in getattr(self, share)]


def joined_split(splits: Sequence[Split]) -> Split:
    """Several sets' splits as one. What any of them calibrates with, none may learn from."""
    kept_back = {picked.sha256 for split in splits for picked in split.calibration}
    shares: dict[str, list[Picked]] = {}
    for share in ("train", "calibration", "validation"):
        all_picked = {picked.sha256: picked for split in splits for picked in getattr(split, share)}
        shares[share] = [
            picked for digest, picked in all_picked.items() if share == "calibration" or digest not in kept_back
        ]
    return Split(**shares)


def split_of(
    paths: Sequence[Path],
    digests: Mapping[Path, str],
    *,
    calibration_share: float,
    validation_share: float,
    seed: int,
) -> Split:
    """Calibration: the share, at least 5, at most 1000. Validation: the share, none below 40 pictures."""
    path_of = {digests[path]: path for path in sorted(paths, reverse=True)}
    if len(path_of) < MIN_GOOD:
        raise DataError(
            f"{len(path_of)} different good pictures are too few: bring at least {MIN_GOOD}, better 50 to 200"
        )
    order = sorted(path_of, key=lambda digest: hashlib.sha256(f"{seed}:{digest}".encode()).digest())
    picked = [Picked(path=str(path_of[digest].resolve()), sha256=digest) for digest in order]
    calibration = min(MAX_CALIBRATION, max(MIN_CALIBRATION, round(calibration_share * len(picked))))
    validation = round(validation_share * len(picked)) if len(picked) >= 40 else 0
    train = picked[calibration + validation :]
    if len(train) < MIN_TRAIN:
        raise DataError(
            f"calibration_share {calibration_share:g} and validation_share {validation_share:g} leave {len(train)} of "
            f"{len(picked)} pictures to train on; at least {MIN_TRAIN} are needed"
        )
    return Split(
        calibration=picked[:calibration],
        validation=picked[calibration : calibration + validation],
        train=train,
    )
