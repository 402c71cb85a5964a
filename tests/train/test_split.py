"""Which pictures train, calibrate and watch: the shares, and what must never depend on what."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from sad_runtime.errors import DataError
from sad_train.data.split import Split, split_of


def digests_of(count: int) -> dict[Path, str]:
    """`count` different files that need not exist."""
    return {Path(f"/parts/{index:04}.png"): hashlib.sha256(str(index).encode()).hexdigest() for index in range(count)}


def split(
    digests: dict[Path, str], *, calibration: float = 0.2, validation: float = 0.05, seed: int = 0, turned: bool = False
) -> Split:
    paths = sorted(digests, reverse=turned)
    return split_of(paths, digests, calibration_share=calibration, validation_share=validation, seed=seed)


def sizes(count: int, **shares: float) -> tuple[int, int, int]:
    found = split(digests_of(count), **shares)  # type: ignore[arg-type]
    return len(found.train), len(found.calibration), len(found.validation)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (8, (3, 5, 0)),
        (20, (15, 5, 0)),
        (39, (31, 8, 0)),
        (40, (30, 8, 2)),
        (200, (150, 40, 10)),
        (6000, (4700, 1000, 300)),
    ],
)
def test_a_fifth_calibrates_at_least_5_at_most_1000_and_a_twentieth_watches(
    count: int, expected: tuple[int, int, int]
) -> None:
    assert sizes(count) == expected


def test_every_picture_has_exactly_one_task() -> None:
    digests = digests_of(100)
    found = split(digests)
    tasks = [picked for share in (found.train, found.calibration, found.validation) for picked in share]
    assert {picked.path for picked in tasks} == {str(path) for path in digests}
    assert len(tasks) == 100
    assert all(picked.sha256 == digests[Path(picked.path)] for picked in tasks)


def test_the_split_does_not_depend_on_the_order_or_names_of_files() -> None:
    digests = digests_of(60)
    renamed = {Path(f"/elsewhere/{digest[:8]}.png"): digest for digest in digests.values()}
    first, turned, moved = split(digests), split(digests, turned=True), split(renamed)
    assert first == turned
    for share in ("train", "calibration", "validation"):
        assert [one.sha256 for one in getattr(first, share)] == [one.sha256 for one in getattr(moved, share)]


def test_another_seed_splits_otherwise() -> None:
    assert split(digests_of(60), seed=1).calibration != split(digests_of(60), seed=2).calibration


def test_more_pictures_move_few_of_the_others() -> None:
    """Whoever adds pictures and trains again keeps most calibration pictures, so that thresholds stay comparable."""
    before = {picked.sha256 for picked in split(digests_of(100)).calibration}
    after = {picked.sha256 for picked in split(digests_of(110)).calibration}
    assert len(before & after) >= 15


@pytest.mark.parametrize("seed", range(10))
def test_a_copy_of_a_file_is_never_on_the_other_side_of_the_split(seed: int) -> None:
    digests = digests_of(20)
    digests |= {path.with_name(f"copy of {path.name}"): digest for path, digest in digests.items()}
    found = split(digests, seed=seed)
    shares = [{picked.sha256 for picked in share} for share in (found.train, found.calibration, found.validation)]
    assert sum(map(len, shares)) == len(set.union(*shares)) == 20
    assert not any("copy of" in picked.path for picked in found.train + found.calibration)


def test_too_few_pictures_are_refused_and_copies_do_not_count() -> None:
    with pytest.raises(DataError, match="7 different good pictures are too few: bring at least 8"):
        split(digests_of(7))
    digests = digests_of(7)
    with pytest.raises(DataError, match="7 different"):
        split(digests | {Path("/parts/copy.png"): next(iter(digests.values()))})


@pytest.mark.parametrize(("calibration", "validation"), [(0.95, 0.0), (0.6, 0.5)])
def test_shares_that_leave_nothing_to_train_on_are_refused(calibration: float, validation: float) -> None:
    with pytest.raises(DataError, match=r"leave \d of 50 pictures to train on"):
        split(digests_of(50), calibration=calibration, validation=validation)
