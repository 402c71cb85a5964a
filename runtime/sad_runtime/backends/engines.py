"""Imports the inference engines with their telemetry off.

As they come, `import openvino` makes a client id in the home folder and reports to Google Analytics, and ONNX Runtime
(1.32) makes a device id and reports to its maker. A station is offline: it says nothing to anybody but its readers.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any


def openvino_alone() -> Any:
    """The package `openvino`. Raises ImportError where it is not installed."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it then takes its own stub
    return importlib.import_module("openvino")


def onnxruntime_alone() -> Any:
    """The package `onnxruntime`. Raises ImportError where it is not installed."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    return importlib.import_module("onnxruntime")
