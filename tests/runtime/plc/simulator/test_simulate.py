"""`sad-plc simulate` as its user has it: against a real gateway and a real station, and with nobody there."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ports import free_ports
from sad_runtime.cli.plc import main
from sad_runtime.errors import UsageError
from sad_runtime.plc.register_map import status_registers
from sad_runtime.plc.simulator.belt import BeltPlan
from sad_runtime.plc.simulator.cli import _is_ok, _warn_of_nothing, settings_for
from sad_runtime.plc.simulator.faults import PLC_FAULTS, PlcFaults, plc_faults_from
from sad_runtime.plc.simulator.link import Link
from sad_runtime.plc.simulator.score import Counts, Score
from sad_runtime.plc.simulator.tracking import Tracked
from sad_runtime.plc.simulator.truth import period_of, truth_of
from sad_runtime.plc.simulator.view import Lines, Picture, Sight, belt_of
from sad_runtime.plc.status import CommandBlock, Control, Status

CAMERA = "demo:washer?fps=100&defects=0.2&size=64&seed=5"
FAST = ("--speed-mm-s", "800", "--camera-to-gate-mm", "500", "--spacing-mm", "100", "--view", "plain", "--json")


@dataclass(frozen=True)
class Peers:
    feed: str
    modbus: str


@contextmanager
def running(folder: Path, *command: str) -> Iterator[None]:
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    with (
        (folder / f"{command[0]}.log").open("w") as log,
        subprocess.Popen([sys.executable, "-m", *command], stderr=log, stdout=log, env=environment) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


@contextmanager
def station_and_gateway(folder: Path, bundle: Path) -> Iterator[Peers]:
    decisions, heatmaps, snapshot, modbus = free_ports(4)
    feed, where = f"tcp://127.0.0.1:{decisions}", f"127.0.0.1:{modbus}"
    sockets = ("--heatmaps", f"tcp://127.0.0.1:{heatmaps}", "--snapshot", f"tcp://127.0.0.1:{snapshot}")
    state = ("--state", str(folder / "state"))
    options = ("--camera", CAMERA, "--bundle", str(bundle), "--backend", "constant", "--trigger", "software")
    with (
        running(folder, "sad_runtime.cli.runtime_start", *options, *state, "--decisions", feed, *sockets),
        running(folder, "sad_runtime.cli.plc", *state, "--feed", feed, "--modbus", where),
    ):
        yield Peers(feed, where)


def simulated(capsys: pytest.CaptureFixture[str], peers: Peers, *flags: str) -> tuple[int, dict[str, Any]]:
    """Exit code and report. The first ten seconds may pass until station and gateway are there."""
    for _ in range(3):
        code = main(
            ["simulate", "--modbus", peers.modbus, "--feed", peers.feed, "--camera", CAMERA, *FAST, *flags],
        )
        out = capsys.readouterr().out
        if code != 1:
            break
    return code, json.loads(out)


@pytest.mark.slow
def test_all_parts_pass_where_the_model_passes_all(
    tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with station_and_gateway(tmp_path, tiny_bundle) as peers:
        code, report = simulated(capsys, peers, "--parts", "40")
    assert (code, report["parts"], report["passed_by_system"], report["unaccounted"]) == (0, 40, 0, 0)
    assert report["passed"]["good"] + report["passed"]["bad"] >= 38  # a busy computer may cost a part or two
    assert report["passed"]["bad"] > 0  # the stand-in passes everything
    assert report["foreign"] == report["decided_twice"] == report["wrong_picture"] == 0


@pytest.mark.slow
def test_no_fault_of_the_plc_lets_a_part_go_that_must_not(
    tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = ",".join(f"{kind}@{2 + 3 * number}s+1.5s" for number, kind in enumerate(PLC_FAULTS))
    with station_and_gateway(tmp_path, tiny_bundle) as peers:
        code, report = simulated(capsys, peers, "--parts", "170", "--fault", faults)
    assert (code, report["passed_by_system"], report["unaccounted"]) == (0, 0, 0)
    passed, rejected = sum(report["passed"].values()), sum(report["rejected_by_system"].values())
    assert passed + rejected == 170
    assert rejected >= 5 * len(PLC_FAULTS)  # they were felt
    assert passed >= 50  # and are over
    assert passed >= 10  # and the line came back


def test_no_gateway_is_said_with_exit_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sad_runtime.plc.simulator.line.ANSWER_S", 0.5)
    (port,) = free_ports(1)
    assert main(["simulate", "--modbus", f"127.0.0.1:{port}", "--feed", "none", "--view", "plain"]) == 1
    assert f"nobody listens at 127.0.0.1:{port}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--fault", "cabel@3s"], "did you mean 'cable'"),
        (["--fault", "cable"], "cable@10s+3s"),
        (["--spacing-mm", "5"], "wider spacing"),
        (["--camera-to-gate-mm", "20"], "further away"),
        (["--camera", "0"], "only of a demo: camera"),
        (["--camera", "demo:teapot"], "teapot"),
        (["--modbus", "here"], "not an address"),
        (["--feed", "udp:nothing", "--modbus", "127.0.0.1:9"], "not the address of a feed"),
    ],
)
def test_wrong_flags_are_refused_before_anything_is_opened(
    flags: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", *flags]) == 2
    assert word in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--speed-mm-s=0", "--speed-mm-s=9", "--spacing-mm=nan", "--parts=-1", "--recipe=0"])
def test_numbers_out_of_range_are_refused(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["simulate", flag])
    assert flag.partition("=")[0] in capsys.readouterr().err


def test_the_deadline_is_what_the_way_to_the_gate_leaves_at_full_speed() -> None:
    settings = settings_for(BeltPlan(speed_mm_s=200, camera_to_gate_mm=600, swing=0.1), 0.01)
    window_mm = 2 * 2.2 + 2
    assert settings.deadline_ms == int((600 - window_mm) / 220 * 1000 - 20 - 50)
    assert settings.gate_window == round(window_mm * 10)
    with pytest.raises(UsageError, match="shorter scan"):
        settings_for(BeltPlan(speed_mm_s=200, spacing_mm=20), 0.01)


def test_the_way_a_part_makes_until_the_cameras_next_picture_is_taken_off_its_sight() -> None:
    plan = BeltPlan(speed_mm_s=200, spacing_mm=100, scatter=0.3, swing=0.1)
    assert settings_for(plan, 0.01).sight == 350
    assert settings_for(plan, 0.01, period_s=0.2).sight == 700 - 440
    with pytest.raises(UsageError, match="faster camera"):
        settings_for(plan, 0.01, period_s=0.4)
    assert (period_of("demo:washer?fps=50&size=64"), period_of("demo:washer"), period_of("demo:washer?fps=0")) == (
        0.02,
        0.2,
        0.0,
    )


@pytest.mark.parametrize(
    ("judged", "escaped", "ok"), [(True, 0, True), (False, 0, None), (True, 1, False), (False, 1, False)]
)
def test_without_a_judge_nobody_says_that_all_is_well(judged: bool, escaped: int, ok: bool | None) -> None:
    score = Score(None, "boot", judged=judged)
    score.counts.passed_by_system = score.came = escaped
    assert _is_ok(score, judged=judged) is ok


def test_whatever_ends_the_link_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(command: CommandBlock) -> list[int]:
        raise ValueError("a bug")

    monkeypatch.setattr("sad_runtime.plc.simulator.link.command_registers", broken)
    monkeypatch.setattr("pymodbus.client.ModbusTcpClient.connect", lambda client: True)
    with Link("127.0.0.1", 9) as link:
        link._registers = [1]
        link.send(CommandBlock())
        link._thread.join(5)
        assert link.registers is None
        assert link.errors == 1
        assert "ValueError: a bug" in link.why


def test_a_run_in_which_nothing_passed_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    score = Score(None, "boot")
    _warn_of_nothing(score)
    assert capsys.readouterr().err == ""
    score.came = 3
    _warn_of_nothing(score)
    assert "warning: not one of 3 parts passed" in capsys.readouterr().err


def test_the_truth_is_the_cameras_own() -> None:
    is_bad = truth_of("demo:washer?defects=0.3&seed=2")
    assert 20 < sum(map(is_bad, range(100))) < 40
    assert not any(map(truth_of("demo:washer?defects=0&seed=2"), range(100)))


def test_faults_spoil_what_goes_over_the_wire_and_only_while_they_are_on() -> None:
    faults = PlcFaults(plc_faults_from("no-ack@1s+1s, same-id@3s+1s, double-trigger@5s"))
    first = CommandBlock(control=Control.TRIGGER, part_id=1, trigger_id=1, ack_seq=1)
    second = CommandBlock(control=Control.TRIGGER, part_id=2, trigger_id=2, ack_seq=2)
    assert faults.at(0.5) == frozenset()
    assert faults.spoilt(first) == first
    assert faults.at(1.5) == {"no-ack"}
    assert faults.spoilt(second).ack_seq == 1
    assert faults.at(2.5) == frozenset()
    assert faults.spoilt(second) == second
    assert faults.at(3.5) == {"same-id"}
    assert faults.spoilt(second).part_id == 1
    assert faults.at(60) == {"double-trigger"}
    edges = [faults.spoilt(second).control for _ in range(4)]
    assert sorted(edges) == [0, 0, Control.TRIGGER, Control.TRIGGER]
    assert edges[0] != edges[1]


def test_plain_lines_come_when_something_changes_and_now_and_then() -> None:
    out = io.StringIO()
    view = Lines(out)
    registers = status_registers(Status())[:64]
    for now_ms in range(0, 6000, 10):
        view.show(Sight(now_ms, registers=registers if now_ms > 1000 else None, why="nobody listens"))
    lines = out.getvalue().splitlines()
    assert [line for line in lines if line.startswith("--")] == [
        "-- no connection: nobody listens",
        "-- fault 30: nothing was heard from the station for 330 ms",
    ]
    assert len(lines) == 4


def test_the_picture_draws_the_belt_and_the_lamps() -> None:
    out = io.StringIO()
    view = Picture(out)
    good, bad = (
        Tracked(1, 1, 0, judged=True, good=True, told="PASS ok"),
        Tracked(2, 2, 0, judged=True, told="FAIL score"),
    )
    sight = Sight(0, [(0.5, good), (0.2, bad)], status_registers(Status())[:64], True, [good, bad], Counts())
    view.show(sight)
    view.close()
    for word in ("open", "INVALID  FAULT", "FEED_STALE", "PASS ok", "FAIL score", "rejected by the model 0"):
        assert word in out.getvalue()
    assert belt_of([(0.5, good), (0.25, bad), (1.0, None)], colour=False).replace("_", "") == "xo-"
