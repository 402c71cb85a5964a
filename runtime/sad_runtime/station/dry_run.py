"""Inspects for a while and shows what would be published, without being the station.

The camera and the model are opened as on the line; nothing is bound, recorded or locked, so it may run beside the
station itself where the camera allows that. Every picture is taken for a part, whatever the trigger; what only shows
over a row of parts (a frozen camera, drift) is not looked for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from sad_runtime.cameras.base import EndOfStream, Frame
from sad_runtime.errors import BackendError, CameraError, DataError
from sad_runtime.identity import boot_id, new_run
from sad_runtime.inspector import Inspector
from sad_runtime.journal.journal import Journal
from sad_runtime.messages import Decision
from sad_runtime.scene.bundled import guard_for
from sad_runtime.scene.guard import SceneFault
from sad_runtime.station.answers import Answers
from sad_runtime.station.happenings import Happenings
from sad_runtime.station.part import Finding, Part, Stage, invalid
from sad_runtime.station.recipes import opened
from sad_runtime.station.selection import Selection
from sad_runtime.station.tally import Tally
from sad_runtime.verdict import Reason

FOR_S = 10.0
GRAB_S = 0.1
SILENT_S = 10.0
"""How long the first picture may take."""


class NoJournal(Journal):
    """Never opened; takes every row and keeps none."""

    def record(self, decision: Decision, source: str = "") -> bool:
        return True

    def amend(self, decision: Decision, source: str = "") -> None:
        """Nothing was written."""


def dry_run(selection: Selection, stop: threading.Event, limit: int, publish: Callable[[Decision], None]) -> Tally:
    """Ends after `limit` parts, with 0 after ten seconds; at the end of the pictures; or when it is to stop.

    Raises CameraError when no picture comes, and what `recipes.opened` raises.
    """
    config, recipe, tally = selection.config, selection.recipe, Tally()
    run = new_run()
    journal = NoJournal(Path("/dev/null"), config.journal, Happenings(config.station, run))

    def count(decision: Decision) -> None:
        publish(decision)
        tally.count(decision)

    answers = Answers(station=config.station, run=run, boot_id=boot_id(), journal=journal, publish=count)
    answers.judge = recipe.judge()
    with selection.camera as camera, opened(recipe, threads=config.threads, engines=config.engines) as inspector:
        inspector.guard = guard_for(recipe.bundle, config.scene)
        begin_s = seen_s = time.monotonic()
        while _goes_on(tally, limit, stop, begin_s):
            try:
                frame = camera.grab(GRAB_S)
            except EndOfStream:
                break
            if frame is None:
                if time.monotonic() - seen_s > SILENT_S:
                    raise CameraError(f"camera {camera.uri}: no picture for {SILENT_S:.0f} s")
                continue
            seen_s = time.monotonic()
            part = Part(frame.mono_ns, recipe.deadline_ms, frame=frame, stage=Stage.INSPECTING)
            part.latency_ms = {"wait": part.age_ms(), "grab": frame.grab_ms}
            answers.answer(part, _finding(inspector, frame))
    return tally


def _goes_on(tally: Tally, limit: int, stop: threading.Event, begin_s: float) -> bool:
    enough = tally.parts >= limit if limit else time.monotonic() - begin_s > FOR_S
    return not (enough or stop.is_set())


def _finding(inspector: Inspector, frame: Frame) -> Finding:
    if frame.picture is None or not frame.complete:
        return invalid(Reason.INCOMPLETE)
    try:
        found = inspector.inspect(frame.picture)
    except SceneFault as fault:
        return invalid(fault.reason)
    except DataError:
        return invalid(Reason.INCOMPLETE)
    except BackendError:
        return invalid(Reason.INFERENCE_ERROR)
    return Finding(found.verdict, found.reason, found)
