"""`sad-runtime --build-only`: the engines of a station are built before it needs them, by the real TensorRT-RTX."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundles import write_tiny_bundle
from sad_runtime.bundle import read_bundle, write_signed_copy
from sad_runtime.cli import build_only as command
from sad_runtime.cli.build_only import Made, Telling, build_only, engine_backend, table
from sad_runtime.cli.runtime import main
from sad_runtime.engines.api import tensorrt_installed
from sad_runtime.engines.job import Progress
from sad_runtime.errors import UsageError
from sad_runtime.signature import Signer
from sad_runtime.signing_keys import private_key_from, write_key_pair
from stations import station_config


@pytest.fixture
def _rtx() -> None:
    pytest.importorskip("tensorrt_rtx")


def configured(tmp_path: Path, **values: Any) -> str:
    path = tmp_path / "station.yaml"
    path.write_text(yaml.safe_dump({"state": str(tmp_path / "state"), "backend": "tensorrt_rtx"} | values))
    return str(path)


@pytest.mark.usefixtures("_rtx")
def test_the_engines_of_all_recipes_are_built_once_and_shown(
    tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured(tmp_path, recipes={number: {"bundle": str(tiny_bundle)} for number in (1, 7)})
    assert main(["--config", config, "--build-only"]) == 0
    heading, first, second = (line.split() for line in capsys.readouterr().out.splitlines())
    assert heading == ["recipe", "precision", "engine", "was", "seconds", "MB"]
    assert first[:4] == ["1", "fp32", "tensorrt_rtx", "built"]
    assert second[:4] == ["7", "fp32", "tensorrt_rtx", "cached"]
    assert len(list((tmp_path / "state" / "engines").glob("*.engine"))) == 1


@pytest.mark.usefixtures("_rtx")
def test_a_bundle_alone_is_enough_and_needs_no_camera(
    tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--bundle", str(tiny_bundle), "--build-only", "--state", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:4] == ["-", "fp32", "tensorrt_rtx", "built"]


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--backend", "openvino"], "--build-only: openvino needs no engine"),
        (["--backend", "nonsense"], "no such backend"),
        (["--backend", "tensorrt_rtx", "--precision", "int8"], "no int8 model in this bundle; it has fp32"),
        (["--backend", "tensorrt_rtx", "--state", "/proc/none"], "/proc/none/engines: cannot be written"),
        (["--backend", "tensorrt_rtx", "--bundle", "none.sad"], "none.sad: no such bundle"),
    ],
)
@pytest.mark.usefixtures("_rtx")
def test_what_cannot_be_built_is_wrong_usage(
    tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str], flags: list[str], why: str
) -> None:
    assert main(["--bundle", str(tiny_bundle), "--state", str(tmp_path), "--build-only", *flags]) == 2
    assert why in capsys.readouterr().err


def test_a_box_without_tensorrt_is_told_what_to_install(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "tensorrt_installed", lambda kind: False)
    with pytest.raises(UsageError, match=r"sad-inspection\[tensorrt\]' or pip install 'sad-inspection\[rtx\]'.*Jetson"):
        build_only(station_config(backend="auto"), tiny_bundle)
    monkeypatch.setattr(command, "tensorrt_installed", lambda kind: kind == "tensorrt_rtx")
    assert engine_backend("auto") == "tensorrt_rtx"
    monkeypatch.setattr(command, "tensorrt_installed", lambda kind: True)
    assert engine_backend("auto") == "tensorrt"


def test_the_table_lines_up() -> None:
    rows = [Made(0, "int8_fp16", "tensorrt", True, 312.04, 16_500_000), Made(12, "fp32", "tensorrt", False, 0.1, 400)]
    assert table(rows).splitlines() == [
        "recipe  precision  engine    was     seconds    MB",
        "-       int8_fp16  tensorrt  built     312.0  16.5",
        "12      fp32       tensorrt  cached      0.1   0.0",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_one_live_line_on_a_terminal_and_a_line_each_ten_seconds_in_a_log() -> None:
    terminal, log = Terminal(), io.StringIO()
    with Telling("recipe 1, int8", terminal) as live, Telling("recipe 1, int8", log) as plain:
        for second in range(1, 25):
            for telling in (live, plain):
                telling(Progress(float(second), 120.0 if second > 15 else None, None, "Timing tactics"))
    assert log.getvalue().splitlines() == [
        "building recipe 1, int8: 0:10  Timing tactics",
        "building recipe 1, int8: 0:20 of about 2:00  Timing tactics",
    ]
    assert terminal.getvalue().count("\r\x1b[2K") == 24
    assert terminal.getvalue().endswith("0:24 of about 2:00  Timing tactics\n")


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--build-only", "--check"], "--build-only and --check: one at a time"),
        (["--selftest", "--check"], "--selftest and --check: one at a time"),
        (["--selftest", "--build-only"], "--selftest and --build-only: one at a time"),
        (["--build-only", "--limit", "3"], "--limit says nothing to --build-only"),
        (["--selftest", "--threshold", "0.5"], "--threshold says nothing to --selftest"),
        (["--selftest", "--backend", "nonsense"], "no such backend"),
        (["--check", "--camera", "demo:washer", "--backend", "auto:7"], "auto takes nothing after a colon"),
        (["--check", "--camera", "demo:washer", "--backend", "tensorrt_rtx:foo"], "the number of a GPU"),
    ],
)
def test_flags_that_do_not_go_together_are_refused_and_nothing_is_built(
    tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str], flags: list[str], why: str
) -> None:
    assert main(["--bundle", str(tiny_bundle), "--state", str(tmp_path), *flags]) == 2
    said = capsys.readouterr()
    assert why in said.err
    assert said.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_check_says_what_is_not_installed(
    tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if tensorrt_installed("tensorrt"):
        pytest.skip("it is installed here")
    flags = ["--check", "--camera", "demo:washer", "--backend", "tensorrt"]
    assert main(["--bundle", str(tiny_bundle), "--state", str(tmp_path), *flags]) != 0
    assert "sad-inspection[tensorrt]" in capsys.readouterr().err


@pytest.mark.usefixtures("_rtx")
def test_engines_that_others_may_write_are_not_used_where_only_signed_bundles_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stem = tmp_path / "plant"
    write_key_pair(stem, None)
    bundle = write_tiny_bundle(tmp_path / "tiny.sad")
    signer = Signer(private_key_from(Path(f"{stem}.key"), lambda _: b""), "", "")
    write_signed_copy(read_bundle(bundle), signer, tmp_path / "signed.sad")
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines").chmod(0o777)
    words = ["--bundle", str(tmp_path / "signed.sad"), "--state", str(tmp_path), "--backend", "tensorrt_rtx"]
    for mode in (["--build-only"], ["--check", "--camera", "demo:washer"]):
        assert main([*words, "--trust", f"{stem}.pub", *mode]) == 2
        assert "chmod go-w" in capsys.readouterr().err
    assert main([*words, "--build-only"]) == 0
