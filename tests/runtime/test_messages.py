"""The wire: golden bytes, strictness, the published schema and the page that explains it.

Golden files pin schema 1. `python tests/runtime/test_messages.py` writes them anew, which is a decision: readers in the
field know the old ones.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import jsonschema
import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sad_runtime.feed.json_schema import feed_schema
from sad_runtime.messages import (
    MAX_MESSAGE_BYTES,
    OP_FIELDS,
    OP_VALUES,
    TOPICS,
    Command,
    CommandReply,
    Decision,
    Event,
    Heartbeat,
    Heatmap,
    Hello,
    Message,
    MessageError,
    SnapshotReply,
    SnapshotRequest,
    UnknownMajor,
    decode,
    decode_published,
    encode,
    topic_of,
)
from sad_runtime.verdict import Reason, State, Verdict

GOLDEN = Path(__file__).parent / "golden"
DOCS = Path(__file__).parents[2] / "docs"

DECISION = Decision(
    run="0123456789abcdef0123456789abcdef",
    station="line1",
    seq=42,
    trigger_id=17,
    part_id=1001,
    frame_id=4711,
    encoder=-123456,
    captured_ns=1_790_000_000_123_456_789,
    mono_ns=86_400_000_000_000,
    boot_id="6f2c1a54-0000-4000-8000-000000000001",
    verdict=Verdict.FAIL,
    reason=Reason.SCORE,
    score=4.8125,
    threshold=4.0,
    threshold_rev=3,
    p_value=0.00390625,
    regions=[(10, 20, 30, 40, 5.5), (1, 2, 3, 4, 4.25)],
    recipe=2,
    model_digest="ab" * 32,
    backend="openvino",
    precision="int8",
    deadline_ms=250,
    latency_ms={"wait": 0.5, "grab": 4.0, "pre": 0.75, "infer": 12.5, "post": 0.25, "publish": 0.125},
    age_ms=18.125,
    flags=["review", "unrecorded"],
)
EXAMPLES: dict[str, Message] = {
    "decision": DECISION,
    "decision_without_picture": Decision(
        run=DECISION.run,
        station="line1",
        seq=43,
        mono_ns=86_400_100_000_000,
        boot_id=DECISION.boot_id,
        verdict=Verdict.INVALID,
        reason=Reason.NO_IMAGE,
    ),
    "heartbeat": Heartbeat(
        run=DECISION.run,
        station="line1",
        seq_last=42,
        state=State.CONTINUOUS_EXECUTION,
        online=True,
        loop_count=90210,
        quiet_ms=250,
        cam_age_ms=16.5,
        recipe=2,
        model_digest="ab" * 32,
        deadline_ms=250,
        mono_ns=86_400_000_000_000,
        boot_id=DECISION.boot_id,
    ),
    "hello": Hello(
        run=DECISION.run,
        station="line1",
        state=State.READY,
        snapshot="tcp://127.0.0.1:5557",
        heatmaps="tcp://127.0.0.1:5556",
    ),
    "event": Event(
        run=DECISION.run,
        station="line1",
        code="camera_lost",
        level="error",
        text="the camera does not answer",
        data={"uri": "0", "attempt": 3},
    ),
    "heatmap": Heatmap(
        run=DECISION.run,
        station="line1",
        seq=42,
        shape=(256, 320),
        roi=(100, 50, 640, 512),
        scale=0.0625,
        offset=-3.5,
        threshold=4.0,
    ),
    "snapshot_request": SnapshotRequest(station="line1", run=DECISION.run, from_seq=7, to_seq=1030),
    "snapshot_reply": SnapshotReply(items=[DECISION], next_seq=43, first_seq=1, last_seq=99),
    "command": Command(id=5, op="trigger", trigger_id=17, part_id=1001, deadline_ms=250, encoder=-123456),
    "command_reply": CommandReply(id=5, ok=False, error="not online"),
    "recipe_command": Command(id=6, op="recipe", recipe=2, model_digest="ab" * 32),
    "recipe_reply": CommandReply(id=6, ok=True, recipe=2, model_digest="ab" * 32),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_encoding_still_gives_the_golden_bytes(name: str) -> None:
    assert encode(EXAMPLES[name]) == (GOLDEN / f"{name}.msgpack").read_bytes()


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_golden_bytes_decode_to_the_message(name: str) -> None:
    assert decode(type(EXAMPLES[name]), (GOLDEN / f"{name}.msgpack").read_bytes()) == EXAMPLES[name]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_golden_bytes_fit_the_published_schema(name: str) -> None:
    schema = json.loads((DOCS / "feed.schema.json").read_text())
    validator = jsonschema.Draft202012Validator({**schema, "$ref": f"#/$defs/{type(EXAMPLES[name]).__name__}"})
    validator.validate(json.loads(json.dumps(msgpack.unpackb((GOLDEN / f"{name}.msgpack").read_bytes()))))


def test_the_published_schema_is_the_one_that_the_models_give() -> None:
    assert json.loads((DOCS / "feed.schema.json").read_text()) == feed_schema(), (
        "run: python -m sad_runtime.feed.json_schema > docs/feed.schema.json"
    )


@pytest.mark.parametrize("model", list(dict.fromkeys(map(type, EXAMPLES.values()))), ids=lambda model: model.__name__)
def test_the_page_for_integrators_names_every_field(model: type[Message]) -> None:
    page = (DOCS / "feed.md").read_text()
    assert [field for field in model.model_fields if f"`{field}`" not in page] == []


@pytest.mark.parametrize("word", [*Verdict, *Reason, *State], ids=str)
def test_the_page_for_integrators_names_every_word(word: Verdict | Reason | State) -> None:
    assert f"`{word.value}`" in (DOCS / "feed.md").read_text()


def test_keys_that_a_reader_does_not_know_are_ignored() -> None:
    values = msgpack.unpackb(encode(DECISION)) | {"humidity": 0.4}
    assert decode(Decision, msgpack.packb(values)) == DECISION


def test_fields_that_an_older_publisher_does_not_send_get_their_defaults() -> None:
    values = msgpack.unpackb(encode(DECISION))
    del values["flags"], values["encoder"]
    assert decode(Decision, msgpack.packb(values)).flags == []


@pytest.mark.parametrize("major", [2, 0, None, "1", True, 1.0, [1]])
def test_another_major_is_refused(major: object) -> None:
    values = msgpack.unpackb(encode(DECISION)) | {"v": major}
    with pytest.raises(UnknownMajor, match="the one this sad speaks"):
        decode(Decision, msgpack.packb(values))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x93\x01\x02\x03",
        msgpack.packb("hello"),
        msgpack.packb({1: 2}),
        b"\xdf\xff\xff\xff\xff",
        b"\x81" * 5000,
    ],
    ids=["empty", "reserved", "list", "text", "number-key", "endless-map", "deep"],
)
def test_bytes_that_are_no_map_are_refused(data: bytes) -> None:
    with pytest.raises(MessageError):
        decode(Command, data)


def test_more_than_the_largest_message_is_refused() -> None:
    with pytest.raises(MessageError, match="more than a Command may have"):
        decode(Command, bytes(MAX_MESSAGE_BYTES + 1))


def test_a_refusal_is_short_enough_for_a_log_line() -> None:
    for values in ({"v": "x" * 50_000}, {"v": 1, "id": 1, "op": "pause", "k" * 50_000: 1}):
        with pytest.raises(MessageError) as refused:
            decode(Command, msgpack.packb(values))
        assert len(str(refused.value)) < 500


@settings(deadline=None)  # two cores, shared
@given(st.binary(max_size=300))
def test_random_bytes_are_decoded_or_refused_but_never_crash(data: bytes) -> None:
    for model in (Command, SnapshotRequest, Decision):
        with contextlib.suppress(MessageError):
            decode(model, data)


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@settings(deadline=None)  # two cores, shared
@given(st.dictionaries(st.sampled_from(["v", *Command.model_fields, "from_seq", "station"]), ANYTHING | st.just(1)))
def test_random_maps_are_decoded_or_refused_but_never_crash(values: dict[str, Any]) -> None:
    for model in (Command, SnapshotRequest, Decision):
        with contextlib.suppress(MessageError):
            decode(model, msgpack.packb(values))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"id": "5", "op": "pause"}, "Command.id"),
        ({"id": 5.0, "op": "pause"}, "Command.id"),
        ({"id": True, "op": "pause"}, "Command.id"),
        ({"id": -1, "op": "pause"}, "Command.id"),
        ({"id": 5, "op": "reboot"}, "Command.op"),
        ({"id": 5}, "Command.op"),
        ({"id": 5, "op": "pause", "speed": 1}, "Command.speed"),
        ({"id": 5, "op": "recipe"}, "recipe needs recipe"),
        ({"id": 5, "op": "ack"}, "ack needs seq"),
        ({"id": 5, "op": "recipe", "recipe": 2, "model_digest": "AB" * 32}, "Command.model_digest"),
        ({"id": 5, "op": "rollback", "model_digest": "ab" * 32}, "rollback takes no model_digest"),
        ({"id": 5, "op": "pause", "part_id": 1}, "pause takes no part_id"),
        ({"id": 5, "op": "trigger", "part_id": 2**32}, "Command.part_id"),
        ({"id": 5, "op": "trigger", "deadline_ms": 0}, "Command.deadline_ms"),
    ],
)
def test_a_command_that_does_not_fit_is_refused_by_name(values: dict[str, Any], why: str) -> None:
    with pytest.raises(MessageError, match=why):
        decode(Command, msgpack.packb({"v": 1, **values}))


def test_every_op_and_every_value_has_its_rule() -> None:
    assert set(OP_FIELDS) == set(feed_schema()["$defs"]["Command"]["properties"]["op"]["enum"])
    assert set(OP_VALUES) == set(Command.model_fields) - {"v", "id", "op"}


@pytest.mark.parametrize("kind", TOPICS)
def test_a_published_message_is_read_by_its_topic(kind: str) -> None:
    message = EXAMPLES[kind]
    assert topic_of(message) == (b"hello" if kind == "hello" else f"{kind}.line1".encode())
    assert decode_published(topic_of(message), encode(message)) == message


def test_a_topic_that_nobody_knows_is_refused() -> None:
    with pytest.raises(MessageError, match="no such topic"):
        decode_published(b"gossip.line1", encode(DECISION))


def write_golden_files() -> None:
    GOLDEN.mkdir(exist_ok=True)
    for name, message in EXAMPLES.items():
        (GOLDEN / f"{name}.msgpack").write_bytes(encode(message))


if __name__ == "__main__":
    write_golden_files()
