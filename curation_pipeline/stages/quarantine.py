"""What of a delivery could not be read: how much, why first, and where its rows are."""

from __future__ import annotations

import polars as pl

from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest

REASONS_TOLD, REASON_CHARS = 3, 160


def quarantine_reasons(lake: Lake, documents: Manifest) -> pl.DataFrame:
    """Kinds of reasons with their rows (columns reason and len), the most frequent first."""
    # Reasons name bytes, lines and status codes; without their numbers there are few kinds.
    kind = (
        pl.when(pl.col("reason").str.starts_with("HTTP status"))
        .then("reason")
        .otherwise(pl.col("reason").str.replace_all(r"\d+", "#"))
    )
    quarantine = lake.frame(documents, "quarantine", columns=["reason"])
    return quarantine.group_by(kind.alias("reason")).len().sort("len", "reason", descending=[True, False])


def unreadable(documents: Manifest) -> bool:
    """Whether there were rows in the delivery, and all of them are in quarantine."""
    return 0 < int(documents.summary.get("read", 0)) == int(documents.summary.get("quarantined", 0))


def quarantine_line(lake: Lake, documents: Manifest) -> str | None:
    """How many rows of a partition are in quarantine, the first reasons, and where to look; None without any."""
    quarantined = documents.summary.get("quarantined", 0)
    if not quarantined:
        return None
    reasons = quarantine_reasons(lake, documents)
    told = "; ".join(f"{reason[:REASON_CHARS]} ({n:,})" for reason, n in reasons.head(REASONS_TOLD).iter_rows())
    more = f"; {reasons.height - REASONS_TOLD:,} other reasons" if reasons.height > REASONS_TOLD else ""
    extent = "all" if unreadable(documents) else f"{quarantined:,} of"
    return (
        f"{documents.partition_text}: {extent} {documents.summary['read']:,} rows are in quarantine: {told}{more}. "
        f"Each has its file, place, reason and beginning in {lake.path(documents, 'quarantine.parquet')}"
    )
