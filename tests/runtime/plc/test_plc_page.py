"""docs/plc.md says what the code does: its tables are made from it, and what it names is there."""

from __future__ import annotations

import re

from plc_tables import EXCEPTION_TEXT, PAGE, tables, with_tables
from sad_runtime.plc.config import PlcConfig
from sad_runtime.plc.modbus.requests import Code
from sad_runtime.plc.simulator.faults import PLC_FAULTS
from sad_runtime.plc.status import FAULT_TEXT, Fault


def test_the_tables_of_the_page_are_those_of_the_map() -> None:
    page = PAGE.read_text()
    assert page == with_tables(page), "docs/plc.md is not up to date. Run: python tests/plc_tables.py --write"


def test_a_changed_map_would_be_noticed() -> None:
    table = tables()["status"]
    assert with_tables(PAGE.read_text().replace(table, table.replace("HEARTBEAT", "HARTBEAT"))) == PAGE.read_text()


def test_every_fault_has_a_word_on_what_to_do() -> None:
    advice = PAGE.read_text().split("## What to do")[1].split("\n## ")[0]
    told = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", advice, re.M) for code in row.split(",")}
    assert told == {fault.value for fault in FAULT_TEXT} - {Fault.NONE.value}


def test_every_exception_code_is_explained() -> None:
    assert list(EXCEPTION_TEXT) == list(Code)


def test_every_way_and_every_file_it_names_is_there() -> None:
    page = PAGE.read_text()
    for way in ("modbus", "modbus_client", "opcua", "s7", "mqtt", "gpio"):
        assert way in PlcConfig.model_fields
        assert f"`{way}`" in page
    for name in re.findall(r"\]\(((?!http|#)[^)#]+)", page):
        assert (PAGE.parent / name).exists(), name


def test_the_faults_of_the_simulator_that_it_names_are_there() -> None:
    for fault in re.findall(r"--fault ([\w@+,.-]+)", PAGE.read_text()):
        for part in fault.split(","):
            assert part.partition("@")[0] in PLC_FAULTS
