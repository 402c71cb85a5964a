"""Writes down what the real Python bindings of one TensorRT have, so that our calls can be held against them.

    python tests/runtime/tensorrt_api/snapshot.py FOLDER > tests/runtime/tensorrt_api/VERSION.json

FOLDER holds an unpacked wheel of tensorrt-cu12-bindings or tensorrt-cu13-bindings for this Python, or is where
tensorrt_rtx is installed:

    pip download --no-deps --python-version 3.11 --only-binary=:all: tensorrt-cu12-bindings==10.3.0
    python -m zipfile -e tensorrt_cu12_bindings-*.whl unpacked

Neither a GPU nor TensorRT's own libraries are needed: the bindings are linked against a handful of their functions,
and stubs of those, made with gcc, let them be imported. Nothing of TensorRT is run.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CLASSES = (
    "Builder",
    "BuilderFlag",
    "DataType",
    "DeviceType",
    "EngineCapability",
    "HardwareCompatibilityLevel",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "IHostMemory",
    "IInt8EntropyCalibrator2",
    "ILayer",
    "ILogger",
    "INetworkDefinition",
    "IProgressMonitor",
    "IRuntimeCache",
    "IRuntimeConfig",
    "ITensor",
    "ITimingCache",
    "LayerType",
    "Logger",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "OnnxParser",
    "OnnxParserFlag",
    "ParserError",
    "ProfilingVerbosity",
    "Runtime",
    "TensorIOMode",
    "TensorLocation",
)
STUBBED = "--stubbed"
PACKAGES = ("tensorrt_rtx", "tensorrt_bindings")
LIBRARY = re.compile(r"\[(lib(?:nvinfer|nvonnxparser)[^\]]*)\]")
ENTRY = re.compile(r"U ((?:create|get|init)[A-Za-z]+(?:_INTERNAL|Registry|Version|Plugins))$", re.MULTILINE)


def main(folder: Path, stubbed: bool) -> int:
    package = next(name for name in PACKAGES if (folder / name).is_dir())
    binding = next((folder / package).glob("tensorrt*.so"), None)
    if package == "tensorrt_bindings" and binding is not None and not stubbed:
        return _again_with_stubs(binding)
    sys.path.insert(0, str(folder))
    trt: Any = importlib.import_module(package)
    print(json.dumps(described(trt), indent=0, sort_keys=True))
    return 0


def described(trt: Any) -> dict[str, Any]:
    """Version, the names of the module, and the attributes of the classes that we may use."""
    return {
        "version": trt.__version__,
        "names": " ".join(_public(trt)),
        "classes": {name: " ".join(_public(getattr(trt, name))) for name in CLASSES if hasattr(trt, name)},
    }


def _public(thing: Any) -> list[str]:
    return sorted(name for name in dir(thing) if not name.startswith("_"))


def _again_with_stubs(binding: Path) -> int:
    """In a new process, whose loader finds the stubs."""
    needed = LIBRARY.findall(_said("readelf", "-d", str(binding)))
    entries = ENTRY.findall(_said("nm", "-D", "--undefined-only", str(binding)))
    code = "".join(f"void *{name}(void) {{ return 0; }}\n" for name in entries)
    with tempfile.TemporaryDirectory() as stubs:
        (Path(stubs) / "stub.c").write_text(code)
        for library in needed:
            output = ["-shared", "-fPIC", f"-Wl,-soname,{library}", "-o", f"{stubs}/{library}"]
            subprocess.run(["gcc", f"{stubs}/stub.c", *output], check=True)
        surroundings = {**os.environ, "LD_LIBRARY_PATH": stubs}
        return subprocess.run([sys.executable, *sys.argv, STUBBED], env=surroundings, check=False).returncode


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    if len(sys.argv) < 2 or not Path(sys.argv[1]).is_dir():
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), STUBBED in sys.argv))
