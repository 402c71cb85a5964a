"""The event `latency`: what it says, and that a minute without a part is not told of."""

from __future__ import annotations

import threading

from sad_runtime.messages import Decision, Event
from sad_runtime.ops.latency_telling import LatencyTelling
from sad_runtime.ops.measures import Measures
from sad_runtime.station.happenings import Happenings
from sad_runtime.verdict import Reason, Verdict


def test_steps_are_told_with_p50_p99_and_p999_while_parts_come() -> None:
    measures, happenings, told = Measures(), Happenings("line1", "run-1"), list[Event]()
    heard = threading.Event()

    def listener(event: Event) -> None:
        told.append(event)
        heard.set()

    happenings.listen(listener)
    with LatencyTelling(measures, happenings, every_s=0.02):
        assert not heard.wait(0.1), "nothing to tell of yet"
        for infer_ms in [10.0] * 99 + [200.0]:
            measures.saw(
                Decision(
                    run="run-1",
                    station="line1",
                    seq=1,
                    mono_ns=1,
                    boot_id="b",
                    verdict=Verdict.PASS,
                    reason=Reason.OK,
                    latency_ms={"infer": infer_ms},
                    age_ms=infer_ms + 1,
                )
            )
        assert heard.wait(5)
    last = told[-1]
    assert (last.code, last.level) == ("latency", "info")
    assert last.data["n"] <= 100
    p50, p99, p999 = last.data["steps"]["infer"]
    assert 10 < p50 < 10.4
    assert p99 <= p999 < 207
    assert set(last.data["steps"]) == {"infer", "total"}
    count = len(told)
    assert not threading.Event().wait(0.06)
    assert len(told) == count, "it goes on telling after it was closed"
