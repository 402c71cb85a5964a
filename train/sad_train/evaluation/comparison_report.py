"""The page of `sad-evaluate --compare --report`: all methods in one table a set, and their heatmaps side by side."""

from __future__ import annotations

from sad_runtime.cli.progress import progressing
from sad_train.evaluation.comparison import Comparison, SetResults, Terms
from sad_train.evaluation.comparison_figures import COSTS, FOUND, OVERVIEW, REJECTED
from sad_train.evaluation.comparison_gallery import Gallery, gallery_of
from sad_train.evaluation.comparison_text import (
    BOLD,
    TableText,
    limit_note,
    measured_on,
    notes,
    overview_table,
    set_table,
    troubles,
)
from sad_train.report import facts, matrix, notices, page, section, table


def comparison_page(comparison: Comparison, terms: Terms) -> str:
    """A whole HTML document. Opens the lowest seed of each row once more, for its heatmaps."""
    names = " / ".join(figure.name for figure in OVERVIEW)
    sections = [
        section("All sets", _shown(overview_table(comparison)), note=f"{names}. {BOLD}"),
    ]
    for one in progressing(comparison.sets, "drawing"):
        sections += _set_sections(one, terms)
    return page(
        "Methods side by side",
        notices([*troubles(comparison), *filter(None, [limit_note(comparison)])], "bad"),
        *sections,
        section("How it was measured", facts(_facts(comparison, terms))),
        subtitle=_subtitle(comparison),
        footer="Made by sad-evaluate --compare.",
    )


def _set_sections(one: SetResults, terms: Terms) -> list[str]:
    if not one.rows:
        return [section(one.name, note=f"{measured_on(one)}.")]
    gallery = gallery_of(one, terms)
    return [
        section(
            one.name,
            _shown(set_table(one, FOUND, engine=False)),
            _shown(set_table(one, (*REJECTED, *COSTS), seeds=False)),
            notices(notes(one)),
            note=f"{measured_on(one)}. FRR: share of the good parts rejected by the threshold that lets so many "
            "defects escape. ms: median time for one picture, on the engine named.",
        ),
        section(
            f"{one.name}: heatmaps",
            notices(gallery.dark, "bad"),
            matrix(gallery.header, gallery.rows),
            note=_gallery_note(gallery),
        ),
    ]


def _gallery_note(gallery: Gallery) -> str:
    text = (
        "Taken evenly over the files of each type, whatever they scored; the lowest seed of each row. Every column has "
        "one fixed scale of its own: blue is an ordinary good pixel, the outline lies at the pixel threshold. Below "
        "each: verdict and score."
    )
    if gallery.unscaled:
        text += f" Without a threshold, scaled by good test pictures instead: {', '.join(gallery.unscaled)}."
    return text


def _shown(text: TableText) -> str:
    return table(text.header, text.rows)


def _subtitle(comparison: Comparison) -> str:
    trainings = sum(len(row.results) for one in comparison.sets for row in one.rows)
    return (
        f"{_counted(len(comparison.row_names), 'method')} on {_counted(len(comparison.sets), 'set')}, "
        f"{_counted(trainings, 'training')} in all"
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def _facts(comparison: Comparison, terms: Terms) -> list[tuple[str, str]]:
    cap = terms.pixel_size_px
    sizes = "picture size" + (f", at most {cap} px" if cap else "") + "; masks above 0"
    subjects = [
        (f"{row.name} on {one.name}", ", ".join(result.contender.path.name for result in row.results))
        for one in comparison.sets
        for row in one.rows
    ]
    return [("heatmaps judged at", sizes), *subjects]
