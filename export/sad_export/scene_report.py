"""What was learnt of the scene, for the export's page and for scripts."""

from __future__ import annotations

from typing import Any

from sad_export.scene import FLOORS, Learnt
from sad_runtime.scene.limits import Band, Measure
from sad_train import report

ABOUT: dict[Measure, str] = {
    "brightness": "mean grey level, 0 to 255",
    "highlights": "grey level that 1 % exceed",
    "dark": "share of values up to 8",
    "saturated": "share of values from 250 on",
    "contrast": "standard deviation, grey levels",
    "focus": "fine detail over coarse",
    "blue": "blue over green",
    "red": "red over green",
    "shift": "px off the good pictures' mean",
    "likeness": "correlation with their mean, 0 to 1",
    "repeated": "share of rows or columns that are equal",
}
_HEADER = ("measure", "what it is", "usual", "good pictures", "event outside", "INVALID outside")


def scene_section(learnt: Learnt) -> str:
    """The measures with their limits, and what these noticed on good pictures that were spoiled on purpose."""
    faults = [[name, f"{100 * share:.0f} %"] for name, share in learnt.noticed.items()]
    return report.section(
        "What the scene guard expects",
        report.table(_HEADER, [_row(learnt, name) for name in FLOORS if name in learnt.ranges], words=(0, 1, 3, 4, 5)),
        report.table(("done to good pictures", "INVALID"), faults),
        note=f"Before the model, every picture of the line is held against these limits, learnt from "
        f"{learnt.limits.pictures} good pictures: their 2 and 98 % quantiles, widened by their spread, and never "
        "nearer than normal light and handling drift. The second table says what to expect of it here.",
    )


def scene_json(learnt: Learnt) -> dict[str, Any]:
    return {
        "pictures": learnt.limits.pictures,
        "limits": {name: band.model_dump() for name, band in learnt.limits.bands.items()},
        "left_out": dict(learnt.left_out),
        "noticed": dict(learnt.noticed),
    }


def _row(learnt: Learnt, measure: Measure) -> list[str]:
    low, high = learnt.ranges[measure]
    band = learnt.limits.bands.get(measure)
    good = f"{low:.3g} to {high:.3g}"
    if band is None:
        why = learnt.left_out.get(measure, "grey pictures have no colour")
        return [measure, ABOUT[measure], "", good, "not judged", why]
    usual = "" if band.usual is None else f"{band.usual:.3g}"
    return [measure, ABOUT[measure], usual, good, _outside(band, "warn"), _outside(band, "fault")]


def _outside(band: Band, kind: str) -> str:
    low, high = (band.warn_low, band.warn_high) if kind == "warn" else (band.low, band.high)
    if low is not None and high is not None:
        return f"{low:.3g} to {high:.3g}"
    return f"below {low:.3g}" if low is not None else f"above {high:.3g}" if high is not None else ""
