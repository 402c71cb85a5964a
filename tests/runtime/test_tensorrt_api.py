"""Every call of TensorRT that we make exists in the real bindings of 10.3, 10.16, 11.4 and TensorRT-RTX 1.7."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "tensorrt_api"))
from calls import Use, missing, uses
from snapshot import CLASSES, described

API = Path(__file__).parent / "tensorrt_api"
RUNTIME = Path(__file__).parents[2] / "runtime" / "sad_runtime"
SNAPSHOTS = {path.stem: json.loads(path.read_text()) for path in sorted(API.glob("*.json"))}
BUILDING = {
    "builder": "Builder",
    "flags": "NetworkDefinitionCreationFlag",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "parser_error": "ParserError",
    "config": "IBuilderConfig",
    "layer": "ILayer",
    "tensor": "ITensor",
    "timings": "ITimingCache",
}
RUNNING = {"runtime": "Runtime", "engine": "ICudaEngine", "context": "IExecutionContext"}
OBJECTS = {"engines/build.py": BUILDING, "backends/tensorrt.py": RUNNING, "backends/slot.py": RUNNING}
"""Which variable of which file holds an object of which class."""
FILES = sorted(
    str(path.relative_to(RUNTIME))
    for path in RUNTIME.rglob("*.py")
    if path.parent.name == "engines" or str(path.relative_to(RUNTIME)) in OBJECTS or path.stem.startswith("tensorrt")
)


def lacking(source: str, objects: dict[str, str]) -> dict[str, list[str]]:
    """What each snapshot does not have of what `source` uses unguarded."""
    found = uses(source, objects)
    return {
        version: absent
        for version, snapshot in SNAPSHOTS.items()
        if (absent := [str(use) for use in found if missing(use, snapshot)])
    }


@pytest.mark.parametrize("file", FILES)
def test_what_we_call_is_there_in_every_tensorrt_or_asked_for_first(file: str) -> None:
    assert lacking((RUNTIME / file).read_text(), OBJECTS.get(file, {})) == {}


def test_the_files_that_call_tensorrt_are_looked_at() -> None:
    assert set(SNAPSHOTS) == {"10.3.0", "10.16.1", "11.4.0", "rtx-1.7.1"}
    calling = {file for file in FILES if uses((RUNTIME / file).read_text(), OBJECTS.get(file, {}))}
    assert {"engines/build.py", "engines/api.py", "backends/tensorrt.py", "backends/slot.py"} <= calling
    found = uses((RUNTIME / "engines/build.py").read_text(), BUILDING)
    assert {use.owner for use in found} >= set(BUILDING.values()) - {"NetworkDefinitionCreationFlag"}


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("def f(trt, config): config.set_flag(trt.BuilderFlag.FP16)", {"11.4.0", "rtx-1.7.1"}),
        ("def f(trt, config): config.max_workspace_size = 1", set(SNAPSHOTS)),
        ("def f(self): return self._engine.num_bindings", set(SNAPSHOTS)),
        ("def f(trt):\n class T(trt.IInt8EntropyCalibrator2): pass", {"11.4.0", "rtx-1.7.1"}),
        ("def f(trt):\n class T(trt.ILogger):\n  def logg(self, severity): ...", set(SNAPSHOTS)),
        ("def f(trt):\n if hasattr(trt.BuilderFlag, 'FP16'): return trt.BuilderFlag.FP16", set()),
    ],
)
def test_a_call_that_some_tensorrt_does_not_have_is_found(source: str, where: set[str]) -> None:
    assert set(lacking(source, {"config": "IBuilderConfig", "engine": "ICudaEngine"})) == where


def test_the_snapshot_of_the_tensorrt_rtx_that_is_installed_is_what_it_has() -> None:
    trt: Any = pytest.importorskip("tensorrt_rtx")
    kept = SNAPSHOTS["rtx-1.7.1"]
    if trt.__version__ != kept["version"]:
        pytest.skip(f"TensorRT-RTX {trt.__version__} is installed")
    found = described(trt)
    assert found["classes"] == kept["classes"]
    assert set(kept["classes"]) <= set(CLASSES)
    assert not missing(Use("Builder", "build_serialized_network", 1), found)
