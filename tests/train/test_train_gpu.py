"""Training on an NVIDIA GPU, in bf16 or fp16. Not run where this was written; see the README's "what has run where"."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.gpu
DATA = "demo:washer?n=40&good=10&defect=18&size=64"


@pytest.mark.parametrize("network", ["small_unet", "nsa_resnet18"])
def test_a_training_on_the_gpu_leaves_a_run_that_infers_on_the_cpu(
    network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    from sad_runtime.pictures import read_picture
    from sad_runtime.preprocess import model_picture
    from sad_train.cli import main
    from sad_train.dataset import read_dataset
    from sad_train.torch_backend import torch_backend_from_run

    assert torch.cuda.is_available(), "this test needs an NVIDIA GPU; leave it out with -m 'not gpu'"
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"network: {network}\n")
    arguments = ["--data", DATA, "--size", "64", "--steps", "20", "--batch", "8", "--device", "cuda", "--json"]
    assert main([*arguments, "--config", str(settings), "--out", str(tmp_path / "run")]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] < 1.0
    with torch_backend_from_run(tmp_path / "run") as backend:
        picture = model_picture(read_picture(read_dataset(DATA).train_good[0]), backend.spec)
        outputs = backend.infer(picture[None])
    assert all(bool(torch.from_numpy(values).isfinite().all()) for values in outputs)
