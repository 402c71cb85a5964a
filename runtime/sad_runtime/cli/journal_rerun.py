"""`sad-journal rerun`: what another bundle would have said of the pictures that were kept."""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sad_runtime.cli.journal_options import folder_from, wanted_from
from sad_runtime.cli.progress import progressing
from sad_runtime.errors import BackendError, DataError, UsageError
from sad_runtime.inspector import Inspector
from sad_runtime.journal.picture_names import MODEL, OVERLAY, RUN_LETTERS, KeptName, kept_in
from sad_runtime.journal.rows import Row, Wanted, reading, row_of, runs
from sad_runtime.manifest import Roi
from sad_runtime.pictures import read_picture
from sad_runtime.scene.bundled import guard_for
from sad_runtime.scene.guard import SceneFault
from sad_runtime.schema import read_yaml
from sad_runtime.station.config import RecipeConfig, StationConfig
from sad_runtime.station.recipes import Recipe, opened, recipe_from
from sad_runtime.station.selection import engines_in
from sad_runtime.station.state_folder import StateFolder
from sad_runtime.verdict import Reason, Verdict

SHOWN = 40
"""Changed pictures on the screen; --json has all."""


@dataclass(frozen=True)
class Case:
    """A kept picture, with what was decided on it then."""

    name: KeptName
    row: Row | None
    """None where the journal has it no longer."""

    @property
    def recipe(self) -> int | None:
        return None if self.row is None else int(self.row.decision.get("recipe", 0))


@dataclass(frozen=True)
class Judged:
    """Then and now. A score is None where there is none, `why_not` says why a picture was not judged."""

    picture: str
    run: str
    seq: int
    part_id: int | None
    before: Verdict
    reason_before: str
    score_before: float | None
    threshold_before: float | None
    after: Verdict | None = None
    reason_after: str | None = None
    score_after: float | None = None
    why_not: str | None = None

    @property
    def changed(self) -> bool:
        return self.after is not None and self.after is not self.before


def rerun(arguments: argparse.Namespace) -> int:
    folder = folder_from(arguments)
    cases = cases_in(folder, wanted_from(arguments))
    if not cases:
        raise UsageError(f"{folder.pictures}: no kept picture fits. What is kept says the configuration: pictures.keep")
    _one_recipe(cases)
    config = config_for(arguments, folder)
    recipe = recipe_for(arguments, folder, config, next((case.recipe for case in cases if case.recipe), None))
    judged = []
    with opened(recipe, threads=arguments.threads, engines=config.engines) as inspector:
        if not arguments.no_guard:
            inspector.guard = guard_for(recipe.bundle, config.scene)
        for case in progressing(cases, "pictures"):
            judged.append(judged_again(case, inspector))
    if arguments.json:
        print(json.dumps(as_object(recipe, judged)))
    else:
        print("\n".join(as_lines(recipe, judged)))
    return 0


def config_for(arguments: argparse.Namespace, folder: StateFolder) -> StationConfig:
    """The station's file with the flags over it; engines lie where the station has its own."""
    config = StationConfig() if arguments.config is None else read_yaml(StationConfig, arguments.config)
    given = {"backend": arguments.backend, "precision": arguments.precision, "station": folder.station}
    engines = engines_in(folder.root, config.engines)
    changes = {name: value for name, value in given.items() if value is not None}
    return config.model_copy(update={**changes, "engines": engines})


def recipe_for(arguments: argparse.Namespace, folder: StateFolder, config: StationConfig, number: int | None) -> Recipe:
    """The bundle as this station would run it as recipe `number`, with the thresholds in force here."""
    if arguments.threshold is not None and not math.isfinite(arguments.threshold):
        raise UsageError(
            f"--threshold {arguments.threshold}: nothing can be judged by it; give a number in score units"
        )
    like = config.recipes.get(number or 0)
    roi = roi_from(arguments.roi) or (like.roi if like is not None else None)
    wanted = RecipeConfig(bundle=str(arguments.bundle), threshold=arguments.threshold, roi=roi)
    return recipe_from(0, wanted, config, folder.thresholds)


def roi_from(text: str | None) -> Roi | None:
    """`0,0,640,480`"""
    if text is None:
        return None
    try:
        x, y, width, height = (int(word) for word in text.split(","))
        return Roi(x=x, y=y, width=width, height=height)
    except ValueError:
        raise UsageError(f"--roi {text}: write x,y,width,height in camera pixels, like 0,0,640,480") from None


def cases_in(folder: StateFolder, wanted: Wanted) -> list[Case]:
    """The kept pictures whose row fits, oldest first; those without a row only where their name says enough."""
    if not folder.journal.is_file():
        raise UsageError(f"{folder.journal}: no journal there. Has this station run? Name its folder with --state DIR")
    with reading(folder.journal) as journal:
        by_letters = {run[:RUN_LETTERS]: run for run in runs(journal)}
        cases = []
        for name in kept_in(folder.pictures):
            if name.kind == OVERLAY:
                continue
            run = by_letters.get(name.run)
            case = Case(name, None if run is None else row_of(journal, run, name.seq))
            if _fits(case, wanted):
                cases.append(case)
        return cases


def _fits(case: Case, wanted: Wanted) -> bool:
    row = case.row
    if row is None:
        by_name = replace(wanted, verdicts=(), reasons=(), run=None) == Wanted()
        run, verdict, reason = case.name.run, case.name.verdict.value, case.name.reason.value
    else:
        by_name, run, verdict, reason = True, row.run, row.verdict, row.reason
        if not (wanted.since_ns or 0) <= row.decided_ns < (wanted.until_ns or 2**63):
            return False
        if wanted.part_id not in (None, row.part_id) or wanted.trigger_id not in (None, row.trigger_id):
            return False
        if not wanted.has(row):
            return False
    return (
        by_name
        and (not wanted.verdicts or verdict in wanted.verdicts)
        and (not wanted.reasons or reason in wanted.reasons)
        and (wanted.run is None or run.startswith(wanted.run[: len(run)]))
    )


def _one_recipe(cases: list[Case]) -> None:
    found = sorted({case.recipe for case in cases if case.recipe is not None})
    if len(found) > 1:
        raise UsageError(
            f"these pictures are of recipes {', '.join(map(str, found))}, which make different parts. "
            f"Say which the bundle is for: --recipe {found[-1]}"
        )


def judged_again(case: Case, inspector: Inspector) -> Judged:
    """Decides on this picture alone, as the station would: what cannot be inspected is INVALID.

    That a part was late then, or its picture the one before once more, lies not in the picture, and counts no more.
    """
    told = {} if case.row is None else case.row.decision
    then = Judged(
        picture=str(case.name.path),
        run=case.name.run if case.row is None else case.row.run,
        seq=case.name.seq,
        part_id=None if case.row is None else case.row.part_id,
        before=case.name.verdict if case.row is None else Verdict(case.row.verdict),
        reason_before=case.name.reason.value if case.row is None else case.row.reason,
        score_before=None if case.row is None else case.row.score,
        threshold_before=told.get("threshold"),
    )
    try:
        picture = read_picture(case.name.path)
    except DataError as error:
        return replace(then, why_not=str(error))
    spec = inspector.spec
    if case.name.kind == MODEL and picture.shape[:2] != (spec.height, spec.width):
        height, width = picture.shape[:2]
        return replace(
            then, why_not=f"kept as another model saw it ({width}x{height}; pictures.store: model), this one takes "
            f"{spec.width}x{spec.height}",
        )  # fmt: skip
    try:
        found = (_uncut(inspector) if case.name.kind == MODEL else inspector).inspect(picture)
    except SceneFault as fault:
        return replace(then, after=Verdict.INVALID, reason_after=fault.reason.value)
    except DataError:
        return replace(then, after=Verdict.INVALID, reason_after=Reason.INCOMPLETE.value)
    except BackendError:
        return replace(then, after=Verdict.INVALID, reason_after=Reason.INFERENCE_ERROR.value)
    return replace(then, after=found.verdict, reason_after=found.reason.value, score_after=found.score)


def _uncut(inspector: Inspector) -> Inspector:
    """The same for a picture that is cut and scaled already."""
    return Inspector(inspector.backend, inspector.thresholds, good_scores=inspector.good_scores, guard=inspector.guard)


def table(judged: list[Judged]) -> dict[str, dict[str, int]]:
    """Pictures by verdict then, and by verdict now."""
    pairs = Counter((one.before, one.after) for one in judged if one.after is not None)
    return {then.value: {now.value: pairs[then, now] for now in Verdict} for then in Verdict}


def as_object(recipe: Recipe, judged: list[Judged]) -> dict[str, Any]:
    return {
        "bundle": str(recipe.bundle.path),
        "model_digest": recipe.digest,
        "backend": recipe.backend,
        "precision": recipe.precision,
        "threshold": recipe.thresholds.score,
        "threshold_rev": recipe.thresholds.revision,
        "pictures": len(judged),
        "changed": sum(one.changed for one in judged),
        "not_judged": sum(one.why_not is not None for one in judged),
        "table": table(judged),
        "parts": [vars(one) | {"changed": one.changed} for one in judged],
    }


def as_lines(recipe: Recipe, judged: list[Judged]) -> Iterator[str]:
    counts = table(judged)
    yield f"{recipe.bundle.path}, {recipe.precision} on {recipe.backend}, threshold {recipe.thresholds.score:.6g}"
    yield f"{'then  now':<12}" + "".join(f"{verdict.value:>9}" for verdict in Verdict)
    for verdict in Verdict:
        yield f"{verdict.value:<12}" + "".join(f"{counts[verdict.value][now.value]:>9}" for now in Verdict)
    changed = [one for one in judged if one.changed]
    yield f"{len(changed)} of {len(judged)} verdicts change" + (":" if changed else "")
    for one in changed[:SHOWN]:
        part = f"part {one.part_id}  " if one.part_id is not None else ""
        yield (
            f"  {_word(one.before, one.reason_before, one.score_before)} -> "
            f"{_word(one.after, one.reason_after, one.score_after)}  {part}{one.picture}"
        )
    if len(changed) > SHOWN:
        yield f"  and {len(changed) - SHOWN} more (--json)"
    for why, count in Counter(one.why_not for one in judged if one.why_not).most_common(SHOWN):
        yield f"not judged: {count} x {why}"


def _word(verdict: Verdict | None, reason: str | None, score: float | None) -> str:
    """`FAIL 5.2`, `INVALID late`"""
    why = reason if verdict is Verdict.INVALID or score is None else f"{score:.6g}"
    return f"{verdict.value if verdict else '-'} {why}"
