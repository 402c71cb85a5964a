"""The frame of every command: one clear line for what went wrong, the agreed exit code, stdout kept clean."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from sad_runtime.cli.command import command_parser, rate, run_command, version
from sad_runtime.errors import AlreadyRunning, BackendError, ConfigError, DeviceLost, GateFailed, SadError


def parser() -> argparse.ArgumentParser:
    made = command_parser("sad-test", "Tests the frame.", "  sad-test --fast")
    made.add_argument("--fast", action="store_true")
    return made


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SadError("it broke"), 1),
        (ConfigError("it broke"), 2),
        (AlreadyRunning("it broke"), 3),
        (GateFailed("it broke"), 4),
        (DeviceLost("it broke"), 5),
        (BackendError("it broke"), 1),
        (OSError("it broke"), 1),
    ],
)
def test_an_error_is_one_line_on_stderr_and_its_exit_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(_: argparse.Namespace) -> int:
        raise error

    assert run_command(parser(), work, []) == code
    said = capsys.readouterr()
    assert said.err == "sad-test: it broke\n"
    assert said.out == ""


def test_an_error_of_the_system_names_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    def work(_: argparse.Namespace) -> int:
        raise PermissionError(13, "Permission denied", "/dev/video0")

    assert run_command(parser(), work, []) == 1
    assert (
        capsys.readouterr().err
        == "sad-test: /dev/video0: Permission denied. Mend the rights there, or name another place\n"
    )


def test_ctrl_c_is_said_and_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    def work(_: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    assert run_command(parser(), work, []) == 130
    assert capsys.readouterr().err == "sad-test: stopped\n"


def test_a_mistake_of_ours_is_not_hidden() -> None:
    def work(_: argparse.Namespace) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_command(parser(), work, [])


def test_what_the_work_returns_is_the_exit_code() -> None:
    assert run_command(parser(), lambda arguments: 0 if arguments.fast else 7, ["--fast"]) == 0
    assert run_command(parser(), lambda arguments: 0 if arguments.fast else 7, []) == 7


@pytest.mark.parametrize("argument", ["--slow", "--fas", "stray"])
def test_unknown_and_shortened_options_are_wrong_usage(argument: str) -> None:
    with pytest.raises(SystemExit) as stop:
        run_command(parser(), lambda _: 0, [argument])
    assert stop.value.code == 2


def test_help_shows_the_examples_as_written(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run_command(parser(), lambda _: 0, ["--help"])
    assert stop.value.code == 0
    assert "examples:\n  sad-test --fast" in capsys.readouterr().out


def test_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run_command(parser(), lambda _: 0, ["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"sad-test {version()}\n"


TALKER = """
import sys
from sad_runtime.cli.command import command_parser, run_command
def work(_):
    for line in range(100000):
        print(line)
    return 0
sys.exit(run_command(command_parser("sad-test", ""), work, []))
"""


def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    with subprocess.Popen([sys.executable, "-c", TALKER], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as talker:
        assert talker.stdout is not None
        assert talker.stderr is not None
        talker.stdout.readline()
        talker.stdout.close()
        assert talker.stderr.read() == b""
    assert talker.returncode == 0


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.5%", 0.005), ("0.005", 0.005), ("50%", 0.5), (" 2 %", 0.02), ("1e-3", 0.001), ("99.9%", 0.999)],
)
def test_rates_are_read_as_people_write_them(text: str, value: float) -> None:
    assert rate(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["0", "0%", "1", "100%", "-1%", "5", "nan", "inf%", "", "%", "0,5%", "half", "1%%"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"write 0\.5% or 0\.005"):
        rate(text)


@pytest.mark.parametrize("module", ["messages", "verdict", "errors", "schema"])
def test_what_a_gateway_needs_loads_neither_numpy_nor_opencv(module: str) -> None:
    code = f"import sys, sad_runtime.{module}; print({{'numpy', 'cv2', 'torch'}} & set(sys.modules) or 'none')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "none\n"
