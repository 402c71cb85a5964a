"""What industrial cameras share: a node map that is set, read back and compared."""

from __future__ import annotations

import math
from collections.abc import Collection

import pytest

from sad_runtime.cameras.base import Setting
from sad_runtime.cameras.features import check_software_trigger, driver_words, locked, silent_after_s
from sad_runtime.errors import CameraError


class Nodes:
    """A camera in memory: Width is bounded by OffsetX, TriggerSource is there once TriggerMode is On."""

    def __init__(self, **values: Setting) -> None:
        self.values: dict[str, Setting] = {
            "ExposureAuto": "Continuous",
            "GainAuto": "Continuous",
            "ExposureTime": 10_000.0,
            "Width": 640,
            "OffsetX": 0,
            "PixelFormat": "Mono8",
            "ReverseX": False,
            "TriggerSelector": "FrameStart",
            "TriggerMode": "Off",
            "TriggerSource": "Line0",
            **values,
        }
        self.writes: list[str] = []

    def names(self) -> Collection[str]:
        return list(self.values)

    def get(self, name: str) -> Setting:
        if name == "TriggerSource" and self.values["TriggerMode"] == "Off":
            raise CameraError("not available")
        return self.values[name]

    def set(self, name: str, value: Setting) -> None:
        assert type(value) is type(self.values[name])
        if name == "Width" and int(value) + int(self.values["OffsetX"]) > 1000:
            raise CameraError("too wide")
        if name == "OffsetX" and int(value) + int(self.values["Width"]) > 1000:
            raise CameraError("too far right")
        self.writes.append(name)
        self.values[name] = value


class Stubborn(Nodes):
    """Takes every exposure and keeps another one."""

    def get(self, name: str) -> Setting:
        return 10_200.0 if name == "ExposureTime" else super().get(name)


def test_what_adapts_itself_is_switched_off_and_told() -> None:
    nodes = Nodes()
    facts = locked(nodes, {}, "gige://1")
    assert nodes.values["ExposureAuto"] == nodes.values["GainAuto"] == "Off"
    assert facts["ExposureAuto"] == "Off"
    assert facts["ExposureTime"] == "10000"
    assert facts["TriggerMode"] == "Off"
    assert "BalanceWhiteAuto" not in facts


def test_what_the_user_set_to_adapt_itself_is_left_so() -> None:
    nodes = Nodes()
    assert locked(nodes, {"ExposureAuto": "Continuous"}, "gige://1")["ExposureAuto"] == "Continuous"


def test_selectors_come_first_and_autos_before_what_they_rule() -> None:
    nodes = Nodes(TriggerSelector="AcquisitionStart")
    asked: dict[str, Setting] = {"ExposureTime": 500.0, "TriggerMode": True, "TriggerSelector": "FrameStart"}
    locked(nodes, asked, "gige://1")
    assert nodes.writes == ["TriggerSelector", "ExposureAuto", "GainAuto", "TriggerMode", "ExposureTime"]


def test_on_and_off_of_a_yaml_file_reach_an_enumeration_as_words_and_a_switch_as_truth() -> None:
    nodes = Nodes()
    facts = locked(nodes, {"TriggerMode": True, "TriggerSource": "Software", "ReverseX": True}, "gige://1")
    assert nodes.values["TriggerMode"] == "On"
    assert nodes.values["ReverseX"] is True
    assert facts["TriggerSource"] == "Software"


@pytest.mark.parametrize(("before", "asked"), [((800, 200), (600, 400)), ((400, 600), (900, 100))])
def test_settings_that_bound_each_other_are_taken_in_whichever_order_works(
    before: tuple[int, int], asked: tuple[int, int]
) -> None:
    nodes = Nodes(Width=before[0], OffsetX=before[1])
    facts = locked(nodes, {"Width": float(asked[0]), "OffsetX": float(asked[1])}, "gige://1")
    assert (facts["Width"], facts["OffsetX"]) == (str(asked[0]), str(asked[1]))


def test_an_unknown_feature_is_refused_with_near_names() -> None:
    with pytest.raises(CameraError, match=r"gige://1: has no feature ExposureTimeUs; did you mean ExposureTime"):
        locked(Nodes(), {"ExposureTimeUs": 500.0}, "gige://1")


def test_nothing_is_set_when_one_feature_is_unknown() -> None:
    nodes = Nodes()
    with pytest.raises(CameraError):
        locked(nodes, {"Width": 320.0, "Nonsense": 1.0}, "gige://1")
    assert nodes.writes == []


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ExposureTime", "long", "takes a number; now it is 10000"),
        ("ExposureTime", True, "takes a number"),
        ("ExposureTime", math.nan, "a number that is one"),
        ("Width", 320.5, "takes a whole number"),
        ("Width", math.inf, "a number that is one"),
        ("Width", 5000.0, "too wide"),
        ("TriggerMode", 1.0, "takes a word; now it is Off"),
        ("ReverseX", "yes", "takes true or false"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_the_feature_s_name(name: str, value: Setting, words: str) -> None:
    with pytest.raises(CameraError, match=rf"gige://1: {name} = .*{words}.* camera\.settings"):
        locked(Nodes(), {name: value}, "gige://1")


def test_a_value_within_one_percent_is_kept_and_told_as_it_reads() -> None:
    assert locked(Stubborn(), {"ExposureTime": 10_150.0}, "gige://1")["ExposureTime"] == "10200"


def test_a_value_that_the_camera_does_not_keep_is_refused_with_what_it_reads() -> None:
    with pytest.raises(CameraError, match=r"ExposureTime was set to 5000\.0 and reads 10200"):
        locked(Stubborn(), {"ExposureTime": 5000.0}, "gige://1")


def test_a_pixel_format_that_cannot_be_read_is_refused_before_the_first_picture() -> None:
    with pytest.raises(CameraError, match=r"Coord3D_ABC32f cannot be read.*PixelFormat: Mono8"):
        locked(Nodes(PixelFormat="Coord3D_ABC32f"), {}, "gige://1")


@pytest.mark.parametrize(("mode", "silent_s"), [("On", None), (True, None), ("Off", 3.0), (False, 3.0), (None, 3.0)])
def test_only_a_triggered_camera_may_keep_silent(mode: Setting | None, silent_s: float | None) -> None:
    assert silent_after_s(mode) == silent_s


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, "has no TriggerMode"),
        ({"TriggerMode": "Off", "TriggerSource": "Software"}, "TriggerMode is Off"),
        ({"TriggerMode": "On", "TriggerSource": "Line0"}, "TriggerSource is Line0"),
    ],
)
def test_a_software_trigger_is_refused_where_it_would_do_nothing(facts: dict[str, str], words: str) -> None:
    with pytest.raises(CameraError, match=words):
        check_software_trigger(facts, "gige://1")
    check_software_trigger({"TriggerMode": "On", "TriggerSource": "Software"}, "gige://1")


def test_what_a_driver_says_loses_the_place_in_its_source() -> None:
    said = "Feature 'F' : invalid. : InvalidArgumentException thrown in node 'F' (file 'E.cpp', line 1)"
    assert driver_words(RuntimeError(said)) == "Feature 'F' : invalid"
    assert driver_words(RuntimeError("no such : thing")) == "no such : thing"
    assert driver_words(RuntimeError()) == "RuntimeError"
