"""The corpus on one page: sizes, languages, topics, scores, duplicates, what is removed and whom that meets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.escaping import one_line
from curation_pipeline.experiment.report_figures import bars, histogram
from curation_pipeline.experiment.report_text import DASH, count, number, percent, size
from curation_pipeline.experiment.svg import Plot, csv_link

FORMATS: Mapping[str, Callable[[Any], str]] = {
    "count": count,
    "share": percent,
    "number": number,
    "bytes": size,
    "text": lambda value: one_line(DASH if value is None else str(value), 160),
    "mark": lambda value: "flagged" if value else "",
}


@dataclass(frozen=True, slots=True)
class Table:
    """How one table of the profile is shown.

    Attributes:
        title: heading of its section.
        note: what its figures are, in a sentence or two.
        columns: column to format (a key of `FORMATS`); other columns are in the CSV alone.
        plot: column that is drawn as bars over the first column, if any.
        rows: rows shown; the CSV has all.
    """

    title: str
    note: str
    columns: Mapping[str, str]
    plot: str | None = None
    rows: int = 40


TABLES: Mapping[str, Table] = {
    "partitions": Table(
        "Deliveries",
        "One row for each raw partition. Read = kept + duplicates + quarantined + excluded (labelled or "
        "benchmark text).",
        {
            "partition": "text", "read": "count", "kept": "count", "duplicates": "count", "quarantined": "count",
            "excluded": "count", "bytes": "bytes", "tokens": "count",
        },
    ),
    "languages": Table(
        "Languages", "As identified; “und” is text too short or too strange to tell.",
        {"language": "text", "documents": "count", "share": "share"}, plot="share", rows=15,
    ),
    "registers": Table(
        "Registers",
        "What the source declares, what the classifier says, and the mean of the quality classifier.",
        {"declared": "text", "predicted": "text", "documents": "count", "share": "share", "quality": "number"},
    ),
    "topics": Table(
        "Topics", "Clusters of sentence vectors, with the words that set them apart and the teacher's mean score.",
        {"topic": "text", "documents": "count", "tokens": "count", "teacher": "number"},
    ),
    "rules": Table(
        "Quality rules",
        "Share of documents that fail each rule, by source. Rules mark; the profile's [removal] decides what counts.",
        {"rule": "text", "source": "text", "documents": "count", "fails": "share"}, rows=400,
    ),
    "duplicates": Table(
        "Duplicates", "Copies beyond the one that is kept, by kind and source.",
        {"kind": "text", "source": "text", "copies": "count", "clusters": "count", "share": "share"},
    ),
    "contamination": Table(
        "Benchmark contamination", "Documents that share a 13-gram with a text that the evaluation uses.",
        {"benchmark": "text", "source": "text", "documents": "count"},
    ),
    "pii": Table(
        "Personal data", "Spans that are replaced by placeholders before a model reads the text.",
        {"source": "text", "documents": "count", "n_email": "count", "n_phone": "count", "n_ip": "count",
         "n_card": "count"},
    ),
    "removal": Table(
        "What never enters the pool", "By cause and source, as a share of the source's distinct documents.",
        {"source": "text", "cause": "text", "documents": "count", "share": "share"},
    ),
    "requests": Table(
        "Removal requests",
        "What the file of requests names, by line, and the distinct documents that it removes. A request of zero names "
        "nothing that is in the corpus.",
        {"line": "text", "given": "text", "request_id": "text", "documents": "count"}, rows=400,
    ),
    "parity": Table(
        "Whom removal meets",
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


@dataclass(frozen=True, slots=True)
class CorpusProfile:
    """What the page shows.

    Attributes:
        title: the page's title.
        created_at: when it was computed.
        facts: name to figure, for the head of the page.
        tables: the frames of `TABLES`; missing or empty ones are left out.
        distributions: score, low and high edge, documents: histograms of each score.
    """

    title: str
    created_at: str
    facts: Mapping[str, str]
    tables: Mapping[str, pl.DataFrame]
    distributions: pl.DataFrame


@dataclass(frozen=True, slots=True)
class _Section:
    title: str
    note: str
    columns: list[tuple[str, bool]]
    rows: list[list[str]]
    flagged: list[bool]
    hidden: int
    csv: str
    name: str
    plots: list[Plot] = field(default_factory=list)


def render_corpus(profile: CorpusProfile) -> str:
    """The whole page as one HTML file without outside links or scripts."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("curation_pipeline.experiment"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"clean": one_line, "num": number}
    sections = [
        _section(name, table, profile.tables[name])
        for name, table in TABLES.items()
        if name in profile.tables and profile.tables[name].height
    ]
    plots = [
        histogram(rows, str(score), f"distribution-{score}")
        for (score,), rows in profile.distributions.group_by("score", maintain_order=True)
    ]
    contents = [(section.name, section.title) for section in sections]
    contents += [("distributions", "Score distributions")] if plots else []
    return environment.get_template("corpus.html.j2").render(
        profile=profile, sections=sections, distributions=plots, contents=contents
    )


def _section(name: str, table: Table, frame: pl.DataFrame) -> _Section:
    shown = frame.head(table.rows)
    plots = []
    if table.plot is not None:
        first = next(iter(table.columns))
        drawn = shown.select(pl.col(first).cast(pl.Utf8).alias("name"), pl.col(table.plot).alias("value"))
        plots.append(bars(drawn, table.title, f"corpus-{name}", table.plot))
    return _Section(
        title=table.title,
        note=table.note,
        columns=[(column.replace("_", " "), kind not in ("text", "mark")) for column, kind in table.columns.items()],
        rows=[
            [FORMATS[kind](row[column]) for column, kind in table.columns.items()]
            for row in shown.iter_rows(named=True)
        ],
        flagged=shown["flagged"].to_list() if "flagged" in shown.columns else [False] * shown.height,
        hidden=frame.height - shown.height,
        csv=csv_link(frame.select(pl.exclude(pl.List, pl.Struct, pl.Array))),
        name=name,
        plots=plots,
    )


def histogram_rows(score: str, values: np.ndarray, bins: int = 40, log: bool = False) -> pl.DataFrame:
    """The rows of one score in `CorpusProfile.distributions`.

    Args:
        score: its name.
        values: finite numbers, any shape (n,).
        bins: number of bins, of equal width on the scale.
        log: bins of equal width in the logarithm; values below 1 fall into the first.
    """
    if not len(values):
        return pl.DataFrame(schema={"score": pl.Utf8, "low": pl.Float64, "high": pl.Float64, "documents": pl.Int64})
    scaled = np.log10(np.maximum(values, 1.0)) if log else values
    counts, edges = np.histogram(scaled.astype(np.float64), bins=bins)
    edges = 10**edges if log else edges
    return pl.DataFrame(
        {"score": score, "low": edges[:-1], "high": edges[1:], "documents": counts.astype(np.int64)},
        schema_overrides={"low": pl.Float64, "high": pl.Float64},
    )
