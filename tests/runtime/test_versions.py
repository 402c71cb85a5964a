"""Taking a new version back: which one was before, what a restart makes of it, and what a damaged or full disk does."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from bundles import bad_picture, good_picture, write_tiny_bundle
from sad_runtime.bundle import file_bytes, read_bundle, sha256_hex
from sad_runtime.errors import BundleError, GateFailed, UsageError
from sad_runtime.station import versions as module
from sad_runtime.station.change_over import ChangeOver
from sad_runtime.station.selection import Selection, selected
from sad_runtime.station.state_folder import StateFolder
from sad_runtime.station.versions import KEPT, RecipeVersions, Record, Versions, read_record
from stations import ScriptedCamera, station, station_config


class Line:
    """A ChangeOver with its versions, as its station drives it. A new one on the same folder is a restart."""

    def __init__(self, tmp_path: Path, **settings: Any) -> None:
        self.tmp_path = tmp_path
        for number in (1, 2):
            if not self.file(number).exists():
                self.put(number, 10.0)
        recipes = {number: {"bundle": str(self.file(number))} for number in (1, 2)}
        values = {"state": str(tmp_path / "state"), "recipes": recipes, "active_recipe": 1} | settings
        self.choice: Selection = selected(station_config(**values))
        self.folder: StateFolder = self.choice.folder
        self.folder.make()
        self.events: list[tuple[str, str]] = []
        kept = Versions(self.folder)
        self.changes = ChangeOver(self.choice.recipe, self.choice.config, self.folder.thresholds, versions=kept)
        assert self.changes.load(self.tell)

    def file(self, number: int) -> Path:
        return self.tmp_path / f"{number}.sad"

    def put(self, number: int, gain: float) -> None:
        """As sad-export --out does: the whole new file in place of the old."""
        write_tiny_bundle(self.file(number), gain)

    def tell(self, code: str, level: str, text: str, **_: Any) -> None:
        self.events.append((code, text))

    def order(self, number: int) -> str:
        outcome = self.changes.order(number)
        self.changes.carry_out(self.tell)
        outcome.result(0)
        return self.said

    def back(self, number: int | None = None) -> str:
        outcome = self.changes.order_back(number)
        self.changes.carry_out(self.tell)
        outcome.result(0)
        return self.said

    def restarted(self) -> Line:
        self.changes.close()
        return Line(self.tmp_path)

    @property
    def said(self) -> str:
        """The recipe, and the gain of the version that judges."""
        return f"{self.changes.recipe.id} {2 * self.changes.inspector.inspect(bad_picture()).score:.0f}"

    @property
    def codes(self) -> list[str]:
        return [code for code, _ in self.events]

    @property
    def kept(self) -> set[str]:
        return {path.name for path in self.folder.bundles.glob("*")}


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return Line(tmp_path)


def test_back_is_the_version_that_was_in_force_before_though_its_file_is_gone(line: Line) -> None:
    line.put(1, 20.0)
    assert line.said == "1 10", "a new file alone changes nothing"
    assert line.order(1) == "1 20"
    line.file(1).unlink()
    assert line.back() == "1 10"
    assert line.changes.recipe.judge().model_digest == line.changes.recipe.digest
    assert line.codes[-2:] == ["rolled_back", "recipe_loaded"]
    assert all("is rolled back to model" in text for code, text in line.events if code == "rolled_back")


def test_back_goes_one_further_each_time_until_there_is_none(line: Line) -> None:
    for gain in (20.0, 30.0):
        line.put(1, gain)
        line.order(1)
    assert [line.back(), line.back()] == ["1 20", "1 10"]
    with pytest.raises(UsageError, match="recipe 1: no earlier version is kept here"):
        line.back()
    assert line.said == "1 10"
    assert line.order(1) == "1 30"
    assert "rollback_ended" in line.codes


def test_after_a_version_that_came_instead_of_a_bad_one_back_is_what_ran_before_it(line: Line) -> None:
    line.put(1, 20.0)
    line.order(1)  # bad
    line.back()
    line.put(1, 30.0)
    line.order(1)
    assert line.back() == "1 10", "not the one that was taken back"


def test_a_first_version_has_none_before_it_and_a_bundle_of_the_command_line_has_no_versions(tmp_path: Path) -> None:
    line = Line(tmp_path)
    with pytest.raises(UsageError, match="no earlier version"):
        line.back()
    line.changes.close()
    choice = selected(line.choice.config, line.file(1))
    named = ChangeOver(choice.recipe, choice.config, line.folder.thresholds, versions=Versions(line.folder))
    assert named.load(line.tell)
    outcome = named.order_back()
    named.carry_out(line.tell)
    with pytest.raises(UsageError, match="named with --bundle"):
        outcome.result(0)
    named.close()


def test_ordering_the_same_file_again_is_no_new_version(line: Line) -> None:
    for _ in range(3):
        line.order(2)
        line.order(1)
    record = read_record(line.folder.versions)
    assert {number: len(of.versions) for number, of in record.recipes.items()} == {1: 1, 2: 1}
    with pytest.raises(UsageError, match="no earlier version"):
        line.back()


def test_another_recipe_goes_back_to_its_own_version_before_and_stays_pinned_there(line: Line) -> None:
    line.order(2)
    line.put(2, 20.0)
    line.order(2)
    line.order(1)
    assert line.back(2) == "2 10"
    assert line.order(1) == "1 10"
    assert line.back(2) == "2 10", "it was rolled back to this one already"
    assert line.order(2) == "2 20"


def test_a_file_is_kept_under_its_sha256_as_it_was_three_a_recipe(line: Line) -> None:
    names = [sha256_hex(line.file(1).read_bytes())]
    for gain in (20.0, 30.0, 40.0):
        line.put(1, gain)
        line.order(1)
        names.append(sha256_hex(line.file(1).read_bytes()))
    assert line.kept == {f"{name}.sad" for name in names[-KEPT:]}
    for name in names[-KEPT:]:
        data = (line.folder.bundles / f"{name}.sad").read_bytes()
        assert sha256_hex(data) == name
        assert file_bytes(read_bundle(line.folder.bundles / f"{name}.sad").files) == data


def test_a_recipe_that_was_rolled_back_stays_so_through_restarts_until_it_is_ordered(line: Line) -> None:
    line.put(1, 20.0)
    line.order(1)
    line.back()
    line.put(1, 30.0)
    for _ in range(2):
        line = line.restarted()
        assert line.said == "1 10"
        assert line.codes == ["rolled_back"]
    assert line.order(1) == "1 30"
    line = line.restarted()
    assert (line.said, line.codes) == ("1 30", [])
    assert line.back() == "1 10"


def test_back_after_a_restart_with_a_new_file_is_what_ran_before_the_restart(line: Line) -> None:
    line.put(1, 20.0)
    line = line.restarted()
    assert line.said == "1 20"
    assert line.back() == "1 10"


def test_a_kept_version_that_was_damaged_is_refused_and_the_one_in_force_stays(line: Line) -> None:
    before = sha256_hex(line.file(1).read_bytes())
    line.put(1, 20.0)
    line.order(1)
    kept = line.folder.bundles / f"{before}.sad"
    data = bytearray(kept.read_bytes())
    data[len(data) // 2] ^= 1
    kept.write_bytes(data)
    with pytest.raises(BundleError):
        line.back()
    assert line.said == "1 20"
    kept.unlink()
    with pytest.raises(BundleError, match="no such bundle"):
        line.back()
    assert line.restarted().said == "1 20"


def test_a_station_whose_pinned_version_is_gone_says_how_to_go_on(line: Line) -> None:
    line.put(1, 20.0)
    line.order(1)
    line.back()
    for path in line.folder.bundles.glob("*"):
        path.unlink()
    line.changes.close()
    with pytest.raises(BundleError, match=r"rolled back to a version that cannot be used now.*versions\.json away"):
        Line(line.tmp_path)
    line.folder.versions.unlink()
    assert Line(line.tmp_path).said == "1 20"


def test_trust_counts_for_what_is_kept_too(line: Line, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    from sad_runtime.bundle import write_signed_copy
    from sad_runtime.signature import Signer
    from sad_runtime.signing_keys import private_key_from, write_key_pair

    line.changes.close()
    key, public, _ = write_key_pair(tmp_path / "ours", None)
    line.put(1, 20.0)
    write_signed_copy(
        read_bundle(line.file(1)), Signer(private_key_from(key, lambda _: b""), "us"), tmp_path / "signed.sad"
    )
    (tmp_path / "signed.sad").replace(line.file(1))
    strict = Line(tmp_path, trust=[str(public)], warm_recipes=0)
    assert strict.said == "1 20"
    with pytest.raises(GateFailed, match="is not signed"):
        strict.back()
    assert strict.said == "1 20"
    strict.changes.close()


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b'{"v": 2}',
        b'{"recipes": {"1": {"versions": [], "pinned": "' + b"a" * 64 + b'"}}}',
        b'{"recipes": {"1": {"versions": [{"file": "../../../etc/passwd"}]}}}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
    ],
)
def test_a_damaged_record_is_set_aside_and_told_and_the_line_runs(line: Line, damage: bytes) -> None:
    line.put(1, 20.0)
    line.order(1)
    line.back()
    line.folder.versions.write_bytes(damage)
    line = line.restarted()
    assert line.said == "1 20", "nothing is rolled back any more"
    assert line.codes[0] == "versions_damaged"
    assert line.folder.versions.with_name("versions.json.damaged").read_bytes() == damage
    assert line.restarted().codes == []


def full(*_: object) -> None:
    raise UsageError(f"the disk: cannot be written ({errno.errorcode[errno.ENOSPC]})")


def test_with_a_full_disk_the_change_over_goes_on_and_there_is_no_way_back(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.order(2)
    monkeypatch.setattr(module, "write_atomically", full)
    line.put(1, 20.0)
    assert line.order(1) == "1 20"
    assert line.codes.count("version_not_kept") >= 1
    assert line.back() == "1 10", "this one was kept while there was room"
    line.put(2, 20.0)
    assert line.order(2) == "2 20"
    line.put(2, 30.0)
    assert line.order(2) == "2 30"
    assert line.back() == "2 10", "the one between was never kept"


def test_no_room_but_for_the_journal_keeps_no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 250 * 2**20

    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: Usage)
    told: list[str] = []

    def tell(code: str, *_: object, **__: object) -> None:
        told.append(code)

    line = Line(tmp_path)
    recipe = line.changes.recipe
    line.changes.close()
    for leave_free_mb, expected in ((200, []), (250, ["version_not_kept"])):
        told.clear()
        folder = StateFolder(tmp_path / f"free{leave_free_mb}", "line1")
        folder.make()
        Versions(folder, leave_free_mb).took_force(recipe, tell)
        assert told == expected


def test_what_a_power_cut_left_is_removed_at_the_next_start(line: Line) -> None:
    for name in (f".{'a' * 64}.sad.x1y2.tmp", f"{'b' * 64}.sad"):
        (line.folder.bundles / name).write_bytes(b"half")
    before = {f"{sha256_hex(line.file(1).read_bytes())}.sad"}
    assert line.restarted().kept == before


def test_rolled_back_by_command_on_a_running_station_and_after_its_restart(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path / "part.sad")
    old = read_bundle(path).manifest.precisions["fp32"].sha256
    settings: dict[str, Any] = {"recipes": {4: {"bundle": str(path)}}, "active_recipe": 4}
    camera = ScriptedCamera()
    with station(tmp_path, None, camera, **settings) as stand:
        none = stand.command("rollback")
        assert (none.ok, none.recipe, none.model_digest) == (False, 4, old)
        assert "no earlier version" in (none.error or "")
        write_tiny_bundle(path, gain=20.0)
        new = stand.command("recipe", recipe=4)
        assert new.ok
        assert new.model_digest != old
        back = stand.command("rollback", recipe=4)
        assert (back.ok, back.recipe, back.model_digest) == (True, 4, old)
        assert stand.told("rolled_back").level == "warning"
        camera.put(good_picture())
        assert stand.decided(1)[0].model_digest == old
    with station(tmp_path, None, ScriptedCamera(), **settings) as stand:
        assert stand.told("rolled_back").data["model_digest"] == old
        assert stand.state("ContinuousExecution").model_digest == old


def test_a_damaged_record_removes_none_of_the_bundles_that_it_kept(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path, "line1")
    folder.make()
    folder.bundles.mkdir()
    kept = folder.bundles / f"{'a' * 64}.sad"
    kept.write_bytes(b"what judged last week")
    folder.versions.write_text("{")
    versions = Versions(folder)
    versions.open(lambda *_, **__: None)
    versions._record = Record(recipes={1: RecipeVersions()})
    versions._sweep()
    assert kept.exists()
