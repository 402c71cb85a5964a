"""`sad-runtime --selftest`: checks this box, and prints a table that can be pasted into a bug report.

Nothing of the station is imported at the top: this must run where OpenCV does not.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sad_runtime.backends.table import chosen_backend
from sad_runtime.cli.command import version
from sad_runtime.engines.settings import EngineSettings
from sad_runtime.errors import UsageError
from sad_runtime.selftest.checks import Wish, lines_of
from sad_runtime.selftest.line import Line, count, table, without_names
from sad_runtime.station.state_folder import default_state_root

if TYPE_CHECKING:
    from sad_runtime.station.config import StationConfig

BAD, GATE = 1, 4


def selftest(config: StationConfig, bundle: Path | None, *, as_json: bool = False, serials: bool = False) -> int:
    """Opens no camera and starts no station. Returns the exit code: 0, 1 for a bad line, 4 for a gate that said no."""
    return reported(_wish(config, bundle, serials), as_json=as_json)


def bare_selftest(*, as_json: bool) -> int:
    """Without a station and its files, which cannot be read without OpenCV."""
    state = default_state_root()
    engines = EngineSettings(folder=str(state / "engines"))
    return reported(Wish(state, engines, no_bundle="without OpenCV no picture can be read"), as_json=as_json)


def reported(wish: Wish, *, as_json: bool) -> int:
    home = Path.home()
    lines: list[Line] = []
    for found in lines_of(wish):
        line = without_names(found, home)
        lines.append(line)
        print(table([line]), file=sys.stderr if as_json else sys.stdout, flush=True)
    counts = count(lines)
    code = GATE if any(line.gate for line in lines) else BAD if counts["bad"] else 0
    if as_json:
        rows = [line.model_dump() for line in lines]
        print(json.dumps({"sad": version(), "counts": counts, "exit_code": code, "lines": rows}))
    else:
        print(", ".join(f"{number} {standing}" for standing, number in counts.items()))
    return code


def _wish(config: StationConfig, named: Path | None, serials: bool) -> Wish:
    """The bundle named, else the station's as a start would take it."""
    from sad_runtime.station.selection import engines_in, wanted_recipe
    from sad_runtime.station.state_folder import state_root

    if config.backend != "auto":
        chosen_backend(config.backend)  # every engine is tried; a name that is none is said all the same
    bundle, why = named, ""
    try:
        bundle = Path(wanted_recipe(config, named, Path.cwd())[1].bundle)
    except UsageError as error:
        why = str(error)
    root = state_root(config.state).absolute()
    return Wish(
        state=root,
        engines=engines_in(root, config.engines),
        bundle=bundle,
        no_bundle=why,
        trust=config.trust,
        threads=config.threads,
        serials=serials,
        precision=config.precision,
    )
