"""`curate why`: everything that is known about one document, and every decision that was ever made about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from curation_pipeline.annotate.pii import SCHEMA as PII_SCHEMA
from curation_pipeline.annotate.pii import redact
from curation_pipeline.annotate.quality import failed_rules
from curation_pipeline.lake.keyed import lookup, row_at
from curation_pipeline.lake.lake import Lake
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.declared import IN_USE, RETIRED
from curation_pipeline.stages.document_index import Location
from curation_pipeline.stages.lineage import find_documents, raw_row
from curation_pipeline.stages.queries import selection_history
from curation_pipeline.stages.removal import removed_documents
from curation_pipeline.stages.sampling import is_held_out
from curation_pipeline.steps.corpus_tables import annotated
from curation_pipeline.steps.registry import annotation_steps

SPANS = PII_SCHEMA["spans"]
HIDDEN = ("vector", "signature", "figures", "doc_id", "spans")
EXCERPT_CHARS = 400


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything about one document.

    Attributes:
        doc_id: the document.
        excerpt: the beginning of its text, personal data redacted.
        copies: one row for each place where it is: partition, file, position, url, the partition's standing and the
            documents' manifest.
        annotations: table to column to value, from the first partition that annotates it.
        failed_rules: quality rules that it does not pass.
        duplicates: its rows of the table ``duplicates``: cluster, the kept document and why.
        held_out: whether it is kept out of every pool to evaluate on.
        removed: causes that keep it out of the next pool: cause and detail; ``retired`` where no partition of the
            corpus holds it.
        history: what each iteration of each chain decided: see `selection_history`.
    """

    doc_id: str
    excerpt: str
    copies: pl.DataFrame
    annotations: dict[str, dict[str, Any]]
    failed_rules: list[str]
    duplicates: pl.DataFrame
    held_out: bool
    removed: pl.DataFrame
    history: pl.DataFrame


def explain(ctx: Context, name: str) -> list[Explanation]:
    """Everything about the document with this id, or about all documents of a page.

    Raises:
        LakeError: no document has this id or url, or the index has not been made.
    """
    return [_explain(ctx, doc_id, places) for doc_id, places in find_documents(ctx.lake, name).items()]


def _explain(ctx: Context, doc_id: str, places: list[Location]) -> Explanation:
    lake = ctx.lake
    rows = [
        raw_row(lake, place).with_columns(pl.lit(RETIRED if _retired(ctx, place) else IN_USE).alias("standing"))
        for place in places
    ]
    live = [place for place in places if not _retired(ctx, place)]
    first = next((place for place in live or places if place.place is not None), places[0])
    annotations = _annotations(lake, first)
    spans = annotations.get("pii", {}).get("spans", [])
    text = redact(rows[0]["text"], pl.Series([spans], dtype=SPANS))[0]
    rules = annotations.get("quality_rules")
    duplicates = lake.head("duplicates")
    return Explanation(
        doc_id=doc_id,
        excerpt=text[:EXCERPT_CHARS] + ("…" if len(text) > EXCERPT_CHARS else ""),
        copies=pl.concat(row.drop("text", "doc_id") for row in rows),
        annotations={
            table: {
                column: value
                for column, value in values.items()
                if column not in HIDDEN and not column.startswith("pass_")
            }
            for table, values in annotations.items()
        },
        failed_rules=[] if rules is None else failed_rules(pl.DataFrame([rules]))[0].to_list(),
        duplicates=pl.DataFrame() if duplicates is None
        else lookup(lake.path(duplicates, "data.parquet"), [doc_id]),
        held_out=bool(is_held_out(pl.Series([doc_id]), ctx.profile.corpus.holdout_share, ctx.profile.seed)[0]),
        removed=_removed(ctx, doc_id, first) if live else _not_in_the_corpus(doc_id, places),
        history=selection_history(lake, [doc_id]),
    )  # fmt: skip


def _annotations(lake: Lake, place: Location) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for table in (step.table for step in annotation_steps()):
        manifest = lake.head(table, place.documents.partition)
        if manifest is not None and place.place is not None and place.documents.id in manifest.inputs:
            row = row_at(lake.path(manifest, "data.parquet"), place.place)
            found[table] = row.row(0, named=True)
    return found


def _retired(ctx: Context, place: Location) -> bool:
    """As far as the index and the profile say: no source is asked for what it holds now, only to answer a question."""
    names = {source.name for source in ctx.profile.corpus.sources}
    return place.retired or place.documents.partition["source"] not in names


def _not_in_the_corpus(doc_id: str, places: list[Location]) -> pl.DataFrame:
    detail = f"the profile no longer declares {', '.join(place.documents.partition_text for place in places)}"
    return pl.DataFrame([{"doc_id": doc_id, "cause": RETIRED, "detail": detail}])


def _removed(ctx: Context, doc_id: str, place: Location) -> pl.DataFrame:
    """What the profile's present settings say of the document, read from its own partition alone."""
    lake = ctx.lake
    heads = {table: lake.head(table) for table in ("duplicates", "takedown_requests")}
    ids = annotated(lake, place.documents)
    if ids is None or any(head is None for head in heads.values()):
        return pl.DataFrame()
    corpus = {place.documents.partition_text: ids}
    references = {table: head.id for table, head in heads.items() if head is not None}
    found = removed_documents(lake, corpus, references, ctx.profile.removal)
    return found.filter(pl.col("doc_id") == doc_id)
