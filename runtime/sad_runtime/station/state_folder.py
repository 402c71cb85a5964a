"""The folder that a station keeps its journal, pictures, thresholds and lock in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from sad_runtime.errors import Unavailable


@dataclass(frozen=True)
class StateFolder:
    """`STATE/STATION/` and what lies in it."""

    root: Path
    station: str

    @property
    def folder(self) -> Path:
        return self.root / self.station

    @property
    def journal(self) -> Path:
        return self.folder / "journal.sqlite"

    @property
    def pictures(self) -> Path:
        return self.folder / "pictures"

    @property
    def thresholds(self) -> Path:
        return self.folder / "thresholds.json"

    @property
    def bundles(self) -> Path:
        """The versions that have judged here."""
        return self.folder / "bundles"

    @property
    def versions(self) -> Path:
        return self.folder / "versions.json"

    @property
    def commands(self) -> Path:
        """The command socket, where no other address is configured."""
        return self.folder / "commands.ipc"

    @property
    def plc_lock(self) -> Path:
        """Of this station's gateway."""
        return self.folder / "plc.lock"

    @property
    def plc_record(self) -> Path:
        """What sad-plc showed the PLC, and what the PLC said."""
        return self.folder / "plc.sqlite"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    def make(self) -> None:
        """Creates the folder. Raises Unavailable where it cannot be written; a full disk is no reason not to start."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o750)
            self.pictures.mkdir(parents=True, exist_ok=True, mode=0o750)
        except OSError as error:
            raise Unavailable(self._not_writable(error.strerror or str(error))) from None
        if not os.access(self.folder, os.W_OK | os.X_OK) or not os.access(self.pictures, os.W_OK | os.X_OK):
            raise Unavailable(self._not_writable("read-only, or not this user's"))

    def _not_writable(self, why: str) -> str:
        return (
            f"{self.folder}: the station's folder cannot be written ({why}). "
            "Name another one with --state DIR, or mend the rights of this one."
        )


def default_state_root() -> Path:
    return Path(platformdirs.user_state_dir("sad"))


def state_root(state: str | None) -> Path:
    """What a configuration's `state` says, else the user's own folder."""
    return Path(state).expanduser() if state else default_state_root()
