"""CSI cameras: what Argus is told, held against GStreamer's own parser. No Jetson is here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from peers.system_gi import why_no_gstreamer
from sad_runtime.cameras.csi import CsiOptions, CsiSettings, csi_pipeline
from sad_runtime.cameras.table import raw_camera_for
from sad_runtime.errors import CameraError, ConfigError, UsageError

ARGUS = Path(__file__).parents[2] / "peers" / "argus.py"

pytestmark = pytest.mark.filterwarnings("ignore:DynamicImporter:ImportWarning")  # gi's importer is of an old kind


@pytest.fixture
def gstreamer_here() -> None:
    if reason := why_no_gstreamer():
        pytest.skip(reason)


def as_argus_sees(pipeline: str) -> dict[str, str]:
    """The properties of the source and the converter, after GStreamer's parser has read and linked `pipeline`."""
    done = subprocess.run(
        ["/usr/bin/python3", str(ARGUS), pipeline], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(line.split("=") for line in done.stdout.split("\n") if line)


def test_the_pipeline_locks_what_would_move_by_itself() -> None:
    assert csi_pipeline(0, CsiOptions(), CsiSettings()) == (
        'nvarguscamerasrc sensor-id=0 exposuretimerange="5000000 5000000" gainrange="1 1" ispdigitalgainrange="1 1" '
        "aelock=true awblock=true wbmode=0 "
        "! video/x-raw(memory:NVMM),width=1920,height=1080,framerate=30/1 ! nvvidconv ! video/x-raw,format=BGRx"
    )


@pytest.mark.usefixtures("gstreamer_here")
def test_gstreamer_s_parser_reads_the_pipeline_as_it_is_meant() -> None:
    options = CsiOptions(width=1280, height=720, fps=60, turn=90)
    locked = CsiSettings(exposure_us=250.5, gain=2.5, isp_gain=1.25, white_balance=5)
    assert as_argus_sees(csi_pipeline(1, options, locked)) == {
        "sensor-id": "1",
        "exposuretimerange": "250500 250500",
        "gainrange": "2.5 2.5",
        "ispdigitalgainrange": "1.25 1.25",
        "aelock": "True",
        "awblock": "True",
        "wbmode": "5",
        "flip-method": "3",
    }


@pytest.mark.usefixtures("gstreamer_here")
def test_without_argus_it_says_that_this_is_no_jetson() -> None:
    camera = raw_camera_for("csi://0?width=1280&height=720&fps=60", {"exposure_us": 300})
    with pytest.raises(CameraError, match=r"no nvarguscamerasrc here.*on a Jetson only.*nvidia-l4t-gstreamer"):
        camera.open()
    camera.close()


@pytest.mark.parametrize(
    ("uri", "settings", "kind", "said"),
    [
        ("csi://left", {}, UsageError, "'left' is not the number of a sensor"),
        ("csi://-1", {}, UsageError, "is not the number of a sensor"),
        ("csi://0?turn=45", {}, UsageError, "turn takes one of 0, 90, 180, 270"),
        ("csi://0?widht=640", {}, ConfigError, "did you mean 'width'"),
        ("csi://0?width=0", {}, ConfigError, "'width'"),
        ("csi://0", {"exposure": 5}, ConfigError, "did you mean 'exposure_us'"),
        ("csi://0", {"exposure_us": "long"}, ConfigError, "exposure_us"),
        ("csi://0", {"exposure_us": 40000.0}, UsageError, "at most 33333 us"),
        ("csi://0", {"white_balance": 1}, UsageError, "white_balance 1 is automatic"),
        ("csi://0", {"gain": 0.5}, ConfigError, "gain"),
        ("csi://0", {"gain": float("nan")}, ConfigError, "gain"),
    ],
)
def test_what_argus_cannot_do_is_refused_before_anything_opens(
    uri: str, settings: dict[str, float | str], kind: type[UsageError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        raw_camera_for(uri, settings)
