"""What came out of the demo's line: decisions held against the truth, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sad_runtime.backends.table import backend_for
from sad_runtime.bundle import read_bundle
from sad_runtime.cameras.demo.parts import GOOD, render
from sad_runtime.decide import Thresholds
from sad_runtime.files import write_atomically
from sad_runtime.heatmap import overlay
from sad_runtime.inspector import Inspector
from sad_runtime.messages import Decision
from sad_runtime.pictures import encode_png
from sad_runtime.preprocess import Picture
from sad_runtime.verdict import Verdict

SHOWN, COLUMNS, SIDE_PX = 24, 8, 176
COLOURS = {Verdict.PASS: (80, 170, 60), Verdict.FAIL: (60, 60, 220), Verdict.INVALID: (0, 160, 240)}


@dataclass(frozen=True)
class Outcome:
    """A decision, and the camera's own word on the part: `demo:washer#12 scratch`."""

    decision: Decision
    source: str

    @property
    def kind(self) -> str:
        return self.source.rpartition(" ")[2]

    @property
    def index(self) -> int:
        return int(self.source.partition("#")[2].partition(" ")[0])

    @property
    def part(self) -> str:
        return self.source.partition(":")[2].partition("#")[0]

    @property
    def right(self) -> bool:
        return (self.decision.verdict is Verdict.PASS) == (self.kind == GOOD)


def table(outcomes: Sequence[Outcome]) -> str:
    """Decisions by what the part really was."""
    kinds = sorted({outcome.kind for outcome in outcomes}, key=lambda kind: (kind != GOOD, kind))
    lines = [f"{'truth':<16}{'parts':>7}{'PASS':>7}{'FAIL':>7}{'INVALID':>9}{'right':>8}"]
    for kind in kinds:
        lines.append(_row(kind, [outcome for outcome in outcomes if outcome.kind == kind]))
    defective = [outcome for outcome in outcomes if outcome.kind != GOOD]
    if defective:
        lines += ["", _row("all defects", defective)]
    ages = np.array([outcome.decision.age_ms for outcome in outcomes])
    p50, p99 = np.percentile(ages, (50, 99))
    lines.append(
        f"\n{len(outcomes)} decisions received in order, none lost; "
        f"capture to decision p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    )
    return "\n".join(lines)


def _row(name: str, outcomes: Sequence[Outcome]) -> str:
    counts = [sum(outcome.decision.verdict is verdict for outcome in outcomes) for verdict in Verdict]
    right = sum(outcome.right for outcome in outcomes) / len(outcomes)
    return f"{name:<16}{len(outcomes):>7}{counts[0]:>7}{counts[1]:>7}{counts[2]:>9}{100 * right:>6.0f} %"


def write_picture(path: Path, bundle: Path, outcomes: Sequence[Outcome], seed: int, defect_px: float | None) -> None:
    """A contact sheet: the first parts of the line, rendered again, each over its heatmap, framed by its verdict."""
    opened = read_bundle(bundle)
    entry = opened.precision("fp32")
    scale = Thresholds(entry.score_threshold, entry.pixel_threshold, entry.heatmap_low)
    with Inspector(backend_for("auto", opened.model("fp32"), opened.manifest.input), scale) as inspector:
        tiles = [_tile(outcome, inspector, seed, defect_px) for outcome in outcomes[:SHOWN]]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % COLUMNS)
    rows = [np.hstack(tiles[start : start + COLUMNS]) for start in range(0, len(tiles), COLUMNS)]
    write_atomically(path, encode_png(np.vstack(rows)))


def _tile(outcome: Outcome, inspector: Inspector, seed: int, defect_px: float | None) -> Picture:
    image = render(outcome.part, seed=seed, index=outcome.index, defect=outcome.kind, defect_px=defect_px).image
    found = inspector.inspect(image)
    upper, lower = (
        cv2.resize(picture, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
        for picture in (image, overlay(found.picture, found.heatmap, inspector.thresholds))
    )
    colour = COLOURS[outcome.decision.verdict]
    banner = np.full((22, SIDE_PX, 3), colour, np.uint8)
    text = f"{outcome.decision.verdict.value} / {outcome.kind}"
    cv2.putText(banner, text, (6, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    tile = np.vstack([banner, upper, lower])
    return np.asarray(cv2.copyMakeBorder(tile, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=colour), dtype=np.uint8)
