"""Everything that crosses the feed, schema 1: topics, fields, encoding (DESIGN 4.5, 4.10).

    socket     kind    topic                  message    rate, sender
    decisions  XPUB    hello                  Hello      on each new subscription
    decisions  XPUB    heartbeat.<station>    Heartbeat  every 100 ms while the loop makes progress
    decisions  XPUB    decision.<station>     Decision   one a part, in order of seq, without holes
    decisions  XPUB    event.<station>        Event      when something happens
    heatmaps   XPUB    heatmap.<station>      Heatmap    latest wins; a binary frame follows
    snapshot   ROUTER  -                      SnapshotRequest -> SnapshotReply, from the journal
    commands   ROUTER  -                      Command -> CommandReply

A message is `[topic, msgpack map]` plus at most one binary frame. Readers ignore keys they do not know and refuse an
unknown major. Names are never used again with another meaning; a new field is optional. Imports neither numpy nor
OpenCV, so that a gateway box can use it.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import msgpack
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sad_runtime.errors import SadError
from sad_runtime.verdict import Reason, State, Verdict

MAJOR = 1
MAX_MESSAGE_BYTES = 64 * 1024
SNAPSHOT_PAGE = 1024
U32 = 2**32 - 1

Flag = Literal["review", "simulated", "degraded", "unrecorded"]
Op = Literal["trigger", "recipe", "ack", "pause", "resume", "resync"]


class MessageError(SadError):
    """Bytes that are not a message of schema 1."""


class Message(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)
    v: int = MAJOR


class Decision(Message):
    """One part, one verdict. `(station, run, seq)` is its identity."""

    run: str
    station: str
    seq: int
    """Counts decisions of this run from 1, without holes."""
    trigger_id: int | None = None
    part_id: int | None = None
    frame_id: int | None = None
    encoder: int | None = None
    captured_ns: int | None = None
    """Wall clock, for people. Control uses age_ms."""
    mono_ns: int
    """CLOCK_MONOTONIC of the publisher at publishing; comparable only where boot_id is the same."""
    boot_id: str
    verdict: Verdict
    reason: Reason
    score: float | None = None
    threshold: float | None = None
    threshold_rev: int = 0
    p_value: float | None = None
    regions: list[tuple[int, int, int, int, float]] = []
    """x, y, width, height in model pixels, and the highest heatmap value in it."""
    recipe: int = 0
    model_digest: str = ""
    backend: str = ""
    precision: str = ""
    deadline_ms: int = 1000
    latency_ms: dict[str, float] = {}
    """wait, grab, pre, infer, post, publish"""
    age_ms: float = 0.0
    """From trigger (from capture in free run) to publishing."""
    flags: list[Flag] = []


class Heartbeat(Message):
    run: str
    station: str
    seq_last: int
    state: State
    online: bool
    loop_count: int
    quiet_ms: int
    cam_age_ms: float | None = None
    recipe: int = 0
    model_digest: str = ""
    deadline_ms: int = 1000
    mono_ns: int
    boot_id: str


class Hello(Message):
    run: str
    station: str
    state: State
    snapshot: str | None = None
    heatmaps: str | None = None
    first_seq: int = 1


class Event(Message):
    run: str
    station: str
    code: str
    level: Literal["info", "warning", "error"]
    text: str
    data: dict[str, Any] = {}


class Heatmap(Message):
    """Header of a heatmap; the next frame is the picture. Value = offset + scale * level."""

    run: str
    station: str
    seq: int
    encoding: Literal["jpeg_u8"] = "jpeg_u8"
    shape: tuple[int, int]
    roi: tuple[int, int, int, int] | None = None
    scale: float
    offset: float
    threshold: float


class SnapshotRequest(Message):
    station: str
    run: str | None = None
    """None: the run that is going on."""
    from_seq: int = Field(ge=0)
    to_seq: int = Field(ge=0)


class SnapshotReply(Message):
    items: list[Decision] = []
    next_seq: int | None = None
    """Where to ask on; None when the range is complete."""
    first_seq: int = 0
    last_seq: int = 0
    error: str | None = None


class Command(Message):
    model_config = ConfigDict(extra="forbid", frozen=True)
    id: int = Field(ge=0, le=2**63 - 1)
    op: Op
    trigger_id: int | None = Field(default=None, ge=0, le=U32)
    part_id: int | None = Field(default=None, ge=0, le=U32)
    deadline_ms: int | None = Field(default=None, ge=1, le=3_600_000)
    encoder: int | None = Field(default=None, ge=-(2**31), le=U32)
    recipe: int | None = Field(default=None, ge=0, le=65535)
    seq: int | None = Field(default=None, ge=0)


class CommandReply(Message):
    id: int
    ok: bool
    error: str | None = None


TOPICS: dict[str, type[Message]] = {
    "hello": Hello,
    "heartbeat": Heartbeat,
    "decision": Decision,
    "event": Event,
    "heatmap": Heatmap,
}

T = TypeVar("T", bound=Message)


def topic_of(message: Message) -> bytes:
    """`decision.line1`; hello has no station in its topic, so that a subscriber can ask for it before it knows one."""
    kind = next(name for name, model in TOPICS.items() if type(message) is model)
    return b"hello" if kind == "hello" else f"{kind}.{message.station}".encode()  # type: ignore[attr-defined]


def encode(message: Message) -> bytes:
    """The msgpack map of a message; enums as their strings."""
    return bytes(msgpack.packb(message.model_dump(mode="python"), default=str, use_bin_type=True))


def decode(model: type[T], data: bytes) -> T:
    """`data` as a `model`. Raises MessageError for bytes that are no map, too large, or of another major."""
    if len(data) > MAX_MESSAGE_BYTES and model not in (SnapshotReply,):
        raise MessageError(f"{len(data)} bytes is more than a {model.__name__} may have")
    try:
        values = msgpack.unpackb(data, raw=False, strict_map_key=True)
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise MessageError(f"not msgpack ({error})") from None
    if not isinstance(values, dict):
        raise MessageError(f"expected a map, got {type(values).__name__}")
    if values.get("v") != MAJOR:
        raise MessageError(f"schema {values.get('v')!r} is not {MAJOR}, the one this sad speaks")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise MessageError(f"{model.__name__}.{place}: {first['msg']}") from None


def decode_published(topic: bytes, data: bytes) -> Message:
    """A message of the decisions or heatmaps socket, by its topic."""
    kind = topic.partition(b".")[0].decode("ascii", "replace")
    if kind not in TOPICS:
        raise MessageError(f"no such topic: {topic[:64]!r}")
    return decode(TOPICS[kind], data)
