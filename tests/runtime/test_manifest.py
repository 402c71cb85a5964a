"""The manifest: what it says survives the way to JSON and back, and what makes no sense is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sad_runtime.errors import BundleError, ConfigError, UsageError
from sad_runtime.manifest import SCHEMA, InputSpec, Manifest, Roi, manifest_from_json


def values() -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "part": "cap",
        "method": "nsa",
        "created": "2026-01-01T00:00:00+00:00",
        "input": {"height": 256, "width": 256, "channels": 3},
        "roi": {"x": 1, "y": 2, "width": 3, "height": 4},
        "precisions": {
            "fp32": {
                "file": "model/fp32.onnx",
                "sha256": "0" * 64,
                "score_threshold": 1.5,
                "review_threshold": 1.25,
                "pixel_threshold": 2.5,
                "heatmap_low": -3.0,
            }
        },
        "decision": {
            "target_false_reject": 0.005,
            "guaranteed_false_reject": 0.005,
            "method": "split-conformal",
            "n": 199,
        },
        "golden": [{"file": "golden/a.png", "score": {"fp32": 1.0}, "verdict": {"fp32": "PASS"}}],
        "scene": {"pictures": 9, "bands": {"brightness": {"low": 20.0, "warn_low": 30.0, "usual": 99.0}}},
        "training": {
            "method": "nsa",
            "preset": "fast",
            "seed": 0,
            "data_digest": "0" * 64,
            "pictures": 100,
            "versions": {"torch": "2.4"},
        },
        "backbone": {"name": "house", "licence": "Apache-2.0"},
    }


def read(changed: object) -> Manifest:
    return manifest_from_json(json.dumps(changed).encode(), "cap.sad")


def test_a_manifest_survives_the_way_to_json_and_back() -> None:
    manifest = read(values())
    assert manifest_from_json(manifest.to_json(), "x") == manifest
    assert manifest.input.shape == (256, 256, 3)
    assert manifest.roi == Roi(x=1, y=2, width=3, height=4)


def test_its_json_says_schema_and_ends_its_last_line() -> None:
    text = read(values()).to_json()
    assert json.loads(text)["schema"] == SCHEMA
    assert text.endswith(b"}\n")
    assert text == manifest_from_json(text, "x").to_json()


def test_a_newer_schema_is_refused_before_its_keys_are_looked_at() -> None:
    with pytest.raises(BundleError, match=r"schema 2, this sad reads up to 1.*pip install --upgrade"):
        read({"schema": 2, "anything": "else"})


@pytest.mark.parametrize("schema", [None, 0, -1, "1", 1.0, True, [1]])
def test_a_schema_that_is_no_number_is_refused(schema: object) -> None:
    with pytest.raises(BundleError, match="which schema"):
        read({**values(), "schema": schema})


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff\xfe", b"[1]", b"null", b'"text"', b"[" * 100_000, b'{"schema": ' + b"1" * 5000 + b"}"]
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"cap\.sad"):
        manifest_from_json(data, "cap.sad")


@pytest.mark.parametrize("key", sorted(set(values()) - {"schema", "roi", "golden", "scene", "backbone"}))
def test_every_key_without_a_default_is_asked_for(key: str) -> None:
    changed = values()
    del changed[key]
    with pytest.raises(ConfigError, match=f"'{key}' is missing"):
        read(changed)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("input", "channels"), 2),
        (("input", "channels"), 4),
        (("input", "height"), 0),
        (("input", "width"), 10**6),
        (("roi", "x"), -1),
        (("roi", "width"), 0),
        (("precisions", "fp32", "score_threshold"), math.nan),
        (("precisions", "fp32", "review_threshold"), math.inf),
        (("precisions", "fp32", "pixel_threshold"), -math.inf),
        (("precisions", "fp32", "heatmap_low"), None),
        (("decision", "guaranteed_false_reject"), math.nan),
        (("decision", "guaranteed_false_reject"), 1.5),
        (("decision", "n"), -1),
        (("golden", 0, "score", "fp32"), math.nan),
        (("golden_tolerance",), -0.1),
        (("golden_tolerance",), math.inf),
        (("scene", "bands", "brightness", "low"), math.nan),
        (("scene", "bands", "brightnes"), {"low": 20.0}),
        (("precisions", "fp32", "treshold"), 1.0),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(path: tuple[str | int, ...], value: object) -> None:
    changed: Any = values()
    place = changed
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises(ConfigError, match=r"\.".join(str(part) for part in path)):
        read(changed)


@given(st.binary(max_size=200))
def test_random_bytes_are_no_manifest(data: bytes) -> None:
    with pytest.raises(UsageError):
        manifest_from_json(data, "x")


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour_are_what_a_graph_takes(channels: int) -> None:
    assert InputSpec(height=16, width=32, channels=channels).shape == (16, 32, channels)


def test_the_empty_scene_of_earlier_bundles_is_none() -> None:
    assert read({**values(), "scene": {}}).scene is None
