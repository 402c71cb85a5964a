"""The gateway's numbers, as Prometheus reads them over HTTP."""

from __future__ import annotations

import math
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from feeds import wait_until
from sad_runtime.errors import UsageError
from sad_runtime.ops.metrics_server import MetricsServer
from sad_runtime.plc.metrics import GatewayCollector
from sad_runtime.plc.record.record import Entry, Record
from sad_runtime.plc.status import Bit, Counters, Fault, Result, Status, Warn
from sad_runtime.verdict import Reason, Verdict

ANY = "127.0.0.1:0"
SHOWN = Status(
    bits=Bit.ONLINE | Bit.RESULT_VALID | Bit.FAIL | Bit.WARN,
    heartbeat=65535,
    fault=Fault.RESTARTED,
    warn=Warn.UNREAD | Warn.OWN_RECORD,
    result=Result(seq=42, verdict=Verdict.FAIL, reason=Reason.SCORE, part_id=7),
    queue=3,
    recipe=2,
    model_digest="ab" * 32,
    counters=Counters(total=10, passed=7, failed=2, invalid=1, missed_trigger=4, lost=5),
    state="Ready",
    run="run-1",
)


@dataclass
class LaneStandIn:
    station: str = "line1"
    status: Status = SHOWN
    feed_silent_ms: float = 40.0
    counts: dict[str, int] = field(default_factory=dict)

    def counters(self) -> dict[str, int]:
        return self.counts


@dataclass
class WayStandIn:
    counts: dict[str, int] = field(default_factory=dict)
    failure: str | None = None

    def counters(self) -> dict[str, int]:
        return self.counts


class Scraped:
    def __init__(
        self,
        lanes: list[LaneStandIn],
        ways: dict[str, WayStandIn] | None = None,
        records: dict[str, Record] | None = None,
    ) -> None:
        with MetricsServer(ANY, GatewayCollector(lanes, ways or {}, records)) as server:
            text = urllib.request.urlopen(f"http://{server.address}/metrics", timeout=5).read().decode()
        self.values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def of(self, name: str, **labels: str) -> float:
        return self.values[f"sad_plc_{name}", frozenset(({"station": "line1"} | labels).items())]


def test_what_the_plc_is_shown_is_there_to_the_bit() -> None:
    seen = Scraped([LaneStandIn()])
    up = {bit.name for bit in Bit if seen.of("bit", bit=str(bit.name).lower())}
    assert up == {"ONLINE", "RESULT_VALID", "FAIL", "WARN"}
    assert {warn.name for warn in Warn if seen.of("warn", warn=str(warn.name).lower())} == {"UNREAD", "OWN_RECORD"}
    assert [seen.of(name) for name in ("fault_code", "heartbeat", "queue", "result_seq")] == [31, 65535, 3, 42]
    assert seen.of("feed_silent_seconds") == pytest.approx(0.04)
    assert seen.of("result_age_seconds") > 0
    counts = [seen.of(f"count_{name}") for name in ("total", "passed", "failed", "invalid", "missed_trigger", "lost")]
    assert counts == [10, 7, 2, 1, 4, 5]
    assert seen.of("station_info", run="run-1", recipe="2", model_digest="ab" * 32, state="Ready") == 1


def test_counters_are_results_or_events_of_a_station_or_of_a_way() -> None:
    lane = LaneStandIn(counts={"INVALID late": 3, "PASS ok": 9, "refused_messages": 2, "FAILURE of": 1})
    ways = {
        "modbus": WayStandIn({"refused_peers": 8, "open_connections": 2}),
        "opcua": WayStandIn(failure="its thread died"),
    }
    seen = Scraped([lane], ways)
    assert seen.of("results_total", verdict="INVALID", reason="late") == 3
    assert seen.of("results_total", verdict="PASS", reason="ok") == 9
    assert seen.of("events_total", event="refused_messages") == 2
    assert seen.of("events_total", event="FAILURE of") == 1
    assert seen.values["sad_plc_way_events_total", frozenset({("way", "modbus"), ("event", "refused_peers")})] == 8
    assert seen.values["sad_plc_way_open", frozenset({("way", "modbus"), ("what", "connections")})] == 2
    failed = {name: seen.values["sad_plc_way_failed", frozenset({("way", name)})] for name in ways}
    assert failed == {"modbus": 0, "opcua": 1}


def test_a_record_that_cannot_be_written_shows(tmp_path: Path) -> None:
    (tmp_path / "line1").write_text("a file where the folder should be")
    with (
        Record(tmp_path / "line1" / "plc.sqlite", 1000) as record,
        Record(tmp_path / "line2" / "plc.sqlite", 1000) as other,
    ):
        record.put(Entry("fault", "line1", "x"))
        other.put(Entry("fault", "line2", "x"))
        wait_until(lambda: record.failing and other.written == 1, "failing")
        seen = Scraped([], records={"line1": record, "line2": other})
        assert [seen.of(f"record_{name}") for name in ("written_total", "lost_total", "failing")] == [0, 0, 1]
    seen = Scraped([], records={"line1": record, "line2": other})
    assert [seen.of(f"record_{name}") for name in ("written_total", "lost_total")] == [0, 1]
    names = ("written_total", "lost_total", "failing")
    assert [seen.of(f"record_{name}", station="line2") for name in names] == [1, 0, 0]


def test_several_stations_and_one_that_was_never_heard_stand_side_by_side() -> None:
    seen = Scraped([LaneStandIn(), LaneStandIn("line2", Status(), math.inf)])
    assert seen.of("bit", station="line2", bit="feed_stale") == 1
    assert seen.of("bit", bit="feed_stale") == 0
    assert seen.of("feed_silent_seconds", station="line2") == math.inf
    assert seen.of("result_seq", station="line2") == 0
    with pytest.raises(KeyError):
        seen.of("result_age_seconds", station="line2")


def test_a_port_in_use_is_named_with_the_key_that_says_it() -> None:
    collector = GatewayCollector([], {})
    with (
        MetricsServer(ANY, collector) as server,
        pytest.raises(UsageError, match=f"plc.metrics.address {server.address}"),
        MetricsServer(server.address, collector, key="plc.metrics.address"),
    ):
        pass


def test_neither_record_nor_metrics_nor_log_load_numpy_or_opencv() -> None:
    code = (
        "import sys, sad_runtime.plc.record.record, sad_runtime.plc.record.rows, sad_runtime.plc.record.recovery, "
        "sad_runtime.plc.metrics, sad_runtime.ops.metrics_server, sad_runtime.cli.plc_log\n"
        "sys.exit(str([name for name in ('numpy', 'cv2', 'prometheus_client') if name in sys.modules] or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stderr.strip(), done.returncode) == ("", 1), "an empty text ends it with code 1"
