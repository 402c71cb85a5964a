"""Which stations share a server, and which places two of them must not share."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from sad_runtime.errors import UsageError
from sad_runtime.plc.config import PlcConfig
from sad_runtime.plc.table import ways_from

CLIENT = {"address": "10.0.0.2:502"}
S7 = {"address": "10.0.0.2:102", "status_db": 100, "commands_db": 101}
GPIO = {"pass_line": 17, "run_line": 27, "pulse_ms": 30}


def ways(folder: Path, **stations: dict[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
    configs = {name: PlcConfig.model_validate(values) for name, values in stations.items()}
    return [(way.kind, way.stations) for way in ways_from(configs, folder)]


def test_without_a_word_there_is_one_modbus_server_for_all(tmp_path: Path) -> None:
    assert ways(tmp_path, line1={}, line2={}) == [("modbus", ("line1", "line2"))]


def test_a_way_that_is_named_is_the_only_one(tmp_path: Path) -> None:
    assert ways(tmp_path, line1={"s7": S7}) == [("s7", ("line1",))]


def test_servers_on_one_address_are_one_server_and_others_are_not(tmp_path: Path) -> None:
    shared, own = {"address": "127.0.0.1:5020"}, {"address": "127.0.0.1:5021"}
    found = ways(tmp_path, line1={"modbus": shared}, line2={"modbus": own}, line3={"modbus": shared})
    assert found == [("modbus", ("line1", "line3")), ("modbus", ("line2",))]


def test_stations_that_say_different_things_of_one_server_are_refused(tmp_path: Path) -> None:
    first = {"address": "127.0.0.1:5020"}
    with pytest.raises(UsageError, match=r"line1 and line2 share 127\.0\.0\.1:5020"):
        ways(tmp_path, line1={"modbus": first}, line2={"modbus": {**first, "word_order": "low_first"}})


def test_stations_with_one_unit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unit"):
        ways(tmp_path, line1={"modbus": {"unit": 2}}, line2={"modbus": {"unit": 2}})


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        ({"modbus_client": CLIENT}, {"modbus_client": CLIENT}, "modbus_client status"),
        ({"modbus_client": CLIENT}, {"modbus_client": {**CLIENT, "status_at": 127, "commands_at": None}}, "at 127"),
        ({"modbus_client": CLIENT}, {"modbus_client": {**CLIENT, "status_at": 300, "commands_at": 211}}, "at 211"),
        ({"s7": S7}, {"s7": {**S7, "status_db": 101, "commands_db": None}}, "data block 101"),
        ({"gpio": GPIO}, {"gpio": {"pass_line": 27, "run_line": 28, "pulse_ms": 30}}, "line 27"),
    ],
)
def test_two_stations_never_write_into_one_place(
    first: dict[str, Any], second: dict[str, Any], what: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=what):
        ways(tmp_path, line1=first, line2=second)


@pytest.mark.parametrize("kind", ["modbus_client", "s7"])
def test_one_plc_under_two_names_is_one_place(kind: str, tmp_path: Path) -> None:
    more = S7 if kind == "s7" else {}
    first, second = ({kind: {**more, "address": f"{host}:502"}} for host in ("127.0.0.1", "localhost"))
    with pytest.raises(UsageError, match="line1 and line2 both use"):
        ways(tmp_path, line1=first, line2=second)


def test_a_name_that_is_not_known_at_once_is_taken_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answers = threading.Event(), threading.Event()

    def slow(*question: object, **more: object) -> list[object]:
        asked.set()
        answers.wait(10)
        return []

    monkeypatch.setattr("socket.getaddrinfo", slow)
    monkeypatch.setattr("sad_runtime.plc.table.LOOK_UP_S", 0.05)
    try:
        found = ways(tmp_path, line1={"s7": {**S7, "address": "a:102"}}, line2={"s7": {**S7, "address": "b:102"}})
    finally:
        answers.set()
    assert asked.is_set()
    assert len(found) == 2


def test_two_stations_with_places_of_their_own_are_fine(tmp_path: Path) -> None:
    other = {**CLIENT, "status_at": 400, "commands_at": 600}
    assert len(ways(tmp_path, line1={"modbus_client": CLIENT}, line2={"modbus_client": other})) == 2
