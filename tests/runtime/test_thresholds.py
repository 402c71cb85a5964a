"""The history of line-side thresholds: nothing is lost, and none is used for another model."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from sad_runtime.bundle import read_bundle
from sad_runtime.errors import BundleError, ConfigError, UsageError
from sad_runtime.manifest import DecisionPolicy
from sad_runtime.thresholds import History, LineThresholds, append_history, read_history, thresholds_in_force

POLICY = DecisionPolicy(target_false_reject=0.1, guaranteed_false_reject=0.1, method="split-conformal", n=9)


def row(revision: int, *, digest: str = "d", precision: str = "fp32", backend: str = "openvino") -> LineThresholds:
    return LineThresholds(
        revision=revision,
        set_at="2026-01-01T00:00:00+00:00",
        model_digest=digest,
        precision=precision,
        backend=backend,
        score_threshold=float(revision),
        review_threshold=revision - 0.5,
        pixel_threshold=revision + 0.5,
        heatmap_low=0.25,
        decision=POLICY,
        good_scores=[0.5, float(revision)],
    )


def test_a_station_without_history_has_none(tmp_path: Path) -> None:
    assert read_history(tmp_path / "line1" / "thresholds.json") == History()


def test_every_row_is_kept_in_order(tmp_path: Path) -> None:
    path = tmp_path / "line1" / "thresholds.json"
    for revision in (1, 2, 5):
        append_history(path, row(revision))
    assert [entry.revision for entry in read_history(path).entries] == [1, 2, 5]
    assert read_history(path).entries[1] == row(2)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("revision", [1, 2])
def test_a_revision_that_is_not_newer_is_refused(tmp_path: Path, revision: int) -> None:
    path = tmp_path / "thresholds.json"
    append_history(path, row(2))
    with pytest.raises(ConfigError, match="revision 2 was set meanwhile"):
        append_history(path, row(revision))
    assert read_history(path).entries == [row(2)]


APPEND = """
import sys
from pathlib import Path
from sad_runtime.errors import ConfigError
from sad_runtime.thresholds import LineThresholds, append_history, read_history
path, template = Path(sys.argv[1]), LineThresholds.model_validate_json(sys.stdin.read())
saved = 0
while saved < 10:
    newest = max((entry.revision for entry in read_history(path).entries), default=0)
    try:
        append_history(path, template.model_copy(update={"revision": newest + 1}))
        saved += 1
    except ConfigError:
        pass
"""


def test_two_processes_that_set_thresholds_lose_none(tmp_path: Path) -> None:
    path = tmp_path / "line1" / "thresholds.json"
    arguments = [sys.executable, "-c", APPEND, str(path)]
    writers = [subprocess.Popen(arguments, stdin=subprocess.PIPE, text=True) for _ in range(2)]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(row(1).model_dump_json())
        writer.stdin.close()
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    assert [entry.revision for entry in read_history(path).entries] == list(range(1, 21))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"entries": [{}]}', '{"entrys": []}', "\ud800", "[" * 100_000])
def test_a_damaged_history_is_an_error_not_a_new_beginning(tmp_path: Path, text: str) -> None:
    path = tmp_path / "thresholds.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UsageError, match=r"thresholds\.json"):
        read_history(path)
    with pytest.raises(UsageError):
        append_history(path, row(1))


@pytest.mark.parametrize("key", ["score_threshold", "review_threshold", "pixel_threshold", "heatmap_low"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_threshold_that_is_no_number_is_refused(tmp_path: Path, key: str, value: float) -> None:
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps({"entries": [{**row(1).model_dump(), key: value}]}))
    with pytest.raises(ConfigError, match=key):
        read_history(path)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((ConfigError, BundleError), match=r"cannot be (written|read)"):
        append_history(tmp_path / "file" / "thresholds.json", row(1))


def test_without_line_side_thresholds_the_bundles_own_are_in_force(tiny_bundle: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    cuts, good = thresholds_in_force(bundle, "fp32", "openvino", History())
    entry = bundle.precision("fp32")
    assert (cuts.score, cuts.pixel, cuts.revision, good) == (entry.score_threshold, entry.pixel_threshold, 0, None)


def test_the_newest_row_for_exactly_this_model_precision_and_backend_is_in_force(tiny_bundle: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    ours = bundle.precision("fp32").sha256
    history = History(
        entries=[
            row(1, digest=ours),
            row(2, digest=ours),
            row(3, digest="another model"),
            row(4, digest=ours, precision="int8"),
            row(5, digest=ours, backend="onnxruntime"),
        ]
    )
    cuts, good = thresholds_in_force(bundle, "fp32", "openvino", history)
    assert (cuts.revision, cuts.score, cuts.review, cuts.pixel, cuts.heatmap_low) == (2, 2.0, 1.5, 2.5, 0.25)
    assert good == [0.5, 2.0]
    assert thresholds_in_force(bundle, "fp32", "onnxruntime", history)[0].revision == 5
    assert thresholds_in_force(bundle, "fp32", "tensorrt", history)[0].revision == 0
