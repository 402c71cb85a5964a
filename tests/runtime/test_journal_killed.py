"""kill -9 at any moment, again and again: what was published is in the journal once, and every file is whole."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sad_runtime.cli.journal_check import findings
from sad_runtime.journal.journal import Journal
from sad_runtime.journal.kept import KeptPictures
from sad_runtime.journal.picture_names import CAMERA, OVERLAY, kept_in
from sad_runtime.journal.rows import Wanted, reading, rows
from sad_runtime.station.config import JournalConfig, PicturesConfig
from sad_runtime.station.happenings import Happenings
from sad_runtime.station.state_folder import StateFolder

KILLS = 20
STATION = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import numpy as np
from feeds import a_decision
from test_kept import CUTS, inspection
from sad_runtime.journal.journal import Journal
from sad_runtime.journal.kept import KeptPictures
from sad_runtime.station.config import JournalConfig, PicturesConfig
from sad_runtime.station.happenings import Happenings
from sad_runtime.verdict import Reason, Verdict
folder, run = Path(sys.argv[1]), sys.argv[2]
told, found = Happenings("line1", run), inspection()
picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
with (
    Journal(folder / "journal.sqlite", JournalConfig(wait_ms=1000), told) as journal,
    KeptPictures(folder / "pictures", PicturesConfig(max_mb=40), told) as pictures,
):
    seq = 0
    while True:
        seq += 1
        decision = a_decision(seq, run, verdict=Verdict.FAIL, reason=Reason.SCORE)
        if not journal.record(decision):
            break
        print(seq, flush=True)
        pictures.keep(decision, picture, found, CUTS)
"""


@pytest.mark.slow
def test_killed_at_random_moments_nothing_published_is_lost_or_twice_there(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    moments = random.Random(seed)
    folder = StateFolder(tmp_path, "line1")
    folder.make()
    published: list[tuple[str, int]] = []
    for number in range(KILLS):
        run = f"{number:08}"
        here = str(Path(__file__).parent)
        child = subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {here!r})\n{STATION}", str(folder.folder), run,
             str(Path(__file__).parent.parent)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert child.stdout is not None
        first = child.stdout.readline()
        time.sleep(moments.uniform(0.0, 0.4))
        child.kill()
        published += [(run, int(line)) for line in [first, *child.stdout] if line.endswith("\n") and line.strip()]
        child.wait()
        child.stdout.close()
    assert len({run for run, _ in published}) == KILLS, f"seed {seed}: a child did not publish"
    with (
        Journal(folder.journal, JournalConfig(wait_ms=1000), told := Happenings("line1", "after")),
        KeptPictures(folder.pictures, PicturesConfig(max_mb=40), told),
    ):
        pass
    assert told._early == [], f"seed {seed}"
    with reading(folder.journal) as journal:
        written = [(row.run, row.seq) for row in rows(journal, Wanted())]
    assert len(written) == len(set(written)), f"seed {seed}"
    assert set(published) <= set(written), f"seed {seed}"
    found = findings(folder, every_picture=True)
    assert found.in_order, f"seed {seed}: {found.trouble}"
    assert not list(folder.pictures.rglob("*.tmp")), f"seed {seed}"
    kept = list(kept_in(folder.pictures))
    pictures = {name.key for name in kept if name.kind == CAMERA}
    assert len(pictures) > KILLS
    assert {name.key for name in kept if name.kind == OVERLAY} <= pictures, f"seed {seed}"
    assert sum(name.path.stat().st_size for name in kept) <= 40 * 2**20
