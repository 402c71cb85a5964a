"""Whoever orders a change-over gets an answer: also when the station stops, and when an engine breaks unheard-of."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bundles import good_picture
from sad_runtime.backends.table import BACKENDS
from sad_runtime.errors import UsageError
from sad_runtime.messages import Command
from sad_runtime.station.change_over import ChangeOver
from sad_runtime.station.orders import Orders
from sad_runtime.station.selection import selected
from stations import Misbehaving, ScriptedCamera, station, station_config


@pytest.fixture
def changes(tmp_path: Path, tiny_bundle: Path) -> ChangeOver:
    config = station_config(state=str(tmp_path), recipes={1: {"bundle": str(tiny_bundle)}})
    return ChangeOver(selected(config).recipe, config, tmp_path / "thresholds.json")


def test_orders_given_while_the_station_closes_are_all_refused(changes: ChangeOver) -> None:
    outcomes = []
    ordering = threading.Thread(target=lambda: outcomes.extend(changes.order(1) for _ in range(2000)), daemon=True)
    ordering.start()
    for _ in range(200):
        changes.close()
    ordering.join(5)
    assert not ordering.is_alive(), "an order waits for ever"
    changes.close()
    for outcome in outcomes:
        with pytest.raises(UsageError, match="the station stops"):
            outcome.result(0)


def test_an_order_that_was_withdrawn_is_not_carried_out_and_can_still_be_refused(changes: ChangeOver) -> None:
    events: list[str] = []
    outcome = changes.order(1)
    assert outcome.cancel()
    changes.carry_out(lambda code, *_, **__: events.append(code))
    assert events == ["recipe_refused"]
    assert not hasattr(changes, "inspector")
    assert changes.order(1).cancel()
    changes.close()


def test_an_order_withdrawn_while_its_engine_opens_leaves_the_old_one_in_force(
    changes: ChangeOver, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes: list[Any] = []

    class Slow(BACKENDS["onnxruntime"]):  # type: ignore[misc]
        def open(self) -> None:
            super().open()
            if outcomes:
                assert outcomes[-1].cancel()

    monkeypatch.setitem(BACKENDS, "onnxruntime", Slow)
    assert changes.load(lambda *_, **__: None)
    old = changes.inspector
    outcomes.append(changes.order(1))
    changes.carry_out(lambda *_, **__: None)
    assert changes.inspector is old
    assert old.inspect(good_picture()).verdict.value == "PASS"
    changes.close()


def test_an_order_that_is_carried_out_cannot_be_withdrawn_any_more(changes: ChangeOver) -> None:
    outcome = changes.order(1)
    changes.carry_out(lambda *_, **__: None)
    assert not outcome.cancel()
    assert outcome.result(0) is None
    changes.close()


def test_an_engine_that_breaks_unheard_of_is_told_to_who_ordered_it(
    changes: ChangeOver, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Misbehaving):
        def open(self) -> None:
            raise MemoryError("no more")

    monkeypatch.setitem(BACKENDS, "onnxruntime", Broken)
    outcome = changes.order(1)
    with pytest.raises(MemoryError):
        changes.carry_out(lambda *_, **__: None)
    with pytest.raises(MemoryError):
        outcome.result(0)


def test_an_order_does_not_hold_up_a_station_that_stops(changes: ChangeOver) -> None:
    """Its loop hangs: nobody carries the order out."""
    stop = threading.Event()
    standing = SimpleNamespace(stop=stop)
    orders = Orders(SimpleNamespace(changes=changes, standing=standing))  # type: ignore[arg-type]
    timer = threading.Timer(0.1, stop.set)
    timer.start()
    begin = time.monotonic()
    reply = orders(Command(id=1, op="recipe", recipe=1))
    timer.join()
    assert (reply.ok, reply.error) == (False, "the station stops")
    assert time.monotonic() - begin < 2


def test_a_paused_station_stays_halted_through_a_change_over(tmp_path: Path, tiny_bundle: Path) -> None:
    recipes: dict[int, Any] = {number: {"bundle": str(tiny_bundle)} for number in (1, 2)}
    camera = ScriptedCamera()
    with station(tmp_path, None, camera, recipes=recipes, active_recipe=1) as stand:
        assert stand.command("pause").ok
        stand.state("Halted")
        assert stand.command("recipe", recipe=2).ok
        beat = stand.state("Halted")
        assert (beat.recipe, beat.online) == (2, False)
        assert stand.command("resume").ok
        stand.state("ContinuousExecution")
        camera.put(good_picture())
        stand.decided(1)
    assert stand.verdicts == ["PASS ok"]


def test_a_resync_refuses_the_triggers_that_wait(tmp_path: Path, tiny_bundle: Path) -> None:
    camera = ScriptedCamera()
    with station(tmp_path, tiny_bundle, camera, trigger={"mode": "software", "deadline_ms": 2000}) as stand:
        stand.state("Ready")
        stand.command("trigger", trigger_id=1)
        stand.state("SingleExecution")
        for number in (2, 3):
            stand.command("trigger", trigger_id=number)
        assert stand.command("resync").ok
        stand.decided(2)  # the first waits for its picture, the others waited in the queue
        camera.put(good_picture())
        stand.decided(3)
    assert [(d.trigger_id, d.verdict.value, d.reason.value) for d in stand.decisions] == [
        (2, "INVALID", "not_online"),
        (3, "INVALID", "not_online"),
        (1, "PASS", "ok"),
    ]
