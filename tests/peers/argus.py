"""NVIDIA's two elements of a CSI pipeline as GStreamer sees them, without what they do; prints how they were set.

    python argus.py PIPELINE
Real parser, real caps, real linking: a property that is misspelt or does not parse, and a link that cannot be, fail.
"""

from __future__ import annotations

import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GObject, Gst  # noqa: E402

Gst.init(None)
NVMM = "video/x-raw(memory:NVMM)"
BOTH_WAYS = GObject.ParamFlags.READWRITE


def pad(name: str, direction: Gst.PadDirection, caps: str) -> Gst.PadTemplate:
    return Gst.PadTemplate.new(name, direction, Gst.PadPresence.ALWAYS, Gst.Caps.from_string(caps))


class Argus(Gst.Element):
    """Properties and their kinds as `gst-inspect-1.0 nvarguscamerasrc` lists them on JetPack 5 and 6."""

    templates = (pad("src", Gst.PadDirection.SRC, NVMM),)
    __gproperties__ = {
        "sensor-id": (int, "", "", 0, 255, 0, BOTH_WAYS),
        "exposuretimerange": (str, "", "", None, BOTH_WAYS),
        "gainrange": (str, "", "", None, BOTH_WAYS),
        "ispdigitalgainrange": (str, "", "", None, BOTH_WAYS),
        "aelock": (bool, "", "", False, BOTH_WAYS),
        "awblock": (bool, "", "", False, BOTH_WAYS),
        "wbmode": (int, "", "", 0, 9, 1, BOTH_WAYS),
    }


class Converter(Gst.Element):
    templates = (
        pad("sink", Gst.PadDirection.SINK, NVMM),
        pad("src", Gst.PadDirection.SRC, "video/x-raw,format={BGRx,RGBA,GRAY8,I420,NV12}"),
    )
    __gproperties__ = {"flip-method": (int, "", "", 0, 7, 0, BOTH_WAYS)}


def with_pads(kind: type[Gst.Element]) -> None:
    def start(self: Gst.Element) -> None:
        Gst.Element.__init__(self)
        for template in kind.templates:
            self.add_pad(Gst.Pad.new_from_template(template, template.name_template))

    def read(self: Gst.Element, asked: GObject.ParamSpec) -> object:
        return getattr(self, "given", {}).get(asked.name, asked.default_value)

    def write(self: Gst.Element, asked: GObject.ParamSpec, value: object) -> None:
        self.given = {**getattr(self, "given", {}), asked.name: value}

    kind.__init__, kind.do_get_property, kind.do_set_property = start, read, write


for name, kind in {"nvarguscamerasrc": Argus, "nvvidconv": Converter}.items():
    with_pads(kind)
    kind.set_metadata(name, "Generic", "stand-in", "tests")
    for template in kind.templates:
        kind.add_pad_template(template)
    Gst.Element.register(None, name, 0, kind)

pipeline = Gst.parse_launch(f"{sys.argv[1]} ! appsink name=sink")
found = pipeline.iterate_elements()
while True:
    step, element = found.next()
    if step != Gst.IteratorResult.OK:
        break
    if isinstance(element, (Argus, Converter)):
        for key, value in sorted(getattr(element, "given", {}).items()):
            print(f"{key}={value}")
