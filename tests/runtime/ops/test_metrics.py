"""The numbers of a real station, as Prometheus reads them over HTTP; and the server itself among rude clients."""

from __future__ import annotations

import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bundles import bad_picture, good_picture
from sad_runtime.cameras.base import Frame
from sad_runtime.errors import CameraError, MissingExtra, UsageError
from sad_runtime.messages import Decision, Event
from sad_runtime.ops.host_port import host_and_port
from sad_runtime.ops.measures import Measures
from sad_runtime.ops.metrics import StationCollector, Watched
from sad_runtime.ops.metrics_server import MetricsServer
from sad_runtime.ops.progress import Progress
from sad_runtime.station.answers import Judge
from sad_runtime.verdict import Reason, Verdict
from stations import ScriptedCamera, station

ANY = "127.0.0.1:0"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(address: str) -> Samples:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items()) - {("station", "line1")}): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def watched(measures: Measures | None = None) -> StationCollector:
    return StationCollector(Watched("line1", "run-1", measures or Measures(), Progress(), Judge))


def decision(verdict: Verdict, reason: Reason, **latency_ms: float) -> Decision:
    return Decision(
        run="run-1",
        station="line1",
        seq=1,
        mono_ns=1,
        boot_id="b",
        verdict=verdict,
        reason=reason,
        latency_ms=latency_ms,
        age_ms=sum(latency_ms.values()),
    )


def test_parts_events_and_latencies_are_what_was_told() -> None:
    measures = Measures()
    for _ in range(3):
        measures.saw(decision(Verdict.PASS, Reason.OK, infer=10.0))
    measures.saw(decision(Verdict.INVALID, Reason.LATE, infer=500.0))
    measures.told(Event(run="run-1", station="line1", code="camera_lost", level="error", text="gone"))
    with MetricsServer(ANY, watched(measures)) as server:
        seen = scraped(server.address)
    assert of(seen, "sad_parts_total", verdict="PASS", reason="ok") == 3
    assert of(seen, "sad_parts_total", verdict="INVALID", reason="late") == 1
    assert of(seen, "sad_events_total", code="camera_lost", level="error") == 1
    assert of(seen, "sad_camera_losses_total") == 1
    assert of(seen, "sad_latency_recent_seconds", step="infer", quantile="0.5") == pytest.approx(0.010, rel=0.04)
    assert of(seen, "sad_latency_recent_seconds", step="total", quantile="0.999") == pytest.approx(0.5, rel=0.04)
    assert of(seen, "sad_latency_seconds_bucket", step="infer", le="0.016") == 3
    assert of(seen, "sad_latency_seconds_count", step="infer") == 4
    assert of(seen, "sad_latency_seconds_sum", step="infer") == pytest.approx(0.53)
    assert of(seen, "process_open_fds") > 3


def test_holes_in_a_cameras_count_are_pictures_that_nobody_took() -> None:
    measures = Measures()
    for number, whole in ((0, True), (1, True), (5, False), (65535, True), (1, True)):
        measures.saw_frame(Frame(np.zeros((2, 2), np.uint8), number, 0, 0, complete=whole))
    assert (measures.frames, measures.incomplete, measures.skipped) == (5, 1, 3 + 65529)
    measures.told(Event(run="r", station="s", code="camera_lost", level="error", text="gone"))
    measures.saw_frame(Frame(None, 900, 0, 0))
    assert measures.skipped == 3 + 65529, "a camera that comes back counts from where it likes"


def test_a_station_shows_itself_while_it_runs_and_lets_go_of_the_port(tmp_path: Path, tiny_bundle: Path) -> None:
    camera = ScriptedCamera()
    with station(tmp_path, tiny_bundle, camera, metrics={"address": ANY}) as stand:
        stand.told("ready")
        camera.put(good_picture(), bad_picture())
        stand.decided(2)
        camera.put(Frame(None, 2, 0, time.monotonic_ns(), complete=False))
        stand.decided(3)
        camera.put(CameraError("scripted: gone"), good_picture())
        stand.told("camera_back")
        seen = scraped(stand.station.equipment.metrics_address or "")
        digest = stand.decisions[0].model_digest
    assert of(seen, "sad_parts_total", verdict="PASS", reason="ok") == 1
    assert of(seen, "sad_parts_total", verdict="FAIL", reason="score") == 1
    assert of(seen, "sad_parts_total", verdict="INVALID", reason="incomplete") == 1
    assert of(seen, "sad_camera_losses_total") == 1
    assert of(seen, "sad_online") == 1
    assert of(seen, "sad_threshold") == 4
    assert of(seen, "sad_subscribers") == 1
    assert of(seen, "sad_loop_age_seconds") < 1
    assert of(seen, "sad_state", state="ContinuousExecution") == 1
    info = next(dict(labels) for name, labels in seen if name == "sad_model_info")
    assert (info["model_digest"], info["backend"]) == (digest, "onnxruntime")
    assert not [thread for thread in threading.enumerate() if thread.name == "metrics"]


def test_a_client_that_says_nothing_does_not_keep_the_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sad_runtime.ops.metrics_server._Handler.timeout", 0.2)
    with MetricsServer(ANY, watched()) as server:
        host, port = host_and_port(server.address)
        with socket.create_connection((host, port)), socket.create_connection((host, port)) as rubbish:
            rubbish.sendall(b"\x00\xff" * 500 + b"\r\n\r\n")
            threads = threading.active_count()
            assert of(scraped(server.address), "sad_online") == 0
            assert threading.active_count() == threads


def test_only_reading_is_possible() -> None:
    with MetricsServer(ANY, watched()) as server:
        request = urllib.request.Request(f"http://{server.address}/metrics", data=b"x" * 100, method="POST")
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(request, timeout=5)


def test_a_port_in_use_is_named() -> None:
    with (
        MetricsServer(ANY, watched()) as server,
        pytest.raises(UsageError, match=server.address),
        MetricsServer(server.address, watched()),
    ):
        pass


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingExtra, match=r"sad-inspection\[metrics\]"), MetricsServer(ANY, watched()):
        pass


@pytest.mark.parametrize("wrong", ["9105", "127.0.0.1", "127.0.0.1:x", ":9105", "h:70000", "h:-1", "h:١"])
def test_what_is_no_address_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="not an address"):
        host_and_port(wrong)


def test_counting_a_part_costs_the_line_next_to_nothing() -> None:
    """6 to 11 us here, where 20 are allowed; the median, so that a busy machine does not fail it."""
    measures = Measures()
    part = decision(Verdict.PASS, Reason.OK, wait=0.1, grab=1.0, pre=0.3, infer=12.0, post=0.2, publish=0.3)
    took_ns = []
    for _ in range(2000):
        begin_ns = time.perf_counter_ns()
        measures.saw(part)
        took_ns.append(time.perf_counter_ns() - begin_ns)
    assert sorted(took_ns)[1000] < 20_000
