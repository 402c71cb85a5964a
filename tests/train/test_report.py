"""Pieces of HTML reports: one file with nothing fetched, and nobody's file name is markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np

from sad_train.report import (
    Card,
    Piece,
    Tile,
    facts,
    figure,
    gallery,
    matrix,
    notices,
    page,
    picture,
    section,
    table,
    tiles,
)
from sad_train.report_charts import histogram, lines, trade_off

VOID = {"meta", "img", "rect", "line", "path", "polyline", "circle"}
EVIL = "<script>alert('x')</script> & \"co\""


class Balance(HTMLParser):
    """Raises when tags do not nest, and keeps every address the page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in VOID or self.open.pop() == tag


def read(document: str) -> Balance:
    balance = Balance()
    balance.feed(document)
    balance.close()
    assert balance.open == []
    return balance


def whole_page(text: str) -> str:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    return page(
        text,
        section(text, notices([text]), tiles([Tile(text, text, text, "bad")]), note=text),
        section(
            "t",
            table([text, "b"], [[text, (Piece(text, "strong"), Piece(text, "soft"))]], words=(1,)),
            facts([(text, text)]),
        ),
        section(
            "g", gallery([Card([picture(pixels, text), picture(pixels, text, lossless=True)], text, text, "good")])
        ),
        section("m", matrix([text, "b"], [[picture(pixels, text), ""]])),
        section("c", figure(histogram([1, 2, 2.5], [2, 4], 2.2), text)),
        section("c", figure(trade_off([0, 0.5, 1], [0, 0.9, 1], x_label=text, y_label=text, point=(0.5, 0.9)), text)),
        section("c", figure(lines({text: [(0, 1), (1, 0.5), (2, float("nan"))]}, x_label=text, y_label=text), text)),
        subtitle=text,
        footer=text,
    )


def test_a_page_nests_and_fetches_nothing() -> None:
    document = whole_page("plain")
    balance = read(document)
    assert balance.addresses
    assert all(address.startswith("data:image/") for address in balance.addresses)
    assert "script" not in balance.tags
    assert not re.search(r"https?://|@import|url\(", document)
    assert "prefers-color-scheme: dark" in document
    assert 'name="viewport"' in document


def test_every_text_is_escaped() -> None:
    document = whole_page(EVIL)
    assert "script" not in read(document).tags
    assert "<script" not in document
    assert "&lt;script&gt;" in document


def test_pictures_are_reduced_but_never_enlarged() -> None:
    large = np.zeros((1000, 500), np.uint8)
    assert 'width="160" height="320"' in picture(large, "large")
    assert 'width="20" height="30"' in picture(np.zeros((30, 20, 1), np.uint8), "small")


def test_a_histogram_counts_every_score_and_marks_the_threshold() -> None:
    chart = histogram([0.0, 0.1, 0.2], [0.9, 1.0], 0.5)
    assert "good (3)" in chart
    assert "defect (2)" in chart
    assert "threshold 0.5" in chart
    assert "threshold" not in histogram([0.0], [1.0], None)


def test_charts_survive_what_has_no_width() -> None:
    for chart in (
        histogram([2.0, 2.0], [], None),
        histogram([1e-9], [2e-9], None),
        trade_off([0, 0, 1], [0, 1, 1], x_label="x", y_label="y"),
        lines({"loss": [(0.0, 3.0)]}, x_label="step", y_label="loss"),
        lines({"loss": []}, x_label="step", y_label="loss"),
    ):
        assert "nan" not in chart
        read(chart)


def test_no_notices_make_no_list() -> None:
    assert notices([]) == ""
