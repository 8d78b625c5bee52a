"""Pieces of a page. Whatever text comes in is escaped; only `Markup`, which these functions return, is not."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
from markupsafe import Markup

from curation_pipeline.escaping import one_line
from curation_pipeline.report.numbers import DASH, count, number

if TYPE_CHECKING:
    from curation_pipeline.report.plots import SvgPlot

Row = Mapping[str, Any]
CI = ("ci_low", "ci_high")
_FORMULA_HEADS = ["=", "+", "-", "@", "\t", "\r"]
_MARKS = "●■◆▲▼✚✖★"
"""The shapes of `plots.MARKERS`."""


def render(template: str, **values: object) -> str:
    """Fill one of the templates of this package; a name that it lacks is an error."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("curation_pipeline.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"clean": one_line, "count": count}
    return environment.get_template(template).render(**values)


def csv_link(frame: pl.DataFrame) -> str:
    """The frame as a data: address. A cell that a spreadsheet would run as a formula gets an apostrophe."""
    formula = [
        pl.when(pl.col(name).str.slice(0, 1).is_in(_FORMULA_HEADS))
        .then(pl.concat_str(pl.lit("'"), name))
        .otherwise(name)
        .alias(name)
        for name, dtype in frame.schema.items()
        if dtype == pl.String
    ]
    data = frame.with_columns(formula).write_csv().encode()
    return "data:text/csv;charset=utf-8;base64," + base64.b64encode(data).decode()


def csv(name: str, frame: pl.DataFrame, text: str = "CSV") -> Markup:
    """A link that downloads a frame as `name`.csv."""
    return Markup('<a download="{}.csv" href="{}">{}</a>').format(name, csv_link(frame), text)


def element(tag: str, *parts: Any, css: str = "") -> Markup:
    """An element around its parts, with a class."""
    opening = Markup('<{} class="{}">').format(tag, css) if css else Markup("<{}>").format(tag)
    return Markup("{}{}</{}>\n").format(opening, join(*parts), tag)


def join(*parts: Any) -> Markup:
    """Parts one after the other; text among them is escaped."""
    return Markup("").join(parts)


def paragraph(*parts: Any) -> Markup:
    """What explains a section, in grey."""
    return element("p", *parts, css="muted")


def small(text: str) -> Markup:
    """A remark in small type."""
    return Markup("<small>{}</small>").format(text)


def fold(summary: str, *parts: Any) -> Markup:
    """What opens with a click."""
    return element("details", element("summary", summary), *parts)


def mark(index: int, shapes: bool = True) -> Markup:
    """The shape and colour of a series."""
    return Markup('<i style="color: var(--c{})">{}</i>').format(index % 8, _MARKS[index % 8] if shapes else "●")


def legend(names: Sequence[str], shapes: bool = False) -> Markup:
    """Names of series with their marks."""
    spans = (element("span", mark(index, shapes), one_line(name, 40)) for index, name in enumerate(names))
    return Markup('<p class="legend" aria-hidden="true">{}</p>').format(join(*spans))


def figure(plot: SvgPlot, note: str = "") -> Markup:
    """A plot with a note and the download of its data."""
    return element("figure", plot.svg, element("figcaption", note, " ", csv(plot.name, plot.table)))


def grid(plots: Iterable[SvgPlot], css: str = "grid") -> Markup:
    """Plots side by side."""
    return element("div", *map(figure, plots), css=css)


def interval(low: float | None, high: float | None, show: Callable[[float], str] = number) -> Markup:
    """The ends of an interval in small type; empty where there is none."""
    return Markup("") if low is None or high is None else small(f"{show(low)} to {show(high)}")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table on a page.

    Attributes:
        title: its heading.
        cell: what it shows of a row.
        css: class of its cells: "n" for figures, "words" for sentences, "term" for names that may break, "name".
    """

    title: object
    cell: Callable[[Row], object]
    css: str = ""


def text(title: str, name: str, limit: int = 60, css: str = "") -> Column:
    """A column of text, one line of at most `limit` characters; a dash where it is missing."""

    def cell(row: Row) -> str:
        value = row[name]
        return DASH if value in (None, "") else one_line(str(value), limit)

    return Column(title, cell, css)


def numeric(
    title: str, name: str, show: Callable[[Any], object] = number, ends: tuple[str, str] | None = None
) -> Column:
    """A column of figures.

    Args:
        title: its heading.
        name: of the frame's column.
        show: how a figure is written.
        ends: columns with the ends of its interval.
    """
    if ends is None:
        return Column(title, lambda row: show(row[name]), "n")
    low, high = ends
    return Column(title, lambda row: join(show(row[name]), interval(row[low], row[high])), "n")


def table(rows: Iterable[Row], columns: Sequence[Column], css: Callable[[Row], str] = lambda row: "") -> Markup:
    """A table that scrolls by itself where the window is narrow.

    Args:
        rows: what is shown, from top to bottom.
        columns: from left to right.
        css: class of a row.
    """
    heads = (element("th", column.title, css="n" if column.css == "n" else "") for column in columns)
    body = (
        element("tr", *(element("td", column.cell(row), css=column.css) for column in columns), css=css(row))
        for row in rows
    )
    whole = join(element("thead", element("tr", *heads)), element("tbody", *body))
    return element("div", element("table", whole), css="scroll")
