"""Plots as inline SVG that matplotlib draws: text stays text, and every colour is a CSS variable of the page."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from markupsafe import Markup

from curation_pipeline.escaping import one_line

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


@dataclass(frozen=True, slots=True)
class SvgPlot:
    """One SVG with the table behind it.

    Attributes:
        svg: the markup, safe to put into the page.
        table: what it draws.
        name: file name of the download, without its ending.
    """

    svg: Markup
    table: pl.DataFrame
    name: str


def colour(index: int) -> str:
    """Placeholder of the series `index`."""
    return SERIES[index % len(SERIES)]


def plot(
    name: str, label: str, table: pl.DataFrame, size: tuple[float, float], draw: Callable[[Any], object]
) -> SvgPlot:
    """Draw a plot.

    Args:
        name: of the download, and what makes the ids of its elements unique in a page.
        label: what a screen reader says.
        table: what is drawn.
        size: width and height in inches.
        draw: draws on the matplotlib axes that it is given.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {**_STYLE, "svg.hashsalt": name}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # The reader's browser has the glyphs that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return SvgPlot(_inline(buffer.getvalue(), name, label), table, name)


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


def trend(frame: pl.DataFrame, arms: Sequence[str], title: str, name: str) -> SvgPlot:
    """Value with interval over iterations, one line for each arm.

    Args:
        frame: arm, ordinal, value, ci_low, ci_high.
        arms: in the order of their colours.
        title: of the panel.
        name: of the download.
    """

    def draw(axes: Any) -> None:
        for index, arm in enumerate(arms):
            rows = frame.filter(pl.col("arm") == arm).sort("ordinal")
            if rows.is_empty():
                continue
            x = rows["ordinal"].to_numpy() + 0.06 * (index - (len(arms) - 1) / 2)
            axes.plot(x, rows["value"], color=colour(index), marker=MARKERS[index % 8], zorder=4 - 0.1 * index)
            low, high = (rows[end].cast(pl.Float64).to_numpy() for end in ("ci_low", "ci_high"))
            axes.vlines(x, low, high, color=colour(index), alpha=0.45, linewidth=1.4)
        _ordinals(axes, frame["ordinal"].to_list())
        axes.set_title(title)
        axes.grid(axis="x", visible=False)
        axes.margins(x=0.08, y=0.12)

    return plot(name, f"{title} over iterations", frame, (5.0, 2.5), draw)


def shares(frame: pl.DataFrame, title: str, name: str) -> SvgPlot:
    """Share of the pool's tokens (hollow) and of the batch's (filled) for each value of one dimension.

    Args:
        frame: value, pool_token_share, batch_token_share; drawn from top to bottom.
        title: of the panel.
        name: of the download.
    """

    def draw(axes: Any) -> None:
        y = _lines(axes, frame["value"], title, "% of tokens", 26)
        pool, batch = 100 * frame["pool_token_share"].to_numpy(), 100 * frame["batch_token_share"].to_numpy()
        axes.hlines(y, pool, batch, color=colour(0), alpha=0.4, linewidth=2.4)
        axes.scatter(pool, y, s=30, facecolor=PAPER, edgecolor=MUTED, linewidth=1.3, zorder=3)
        axes.scatter(batch, y, s=34, color=colour(0), zorder=4)
        axes.set_xlim(left=min(0, *axes.get_xlim()))

    size = (3.6, 0.75 + 0.25 * max(frame.height, 2))
    return plot(name, f"Share of tokens by {title}, pool and batch", frame, size, draw)


def ranges(frame: pl.DataFrame, title: str, name: str, *, reference: float, label: str) -> SvgPlot:
    """Values with intervals, one line each, with a reference line.

    Args:
        frame: name, value, low, high.
        title: of the panel.
        name: of the download.
        reference: where the reference line is.
        label: of the axis.
    """

    def draw(axes: Any) -> None:
        y = _lines(axes, frame["name"], title, label, 26)
        axes.axvline(reference, color=MUTED, linewidth=1)
        axes.hlines(y, frame["low"], frame["high"], color=colour(0), alpha=0.45, linewidth=2.2)
        axes.scatter(frame["value"], y, s=32, color=colour(0), zorder=4)

    return plot(name, title, frame, (3.6, 0.75 + 0.25 * max(frame.height, 2)), draw)


def bars(frame: pl.DataFrame, title: str, name: str, label: str) -> SvgPlot:
    """Horizontal bars from zero, negative ones in another colour.

    Args:
        frame: name, value; drawn from top to bottom.
        title: of the panel.
        name: of the download.
        label: of the axis.
    """

    def draw(axes: Any) -> None:
        y = _lines(axes, frame["name"], title, label, 34)
        values = frame["value"].to_numpy()
        axes.barh(y, values, height=0.62, color=[colour(0 if value >= 0 else 2) for value in values])
        axes.axvline(0, color=MUTED, linewidth=0.8)

    return plot(name, title, frame, (5.2, 0.75 + 0.22 * max(frame.height, 2)), draw)


def histogram(frame: pl.DataFrame, title: str, name: str) -> SvgPlot:
    """Counts over bins; a logarithmic axis where the bins widen by a factor.

    Args:
        frame: low, high, documents.
        title: of the panel.
        name: of the download.
    """

    def draw(axes: Any) -> None:
        low, high = frame["low"].to_numpy(), frame["high"].to_numpy()
        axes.bar(low, frame["documents"].to_numpy(), width=high - low, align="edge", color=colour(0), linewidth=0)
        if low[0] > 0 and high[-1] - low[-1] > 3 * (high[0] - low[0]):
            axes.set_xscale("log")
        axes.set_title(title)
        axes.grid(axis="x", visible=False)

    return plot(name, f"Histogram of {title}", frame, (4.2, 2.0), draw)


def curves(
    frame: pl.DataFrame,
    x: str,
    series: str,
    title: str,
    name: str,
    *,
    order: Sequence[str] = (),
    label: str = "",
    size: tuple[float, float] = (5.0, 2.6),
) -> SvgPlot:
    """One line for each value of `series`.

    Args:
        frame: the columns `x`, `series` and value.
        x: column of the horizontal axis; "ordinal" has one tick an iteration.
        series: column that tells the lines apart.
        title: of the panel.
        name: of the download.
        order: values of `series` in the order of their colours; in order of appearance when empty.
        label: of the horizontal axis.
        size: inches.
    """
    from matplotlib.ticker import MaxNLocator

    def draw(axes: Any) -> None:
        for index, value in enumerate(order or frame[series].unique(maintain_order=True)):
            rows = frame.filter(pl.col(series) == value).sort(x)
            marker = "o" if rows.height < 12 else None
            axes.plot(rows[x], rows["value"], color=colour(index), marker=marker, markersize=3.5)
        axes.set_title(one_line(title, 40))
        if x == "ordinal":
            _ordinals(axes, frame["ordinal"].to_list())
        else:
            axes.set_xlabel(label)
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.xaxis.set_major_formatter(lambda tick, _: f"{tick / 1000:g}k" if abs(tick) >= 1000 else f"{tick:g}")
        axes.grid(axis="x", visible=False)
        axes.margins(x=0.05, y=0.1)

    return plot(name, title, frame, size, draw)


def _lines(axes: Any, names: pl.Series, title: str, label: str, limit: int) -> np.ndarray:
    """One horizontal line for each name, the first at the top; their heights."""
    y = np.arange(len(names))[::-1]
    axes.set_yticks(y, [one_line(name, limit) for name in names])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.set_xlabel(label)
    axes.set_title(title)
    axes.grid(axis="y", visible=False)
    return y


def _ordinals(axes: Any, ordinals: Sequence[int]) -> None:
    low, high = min(ordinals), max(ordinals)
    step = max(1, (high - low) // 8)
    axes.set_xticks(range(low, high + 1, step))
    axes.set_xlim(low - 0.35, high + 0.35)
    axes.set_xlabel("iteration")
