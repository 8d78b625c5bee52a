"""The corpus on one page: sizes, languages, topics, scores, duplicates, and what is removed from which groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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

_FIGURES: Mapping[str, Callable[[Any], str]] = {"count": count, "share": percent, "number": number, "bytes": size}
_FOLDED = 24
"""A table of more rows is folded."""


@dataclass(frozen=True, slots=True)
class ProfileTable:
    """How one table of the profile is shown.

    Attributes:
        title: heading of its section.
        note: what its figures are, in a sentence or two.
        columns: column to format (count, share, number, bytes, text, mark); other columns are in the CSV alone.
        plot: column that is drawn as bars over the first column, if any.
        rows: rows shown; the CSV has all.
    """

    title: str
    note: str
    columns: Mapping[str, str]
    plot: str | None = None
    rows: int = 40


TABLES: Mapping[str, ProfileTable] = {
    "partitions": ProfileTable(
        "Deliveries",
        "One row for each raw partition. Read = kept + duplicates + quarantined + excluded (labelled or "
        "benchmark text).",
        {
            "partition": "text", "read": "count", "kept": "count", "duplicates": "count", "quarantined": "count",
            "excluded": "count", "bytes": "bytes", "tokens": "count",
        },
    ),
    "languages": ProfileTable(
        "Languages", "As identified; “und” is text too short or too strange to tell.",
        {"language": "text", "documents": "count", "share": "share"}, plot="share", rows=15,
    ),
    "registers": ProfileTable(
        "Registers",
        "What the source declares, what the classifier says, and the mean of the quality classifier.",
        {"declared": "text", "predicted": "text", "documents": "count", "share": "share", "quality": "number"},
    ),
    "topics": ProfileTable(
        "Topics", "Clusters of sentence vectors, with the words that set them apart and the teacher's mean score.",
        {"topic": "text", "documents": "count", "tokens": "count", "teacher": "number"},
    ),
    "rules": ProfileTable(
        "Quality rules",
        "Share of documents that fail each rule, by source. Rules mark; the profile's [removal] decides what counts.",
        {"rule": "text", "source": "text", "documents": "count", "fails": "share"}, rows=400,
    ),
    "duplicates": ProfileTable(
        "Duplicates", "Copies beyond the one that is kept, by kind and source.",
        {"kind": "text", "source": "text", "copies": "count", "clusters": "count", "share": "share"},
    ),
    "contamination": ProfileTable(
        "Benchmark contamination", "Documents that share a 13-gram with a text that the evaluation uses.",
        {"benchmark": "text", "source": "text", "documents": "count"},
    ),
    "pii": ProfileTable(
        "Personal data", "Spans that are replaced by placeholders before a model reads the text.",
        {"source": "text", "documents": "count", "n_email": "count", "n_phone": "count", "n_ip": "count",
         "n_card": "count"},
    ),
    "removal": ProfileTable(
        "What never enters the pool", "By cause and source, as a share of the source's distinct documents.",
        {"source": "text", "cause": "text", "documents": "count", "share": "share"},
    ),
    "requests": ProfileTable(
        "Removal requests",
        "What the file of requests names, by line, and the distinct documents that it removes. A request of zero names "
        "nothing that is in the corpus.",
        {"line": "text", "given": "text", "request_id": "text", "documents": "count"}, rows=400,
    ),
    "parity": ProfileTable(
        "Which groups removal affects",
        "Removal rate over text that people labelled benign, by identity group mentioned and by dialect proxy, and its "
        "ratio to the average. Flagged: the ratio is above the limit, and its interval excludes chance.",
        {
            "dataset": "text", "rule": "text", "group": "text", "n": "count", "rate": "share",
            "average_rate": "share", "ratio": "number", "ci_low": "number", "ci_high": "number", "flagged": "mark",
        },
        rows=400,
    ),
}  # fmt: skip
"""Tables of a corpus profile in the order of the page."""


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
