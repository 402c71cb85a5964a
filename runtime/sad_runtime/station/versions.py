"""The versions of each recipe that have judged here, kept so that a new one can be taken back in one command.

    STATE/STATION/bundles/SHA.sad   the file, by its SHA-256
    STATE/STATION/versions.json     which recipe had which, the latest last, and what is rolled back

Bundles are written from memory: what is kept is what judged, whatever has become of its file meanwhile. Loading one,
with its trust and its golden pictures, is as of any other (change_over.py).
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from sad_runtime.bundle import Bundle, file_bytes, sha256_hex
from sad_runtime.errors import ConfigError, SadError, UsageError
from sad_runtime.files import reason_of, write_atomically
from sad_runtime.schema import Strict, parse
from sad_runtime.signature import SIGNATURES
from sad_runtime.station.recipes import Recipe
from sad_runtime.station.state_folder import StateFolder

log = logging.getLogger("sad.recipe")
KEPT = 3
"""Versions a recipe, the one in force among them."""
MAX_BYTES = 2**24

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Version(Strict):
    file: Digest
    """SHA-256 of the bundle file, and its name."""
    content: Digest
    """SHA-256 of its digest list and its signatures: equal for equal bundles, without hashing all of them."""
    model_digest: str
    since: str
    """When it came in force last, UTC."""


class RecipeVersions(Strict):
    versions: list[Version] = []
    """The latest in force last."""
    pinned: Digest | None = None
    """The one that the recipe is rolled back to."""

    @model_validator(mode="after")
    def _pinned_is_kept(self) -> RecipeVersions:
        if self.pinned is not None and self.pinned not in [version.file for version in self.versions]:
            raise ValueError(f"pinned {self.pinned} is not among the versions")
        return self


class Record(Strict):
    v: Literal[1] = 1
    recipes: dict[int, RecipeVersions] = {}


class Versions:
    """Of one station; used by its loop, which holds the station's lock. What cannot be written stops no line."""

    def __init__(self, folder: StateFolder, leave_free_mb: int = 0) -> None:
        """`leave_free_mb`: with less than this left on the disk no bundle is kept, so that the journal has room."""
        self._folder, self._leave_free = folder, leave_free_mb * 2**20
        self._record = Record()
        self._whole = True
        """False after a damaged record: what it kept is removed by nobody, since nobody knows what it was."""

    def open(self, tell: Callable[..., None]) -> None:
        """Reads what is kept. A damaged record is set aside: nothing is rolled back any more, and that is told."""
        try:
            self._record = read_record(self._folder.versions)
        except ConfigError as error:
            self._whole = False
            aside = self._folder.versions.with_name(f"{self._folder.versions.name}.damaged")
            tell("versions_damaged", "error", f"{error}. It is set aside as {aside.name}; no recipe is rolled back")
            try:
                self._folder.versions.replace(aside)
            except OSError as problem:
                log.warning("%s stays where it is: %s", self._folder.versions, reason_of(problem))
        else:
            self._sweep()

    def took_force(self, recipe: Recipe, tell: Callable[..., None]) -> None:
        """`recipe` judges from now on, by the file of the configuration. Kept here, as far as the disk allows."""
        of = self._record.recipes.get(recipe.id, RecipeVersions())
        content = content_of(recipe.bundle)
        if of.pinned is None and of.versions and of.versions[-1].content == content:
            return
        earlier = sorted(of.versions, key=lambda version: version.file == of.pinned)  # what was in force before, last
        found = next((version for version in earlier if version.content == content), None)
        others = [version for version in earlier if version.content != content]
        kept = self._kept(recipe, content, found, tell)
        self._save(recipe.id, RecipeVersions(versions=[*others, *([kept] if kept else [])][-KEPT:]), tell)
        self._sweep()
        if of.pinned is not None:
            text = f"recipe {recipe.id} is rolled back no more: {recipe.bundle.path} is in force"
            tell("rollback_ended", "warning", text, recipe=recipe.id, model_digest=recipe.digest)

    def went_back(self, recipe: Recipe, version: Version | None, tell: Callable[..., None]) -> None:
        """`recipe` judges from now on by `version`, until its own file is ordered; None: by the one that it was rolled
        back to before a restart."""
        of = self._record.recipes.get(recipe.id, RecipeVersions())
        if version is not None:
            self._save(recipe.id, of.model_copy(update={"pinned": version.file}), tell)
        else:
            version = next((kept for kept in of.versions if kept.file == of.pinned), None)
        since = f", which came in force on {version.since}" if version is not None else ""
        text = f"recipe {recipe.id} is rolled back to model {recipe.digest}{since}, until it is ordered anew"
        tell("rolled_back", "warning", text, recipe=recipe.id, model_digest=recipe.digest)

    def before(self, number: int, in_force: Bundle | None) -> Version:
        """What was in force before. `in_force`: the recipe's bundle, where it is the one that judges now; otherwise
        the recipe goes back to what it was rolled back to, if it was.

        Raises UsageError where nothing is kept.
        """
        of = self._record.recipes.get(number, RecipeVersions())
        earlier = of.versions
        if in_force is not None:
            contents = [version.content for version in earlier]
            content = content_of(in_force)
            at = contents.index(content) if content in contents else len(earlier)
        else:
            files = [version.file for version in earlier]
            at = files.index(of.pinned) + 1 if of.pinned is not None else len(files) - 1
        if at <= 0:
            raise UsageError(f"recipe {number}: no earlier version is kept here, so there is none to roll back to")
        return earlier[at - 1]

    def path(self, version: Version) -> Path:
        return self._folder.bundles / f"{version.file}.sad"

    def _kept(self, recipe: Recipe, content: str, found: Version | None, tell: Callable[..., None]) -> Version | None:
        """The version with its file in the folder; None where that cannot be written."""
        since = datetime.now(timezone.utc).isoformat(timespec="seconds")
        if found is not None and self.path(found).is_file():
            return found.model_copy(update={"since": since})
        data = file_bytes(recipe.bundle.files)
        version = Version(file=sha256_hex(data), content=content, model_digest=recipe.digest, since=since)
        try:
            self._check_room(len(data))
            write_atomically(self.path(version), data)
        except (SadError, OSError) as error:
            why = reason_of(error) if isinstance(error, OSError) else str(error)
            text = f"recipe {recipe.id} runs, but cannot be rolled back to later, for it is not kept: {why}"
            tell("version_not_kept", "warning", text, recipe=recipe.id, model_digest=recipe.digest)
            return None
        return version

    def _check_room(self, size: int) -> None:
        free = shutil.disk_usage(self._folder.folder).free
        if free - size < self._leave_free:
            left = f"{free >> 20} MiB are left, of which pictures.leave_free_mb keeps {self._leave_free >> 20}"
            raise UsageError(f"{self._folder.bundles}: no room ({left})")

    def _save(self, number: int, of: RecipeVersions, tell: Callable[..., None]) -> None:
        self._record = Record(recipes={**self._record.recipes, number: of})
        text = json.dumps(self._record.model_dump(), indent=1)
        try:
            write_atomically(self._folder.versions, text.encode())
        except SadError as error:
            tell("version_not_kept", "warning", f"a restart will not know of the change to recipe {number}: {error}")

    def _sweep(self) -> None:
        """Removes what no recipe has any more, and what a power cut left half written."""
        if not self._record.recipes or not self._whole:
            return
        wanted = {f"{version.file}.sad" for of in self._record.recipes.values() for version in of.versions}
        for path in self._folder.bundles.glob("*"):
            if path.name not in wanted and (path.suffix == ".sad" or path.name.endswith(".tmp")):
                try:
                    path.unlink()
                except OSError as error:
                    log.warning("%s cannot be removed: %s", path, reason_of(error))


def read_record(path: Path) -> Record:
    """Empty where there is none. Raises ConfigError for a damaged one."""
    try:
        with path.open("rb") as file:
            data = json.loads(file.read(MAX_BYTES))
    except FileNotFoundError:
        return Record()
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: the record of versions cannot be read ({error})") from None
    return parse(Record, data, str(path))


def rolled_back_to(folder: StateFolder, number: int) -> Path | None:
    """The kept bundle that the recipe is rolled back to; None where it is not. A damaged record says None."""
    try:
        of = read_record(folder.versions).recipes.get(number)
    except ConfigError:
        return None
    return folder.bundles / f"{of.pinned}.sad" if of is not None and of.pinned is not None else None


def content_of(bundle: Bundle) -> str:
    return hashlib.sha256(bundle.digests + bundle.files.get(SIGNATURES, b"")).hexdigest()
