"""Training on an NVIDIA GPU, in bf16 or fp16. Not run where this was written; see the README's "what has run where"."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

pytestmark = pytest.mark.gpu
DATA = "demo:washer?n=40&good=10&defect=18&size=64"


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("nsa", "examples: device"),
        ("nsa", "examples: loader"),
        ("nsa", "network: nsa_resnet18"),
        ("nsa", "compile: true"),
        ("nsa", "ema: 0.9"),
        ("cutpaste_3way", "batch: 9"),
        ("cutpaste", "batch: 8"),
        ("anoseg", "coords: 'on'"),
        ("fastflow", "fastflow: {backbone_steps: 4, steps: 2}"),
    ],
)
def test_a_training_on_the_gpu_leaves_a_run_that_infers_on_the_cpu(
    method: str, settings: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    from sad_runtime.pictures import read_picture
    from sad_runtime.preprocess import model_picture
    from sad_train.cli import main
    from sad_train.data.dataset import read_dataset
    from sad_train.torch_backend import torch_backend_from_run

    assert torch.cuda.is_available(), "this test needs an NVIDIA GPU; leave it out with -m 'not gpu'"
    changes = tmp_path / "settings.yaml"
    changes.write_text("batch: 8\n" + settings + "\n" if "batch" not in settings else settings + "\n")
    arguments = ["--data", DATA, "--method", method, "--size", "64", "--steps", "20", "--device", "cuda", "--json"]
    assert main([*arguments, "--config", str(changes), "--out", str(tmp_path / "run")]) == 0
    assert math.isfinite(json.loads(capsys.readouterr().out)["loss"])
    with torch_backend_from_run(tmp_path / "run") as backend:
        picture = model_picture(read_picture(read_dataset(DATA).train_good[0]), backend.spec)
        outputs = backend.infer(picture[None])
    assert all(bool(torch.from_numpy(values).isfinite().all()) for values in outputs)
