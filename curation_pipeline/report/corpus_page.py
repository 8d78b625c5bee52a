"""The corpus on one page: sizes, languages, topics, scores, duplicates, and what is removed from which groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from markupsafe import Markup

from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.lake.store import LocalStore
from curation_pipeline.report.html import (
    Column,
    csv,
    element,
    figure,
    fold,
    grid,
    join,
    numeric,
    paragraph,
    render,
    table,
    text,
)
from curation_pipeline.report.numbers import count, number, percent, size
from curation_pipeline.report.plots import bars, histogram
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.declared import RETIRED, standing
from curation_pipeline.steps.corpus_wide.corpus_profile import TABLES, ProfileTable

_FIGURES: Mapping[str, Callable[[Any], str]] = {"count": count, "share": percent, "number": number, "bytes": size}
_FOLDED = 24
"""A table of more rows is folded."""


def write_page(ctx: Context, manifest: Manifest, path: Path) -> Path:
    """Write the HTML page of a profile, whole and without outside links or scripts."""
    frames = {name: ctx.lake.frame(manifest, name) for name in (*TABLES, "distributions")}
    partitions = frames["partitions"]
    facts = {
        "Read at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "Distinct documents": f"{manifest.summary['documents']:,}",
        "Raw partitions": f"{partitions.height}",
        "Text": f"{int(partitions['bytes'].sum()) / 1e6:,.1f} MB",
        "Tokens": f"{partitions['tokens'].sum():,}",
        "Kept out of the pool": f"{manifest.summary['removed']:,}",
    }
    if retired := [key for key, state in standing(ctx)[0].items() if state == RETIRED]:
        facts["Retired, and not counted here"] = ", ".join(retired)
    sections = [
        (name, shape.title, _section(name, shape, frames[name]))
        for name, shape in TABLES.items()
        if frames[name].height
    ]
    if frames["distributions"].height:
        scores = frames["distributions"].group_by("score", maintain_order=True)
        plots = [histogram(rows, str(score), f"distribution-{score}") for (score,), rows in scores]
        body = join(paragraph("Documents in each bin, over the whole corpus."), grid(plots))
        sections.append(("distributions", "Score distributions", body))
    page = render("corpus.html.j2", title=f"Corpus of profile {ctx.profile.name}", facts=facts, sections=sections)
    LocalStore(path.parent).replace(path.name, page.encode())
    return path


def _section(name: str, shape: ProfileTable, frame: pl.DataFrame) -> Markup:
    shown = frame.head(shape.rows)
    parts = [paragraph(shape.note, " ", csv(name, frame.select(pl.exclude(pl.List, pl.Struct, pl.Array))))]
    if shape.plot is not None:
        first = next(iter(shape.columns))
        drawn = shown.select(pl.col(first).cast(pl.Utf8).alias("name"), pl.col(shape.plot).alias("value"))
        parts.append(element("div", figure(bars(drawn, shape.title, f"corpus-{name}", shape.plot)), css="wide"))
    columns = [_column(column, kind) for column, kind in shape.columns.items()]
    rows = table(shown.to_dicts(), columns, css=lambda row: "ours" if row.get("flagged") else "")
    hidden = frame.height - shown.height
    more = paragraph(f"{hidden} more rows are in the CSV.") if hidden else ""
    parts.append(fold(f"{shown.height} rows", rows, more) if shown.height > _FOLDED else join(rows, more))
    return join(*parts)


def _column(name: str, kind: str) -> Column:
    title = name.replace("_", " ")
    if kind == "text":
        return text(title, name, 160, "term")
    if kind == "mark":
        return Column(title, lambda row: "flagged" if row[name] else "", "term")
    return numeric(title, name, _FIGURES[kind])
