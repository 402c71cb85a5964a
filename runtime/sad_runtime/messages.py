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
unknown major. Names are never used again with another meaning; a new field is optional. `docs/feed.md` tells all this
to readers in other languages, `feed/json_schema.py` publishes it as a JSON Schema. Imports neither numpy nor OpenCV,
so that a gateway box can use it.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeVar

import msgpack
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sad_runtime.errors import SadError
from sad_runtime.verdict import Reason, State, Verdict

MAJOR: Final = 1
MAX_MESSAGE_BYTES = 64 * 1024
SNAPSHOT_PAGE = 1024
U32 = 2**32 - 1
I63 = 2**63 - 1
"""The largest number that a SQLite journal and every msgpack library can hold."""

Flag = Literal["review", "simulated", "degraded", "unrecorded"]
Op = Literal["trigger", "recipe", "rollback", "ack", "pause", "resume", "resync"]


class MessageError(SadError):
    """Bytes that are not a message of schema 1."""


class UnknownMajor(MessageError):
    """A message of another schema major: its fields may mean other things, so nothing of it may be used."""


class Message(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)
    v: Literal[1] = MAJOR
    """Schema major."""


class Decision(Message):
    """One part, one verdict. `(station, run, seq)` is its identity."""

    run: str
    """Identity of one start of the station; another run counts seq from 1 again."""
    station: str
    seq: int
    """Counts decisions of this run from 1, without holes."""
    trigger_id: int | None = None
    """As it came with the trigger; null without one."""
    part_id: int | None = None
    """As it came with the trigger; null without one."""
    frame_id: int | None = None
    """The camera's own count; a hole in it is a frame that was dropped before it was judged."""
    encoder: int | None = None
    """Line position at the trigger, in the PLC's counts; null when the trigger had none."""
    captured_ns: int | None = None
    """Wall clock, ns since 1970 UTC, for people. Control uses age_ms."""
    mono_ns: int
    """CLOCK_MONOTONIC of the publisher at publishing, ns; comparable only where boot_id is the same."""
    boot_id: str
    """/proc/sys/kernel/random/boot_id of the publisher."""
    verdict: Verdict
    """Only PASS lets a part go. FAIL and INVALID reject, and so does a verdict that the reader does not know."""
    reason: Reason
    score: float | None = None
    """In the unit of the model; null when nothing was scored."""
    threshold: float | None = None
    """FAIL is score > threshold; same unit as score."""
    threshold_rev: int = 0
    """Which entry of the station's threshold history was in force; 0 is the bundle's own."""
    p_value: float | None = None
    """Share of good parts that score at least as high, 0 to 1."""
    regions: list[tuple[int, int, int, int, float]] = []
    """x, y, width, height in model pixels, and the highest heatmap value in it; highest first."""
    recipe: int = 0
    model_digest: str = ""
    """SHA-256 of the model file that scored, hex."""
    camera: str = ""
    """First 16 hex digits of the SHA-256 of the camera's identity and its settings as read back; the event
    `camera_open` lists them. Empty where the source says nothing of itself."""
    backend: str = ""
    precision: str = ""
    deadline_ms: int = 1000
    """A reader acts only while age_ms plus its own waiting is below it."""
    latency_ms: dict[str, float] = {}
    """ms by step: wait, grab, pre, infer, post, publish"""
    age_ms: float = 0.0
    """ms from trigger (from capture in free run) to publishing."""
    flags: list[Flag] = []


class Heartbeat(Message):
    """Proof that the loop which grabs and judges is making progress; silence is the alarm."""

    run: str
    station: str
    seq_last: int
    """The last decision published in this run, 0 before the first: a reader that has less has lost some."""
    state: State
    online: bool
    """False: every part is INVALID (not_online)."""
    loop_count: int
    """Grows with every turn of the loop."""
    quiet_ms: int
    """How long the loop may stand still before heartbeats stop."""
    cam_age_ms: float | None = None
    """ms since the camera's last frame; null before the first."""
    recipe: int = 0
    model_digest: str = ""
    deadline_ms: int = 1000
    """Of the recipe in force."""
    mono_ns: int
    """CLOCK_MONOTONIC of the publisher at sending, ns."""
    boot_id: str


class Hello(Message):
    """Sent to all whenever somebody new subscribes to it; may come again at any time."""

    run: str
    station: str
    state: State
    snapshot: str | None = None
    """Address of the snapshot socket, as seen on the publisher's host."""
    heatmaps: str | None = None
    """Address of the heatmaps socket, as seen on the publisher's host."""
    first_seq: int = 1


class Event(Message):
    run: str
    station: str
    code: str
    """A word for programs, like camera_lost."""
    level: Literal["info", "warning", "error"]
    text: str
    """A sentence for people."""
    data: dict[str, Any] = {}


class Heatmap(Message):
    """Header of a heatmap; the next frame is the picture. Value = offset + scale * level."""

    run: str
    station: str
    seq: int
    """Of the decision that it belongs to."""
    encoding: Literal["jpeg_u8"] = "jpeg_u8"
    shape: tuple[int, int]
    """Height, width of the heatmap in model pixels."""
    roi: tuple[int, int, int, int] | None = None
    """x, y, width, height in camera pixels that the heatmap covers; null: the whole picture."""
    scale: float
    offset: float
    threshold: float
    """The pixel threshold, as a heatmap value."""


class SnapshotRequest(Message):
    """Both ends of the range are included."""

    station: str
    run: str | None = None
    """None: the run that is going on."""
    from_seq: int = Field(ge=0, le=I63)
    to_seq: int = Field(ge=0, le=I63)


class SnapshotReply(Message):
    """The decisions of the range that the journal still has, in order of seq."""

    items: list[Decision] = []
    next_seq: int | None = None
    """Where to ask on; None when the range is complete."""
    first_seq: int = 0
    """The first decision that the journal has of this run, 0 when it has none."""
    last_seq: int = 0
    """The last decision that the journal has of this run, 0 when it has none."""
    error: str | None = None


class Command(Message):
    """What a PLC or an operator asks of the station. Strict: nothing is converted, keys that do not fit are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    id: int = Field(ge=0, le=I63)
    """Chosen by the sender; the reply carries it back."""
    op: Op
    trigger_id: int | None = Field(default=None, ge=0, le=U32)
    part_id: int | None = Field(default=None, ge=0, le=U32)
    deadline_ms: int | None = Field(default=None, ge=1, le=3_600_000)
    """ms from the trigger; null: the recipe's own."""
    encoder: int | None = Field(default=None, ge=-(2**31), le=U32)
    recipe: int | None = Field(default=None, ge=0, le=65535)
    """For rollback null is the one in force."""
    seq: int | None = Field(default=None, ge=0, le=I63)
    model_digest: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the model that the recipe must have; with another one nothing is changed."""

    @model_validator(mode="after")
    def _fits_its_op(self) -> Command:
        needed, allowed = OP_FIELDS[self.op]
        given = {name for name in OP_VALUES if getattr(self, name) is not None}
        if needed - given:
            raise ValueError(f"{self.op} needs {', '.join(sorted(needed - given))}")
        if given - needed - allowed:
            raise ValueError(f"{self.op} takes no {', '.join(sorted(given - needed - allowed))}")
        return self


OP_VALUES = ("trigger_id", "part_id", "deadline_ms", "encoder", "recipe", "seq", "model_digest")
OP_FIELDS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "trigger": (frozenset(), frozenset({"trigger_id", "part_id", "deadline_ms", "encoder"})),
    "recipe": (frozenset({"recipe"}), frozenset({"model_digest"})),
    "rollback": (frozenset(), frozenset({"recipe"})),
    "ack": (frozenset({"seq"}), frozenset()),
    "pause": (frozenset(), frozenset()),
    "resume": (frozenset(), frozenset()),
    "resync": (frozenset(), frozenset()),
}
"""What each op must carry, and what it may."""


class CommandReply(Message):
    id: int
    """Of the command; 0 when it could not be read."""
    ok: bool
    error: str | None = None
    """Why not, for people; null when ok."""
    recipe: int | None = None
    """In force after a recipe or rollback, also where that was refused; null for other commands, or before there is
    one."""
    model_digest: str | None = None
    """SHA-256 of the model of that recipe, hex."""


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
    """`data` as a `model`. Raises MessageError for bytes that are none or too many, UnknownMajor for another major."""
    if len(data) > MAX_MESSAGE_BYTES and model is not SnapshotReply:
        raise MessageError(f"{len(data)} bytes is more than a {model.__name__} may have")
    values = unpack(data)
    major = values.get("v")
    if type(major) is not int or major != MAJOR:
        raise UnknownMajor(f"schema {_shown(major)} is not {MAJOR}, the one this sad speaks")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join([model.__name__, *(str(part) for part in first["loc"])])
        raise MessageError(f"{_shown(place, 200)}: {_shown(first['msg'], 200)}") from None


def unpack(data: bytes) -> dict[str, Any]:
    """The msgpack map in `data`, whatever its keys. Raises MessageError."""
    try:
        values = msgpack.unpackb(data, raw=False, strict_map_key=True)
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise MessageError(f"not msgpack ({_shown(error)})") from None
    if not isinstance(values, dict):
        raise MessageError(f"expected a map, got {type(values).__name__}")
    return values


def _shown(value: object, limit: int = 60) -> str:
    """`value` as text that is short enough for a reply and a log line."""
    text = str(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


def decode_published(topic: bytes, data: bytes) -> Message:
    """A message of the decisions or heatmaps socket, by its topic."""
    kind = topic.partition(b".")[0].decode("ascii", "replace")
    if kind not in TOPICS:
        raise MessageError(f"no such topic: {topic[:64]!r}")
    return decode(TOPICS[kind], data)
