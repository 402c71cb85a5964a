"""Keys for tests of the encrypted feed: a station's and its readers', in files as sad-keys makes them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from feeds import FREE, STATION, MemoryJournal, agree
from sad_runtime.feed.config import FeedConfig
from sad_runtime.feed.curve_keys import ClientKeys, client_keys, write_key_pair
from sad_runtime.feed.publisher import Feed
from sad_runtime.identity import boot_id
from sad_runtime.schema import parse


class KeyFolder:
    """`station.key_secret`, readers' secrets beside it, and `readers/` for the public keys of those on the list."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.readers = folder, folder / "readers"
        self.readers.mkdir(parents=True)
        self.secret, self.public, _ = write_key_pair("station", folder)

    def reader(self, name: str, *, listed: bool = True) -> ClientKeys:
        secret, public, _ = write_key_pair(name, self.folder)
        if listed:
            (self.readers / public.name).write_bytes(public.read_bytes())
        return client_keys(self.public, secret)

    def allow(self, name: str) -> None:
        (self.readers / f"{name}.key").write_bytes((self.folder / f"{name}.key").read_bytes())

    def revoke(self, name: str) -> None:
        (self.readers / f"{name}.key").unlink()

    def security(self) -> dict[str, Any]:
        return {"curve": {"key": str(self.secret), "allow": [str(self.readers)]}}


@contextmanager
def encrypted_feed(folder: Path, keys: KeyFolder | None, journal: MemoryJournal, **changes: Any) -> Iterator[Feed]:
    """Every socket on a free tcp port, commands too; plain ones without `keys`. `changes`: keys of `feed:`."""
    values: dict[str, Any] = {"decisions": [FREE], "heatmaps": FREE, "snapshot": FREE, "commands": FREE}
    if keys is not None:
        values["security"] = keys.security()
    config = parse(FeedConfig, values | changes, "test")
    with (
        Feed(
            config,
            station=STATION,
            run=journal.run,
            boot_id=boot_id(),
            ipc_folder=folder,
            replay=journal.replay,
            on_command=agree,
        ) as feed,
        ticking(feed),
    ):
        yield feed


@contextmanager
def ticking(feed: Feed) -> Iterator[None]:
    """A loop that makes progress, so that hearts beat."""
    stop = threading.Event()

    def tick() -> None:
        while not stop.wait(0.02):
            feed.tick()

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
