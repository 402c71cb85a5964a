"""Golden pictures replayed: those at model size as they are, whole camera pictures through the bundle's ROI."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bundles import SIZE_PX, SPEC, bad_picture, good_picture, write_tiny_bundle
from sad_runtime.backends.table import backend_for
from sad_runtime.bundle import DIGESTS, MANIFEST, read_bundle, write_bundle
from sad_runtime.golden import Replayed, replayed
from sad_runtime.manifest import Golden, Roi
from sad_runtime.pictures import encode_png
from sad_runtime.verdict import Verdict


def replay(path: Path) -> dict[str, Replayed]:
    bundle = read_bundle(path)
    with backend_for("onnxruntime", bundle.model("fp32"), SPEC, threads=1) as backend:
        return {one.file: one for one in replayed(backend, bundle, "fp32")}


def test_a_golden_picture_at_model_size_is_cropped_already_and_a_whole_one_is_not(tmp_path: Path) -> None:
    bundle = read_bundle(write_tiny_bundle(tmp_path / "tiny.sad"))
    whole = np.full((2 * SIZE_PX, 2 * SIZE_PX, 3), 255, np.uint8)  # white around the part would FAIL
    whole[16 : 16 + SIZE_PX, 8 : 8 + SIZE_PX] = good_picture()
    good = bundle.manifest.golden[0]
    camera = Golden(file="golden/camera.png", score=good.score, verdict=good.verdict)
    changes = {"golden": [*bundle.manifest.golden, camera], "roi": Roi(x=8, y=16, width=SIZE_PX, height=SIZE_PX)}
    files = {name: data for name, data in bundle.files.items() if name not in (MANIFEST, DIGESTS)}
    path = tmp_path / "roi.sad"
    write_bundle(path, bundle.manifest.model_copy(update=changes), {**files, camera.file: encode_png(whole)})
    found = replay(path)
    assert [one.fits for one in found.values()] == [True, True, True]
    assert found[camera.file].verdict is Verdict.PASS


def test_a_score_or_a_verdict_that_is_not_the_exports_does_not_fit(tmp_path: Path) -> None:
    bundle = read_bundle(write_tiny_bundle(tmp_path / "tiny.sad"))
    good, bad = bundle.manifest.golden
    told = {
        "near": Golden(file="golden/a.png", score={"fp32": 5.019}, verdict={"fp32": "FAIL"}),
        "far": Golden(file="golden/b.png", score={"fp32": 5.021}, verdict={"fp32": "FAIL"}),
        "flipped": Golden(file="golden/c.png", score=bad.score, verdict={"fp32": "PASS"}),
        "other precision": Golden(file="golden/d.png", score={"int8": 1.0}, verdict={"int8": "PASS"}),
    }
    files = {name: data for name, data in bundle.files.items() if name not in (MANIFEST, DIGESTS)}
    files |= {golden.file: encode_png(bad_picture()) for golden in told.values()}
    path = tmp_path / "told.sad"
    write_bundle(path, bundle.manifest.model_copy(update={"golden": [good, *told.values()]}), files)
    found = replay(path)
    assert {name: found[golden.file].fits for name, golden in told.items() if golden.file in found} == {
        "near": True,
        "far": False,
        "flipped": False,
    }
