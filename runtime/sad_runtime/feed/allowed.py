"""Who may read the feed over an encrypted socket: public keys in files and folders, read again while the station runs.

A key comes or goes with its file. Whatever cannot be read lets nobody in.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sad_runtime.errors import UsageError
from sad_runtime.feed.curve_keys import PUBLIC_SUFFIX, PublicKey, public_key_from

log = logging.getLogger(__name__)
Stamp = tuple[int, int, int, int]


@dataclass(frozen=True)
class Change:
    """Since the list was read the last time."""

    added: tuple[PublicKey, ...]
    removed: tuple[PublicKey, ...]


class AllowList:
    """`keys`: by their 32 bytes; always replaced as a whole, so any thread may read it."""

    def __init__(self, places: Sequence[Path]) -> None:
        """Raises UsageError for a place that is not there, or a file that is no public key."""
        self._places = list(places)
        self._stamps = self._look()
        for place in self._places:
            if not place.exists():
                raise UsageError(
                    f"{place}: no such file or folder, and feed.security.curve.allow names it. Put a reader's public "
                    f"key there (NAME{PUBLIC_SUFFIX}), or make the folder"
                )
        self.keys = {key.raw: key for key in map(public_key_from, self._stamps)}
        if not self.keys:
            places_named = ", ".join(str(place) for place in self._places)
            log.warning("nobody may connect yet: no *%s in %s", PUBLIC_SUFFIX, places_named)

    def name_of(self, raw: bytes) -> str | None:
        """None for a key that is not on the list."""
        key = self.keys.get(raw)
        return None if key is None else str(key)

    def names(self) -> frozenset[str]:
        """What the door calls those on the list."""
        return frozenset(map(str, self.keys.values()))

    def refresh(self) -> Change | None:
        """Reads again what has changed on the disk; None when nobody came or went."""
        stamps = self._look()
        if stamps == self._stamps:
            return None
        before, self._stamps = self.keys, stamps
        self.keys = {key.raw: key for key in map(_key_or_none, stamps) if key is not None}
        change = Change(
            added=tuple(key for raw, key in self.keys.items() if raw not in before),
            removed=tuple(key for raw, key in before.items() if raw not in self.keys),
        )
        return change if change.added or change.removed else None

    def _look(self) -> dict[Path, Stamp]:
        """The files, each with what changes when it is written."""
        found = {}
        for place in self._places:
            for path in sorted(place.glob(f"*{PUBLIC_SUFFIX}")) if place.is_dir() else [place]:
                try:
                    status = path.stat()
                except OSError:
                    continue  # gone, or hidden: its key is off the list
                found[path] = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        return found


def _key_or_none(path: Path) -> PublicKey | None:
    try:
        return public_key_from(path)
    except UsageError as error:
        log.error("lets nobody in: %s", error)
        return None
