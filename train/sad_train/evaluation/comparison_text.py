"""A comparison as tables, one over all sets and one a set. As Markdown for docs/results.md; the page shows the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sad_train.evaluation.comparison import Comparison, SetResults
from sad_train.evaluation.comparison_figures import FIGURES, OVERVIEW, Figure, Row, best
from sad_train.evaluation.evaluation_text import NONE
from sad_train.report import Cell, Piece

BOLD = (
    "Mean ± standard deviation over the seeds. Bold: of several seeds the worst is still better than every seed of the "
    "other rows; where no row leads like that, nothing is bold."
)


@dataclass(frozen=True)
class TableText:
    header: list[str]
    rows: list[list[Cell]]


def overview_table(comparison: Comparison) -> TableText:
    """Rows are methods, columns are sets; a cell holds the figures of OVERVIEW."""
    found = [({row.name: row for row in one.rows}, _leaders(one.rows)) for one in comparison.sets]
    rows: list[list[Cell]] = [
        [name, *(_overview_cell(rows.get(name), leaders) for rows, leaders in found)] for name in comparison.row_names
    ]
    return TableText(["method", *(one.name for one in comparison.sets)], rows)


def set_table(one: SetResults, figures: Sequence[Figure], *, seeds: bool = True, engine: bool = True) -> TableText:
    """One row a method: its seeds, the figures, and what it ran on."""
    header = ["method", *(["seeds"] if seeds else []), *(figure.name for figure in figures)]
    leaders = _leaders(one.rows)
    rows: list[list[Cell]] = []
    for row in one.rows:
        figured = [_figure_cell(row, figure, leaders.get(figure.key) == row.name) for figure in figures]
        named: list[Cell] = [row.name, *([", ".join(map(str, row.seeds))] if seeds else [])]
        rows.append([*named, *figured, *([engine_of(row)] if engine else [])])
    return TableText([*header, *(["engine"] if engine else [])], rows)


def engine_of(row: Row) -> str:
    """`openvino fp32`."""
    return ", ".join(
        sorted({f"{result.summary['backend']} {result.summary['precision'] or ''}".strip() for result in row.results})
    )


def notes(one: SetResults) -> list[str]:
    """What the evaluations warned of, once; with its rows when it was not said of all."""
    said: dict[str, list[str]] = {}
    results = [result for row in one.rows for result in row.results]
    for result in results:
        for warning in result.summary["warnings"]:
            said.setdefault(warning, []).append(result.contender.path.name)
    return [text if len(who) == len(results) else f"{text} ({', '.join(who)})" for text, who in said.items()]


def measured_on(one: SetResults) -> str:
    good, defect = one.counts
    return f"{good} good parts, {defect} defects" if one.rows else "Nobody could be measured"


def troubles(comparison: Comparison) -> list[str]:
    """Who is missing, and why."""
    return [
        "not in the tables: " + (why if why.startswith(path) else f"{path}: {why}")
        for path, why in comparison.failed.items()
    ]


def limit_note(comparison: Comparison) -> str:
    limit = comparison.limit
    return "" if limit is None else f"A quick look: at most {limit} pictures of each type were judged."


def markdown(comparison: Comparison) -> str:
    """Ready to be pasted: an overview, then a table a set."""
    names = " / ".join(figure.name for figure in OVERVIEW)
    parts = ["### All sets", f"{names}. {BOLD}", limit_note(comparison), _markdown_table(overview_table(comparison))]
    for one in comparison.sets:
        parts += [f"### {one.name}", f"{measured_on(one)}. FRR: share of the good parts rejected."]
        parts += [_markdown_table(set_table(one, FIGURES)), _bullets(notes(one))]
    parts.append(_bullets(troubles(comparison)))
    return "\n\n".join(part for part in parts if part) + "\n"


def _leaders(rows: Sequence[Row]) -> dict[str, str]:
    """The row that leads, by figure; only where one does."""
    leaders = {figure.key: best(rows, figure) for figure in FIGURES}
    return {key: row.name for key, row in leaders.items() if row is not None}


def _overview_cell(row: Row | None, leaders: dict[str, str]) -> Cell:
    if row is None:
        return NONE
    pieces: list[Piece] = []
    for figure in OVERVIEW:
        spread = row.spread(figure)
        text = NONE if spread is None else _number(figure, spread.mean)
        between = [Piece(" / ", "soft")] if pieces else []
        pieces += [*between, Piece(text, "strong" if leaders.get(figure.key) == row.name else "")]
    return tuple(pieces)


def _figure_cell(row: Row, figure: Figure, leads: bool) -> Cell:
    spread = row.spread(figure)
    if spread is None:
        return NONE
    pieces = [Piece(_number(figure, spread.mean), "strong" if leads else "")]
    if figure.better is not None and spread.deviation is not None:
        pieces.append(Piece(f" ± {_number(figure, spread.deviation)}", "soft"))
    if figure.key.startswith("frr"):
        pieces.append(Piece(" %", "soft"))
    if len(spread.values) < len(row.results):
        pieces.append(Piece(f" (n={len(spread.values)})", "soft"))
    return tuple(pieces)


def _number(figure: Figure, value: float) -> str:
    if figure.key.startswith("frr"):
        return f"{100 * value:.1f}"
    if figure.key == "parameters":
        return f"{value / 1e6:.2f} M"
    return {"gmac": f"{value:.2f}", "minutes": f"{value:.1f}", "latency_ms": f"{value:.1f}"}.get(
        figure.key, f"{value:.3f}"
    )


def _markdown_table(table: TableText) -> str:
    lines = [table.header, ["---"] * len(table.header), *([_plain(cell) for cell in row] for row in table.rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _plain(cell: Cell) -> str:
    pieces = (Piece(cell),) if isinstance(cell, str) else cell
    return "".join(
        f"**{piece.text}**" if piece.tone == "strong" else piece.text.replace("|", "\\|") for piece in pieces
    )


def _bullets(texts: Sequence[str]) -> str:
    return "\n".join("- " + text.replace("\n", " ") for text in texts)
