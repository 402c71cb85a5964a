"""`sad-runtime --list-cameras`, and what it asks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from peers.fake_gige import SERIAL, fake_camera, why_no_aravis
from sad_runtime.cameras import listing
from sad_runtime.cameras.kernel_listing import nodes
from sad_runtime.cameras.listing import Found, Listing, in_children, producers_in
from sad_runtime.cli.list_cameras import table
from sad_runtime.cli.runtime import main

CAPTURE, METADATA = 0x1, 0x800000


def kernel(root: Path) -> Path:
    """A box with one USB camera of two nodes, by-id names and all."""
    for number in (0, 1):
        (root / f"sys/class/video4linux/video{number}").mkdir(parents=True)
        (root / f"sys/class/video4linux/video{number}/name").write_text("UVC Camera\n", encoding="utf-8")
        (root / "dev/v4l/by-id").mkdir(parents=True, exist_ok=True)
        (root / f"dev/video{number}").touch()
        (root / f"dev/v4l/by-id/usb-ACME_UVC_SN42-video-index{number}").symlink_to(f"../../video{number}")
    return root


def test_a_camera_s_node_is_listed_by_its_lasting_name_and_its_metadata_node_is_not(tmp_path: Path) -> None:
    (found,) = nodes(kernel(tmp_path), lambda path: METADATA if path.name == "video1" else CAPTURE)
    assert found.path == tmp_path / "dev/v4l/by-id/usb-ACME_UVC_SN42-video-index0"
    assert (found.model, found.may_open, found.in_use) == ("UVC Camera", True, False)


def test_a_node_whose_driver_does_not_say_is_listed_all_the_same(tmp_path: Path) -> None:
    assert len(nodes(kernel(tmp_path))) == 2


def test_a_device_that_a_process_holds_is_in_use(tmp_path: Path) -> None:
    kernel(tmp_path)
    (tmp_path / "proc/77/fd").mkdir(parents=True)
    (tmp_path / "proc/77/fd/5").symlink_to(tmp_path / "dev/video0")
    assert [node.in_use for node in nodes(tmp_path, lambda _: CAPTURE)] == [True, False]


def test_video10_comes_after_video9(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    for number in (10, 9):
        (tmp_path / f"dev/video{number}").touch()
    assert [node.path.name for node in nodes(tmp_path, lambda _: CAPTURE)] == ["video9", "video10"]


def test_producers_are_the_cti_files_of_all_folders_that_exist(tmp_path: Path) -> None:
    for name in ("a/one.cti", "b/two.cti", "b/readme.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = producers_in(os.pathsep.join([str(tmp_path / "b"), "", str(tmp_path / "none"), str(tmp_path / "a")]))
    assert found == [tmp_path / "a/one.cti", tmp_path / "b/two.cti"]
    assert producers_in("") == []


def test_a_driver_that_hangs_costs_the_limit_and_not_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "START", "import sys, time; time.sleep(sys.argv[1] == 'basler' and 60); print('{}')")
    began_s = time.monotonic()
    found = in_children([], limit_s=1.0)
    assert time.monotonic() - began_s < 4
    assert [(one.kind, "does not answer" in one.trouble) for one in found] == [
        ("v4l2", False),
        ("aravis", False),
        ("basler", True),
    ]


def test_a_driver_that_crashes_is_told_by_its_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "START", "import os; os.kill(os.getpid(), 11)")
    assert all("by SIGSEGV" in one.trouble for one in in_children([]))


def test_what_a_driver_raises_is_told(tmp_path: Path) -> None:
    if find_spec("harvesters") is None:
        pytest.skip("no harvesters; run: pip install 'sad-inspection[camera]'")
    (tmp_path / "text.cti").write_text("not a library", encoding="utf-8")
    found = in_children([tmp_path / "text.cti"])[-1]
    assert found.kind == "genicam text.cti"
    assert "text.cti" in found.trouble


def test_the_command_lists_pylon_s_emulator_and_the_genicam_wheel_s_producer_as_uris(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = find_spec("genicam")
    if spec is None or spec.origin is None or find_spec("pypylon") is None:
        pytest.skip("no pypylon or harvesters; run: pip install 'sad-inspection[camera]'")
    producer = Path(spec.origin).parent / "viky.cti"
    monkeypatch.setenv("PYLON_CAMEMU", "1")
    monkeypatch.setenv("GENICAM_GENTL64_PATH", str(producer.parent))
    assert main(["--list-cameras", "--json"]) == 0
    cameras = [camera for kind in json.loads(capsys.readouterr().out)["kinds"] for camera in kind["cameras"]]
    assert {"uri": "basler://0815-0000", "model": "Basler Emulation", "serial": "0815-0000", "standing": ""} in cameras
    assert f"genicam://1?cti={producer}" in [camera["uri"] for camera in cameras]


def test_a_gige_camera_is_listed_by_its_serial_number() -> None:
    if reason := why_no_aravis():
        pytest.skip(reason)
    with fake_camera():
        found = listing.listed("aravis")
    assert Found(f"gige://{SERIAL}", "Aravis Fake", SERIAL) in found


def test_the_table_has_a_line_for_each_camera_and_for_each_kind_without_one() -> None:
    found = [
        Listing("v4l2", (Found("/dev/video0", "UVC Camera", standing="no right to open"),)),
        Listing("aravis", trouble="needs Aravis. Run: sudo apt-get install gir1.2-aravis-0.8 python3-gi"),
        Listing("basler"),
    ]
    assert table(found, any_producers=False).splitlines() == [
        "/dev/video0  UVC Camera  no right to open",
        "aravis: needs Aravis. Run: sudo apt-get install gir1.2-aravis-0.8 python3-gi",
        "basler: none found",
        "genicam: no producer; GENICAM_GENTL64_PATH names the folders of .cti files, as their makers set it",
    ]


@pytest.mark.parametrize("more", ["--limit=3", "--camera=0", "--bundle=x.sad", "--config=x.yaml", "--serials"])
def test_flags_that_say_nothing_to_it_are_refused(more: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-cameras", more]) == 2
    assert f"{more.partition('=')[0]} says nothing to --list-cameras" in capsys.readouterr().err


def test_it_goes_with_no_other_mode(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-cameras", "--selftest"]) == 2
    assert "one at a time" in capsys.readouterr().err


def test_nothing_beside_the_user_stands_in_for_a_package(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit(9)", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", listing.START, "v4l2"], cwd=tmp_path, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "cameras" in json.loads(done.stdout)
