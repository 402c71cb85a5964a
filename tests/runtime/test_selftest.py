"""`sad-runtime --selftest`: real checks on this machine, and checks that raise, crash, hang or find something wrong."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sad_runtime.backends.openvino import OpenVINOBackend
from sad_runtime.bundle import DIGESTS, MANIFEST, read_bundle, sha256_hex, write_bundle, write_signed_copy
from sad_runtime.cli.runtime import main
from sad_runtime.cli.runtime_start import main as start
from sad_runtime.cli.selftest import selftest
from sad_runtime.engines.api import tensorrt_installed
from sad_runtime.selftest import checks, opencv, system
from sad_runtime.selftest.cameras import camera_lines
from sad_runtime.selftest.checks import Wish, lines_of
from sad_runtime.selftest.child import in_child
from sad_runtime.selftest.engines import GRAPH, SPEC, onnxruntime_lines, openvino_lines, picture, tensorrt_lines
from sad_runtime.selftest.feed import feed_lines
from sad_runtime.selftest.gpu import gpu_lines
from sad_runtime.selftest.jetson import jetson_lines
from sad_runtime.selftest.line import Line, absent, bad, count, ok, table, warn, without_names
from sad_runtime.signature import Signer
from sad_runtime.signing_keys import private_key_from, write_key_pair
from sad_runtime.station.config import StationConfig

PATIENCE_S = 20.0


def tiny_graph() -> bytes:
    """What `selftest/tiny.onnx` holds: opset 17, so that TensorRT 8.5 takes it too."""
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "per_level"], ["unit"]),
        helper.make_node("ReduceMean", ["unit"], ["grey"], axes=[3], keepdims=0),
        helper.make_node("Mul", ["grey", "ten"], ["heatmap"]),
        helper.make_node("ReduceMax", ["heatmap"], ["score"], axes=[1, 2], keepdims=0),
        helper.make_node("ReduceMean", ["unit"], ["embedding"], axes=[1, 2], keepdims=0),
    ]
    constants = {"per_level": np.float32(1 / 255), "ten": np.float32(10)}
    height, width, channels = SPEC.shape
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, height, width, channels])],
        [
            helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, [1, height, width]),
            helper.make_tensor_value_info("score", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, channels]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def test_the_graph_of_the_engine_checks_is_the_one_made_here() -> None:
    assert onnx.load_from_string(GRAPH.read_bytes()) == onnx.load_from_string(tiny_graph())


def test_its_picture_has_no_two_alike_rows_columns_or_channels() -> None:
    given = picture()[0]
    for axis in range(3):
        assert len(np.unique(np.moveaxis(given, axis, 0).reshape(given.shape[axis], -1), axis=0)) == given.shape[axis]
    assert given.max() < 256 - 1


# Checks in a process of their own


@pytest.mark.parametrize(
    ("check", "arguments", "said"),
    [
        ("faulthandler:_sigsegv", [], "died of SIGSEGV"),
        ("os:_exit", [3], "ended with exit code 3"),
        ("os:_exit", [0], "no answer"),
        ("operator:truediv", [1, 0], "ZeroDivisionError: division by zero"),
        ("sad_runtime.selftest.nothing:at_all", [], "ModuleNotFoundError"),
    ],
)
def test_a_check_that_breaks_is_a_bad_line(check: str, arguments: list[Any], said: str) -> None:
    (line,) = in_child("driver", check, arguments, limit_s=PATIENCE_S)
    assert (line.about, line.standing) == ("driver", "bad")
    assert said in line.text
    assert line.mend


def test_a_check_that_hangs_is_ended_and_a_bad_line() -> None:
    begin_s = time.monotonic()
    (line,) = in_child("driver", "time:sleep", [600], limit_s=1)
    assert line.standing == "bad"
    assert "no answer in 1 s" in line.text
    assert time.monotonic() - begin_s < 10


def test_what_a_crashed_check_wrote_last_is_in_its_line() -> None:
    code = "import os; os.write(2, b'driver: out of luck'); os.abort()"
    (line,) = in_child("driver", "builtins:exec", [code], limit_s=PATIENCE_S)
    assert "SIGABRT" in line.text
    assert "driver: out of luck" in line.text


def test_a_broken_check_in_this_process_is_a_bad_line_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> list[Line]:
        raise RuntimeError("no such file")

    monkeypatch.setattr(checks, "jetson_lines", broken)
    monkeypatch.setattr(checks, "in_child", lambda about, *_, **__: [ok(about, "fine")])
    lines = list(lines_of(wish(tmp_path)))
    found = next(line for line in lines if line.about == "jetson")
    assert (found.standing, found.text) == ("bad", "RuntimeError: no such file")
    assert [line.about for line in lines][-1] == "bundle"


def test_packages_beside_the_user_are_not_taken_for_the_real_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cv2.py").write_text("raise RuntimeError('not OpenCV')")
    monkeypatch.chdir(tmp_path)
    (line,) = in_child("opencv", "sad_runtime.selftest.opencv:opencv_lines", limit_s=PATIENCE_S)
    assert line.standing == "ok"


# The engines, the feed and the box, as they are here


def test_the_cpu_engines_compute_what_numpy_computes() -> None:
    for lines in (openvino_lines(), onnxruntime_lines()):
        (line,) = lines
        assert (line.standing, line.data["off"] < 1e-4) == ("ok", True)


def test_an_engine_that_computes_something_else_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    right = OpenVINOBackend.infer
    monkeypatch.setattr(OpenVINOBackend, "infer", lambda self, given: right(self, np.ascontiguousarray(given[:, ::-1])))
    (line,) = openvino_lines()
    assert line.standing == "bad"
    assert "off by" in line.text


def test_an_engine_that_is_installed_and_broken_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    (line,) = openvino_lines()
    assert line.standing == "warn"
    assert "installed and cannot be imported" in line.text


def test_tensorrt_that_is_not_installed_is_absent_and_names_its_extra() -> None:
    if tensorrt_installed("tensorrt"):
        pytest.skip("it is installed here")
    (line,) = tensorrt_lines("tensorrt", {})
    assert line.standing == "absent"
    assert "sad-inspection[tensorrt]" in line.mend


def test_tensorrt_rtx_builds_the_tiny_network_without_a_gpu() -> None:
    pytest.importorskip("tensorrt_rtx")
    (line,) = tensorrt_lines("tensorrt_rtx", {})
    assert line.standing in ("ok", "absent")
    assert "a tiny network builds" in line.text


def test_a_message_crosses_the_loopback() -> None:
    (line,) = feed_lines()
    assert line.standing == "ok"
    assert "CURVE yes" in line.text


def test_the_box_is_described_from_its_own_files() -> None:
    lines = {line.about: line for line in system.system_lines()}
    assert set(lines) == {"versions", "processor", "memory"}
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in lines["versions"].text
    assert lines["memory"].data["total_mb"] > lines["memory"].data["free_mb"] > 0
    assert lines["processor"].data["cores"] > 0


def test_a_full_disk_and_a_folder_that_is_not_ours_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert system.disk_line(tmp_path / "not" / "there" / "yet").about == "state folder"
    monkeypatch.setattr(system, "LOW_DISK_MB", 10**9)
    assert system.disk_line(tmp_path).standing == "warn"
    monkeypatch.setattr(system.os, "access", lambda *_: False)
    assert system.disk_line(tmp_path).standing == "bad"


@pytest.mark.parametrize("known", [True, False])
def test_a_clock_that_nothing_synchronises_is_a_warning(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(system.synchronised(), bool)
    monkeypatch.setattr(system, "synchronised", lambda: known)
    assert system.clock_line().standing == ("ok" if known else "warn")


def test_without_an_nvidia_driver_the_gpu_is_absent_and_that_is_no_fault() -> None:
    if Path("/proc/driver/nvidia/version").exists():
        pytest.skip("there is a driver here")
    (line,) = gpu_lines(0)
    assert line.standing == "absent"


# Things that are elsewhere


def test_a_jetson_is_told_by_its_board_and_release(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    release = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8\n"
    (tmp_path / "etc/nv_tegra_release").write_text(release)
    (tmp_path / "proc/device-tree/model").write_bytes(b"NVIDIA Jetson Orin Nano Developer Kit\0")
    board, power = jetson_lines(str(tmp_path))
    assert board.text == "NVIDIA Jetson Orin Nano Developer Kit, L4T 36.4.3"
    assert power.standing == "warn"  # no nvpmodel here
    assert jetson_lines(str(tmp_path / "none"))[0].standing == "absent"


def test_cameras_are_named_and_their_serial_numbers_only_when_asked_for(tmp_path: Path) -> None:
    for folder in ("dev/v4l/by-id", "sys/class/video4linux/video0"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "dev/video0").touch()
    (tmp_path / "sys/class/video4linux/video0/name").write_text("HD Pro Webcam C920\n")
    (tmp_path / "dev/v4l/by-id/usb-046d_HD_Pro_Webcam_C920_4FBE1A2F-video-index0").symlink_to("../../video0")
    (shy,) = camera_lines(False, str(tmp_path))
    assert shy.text == "video0 (HD Pro Webcam C920, has a name under /dev/v4l/by-id)"
    (open_,) = camera_lines(True, str(tmp_path))
    assert "4FBE1A2F" in open_.text
    assert camera_lines(False, str(tmp_path / "none"))[0].standing == "absent"


def test_two_packages_of_opencv_are_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    assert opencv.opencv_lines()[0].standing == "ok"
    monkeypatch.setattr(opencv, "installed_wheels", lambda: list(opencv.WHEELS[:2]))
    (line,) = opencv.opencv_lines()
    assert line.standing == "bad"
    assert "pip uninstall opencv-python opencv-python-headless" in line.mend


def test_a_wheel_that_hides_the_opencv_of_a_jetson_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = tmp_path / "nv_tegra_release"
    release.touch()
    monkeypatch.setattr(opencv, "TEGRA", release)
    monkeypatch.setattr(opencv, "installed_wheels", lambda: ["opencv-python-headless"])
    (line,) = opencv.opencv_lines()
    assert (line.standing, "GStreamer" in line.text) == ("warn", True)


# The report


def test_the_table_keeps_its_columns_and_says_how_to_mend() -> None:
    text = table([ok("clock", "synchronised"), bad("opencv", "two of them " * 20, "Take one away. " * 10)])
    rows = text.splitlines()
    assert rows[0] == "ok      clock                synchronised"
    assert rows[1].startswith("bad     opencv               two of them")
    assert all(row.startswith(" " * 29) for row in rows[2:])
    assert max(map(len, rows)) <= 116
    assert "-> Take one away." in text
    assert count([ok("a", ""), warn("b", "", ""), absent("c", "")]) == {"ok": 1, "warn": 1, "bad": 0, "absent": 1}


def test_the_users_name_is_left_out() -> None:
    line = bad("state folder", "/home/erika/state: full", "See /home/erika", where=["/home/erika/state"])
    plain = without_names(line, Path("/home/erika"))
    assert "erika" not in plain.model_dump_json()
    assert (plain.text, plain.data["where"]) == ("~/state: full", ["~/state"])
    assert without_names(line, Path("/")) == line


def wish(state: Path, bundle: Path | None = None) -> Wish:
    return Wish(state=state, engines=StationConfig().engines, bundle=bundle, no_bundle="none named", threads=1)


def altered(source: Path, path: Path, **golden: Any) -> Path:
    """The bundle with its first golden picture changed in the manifest."""
    bundle = read_bundle(source)
    first, *rest = bundle.manifest.golden
    manifest = bundle.manifest.model_copy(update={"golden": [first.model_copy(update=golden), *rest]})
    files = {name: data for name, data in bundle.files.items() if name not in (MANIFEST, DIGESTS)}
    write_bundle(path, manifest, files)
    return path


def on_bundle(tmp_path: Path, bundle: Path) -> list[Line]:
    return list(checks._on_bundle(wish(tmp_path, bundle), {}, None))


def test_every_engine_here_proves_every_model_of_a_bundle_and_is_timed(tmp_path: Path, tiny_bundle: Path) -> None:
    about, *lines = on_bundle(tmp_path, tiny_bundle)
    assert about.data["digests"]["fp32"] == sha256_hex(read_bundle(tiny_bundle).model("fp32"))
    assert [line.about for line in lines] == ["openvino fp32", "onnxruntime fp32"]
    for line in lines:
        assert line.standing == "ok", line.text
        assert line.data["pictures"] == 2
        assert line.data["largest_difference"] < 1e-4
        assert 0 < line.data["p50_ms"] <= line.data["p99_ms"]
        assert line.data["runs"] == 50


@pytest.mark.parametrize("golden", [{"verdict": {"fp32": "FAIL"}}, {"score": {"fp32": 1.5}}], ids=["verdict", "score"])
def test_a_golden_picture_that_comes_out_otherwise_ends_with_4(
    tmp_path: Path, tiny_bundle: Path, golden: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = altered(tiny_bundle, tmp_path / "changed.sad", **golden)
    monkeypatch.setattr("sad_runtime.cli.selftest.lines_of", lambda asked: on_bundle(tmp_path, asked.bundle))
    assert selftest(StationConfig(state=str(tmp_path)), changed) == 4


def test_a_bundle_that_is_damaged_or_not_there_is_a_bad_line(tmp_path: Path, tiny_bundle: Path) -> None:
    (tmp_path / "cut.sad").write_bytes(tiny_bundle.read_bytes()[:-100])
    for name in ("cut.sad", "none.sad"):
        (line,) = on_bundle(tmp_path, tmp_path / name)
        assert (line.about, line.standing, line.gate) == ("bundle", "bad", False)


def test_a_model_that_no_engine_takes_is_a_bad_line_for_each(tmp_path: Path, tiny_bundle: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    entry = bundle.manifest.precisions["fp32"].model_copy(update={"sha256": sha256_hex(b"no model")})
    manifest = bundle.manifest.model_copy(update={"precisions": {"fp32": entry}})
    files = {name: data for name, data in bundle.files.items() if name not in (MANIFEST, DIGESTS)}
    write_bundle(tmp_path / "odd.sad", manifest, files | {"model/fp32.onnx": b"no model"})
    _, *lines = on_bundle(tmp_path, tmp_path / "odd.sad")
    assert [line.standing for line in lines] == ["bad", "bad"]
    assert all("cannot open this model" in line.text for line in lines)


def test_a_model_without_golden_pictures_is_a_warning(tmp_path: Path, tiny_bundle: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    files = {name: data for name, data in bundle.files.items() if name not in (MANIFEST, DIGESTS)}
    write_bundle(tmp_path / "bare.sad", bundle.manifest.model_copy(update={"golden": []}), files)
    assert {line.standing for line in on_bundle(tmp_path, tmp_path / "bare.sad")[1:]} == {"warn"}


def test_no_bundle_is_absent_and_says_what_to_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked: list[Wish] = []

    def look(wanted: Wish) -> list[Line]:
        asked.append(wanted)
        return list(checks._on_bundle(wanted, {}, None))

    monkeypatch.setattr("sad_runtime.cli.selftest.lines_of", look)
    assert selftest(StationConfig(state=str(tmp_path)), None) == 0
    assert asked[0].bundle is None
    assert "--bundle NAME.sad" in asked[0].no_bundle


@pytest.mark.parametrize("signed", [False, True])
def test_a_bundle_that_was_exchanged_after_it_was_checked_is_not_run(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, signed: bool
) -> None:
    """Between the look of the report and that of its child; with the right signature it is still another one."""
    _, public, _ = write_key_pair(tmp_path / "plant", None)
    signer = Signer(private_key_from(tmp_path / "plant.key", lambda _: b""), "", "")
    path = tmp_path / "line.sad"
    write_signed_copy(read_bundle(tiny_bundle), signer, path)
    other = altered(tiny_bundle, tmp_path / "other.sad", verdict={"fp32": "PASS"}, score={"fp32": 0.25})
    if signed:
        write_signed_copy(read_bundle(other), signer, tmp_path / "other_signed.sad")
        other = tmp_path / "other_signed.sad"
    asked = dataclasses.replace(wish(tmp_path, path), trust=[str(public)])
    (proved, *_) = list(checks._on_bundle(asked, {}, None))[1:]
    assert proved.standing == "ok", proved.text

    def exchanged(*given: Any, **named: Any) -> list[Line]:
        if other.exists():
            other.replace(path)
        return in_child(*given, **named)

    monkeypatch.setattr(checks, "in_child", exchanged)
    _, *lines = checks._on_bundle(asked, {}, None)
    assert [(line.standing, line.gate) for line in lines] == [("bad", True)] * 2
    assert ("another bundle lies here" if signed else "is not signed") in lines[0].text


def test_a_precision_that_the_bundle_has_not_is_a_bad_line(tmp_path: Path, tiny_bundle: Path) -> None:
    asked = dataclasses.replace(wish(tmp_path, tiny_bundle), precision="int7")
    found = {line.about: line for line in checks._on_bundle(asked, {}, None)}
    assert (found["precision"].standing, found["openvino fp32"].standing) == ("bad", "ok")


# The command, whole


@pytest.mark.slow
def test_the_command_prints_a_table_and_with_json_one_object(tmp_path: Path, tiny_bundle: Path) -> None:
    command = [sys.executable, "-m", "sad_runtime.cli.runtime", "--selftest", "--state", str(tmp_path)]
    plain = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert plain.returncode == 0, plain.stdout
    assert plain.stdout.splitlines()[-1].endswith("absent")
    assert "none to try" in plain.stdout
    with_bundle = [*command, "--bundle", str(tiny_bundle), "--json"]
    done = subprocess.run(with_bundle, capture_output=True, text=True, check=False, timeout=120)
    report = json.loads(done.stdout)
    assert (done.returncode, report["exit_code"], report["counts"]["bad"]) == (0, 0, 0)
    assert {"openvino fp32", "onnxruntime fp32", "zeromq"} <= {line["about"] for line in report["lines"]}
    assert "openvino fp32" in done.stderr
    assert not list(tmp_path.iterdir())


def test_without_opencv_the_selftest_still_runs_and_all_else_says_how_to_mend(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setattr("sad_runtime.cli.selftest.lines_of", lambda wish: [absent("bundle", wish.no_bundle)])
    assert start(["--camera", "0"]) == 2
    assert "pip install 'sad-inspection[headless]'" in capsys.readouterr().err
    assert start(["--selftest", "--json"]) == 0
    assert "without OpenCV" in json.loads(capsys.readouterr().out)["lines"][0]["text"]


def test_nothing_that_the_selftest_imports_needs_opencv() -> None:
    code = "import sys; sys.modules['cv2'] = None; import sad_runtime.cli.selftest"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_json_and_serials_belong_to_the_selftest(capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--json", "--serials"):
        assert main([flag, "--camera", "demo:washer"]) == 2
        assert "--selftest" in capsys.readouterr().err


def test_a_wrong_station_file_ends_with_2_before_anything_is_tried(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "station.yaml").write_text("bakend: auto\n")
    assert main(["--selftest", "--config", str(tmp_path / "station.yaml")]) == 2
    said = capsys.readouterr()
    assert "bakend" in said.err
    assert said.out == ""
