"""A section of the report: the tables that it reads from the lake, and what it shows of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from markupsafe import Markup

from curation_pipeline.errors import DataError
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.state import MAIN, State

Rows = pl.DataFrame | Sequence[Mapping[str, Any]] | None
IS_LAST = pl.col("ordinal") == pl.col("ordinal").max()
ENDS = {"ci_low": float, "ci_high": float}
"""Columns of a 95% interval."""


@dataclass(frozen=True, slots=True)
class ReportTable:
    """A table behind a section: its name, and its columns with their Python types."""

    name: str
    columns: Mapping[str, type] = field(hash=False)


@dataclass(frozen=True, slots=True)
class ReportSource:
    """Where sections read from: the surroundings, and the committed states of each reported chain."""

    ctx: Context
    states: Mapping[str, list[State]]

    @property
    def lake(self) -> Lake:
        """The lake."""
        return self.ctx.lake

    @property
    def main(self) -> list[State]:
        """The states of the loop's own chain, the cold start first."""
        return self.states[MAIN]

    def made(self, table: str) -> list[tuple[int, Manifest]]:
        """Ordinal and artefact of every iteration of the loop that made one of this table."""
        return [(state.ordinal, self.lake.get(state.own[table])) for state in self.main if table in state.own]


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding in plain words; `tone` is good, bad or open (the interval decides nothing)."""

    text: str
    tone: str


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything a report is made of.

    A chain is named `arm` or `arm/run`; all chains have the same token budget. Shares, rates and reductions lie in
    [0, 1] (a reduction may be negative).

    Attributes:
        tables: rows by the name of their `ReportTable`; a missing table is left out of the page.
        title: headline of the page.
        created_at: when the figures were read, as shown.
        arm: the arm that the report is about.
        baselines: arms that it is compared with; reductions are stated against the first.
        token_budget: tokens of each batch.
        about: facts for the head of the page, by name.
        notes: sentences that the reader should know, such as a warning of the commit check.
    """

    tables: Mapping[str, Rows] = field(default_factory=dict)
    title: str = "Curation report"
    created_at: str = ""
    arm: str = MAIN
    baselines: tuple[str, ...] = ("random", "threshold")
    token_budget: int | None = None
    about: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def table(self, table: ReportTable) -> pl.DataFrame:
        """A table with exactly its columns, and `arm` where it has a chain; without rows where it is missing.

        Raises:
            DataError: a column is missing; names the table and the columns.
        """
        found = self.tables.get(table.name)
        frame = found if isinstance(found, pl.DataFrame) else pl.DataFrame(found or [], schema=dict(table.columns))
        if missing := table.columns.keys() - set(frame.columns):
            raise DataError(
                f"report table {table.name!r} lacks the columns {', '.join(sorted(missing))}; it has "
                f"{', '.join(frame.columns) or 'none'}"
            )
        frame = frame.select(pl.col(name).cast(dtype) for name, dtype in table.columns.items())
        return (
            frame.with_columns(arm=pl.col("chain").str.split("/").list.first()) if "chain" in frame.columns else frame
        )


def no_tables(source: ReportSource) -> dict[str, Rows]:
    """The query of a section that shows tables of others."""
    return {}


def no_verdicts(data: ReportData) -> list[Finding]:
    """The findings of a section that has none."""
    return []


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the page. A module of `report.sections` that defines one as `SECTION` adds it.

    Attributes:
        place: sections are shown in the order of their places.
        anchor: its id in the page.
        title: its heading.
        show: what is under the heading. A section without a row in any of its tables is left out.
        tables: that it shows.
        query: reads them from the lake, by name; None or no rows where nothing has been made yet.
        verdicts: its findings for the top of the page.
    """

    place: int
    anchor: str
    title: str
    show: Callable[[ReportData], Markup]
    tables: tuple[ReportTable, ...]
    query: Callable[[ReportSource], Mapping[str, Rows]] = no_tables
    verdicts: Callable[[ReportData], list[Finding]] = no_verdicts
