"""Recipes that stay loaded: changing to one opens nothing, what was set since counts, and what is broken is told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bundles import bad_picture, good_picture, write_tiny_bundle
from sad_runtime.backends.onnxruntime import ONNXRuntimeBackend
from sad_runtime.backends.table import BACKENDS
from sad_runtime.bundle import read_bundle, write_signed_copy
from sad_runtime.errors import BackendError, GateFailed
from sad_runtime.manifest import DecisionPolicy
from sad_runtime.signature import Signer
from sad_runtime.signing_keys import private_key_from, write_key_pair
from sad_runtime.station.change_over import ChangeOver
from sad_runtime.station.selection import selected
from sad_runtime.thresholds import LineThresholds, append_history
from stations import ScriptedCamera, station, station_config


class Counted(ONNXRuntimeBackend):
    """Says how often one was opened and closed, and breaks on cue."""

    opened, closed = 0, 0
    broken: set[int] = set()
    """By the order in which they were opened."""

    def open(self) -> None:
        type(self).opened += 1
        self.number = type(self).opened
        super().open()

    def infer(self, pictures: Any) -> Any:
        if self.number in self.broken:
            raise BackendError("counted: broken by now")
        return super().infer(pictures)

    def close(self) -> None:
        type(self).closed += 1
        super().close()


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> type[Counted]:
    class Fresh(Counted):
        broken: set[int] = set()

    monkeypatch.setitem(BACKENDS, "onnxruntime", Fresh)
    return Fresh


@pytest.fixture
def bundles(tmp_path: Path) -> dict[int, Path]:
    return {number: write_tiny_bundle(tmp_path / f"{number}.sad", gain=10.0 + number) for number in (1, 2, 3)}


class Line:
    """A ChangeOver as its station drives it, without one."""

    def __init__(self, tmp_path: Path, bundles: dict[int, Path], **settings: Any) -> None:
        recipes = {number: {"bundle": str(path)} for number, path in bundles.items()}
        self.config = station_config(state=str(tmp_path / "state"), recipes=recipes, active_recipe=1, **settings)
        choice = selected(self.config)
        self.history = choice.folder.thresholds
        self.changes = ChangeOver(choice.recipe, choice.config, self.history)
        self.events: list[tuple[str, str]] = []
        assert self.changes.load(self.tell)

    def tell(self, code: str, level: str, text: str, **_: Any) -> None:
        self.events.append((code, text))

    def order(self, number: int, digest: str | None = None) -> None:
        outcome = self.changes.order(number, digest)
        self.changes.carry_out(self.tell)
        outcome.result(0)

    @property
    def said(self) -> str:
        return f"{self.changes.recipe.id} {self.changes.inspector.inspect(bad_picture()).score:.2f}"


@pytest.fixture
def line(tmp_path: Path, bundles: dict[int, Path]) -> Iterator[Line]:
    made = Line(tmp_path, bundles)
    yield made
    made.changes.close()


def test_changing_between_warm_recipes_opens_nothing_and_judges_by_the_right_one(
    line: Line, counted: type[Counted]
) -> None:
    assert (counted.opened, line.said) == (3, "1 5.50")
    for number, score in ((2, "6.00"), (3, "6.50"), (1, "5.50"), (3, "6.50")):
        line.order(number)
        assert line.said == f"{number} {score}"
    assert (counted.opened, counted.closed) == (3, 0)
    line.changes.close()
    assert counted.closed == 3, "the memory is given back"


def test_a_warm_change_over_takes_milliseconds(line: Line) -> None:
    took = []
    for number in (2, 3) * 5:
        begin = time.perf_counter()
        line.order(number)
        took.append(time.perf_counter() - begin)
    assert min(took) < 0.1  # 3 ms by itself; opening takes longer, and so does a busy machine


def test_a_bundle_that_was_replaced_is_read_and_opened_anew(
    line: Line, bundles: dict[int, Path], counted: type[Counted]
) -> None:
    write_tiny_bundle(bundles[2], gain=20.0)
    line.order(2)
    assert (line.said, counted.opened, counted.closed) == ("2 10.00", 4, 1)
    line.order(1)
    line.order(2)
    assert (line.said, counted.opened) == ("2 10.00", 4), "the new one is the warm one now"


def test_a_bundle_that_was_removed_is_not_put_in_force_from_memory(line: Line, bundles: dict[int, Path]) -> None:
    bundles[2].unlink()
    with pytest.raises(Exception, match="no such bundle"):
        line.order(2)
    assert line.said == "1 5.50"


def test_thresholds_that_were_set_meanwhile_are_those_of_a_warm_recipe(line: Line, bundles: dict[int, Path]) -> None:
    append_history(
        line.history,
        LineThresholds(
            revision=1,
            set_at="2026-01-01T00:00:00+00:00",
            model_digest=read_bundle(bundles[2]).manifest.precisions["fp32"].sha256,
            precision="fp32",
            backend="onnxruntime",
            score_threshold=7.25,
            pixel_threshold=7.0,
            heatmap_low=0.5,
            decision=DecisionPolicy(target_false_reject=None, guaranteed_false_reject=0.1, method="", n=9),
        ),
    )
    line.order(2)
    assert line.changes.inspector.thresholds.score == 7.25
    assert line.changes.recipe.judge().threshold_rev == 1


def test_the_least_recently_used_goes_when_there_are_too_many(
    tmp_path: Path, bundles: dict[int, Path], counted: type[Counted]
) -> None:
    line = Line(tmp_path, bundles, warm_recipes=1)
    assert counted.opened == 2
    line.order(2)  # warm; 1 stays warm
    line.order(3)  # opened; 2 stays warm, 1 goes
    assert (counted.opened, counted.closed) == (3, 1)
    line.order(2)
    assert counted.opened == 3
    line.order(1)
    assert counted.opened == 4
    line.changes.close()
    assert counted.closed == 4


def test_none_stays_warm_where_none_is_to(tmp_path: Path, bundles: dict[int, Path], counted: type[Counted]) -> None:
    line = Line(tmp_path, bundles, warm_recipes=0)
    assert counted.opened == 1
    line.order(2)
    assert (counted.opened, counted.closed) == (2, 1)
    line.changes.close()


def test_a_broken_bundle_among_the_others_is_told_and_stops_nothing(
    tmp_path: Path, bundles: dict[int, Path], counted: type[Counted]
) -> None:
    bundles[2].write_bytes(b"no bundle")
    line = Line(tmp_path, bundles)
    assert [code for code, _ in line.events] == ["recipe_not_warm"]
    assert "2.sad: not a bundle" in line.events[0][1]
    line.order(3)
    assert (line.said, counted.opened) == ("3 6.50", 2)
    line.changes.close()


def test_a_warm_engine_that_does_not_prove_itself_any_more_is_opened_anew(line: Line, counted: type[Counted]) -> None:
    counted.broken.add(2)
    line.order(2)
    assert (line.said, counted.opened, counted.closed) == ("2 6.00", 4, 1)


def test_an_order_for_another_model_changes_nothing(line: Line, bundles: dict[int, Path]) -> None:
    digest = read_bundle(bundles[2]).manifest.precisions["fp32"].sha256
    with pytest.raises(Exception, match=f"holds the model {digest}, not {'0' * 64}. Nothing was changed"):
        line.order(2, "0" * 64)
    assert line.said == "1 5.50"
    line.order(2, digest)
    assert line.said == "2 6.00"


def test_a_key_that_is_trusted_no_more_stops_a_warm_recipe_too(tmp_path: Path, bundles: dict[int, Path]) -> None:
    pytest.importorskip("cryptography")
    trusted = tmp_path / "trusted"
    for name in ("ours", "theirs"):
        _, public, _ = write_key_pair(tmp_path / name, None)
        trusted.mkdir(exist_ok=True)
        public.rename(trusted / public.name)
    signed = {}
    for number, name in ((1, "ours"), (2, "theirs")):
        signed[number] = tmp_path / f"signed{number}.sad"
        signer = Signer(private_key_from(tmp_path / f"{name}.key", lambda _: b""), name)
        write_signed_copy(read_bundle(bundles[number]), signer, signed[number])
    line = Line(tmp_path, signed, trust=[str(trusted)])
    line.order(2)
    line.order(1)
    (trusted / "theirs.pub").unlink()
    with pytest.raises(GateFailed):
        line.order(2)
    assert line.said == "1 5.50"
    line.changes.close()


def test_a_station_is_ready_with_its_recipes_warm_and_answers_with_the_digest_in_force(
    tmp_path: Path, bundles: dict[int, Path], counted: type[Counted]
) -> None:
    recipes = {number: {"bundle": str(path)} for number, path in bundles.items()}
    digests = {number: read_bundle(path).manifest.precisions["fp32"].sha256 for number, path in bundles.items()}
    camera = ScriptedCamera()
    with station(tmp_path, None, camera, recipes=recipes, active_recipe=1) as stand:
        stand.told("ready")
        assert counted.opened == 3
        done = stand.command("recipe", recipe=2, model_digest=digests[2])
        assert (done.ok, done.recipe, done.model_digest) == (True, 2, digests[2])
        refused = stand.command("recipe", recipe=3, model_digest=digests[1])
        assert (refused.ok, refused.recipe, refused.model_digest) == (False, 2, digests[2])
        assert stand.command("ack", seq=1).model_digest is None
        camera.put(good_picture())
        assert stand.decided(1)[0].model_digest == digests[2]
    assert counted.closed == counted.opened == 3
