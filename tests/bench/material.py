"""What the benches feed on: a bundle as export makes them, but untrained, and rendered parts as PNG files.

    python tests/bench/material.py FOLDER [COUNT]

makes it, in a process of its own so that torch's threads and memory are not in the bench. Seeds are fixed.
"""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sad_runtime.manifest import InputSpec

SIZE_PX, SMALL_PX = 256, 64
SPEC = InputSpec(height=SIZE_PX, width=SIZE_PX, channels=3)
WIDE = 1e6
"""A threshold that no score of the untrained network reaches: every verdict is PASS."""
GOLDEN = 8
BARE_ENGINE = Path(__file__).with_name("bare_engine.py")


@dataclass(frozen=True)
class Material:
    folder: Path

    @property
    def bundle(self) -> Path:
        return self.folder / "line.sad"

    @property
    def model(self) -> Path:
        return self.folder / "fp32.onnx"

    @property
    def pictures(self) -> Path:
        """Washers of 256 x 256, the model's size."""
        return self.folder / "pictures"

    @property
    def small_pictures(self) -> Path:
        """Washers of 64 x 64, read in no time."""
        return self.folder / "small"


def made(folder: Path, count: int) -> Material:
    """Material with `count` pictures in `folder`."""
    subprocess.run([sys.executable, __file__, str(folder), str(count)], check=True)
    return Material(folder)


def _make(material: Material, count: int) -> None:
    from sad_runtime.cameras.demo.parts import render
    from sad_runtime.pictures import encode_png

    pictures = [render("washer", seed=7, index=index, size_px=SIZE_PX).image for index in range(count)]
    small = [render("washer", seed=7, index=index, size_px=SMALL_PX).image for index in range(count)]
    for folder, several in ((material.pictures, pictures), (material.small_pictures, small)):
        folder.mkdir(parents=True)
        for index, picture in enumerate(several):
            (folder / f"{index:03}.png").write_bytes(encode_png(picture))
    material.model.write_bytes(_untrained_onnx())
    _write_bundle(material, pictures)


def _untrained_onnx() -> bytes:
    """The default network with seeded weights: the same work as a trained one."""
    import torch

    from sad_export.onnx_graph import onnx_from_graph
    from sad_train.config import TrainConfig
    from sad_train.graph import InspectionGraph
    from sad_train.networks.small_unet import SmallUNet

    torch.manual_seed(0)
    config = TrainConfig(size_px=SIZE_PX)
    return onnx_from_graph(InspectionGraph(SmallUNet(SPEC.channels), SPEC, config))


def _write_bundle(material: Material, pictures: list[NDArray[np.uint8]]) -> None:
    from sad_runtime.backends.openvino import OpenVINOBackend
    from sad_runtime.bundle import sha256_hex, write_bundle
    from sad_runtime.manifest import DecisionPolicy, Golden, Manifest, Precision, Training
    from sad_runtime.pictures import encode_png

    model = material.model.read_bytes()
    with OpenVINOBackend(model, SPEC) as backend:
        scores = [float(backend.infer(picture[np.newaxis]).score[0]) for picture in pictures]
    arrays = io.BytesIO()
    np.savez(arrays, fp32_score=np.asarray(scores))
    files = {"model/fp32.onnx": model, "calibration.npz": arrays.getvalue()}
    files |= {f"calibration/{index:04}.png": encode_png(picture) for index, picture in enumerate(pictures)}
    files |= {f"golden/{index}.png": encode_png(picture) for index, picture in enumerate(pictures[:GOLDEN])}
    precision = Precision(
        file="model/fp32.onnx",
        sha256=sha256_hex(model),
        score_threshold=WIDE,
        pixel_threshold=WIDE,
        heatmap_low=-20.0,
    )
    manifest = Manifest(
        part="washer",
        method="nsa",
        created="2026-01-01T00:00:00+00:00",
        input=SPEC,
        precisions={"fp32": precision},
        decision=DecisionPolicy(target_false_reject=None, guaranteed_false_reject=1.0, method="none", n=len(scores)),
        golden=[
            Golden(file=f"golden/{index}.png", score={"fp32": score}, verdict={"fp32": "PASS"})
            for index, score in enumerate(scores[:GOLDEN])
        ],
        training=Training(method="nsa", preset="none", seed=0, data_digest="0" * 64, pictures=0, versions={}),
    )
    write_bundle(material.bundle, manifest, files)


if __name__ == "__main__":
    _make(Material(Path(sys.argv[1])), int(sys.argv[2]))
