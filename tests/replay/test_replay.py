"""Recorded frames through a whole station, compared with the verdicts that are kept in `tiny.json`.

Refreshing that file is a decision, told in the commit: python tests/replay/test_replay.py
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from bundles import SIZE_PX, bad_picture, good_picture, write_tiny_bundle
from sad_runtime.pictures import encode_png
from stations import journal_rows, station

KEPT = Path(__file__).with_name("tiny.json")


def record(folder: Path) -> None:
    """Frames such as a line gives them: good and bad parts, faint ones, grey ones, larger ones, and torn files."""
    for number in range(40):
        picture = good_picture(number)
        if number % 6 == 2:
            picture = bad_picture(number)
        if number % 6 == 4:
            picture[5:9, number : number + 6] = 216 + number  # faint: about the threshold
        if number % 10 == 7:
            picture = np.kron(picture, np.ones((2, 2, 1), np.uint8))
        if number % 10 == 9:
            picture = picture[..., 0]
        data = encode_png(picture)
        place = folder / ("early" if number < 20 else "late")
        place.mkdir(exist_ok=True)
        (place / f"{number:03}.png").write_bytes(data[: len(data) // 2] if number in (11, 30) else data)
    assert SIZE_PX == 64, "the kept verdicts are for 64 px"


def replayed(folder: Path) -> list[dict[str, Any]]:
    """What a station said of the recorded frames, without what differs from run to run."""
    (folder / "frames").mkdir()
    record(folder / "frames")
    bundle = write_tiny_bundle(folder / "tiny.sad")
    with station(folder, bundle, camera={"uri": f"folder:{folder}/frames"}) as stand:
        stand.ended()
    sources = [row[3].partition(":")[0] for row in journal_rows(folder / "state/line1")]
    return [
        {
            "seq": decision.seq,
            "source": source,
            "verdict": decision.verdict.value,
            "reason": decision.reason.value,
            "score": None if decision.score is None else round(decision.score, 3),
            "regions": [list(box[:4]) for box in decision.regions],
        }
        for decision, source in zip(stand.decisions, sources, strict=True)
    ]


def test_a_replayed_line_gives_the_kept_verdicts(tmp_path: Path) -> None:
    said, kept = replayed(tmp_path), json.loads(KEPT.read_text())
    assert len(said) == len(kept)
    for one, other in zip(said, kept, strict=True):
        score, expected = one.pop("score"), other.pop("score")
        assert one == other
        assert score == expected or abs(score - expected) < 0.002  # backends round differently


def test_a_replay_repeated_says_the_same(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    assert replayed(tmp_path / "first") == replayed(tmp_path / "second")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        rows = replayed(Path(place))
    KEPT.write_text("[\n" + ",\n".join(" " + json.dumps(row) for row in rows) + "\n]\n")
    print(f"{KEPT}: {len(rows)} verdicts")
