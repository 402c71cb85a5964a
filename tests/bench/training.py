"""What a training takes beside its arithmetic: time waiting for examples, and memory for many large pictures.

The bare peer of a step is the same step on one ready batch: forward, backward, optimiser, nothing else. With a GPU both
run there, and examples are made where the method makes them.

    python tests/bench/training.py 5000   memory with so many pictures of 1024x1024 (1 GB of files, ten minutes)
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
from figure import Figure, Spread
from material import Material

PICTURES, CAMERA_PX, STEPS = 300, 1024, 160
BATCH = 16
MEMORY_BUDGET_MB = Spread(6000.0)
STEP_BUDGET = Spread(1.25)
TRAIN = "import sys; from sad_train.cli import main; sys.exit(main(sys.argv[1:]))"
BARE_STEP = """
import json, sys, time, torch
from sad_runtime.manifest import InputSpec
from sad_train.config import TrainConfig
from sad_train.losses.soft_label import soft_label_loss
from sad_train.networks.segmenters import upsampled
from sad_train.networks.small_unet import SmallUNet
device = "cuda" if torch.cuda.is_available() else "cpu"
steps, batch, side = map(int, sys.argv[1:])
network = SmallUNet(3).to(device, memory_format=torch.channels_last)
optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
x = torch.randn(batch, 3, side, side, device=device).contiguous(memory_format=torch.channels_last)
labels = torch.rand(batch, side, side, device=device)
for step in range(-3, steps):
    if step == 0:
        began = time.monotonic()
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        loss = soft_label_loss(upsampled(network(x).heatmap, side).float(), labels)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    float(loss.detach())
print(json.dumps(1e3 * (time.monotonic() - began) / steps))
"""


def figures(material: Material, quick: bool) -> list[Figure]:
    pictures, camera_px, steps, side = (16, 96, 4, 64) if quick else (PICTURES, CAMERA_PX, STEPS, 256)
    with tempfile.TemporaryDirectory(prefix="sad-bench-training-") as folder:
        data = large_pictures(Path(folder) / "good", pictures, camera_px)
        flags = ["--steps", str(steps), "--size", str(side), "--batch", str(BATCH)]
        peak_mb = memory_of_training(data, Path(folder) / "run", flags)
        notes = [json.loads(line) for line in (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()]
        summary = json.loads((Path(folder) / "summary.json").read_text())
    bare = subprocess.run(
        [sys.executable, "-c", BARE_STEP, str(steps), str(BATCH), str(side)], capture_output=True, text=True, check=True
    )
    ours = Spread(60e3 * summary["minutes"] / steps)
    waiting = Spread(100 * notes[-1]["loader_share"])
    peer_is = "the same step on one ready batch"
    return [
        Figure("nsa, a step", "ms", ours, Spread(float(bare.stdout)), peer_is, "times", at_most=STEP_BUDGET),
        Figure("  of it waiting for examples", "%", waiting),
        Figure(f"memory with {pictures} pictures of {camera_px}", "MB", Spread(peak_mb), at_most=MEMORY_BUDGET_MB),
    ]


def large_pictures(folder: Path, count: int, side: int) -> Path:
    """`count` different jpg files of washers, `side` pixels wide: a few rendered, turned, shifted and relit."""
    from sad_runtime.cameras.demo.parts import render

    folder.mkdir(parents=True)
    drawn = [render("washer", seed=1, index=index, size_px=side).image for index in range(min(count, 12))]
    rng = np.random.default_rng(0)
    for index in range(count):
        matrix = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-180, 180), 1.0)
        matrix[:, 2] += rng.uniform(-0.04, 0.04, 2) * side
        turned = cv2.warpAffine(drawn[index % 12], matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101)
        relit = np.clip(turned.astype(np.int16) + rng.integers(-20, 21), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{index:05}.jpg"), relit, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return folder


def memory_of_training(data: Path, out: Path, flags: list[str]) -> float:
    """The most MB that a training and the processes it starts ever took; pages shared between them count once.

    What the system keeps of files to have them at hand, and gives back when asked, is not in it.
    """
    command = [sys.executable, "-c", TRAIN, "--data", str(data), "--out", str(out), "--json", *flags]
    with (out.parent / "summary.json").open("w") as summary, (out.parent / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=summary, stderr=log)
        peak = 0
        while process.poll() is None:
            peak = max(peak, _anonymous_bytes(process.pid))
            time.sleep(0.5)
    if process.returncode:
        raise RuntimeError((out.parent / "log").read_text())
    return peak / 1e6


def _anonymous_bytes(pid: int) -> int:
    """Proportional share of anonymous memory, over the process and its children."""
    total = 0
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in processes:
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        except OSError:  # gone in the meantime
            continue
        total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss_Anon"))
    return total


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="sad-bench-training-") as place:
        many = large_pictures(Path(place) / "good", int(sys.argv[1]), CAMERA_PX)
        for size in ("256", "1024"):
            flags = ["--size", size, "--steps", "4", "--batch", "4"]
            print(f"{sys.argv[1]} pictures at {size}: {memory_of_training(many, Path(place) / size, flags):.0f} MB")
