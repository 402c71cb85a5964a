"""`sad-command` against a real station: what it says, its exit codes, and what it makes of nobody answering."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from bundles import good_picture, write_tiny_bundle
from sad_runtime.bundle import read_bundle
from sad_runtime.cli import send
from sad_runtime.feed.curve_keys import write_key_pair
from sad_runtime.messages import CommandReply, encode
from sad_runtime.station.lock import StationLock
from stations import ScriptedCamera, Stand, station


class Said:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """(exit code, stdout, stderr)"""
        code = send.main([str(argument) for argument in arguments])
        out = self._capsys.readouterr()
        return code, out.out, out.err


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Said:
    return Said(capsys)


@pytest.fixture
def bundles(tmp_path: Path) -> dict[int, Path]:
    return {number: write_tiny_bundle(tmp_path / f"{number}.sad", gain=10.0 * number) for number in (1, 2)}


def digest(path: Path) -> str:
    return read_bundle(path).manifest.precisions["fp32"].sha256


@pytest.fixture
def camera() -> ScriptedCamera:
    return ScriptedCamera()


@pytest.fixture
def stand(tmp_path: Path, bundles: dict[int, Path], camera: ScriptedCamera) -> Iterator[Stand]:
    """Its command socket is where a station puts it by itself."""
    recipes: dict[int, Any] = {number: {"bundle": str(path)} for number, path in bundles.items()}
    settings: dict[str, Any] = {"recipes": recipes, "active_recipe": 1, "feed": {"commands": ""}}
    with station(tmp_path, None, camera, trigger={"mode": "software"}, **settings) as made:
        made.state("Ready")
        yield made


def test_a_recipe_is_put_in_force_and_its_digest_is_told(
    stand: Stand, tmp_path: Path, bundles: dict[int, Path], say: Said
) -> None:
    where = ("--state", tmp_path / "state")
    new = digest(bundles[2])
    assert say("recipe", 2, *where) == (0, f"recipe 2 is in force, model {new}\n", "")
    assert say(*where, "recipe", 2, "--expect", new.upper())[0] == 0
    code, out, err = say("recipe", 1, "--expect", new, *where)
    assert (code, out) == (4, "")
    assert f"the station says no: {bundles[1]} holds the model {digest(bundles[1])}, not {new}" in err
    assert f"(in force is recipe 2, model {new})" in err
    code, out, _ = say("recipe", 9, "--json", *where)
    told = json.loads(out)
    assert (code, told["answered"], told["ok"], told["recipe"]) == (4, True, False, 2)
    assert "no recipe 9" in told["error"]


def test_a_recipe_is_rolled_back_in_one_command(
    stand: Stand, tmp_path: Path, bundles: dict[int, Path], say: Said
) -> None:
    where = ("--state", tmp_path / "state")
    old = digest(bundles[1])
    assert say("rollback", *where)[0] == 4
    write_tiny_bundle(bundles[1], gain=30.0)
    assert say("recipe", 1, *where)[0] == 0
    assert say("rollback", 1, *where) == (0, f"recipe 1 is in force, model {old}\n", "")


def test_the_other_orders_reach_the_station(stand: Stand, camera: ScriptedCamera, tmp_path: Path, say: Said) -> None:
    where = ("--state", tmp_path / "state", "--station", "line1")
    assert say("pause", *where)[:2] == (0, "paused\n")
    stand.state("Halted")
    assert say("trigger", "--part-id", 7, *where)[0] == 4, "not online"
    assert say("resume", *where)[:2] == (0, "resumed\n")
    stand.state("Ready")
    assert say("trigger", "--part-id", 8, "--deadline", 5000, "--encoder", -3, *where)[0] == 0
    camera.put(good_picture())
    stand.decided(2)
    assert [(d.part_id, d.encoder, d.deadline_ms) for d in stand.decisions][-1] == (8, -3, 5000)
    assert say("resync", *where)[0] == 0
    assert say("ack", 2, *where)[0] == 0


def test_a_station_that_does_not_run_is_told_at_once(tmp_path: Path, say: Said) -> None:
    code, out, err = say("pause", "--state", tmp_path, "--station", "line7")
    assert (code, out) == (1, "")
    assert f"station line7 does not run with the state folder {tmp_path}" in err


def test_a_socket_file_that_a_killed_station_left_is_seen_through(
    tmp_path: Path, say: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send, "LOCK_EVERY_S", 0.1)
    (tmp_path / "line1").mkdir()
    (tmp_path / "line1" / "commands.ipc").touch()
    code, out, _ = say("recipe", 1, "--state", tmp_path, "--json")
    assert code == 1
    assert json.loads(out)["answered"] is False
    assert "does not run" in json.loads(out)["error"]


def test_a_station_with_its_command_socket_elsewhere_and_one_that_hangs_are_told_apart(
    tmp_path: Path, say: Said
) -> None:
    folder = tmp_path / "line1"
    folder.mkdir()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    hanging = context.socket(zmq.ROUTER)
    try:
        with StationLock(folder / "lock", "line1"):
            _, _, err = say("pause", "--state", tmp_path, "--timeout", 0.3)
            assert "no answer within 0.3 s. Station line1 runs (process " in err
            assert "its command socket is elsewhere (feed.commands); name it with --address" in err
            hanging.bind(f"ipc://{folder / 'commands.ipc'}")
            assert "busy with another order, or hangs" in say("pause", "--state", tmp_path, "--timeout", 0.3)[2]
    finally:
        hanging.close(linger=0)
        context.term()


@pytest.mark.parametrize("answer", [b"", b"\xc1", b"HTTP/1.1 200 OK", encode(CommandReply(id=2**40, ok=True))])
def test_an_answer_of_something_else_is_no_answer(answer: bytes, say: Said) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.REP)
    port = socket.bind_to_random_port("tcp://127.0.0.1")

    def reply() -> None:
        socket.recv()
        socket.send(answer)

    answering = threading.Thread(target=reply)
    answering.start()
    try:
        code, _, err = say("recipe", 1, "--address", f"tcp://127.0.0.1:{port}", "--timeout", 10)
    finally:
        answering.join()
        socket.close(linger=1000)
        context.term()
    assert code == 1
    assert "no station" in err or "something else" in err


def test_keys_open_an_encrypted_command_socket_and_their_lack_is_told(
    tmp_path: Path, bundles: dict[int, Path], say: Said
) -> None:
    if not zmq.has("curve"):
        pytest.skip("this libzmq has no CURVE")
    own, _, _ = write_key_pair("line1", tmp_path / "keys")
    key, public, _ = write_key_pair("office", tmp_path / "readers")
    security = {"curve": {"key": str(own), "allow": [str(public)]}}
    address = f"ipc://{tmp_path}/feed.ipc"
    plain = {"decisions": [address], "heatmaps": f"ipc://{tmp_path}/heat.ipc", "snapshot": f"ipc://{tmp_path}/snap.ipc"}
    feed = {"security": security, "commands": ["tcp://127.0.0.1:*", f"ipc://{tmp_path}/orders.ipc"], **plain}
    with station(tmp_path, bundles[1], ScriptedCamera(), feed=feed) as stand:
        port = next(
            endpoint for endpoint in stand.station.feed._requests.binding.endpoints if endpoint.startswith("tcp")
        )
        keys = ("--server-key", tmp_path / "keys" / "line1.key", "--key", key)
        assert say("pause", "--address", port, *keys)[0] == 0
        assert say(*keys, "resume", "--address", port)[0] == 0
        code, _, err = say("pause", "--address", port, "--timeout", 10)
        assert code == 1
        assert "--server-key STATION.key" in err


@pytest.mark.parametrize(
    "wrong",
    [
        ("recipe", "70000"),
        ("recipe", "-1"),
        ("trigger", "--deadline", "0"),
        ("trigger", "--part-id", str(2**32)),
        ("ack", "-1"),
        ("pause", "--address", "udp://1.2.3.4:5"),
        ("pause", "--address", "ipc://relative"),
        ("pause", "--state", "x" * 200),
        ("pause", "--key", "only.key_secret"),
    ],
)
def test_wrong_usage_ends_with_2_before_anything_is_sent(wrong: tuple[str, ...], say: Said) -> None:
    code, out, err = say(*wrong)
    assert (code, out) == (2, "")
    assert err.startswith("sad-command: ")


@pytest.mark.parametrize(
    "wrong",
    [
        (),
        ("reboot",),
        ("recipe",),
        ("recipe", "two"),
        ("recipe", "2", "--expect", "abc"),
        ("pause", "7"),
        ("pause", "--timeout", "0"),
        ("pause", "--timeout", "nan"),
    ],
)
def test_what_is_no_order_is_refused_by_the_parser(wrong: tuple[str, ...], say: Said) -> None:
    with pytest.raises(SystemExit) as stop:
        say(*wrong)
    assert stop.value.code == 2
