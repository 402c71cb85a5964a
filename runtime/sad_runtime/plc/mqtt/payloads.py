"""What `plc.mqtt` publishes, as JSON objects: pure values. Keys may be added; a changed meaning is a new `schema`.

TOPIC/STATION/online  `1` or `0`, plain text, retained. 0 (also as the last will): what TOPIC/STATION/state says is old.

TOPIC/STATION/state   retained, sent when something in it changes, at most five times a second
    schema        1
    station       its id
    bits          {ONLINE: true, TRIGGER_READY: false, ...}: the 16 bits of STATUS
    fault         {code: 30, name: FEED_STALE}; code 0 and name NONE while well
    warn          names of WARN_BITS that are set
    state         of the station, in the words of OPC 40100-1; empty before it was heard
    recipe        in force, a number
    model         SHA-256 of its model
    run, run_tag  of the station's start, text and number
    result_seq    number of the result shown, 0 before the first
    queue         results that wait for their ACK
    counters      {total, passed, failed, invalid, missed_trigger, lost}

TOPIC/STATION/result  QoS 1, not retained, one for each result, in their order
    schema        1
    station       its id
    run_tag, seq  name the result; a broker may deliver it twice
    verdict       PASS, FAIL or INVALID, as it was made; whether the PLC fetched it in time is another matter
    reason        ok, score, no_image, ... (Reason)
    part_id, trigger_id, encoder   as they came with the trigger
    score, threshold               null where nothing was scored
    regions       [{x, y, width, height, peak}], model pixels, highest first
    latency_ms    trigger to publishing
    age_ms        trigger to the gateway
    captured      2026-11-24T08:15:30.123Z; null without a picture
    recipe        a number
    model         SHA-256 of the model
    run, feed_seq name the station's decision; feed_seq is null where the gateway gave the result for want of one
    simulated     true: not of a real part
"""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from sad_runtime.plc.status import Bit, Result, Status, Warn

SCHEMA: Final = 1
EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


def state_payload(station: str, status: Status) -> bytes:
    counters = status.counters
    return _json(
        {
            "schema": SCHEMA,
            "station": station,
            "bits": {bit.name: bool(status.bits & bit) for bit in Bit},
            "fault": {"code": int(status.fault), "name": status.fault.name},
            "warn": [warn.name for warn in Warn if status.warn & warn],
            "state": status.state,
            "recipe": status.recipe,
            "model": status.model_digest,
            "run": status.run,
            "run_tag": status.run_tag,
            "result_seq": 0 if status.result is None else status.result.seq,
            "queue": status.queue,
            "counters": {
                "total": counters.total,
                "passed": counters.passed,
                "failed": counters.failed,
                "invalid": counters.invalid,
                "missed_trigger": counters.missed_trigger,
                "lost": counters.lost,
            },
        }
    )


def result_payload(station: str, run_tag: int, result: Result) -> bytes:
    return _json(
        {
            "schema": SCHEMA,
            "station": station,
            "run_tag": run_tag,
            "seq": result.seq,
            "verdict": result.verdict.value,
            "reason": result.reason.value,
            "part_id": result.part_id,
            "trigger_id": result.trigger_id,
            "encoder": result.encoder,
            "score": _number(result.score),
            "threshold": _number(result.threshold),
            "regions": [
                {"x": x, "y": y, "width": width, "height": height, "peak": _number(peak)}
                for x, y, width, height, peak in result.regions
            ],
            "latency_ms": _number(result.latency_ms),
            "age_ms": _number(result.age_ms),
            "captured": _moment(result.captured_ns),
            "recipe": result.recipe,
            "model": result.model_digest,
            "run": result.run,
            "feed_seq": result.feed_seq,
            "simulated": result.simulated,
        }
    )


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def _number(value: float | None) -> float | None:
    """JSON has neither NaN nor infinity."""
    return value if value is not None and math.isfinite(value) else None


def _moment(ns: int) -> str | None:
    if ns <= 0:
        return None
    moment = EPOCH + timedelta(milliseconds=ns // 10**6)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
