"""Plots as inline SVG for a page of ours: text stays text, and every colour is a CSS variable of the page."""

from __future__ import annotations

import base64
import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import Markup

# Placeholders that matplotlib writes into the SVG, replaced by the page's variables afterwards.
INK, MUTED, GRID, PAPER = "#010101", "#020202", "#030303", "#040404"
SERIES = tuple(f"#0505{i:02x}" for i in range(8))
_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--grid", PAPER: "--paper"} | {
    colour: f"--c{i}" for i, colour in enumerate(SERIES)
}
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
_STYLE: Mapping[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.titlecolor": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
}
_FORMULA_HEADS = ["=", "+", "-", "@", "\t", "\r"]


@dataclass(frozen=True, slots=True)
class Plot:
    """One SVG with the table behind it.

    Attributes:
        svg: The markup, safe to put into the page.
        label: What a screen reader says.
        csv: A data: address of the table.
        name: File name of the download, without its ending.
    """

    svg: Markup
    label: str
    csv: str
    name: str


def csv_link(frame: pl.DataFrame) -> str:
    """The frame as a data: address. A cell that a spreadsheet would run as a formula gets an apostrophe."""
    text = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    formula = [
        pl.when(pl.col(name).str.slice(0, 1).is_in(_FORMULA_HEADS))
        .then(pl.concat_str(pl.lit("'"), name))
        .otherwise(name)
        .alias(name)
        for name in text
    ]
    data = frame.with_columns(formula).write_csv().encode()
    return "data:text/csv;charset=utf-8;base64," + base64.b64encode(data).decode()


def colour(index: int) -> str:
    """Placeholder of the series `index`."""
    return SERIES[index % len(SERIES)]


@contextmanager
def plot_axes(
    width: float, height: float, name: str, label: str, table: pl.DataFrame, out: list[Plot]
) -> Iterator[Any]:
    """Axes of one plot of `width` x `height` inches; the finished plot is appended to `out`."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {**_STYLE, "svg.hashsalt": name}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # The reader's browser has the glyphs that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        yield axes
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    out.append(Plot(_inline(buffer.getvalue(), name, label), label, csv_link(table), name))


def _inline(svg: str, name: str, label: str) -> Markup:
    """The SVG as an element of an HTML page: no prologue, no metadata, unique ids, colours from the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.S)  # it would speak for the whole page
    svg = svg.replace("xlink:href", "href")
    view = re.search(r'viewBox="([^"]+)"', svg)
    assert view is not None
    head = f'<svg viewBox="{view[1]}" role="img" aria-label="{Markup.escape(label)}">'
    body = svg[svg.index(">") + 1 :]
    prefix = re.sub(r"\W", "-", name)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', body)
    body = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", body)
    for placeholder, variable in _VARIABLES.items():
        body = body.replace(placeholder, f"var({variable})")
    return Markup(head + body)
