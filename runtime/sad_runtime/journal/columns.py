"""The journal as a table: a column for all that is known of a decision, times both as UTC and in ns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sad_runtime.journal.rows import Row

STEPS = ("wait", "grab", "pre", "infer", "post", "publish")
COLUMNS: dict[str, type[int] | type[float] | type[str]] = {
    "station": str,
    "run": str,
    "seq": int,
    "decided_utc": str,
    "decided_ns": int,
    "captured_utc": str,
    "captured_ns": int,
    "verdict": str,
    "reason": str,
    "score": float,
    "threshold": float,
    "threshold_rev": int,
    "p_value": float,
    "part_id": int,
    "trigger_id": int,
    "encoder": int,
    "frame_id": int,
    "recipe": int,
    "model_digest": str,
    "backend": str,
    "precision": str,
    "deadline_ms": int,
    "age_ms": float,
    **{f"latency_{step}_ms": float for step in STEPS},
    "flags": str,
    "regions": str,
    "source": str,
    "acknowledged_utc": str,
    "acknowledged_ns": int,
    "mono_ns": int,
    "boot_id": str,
    "picture": str,
    "more": str,
}
"""Name and type. `flags`: words; `regions`: JSON; `more`: JSON of what has no column here."""
FROM_MESSAGE = [
    name for name in COLUMNS if not name.endswith("_utc") and name not in ("flags", "regions", "picture", "more")
]
NO_COLUMN = frozenset({"v", "flags", "regions", "latency_ms"})


def values_of(row: Row, picture: Path | None) -> list[int | float | str | None]:
    """In the order of COLUMNS, each of its type or None."""
    told = row.decision
    latency = told.get("latency_ms", {})
    known: dict[str, Any] = {
        **{name: told.get(name) for name in FROM_MESSAGE},
        **{f"latency_{step}_ms": latency.get(step) for step in STEPS},
        "run": row.run,
        "seq": row.seq,
        "decided_utc": utc(row.decided_ns),
        "decided_ns": row.decided_ns,
        "captured_utc": utc(told.get("captured_ns")),
        "verdict": row.verdict,
        "reason": row.reason,
        "score": row.score,
        "part_id": row.part_id,
        "trigger_id": row.trigger_id,
        "flags": " ".join(told.get("flags", [])),
        "regions": json.dumps(told.get("regions", []), separators=(",", ":")),
        "source": row.source,
        "acknowledged_utc": utc(row.acknowledged_ns),
        "acknowledged_ns": row.acknowledged_ns,
        "picture": None if picture is None else str(picture),
        "more": _more(told, latency),
    }
    return [_of_type(known[name], kind) for name, kind in COLUMNS.items()]


def utc(ns: int | None) -> str | None:
    """`2026-05-04T10:30:00.123456Z`; None for a number that is no date."""
    if ns is None:
        return None
    try:
        when = datetime.fromtimestamp(ns // 10**9, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return None
    return f"{when:%Y-%m-%dT%H:%M:%S}.{ns % 10**9 // 1000:06}Z"


def _more(told: Mapping[str, Any], latency: Mapping[str, Any]) -> str | None:
    more = {name: value for name, value in told.items() if name not in COLUMNS and name not in NO_COLUMN}
    steps = {name: value for name, value in latency.items() if name not in STEPS}
    if steps:
        more["latency_ms"] = steps
    return json.dumps(more, separators=(",", ":"), default=str) if more else None


def _of_type(value: Any, kind: type) -> Any:
    """A column of a Parquet file has one type; what a damaged message holds instead is left out."""
    if value is None or isinstance(value, bool):
        return None
    if kind is float and isinstance(value, int):
        return float(value)
    return value if isinstance(value, kind) else None
