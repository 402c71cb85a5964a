"""A reader that was away for ten thousand decisions ends with all of them, once each and in order."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bundles import good_picture
from sad_runtime.pictures import encode_png
from sad_runtime.subscriber import Subscriber

AWAY = 10_000
PATIENCE_S = 200.0


def seq_after(feed: Subscriber, least: int) -> int:
    """The newest decision that `feed` hears of, once it is at least so far."""
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        decision = feed.poll(200)
        if decision is not None and decision.seq >= least:
            return decision.seq
    raise AssertionError(f"decision {least} did not come in {PATIENCE_S:.0f} s")


@pytest.mark.slow
def test_a_reader_away_for_ten_thousand_decisions_ends_with_all_of_them(tmp_path: Path, tiny_bundle: Path) -> None:
    (tmp_path / "parts").mkdir()
    for number in range(4):
        (tmp_path / "parts" / f"{number}.png").write_bytes(encode_png(good_picture(number)))
    names = ("decisions", "heatmaps", "snapshot")
    sockets = [word for name in names for word in (f"--{name}", f"ipc://{tmp_path}/{name}")]
    camera = f"folder:{tmp_path}/parts?loop=1"
    options = ["--camera", camera, "--bundle", str(tiny_bundle), "--backend", "constant"]
    state = ["--state", str(tmp_path / "state")]
    command = [sys.executable, "-m", "sad_runtime.cli.runtime", *options, *sockets, *state]
    address = f"ipc://{tmp_path}/decisions"
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            with Subscriber(address) as away:
                first = away.poll(PATIENCE_S * 1e3)
                assert first is not None, (tmp_path / "log").read_text()
                with Subscriber(address) as watching:
                    last = seq_after(watching, first.seq + AWAY)
                found = [first.seq]
                while found[-1] < last:
                    decision = away.poll(PATIENCE_S * 1e3)
                    assert decision is not None
                    found.append(decision.seq)
                assert away.lost == 0
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
    assert found == list(range(first.seq, found[-1] + 1))
    assert len(found) > AWAY
