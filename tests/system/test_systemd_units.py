"""The units that ship: systemd itself finds nothing to complain about, and they say what errors.py and the code say."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sad_runtime.errors import AlreadyRunning, DeviceLost, GateFailed, SadError, UsageError
from sad_runtime.ops.supervisor import FINAL, WATCHDOG_S

UNITS = Path(__file__).parents[2] / "deploy/systemd"
SERVICES = ("sad-runtime@.service", "sad-plant.service", "sad-plc.service")


def settings(name: str) -> dict[str, str]:
    lines = re.findall(r"^(\w+)=(.*)$", (UNITS / name).read_text(encoding="utf-8"), re.MULTILINE)
    return dict(lines)


@pytest.mark.parametrize("name", SERVICES)
def test_systemd_takes_the_unit_without_a_word(name: str, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    for unit in UNITS.iterdir():
        text = re.sub("/opt/sad/bin/sad-(runtime|plc)", sys.executable, unit.read_text(encoding="utf-8"))
        (tmp_path / unit.name.replace("@.", "@line1.")).write_text(text, encoding="utf-8")
    checked = tmp_path / name.replace("@.", "@line1.")
    done = subprocess.run([analyze, "verify", "--man=no", checked], capture_output=True, text=True, timeout=60)
    about_ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line or checked.name in line]
    assert (about_ours, done.returncode) == ([], 0), done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_only_what_a_restart_cannot_mend_is_not_started_again(name: str) -> None:
    said = settings(name)
    assert said["Restart"] == "always"
    never = {int(code) for code in said["RestartPreventExitStatus"].split()}
    assert never == {UsageError.exit_code, GateFailed.exit_code} == set(FINAL) - {0}
    assert not never & {SadError.exit_code, AlreadyRunning.exit_code, DeviceLost.exit_code}


def test_the_watchdog_is_the_one_that_a_plant_gives_its_stations() -> None:
    assert float(settings("sad-runtime@.service")["WatchdogSec"]) == WATCHDOG_S


def test_the_gateway_needs_no_station_and_may_listen_on_modbus_own_port() -> None:
    said = settings("sad-plc.service")
    assert said["CapabilityBoundingSet"] == said["AmbientCapabilities"] == "CAP_NET_BIND_SERVICE"
    ordered = " ".join(said.get(name, "") for name in ("After", "Requires", "BindsTo", "Wants"))
    assert "sad-" not in ordered, "a PLC is to read FEED_STALE while models load, and when a station ends"


@pytest.mark.parametrize("name", SERVICES)
def test_a_stop_reaches_the_command_alone_which_passes_it_on(name: str) -> None:
    assert settings(name)["KillMode"] == "mixed", "a second SIGTERM would have a station leave its part unfinished"
