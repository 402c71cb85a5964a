"""The bare peer of a station: a process that opens the model in OpenVINO and runs it, and does nothing else.

    python tests/bench/bare_engine.py MODEL.onnx INFERENCES

prints `ready` after the first two inferences, and at the end its resident memory in MB. Knows nothing of sad.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import openvino


def main() -> None:
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    core = openvino.Core()
    model = core.read_model(Path(sys.argv[1]).read_bytes())
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    blank = np.zeros((1, 256, 256, 3), np.uint8)
    for number in range(int(sys.argv[2])):
        request.infer([blank], share_inputs=True)
        if number == 1:
            print("ready", flush=True)
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in status if line.startswith("VmRSS:")]
    print(int(line.split()[1]) * 1024 / 1e6)


if __name__ == "__main__":
    main()
