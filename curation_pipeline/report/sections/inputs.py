"""The raw partitions that went in."""

from __future__ import annotations

from markupsafe import Markup

from curation_pipeline.report.html import Column, csv, element, join, numeric, paragraph, table, text
from curation_pipeline.report.numbers import DASH, count, size
from curation_pipeline.report.section import ReportData, ReportSource, ReportTable, Rows, Section
from curation_pipeline.stages.declared import standing

INPUTS = ReportTable(
    "inputs",
    {"source": str, "snapshot": str, "standing": str, "documents": int, "bytes": int, "duplicates": int}
    | {"quarantined": int, "content_hash": str},
)


def query(source: ReportSource) -> dict[str, Rows]:
    """Every raw partition that was read, with whether the profile still declares it."""
    known, _ = standing(source.ctx)
    rows = [
        {
            **{name: manifest.partition[name] for name in ("source", "snapshot")},
            "standing": known[manifest.partition_text],
            "documents": manifest.n_rows,
            "bytes": manifest.n_bytes,
            **{name: manifest.summary[name] for name in ("duplicates", "quarantined")},
            "content_hash": manifest.content_hash,
        }
        for manifest in source.lake.heads("documents")
    ]
    return {"inputs": rows}


def show(data: ReportData) -> Markup:
    """One row for each partition."""
    frame = data.table(INPUTS)
    columns = [
        text("source", "source"),
        text("snapshot", "snapshot"),
        text("standing", "standing"),
        numeric("documents", "documents", count),
        numeric("text", "bytes", size),
        numeric("duplicates", "duplicates", count),
        numeric("quarantined", "quarantined", count),
        Column("content hash", lambda row: element("code", (row["content_hash"] or DASH)[:16])),
    ]
    return join(
        paragraph("Raw partitions with the head of their content hash. ", csv("inputs", frame)),
        table(frame.to_dicts(), columns),
    )


SECTION = Section(130, "inputs", "What went in", show, (INPUTS,), query)
