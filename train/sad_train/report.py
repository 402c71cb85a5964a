"""Pieces of a report that is one HTML file: no script, nothing fetched, readable on a phone, light and dark.

Training, evaluation and export put their pages together from these. Every text goes through html.escape here, so
callers hand in plain text; what a piece returns is HTML, for `section` or `page` only. Charts: report_charts.py.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from sad_runtime.heatmap import encode_jpeg
from sad_runtime.pictures import encode_png

Tone = Literal["", "good", "bad", "warn"]
PICTURE_PX = 320


@dataclass(frozen=True)
class Tile:
    """One headline figure, with what it is in small print."""

    label: str
    value: str
    hint: str = ""
    tone: Tone = ""


@dataclass(frozen=True)
class Piece:
    """A part of a table's cell, loud or quiet."""

    text: str
    tone: Literal["", "strong", "soft"] = ""


Cell = str | tuple[Piece, ...]


@dataclass(frozen=True)
class Card:
    """Pictures of one part side by side, each already HTML from `picture`, and a line or two below them."""

    pictures: Sequence[str]
    title: str
    text: str = ""
    tone: Tone = ""


def page(title: str, *sections: str, subtitle: str = "", footer: str = "") -> str:
    """The whole document."""
    style = resources.files("sad_train").joinpath("report.css").read_text(encoding="utf-8")
    under = f'<p class="subtitle">{escape(subtitle)}</p>' if subtitle else ""
    foot = f"<footer>{escape(footer)}</footer>" if footer else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"<header><h1>{escape(title)}</h1>{under}</header>\n"
        + "\n".join(sections)
        + f"\n{foot}</main>\n</body>\n</html>\n"
    )


def section(title: str, *blocks: str, note: str = "") -> str:
    """A heading, a line of explanation, and pieces below it."""
    said = f'<p class="note">{escape(note)}</p>' if note else ""
    return (
        f"<section>\n<h2>{escape(title)}</h2>{said}\n" + "\n".join(block for block in blocks if block) + "\n</section>"
    )


def tiles(items: Sequence[Tile]) -> str:
    """The figures to see first."""
    return '<div class="tiles">' + "".join(_tile(item) for item in items) + "</div>"


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Names and values, compact: what was measured, on what, with which versions."""
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="facts">{rows}</dl>'


def notices(texts: Sequence[str], tone: Tone = "warn") -> str:
    """Sentences that must not be overlooked; nothing when there are none."""
    if not texts:
        return ""
    return f'<ul class="notices {tone}">' + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def table(header: Sequence[str], rows: Sequence[Sequence[Cell]], *, words: Sequence[int] = ()) -> str:
    """The first column is text, the others stand to the right as figures do, but for the columns in `words`."""
    head = "".join(f'<th scope="col"{_words(index, words)}>{escape(name)}</th>' for index, name in enumerate(header))
    body = "".join(_row(row, words) for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def matrix(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Pictures in rows and columns, each already HTML from `picture`. The first column stays in sight while the others
    are scrolled past it."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    opening = f'<div class="scroll wide"><table class="matrix" style="--columns: {len(header)}">'
    return f"{opening}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def figure(content: str, caption: str) -> str:
    """A chart (HTML or SVG) with a line below it."""
    return f"<figure>{content}<figcaption>{escape(caption)}</figcaption></figure>"


def side_by_side(*blocks: str) -> str:
    """Two charts in a row where there is room, below each other on a phone."""
    return '<div class="columns">' + "".join(blocks) + "</div>"


def gallery(cards: Sequence[Card]) -> str:
    return '<div class="gallery">' + "".join(_card(card) for card in cards) + "</div>"


def picture(pixels: NDArray[np.uint8], label: str, *, lossless: bool = False, side_px: int = PICTURE_PX) -> str:
    """An <img> with its pixels inside, at most `side_px` long: (H, W), (H, W, 1) or (H, W, 3) BGR."""
    small = reduced(pixels, side_px)
    kind, data = ("png", encode_png(small)) if lossless else ("jpeg", encode_jpeg(small, 85))
    text = base64.b64encode(data).decode("ascii")
    name = escape(label)
    height, width = small.shape[:2]
    image = f'<img src="data:image/{kind};base64,{text}" alt="{name}" width="{width}" height="{height}" loading="lazy">'
    return f'<div class="shot">{image}<span>{name}</span></div>'


def reduced(pixels: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """The picture made smaller until its longer side is at most `side_px`; a smaller one as it is."""
    height, width = pixels.shape[:2]
    if max(height, width) <= side_px:
        return pixels
    factor = side_px / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _tile(item: Tile) -> str:
    hint = f"<small>{escape(item.hint)}</small>" if item.hint else ""
    return f'<div class="tile {item.tone}"><span>{escape(item.label)}</span><b>{escape(item.value)}</b>{hint}</div>'


def _row(row: Sequence[Cell], words: Sequence[int]) -> str:
    cells = [f"<td{_words(index, words)}>{_cell(cell)}</td>" for index, cell in enumerate(row) if index]
    return f'<tr><th scope="row">{_cell(row[0])}</th>{"".join(cells)}</tr>'


def _cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return escape(cell)
    tags = {"strong": ("<b>", "</b>"), "soft": ("<small>", "</small>"), "": ("", "")}
    return "".join(f"{tags[piece.tone][0]}{escape(piece.text)}{tags[piece.tone][1]}" for piece in cell)


def _words(column: int, words: Sequence[int]) -> str:
    return ' class="words"' if column in words else ""


def _card(card: Card) -> str:
    text = f"<span>{escape(card.text)}</span>" if card.text else ""
    return (
        f'<article class="card {card.tone}"><div class="shots">{"".join(card.pictures)}</div>'
        f'<p class="caption"><b>{escape(card.title)}</b>{text}</p></article>'
    )
