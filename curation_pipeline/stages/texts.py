"""Documents of a frozen corpus with their annotations, and their texts as a model reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from curation_pipeline.annotate.pii import redact
from curation_pipeline.errors import DataError
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest

PART = 100_000
"""Rows of a partition that are read at a time: whole row groups of annotations."""

POOLED: Mapping[str, tuple[str, ...]] = {
    "text_statistics": ("quality", "identity_group"),
    "toxicity_teacher": (),
    "sentence_vectors": (),
    "token_counts": (),
    "register": ("register",),
    "dialect": ("aae_score",),
}
"""What a pool is made of: tables of annotations and their columns, all of them where none is named."""


def table_parts(lake: Lake, manifest: Manifest, columns: Sequence[str] = ()) -> Iterator[pl.DataFrame]:
    """The rows of an artefact's table in order, a part at a time; these columns, or all."""
    table = pl.scan_parquet(lake.path(manifest, "data.parquet"), glob=False)
    if columns:
        table = table.select(columns)
    rows = int(table.select(pl.len()).collect().item())
    for start in range(0, max(rows, 1), PART):
        yield table.slice(start, PART).collect()


def corpus_parts(
    lake: Lake,
    corpus: Mapping[str, Mapping[str, str]],
    columns: Sequence[str],
    annotations: Mapping[str, Sequence[str]],
) -> Iterator[pl.DataFrame]:
    """Documents of frozen partitions with their annotations, without duplicates, a part at a time.

    A text that is in several partitions comes once from each, in order of their keys.

    Args:
        lake: the lake.
        corpus: ids of each partition's documents and annotations.
        columns: of the documents besides doc_id.
        annotations: table to columns; all of the table's where none is named.

    Raises:
        DataError: a table of annotations does not hold the partition's documents row by row.
    """
    for key, ids in sorted(corpus.items()):
        paths = {table: lake.path(lake.get(ids[table]), "data.parquet") for table in annotations}
        kept = 0
        for documents in table_parts(lake, lake.get(ids["documents"]), ["doc_id", *columns, "duplicate"]):
            own = documents.filter(~pl.col("duplicate")).drop("duplicate")
            parts = [own]
            for table, wanted in annotations.items():
                rows = pl.scan_parquet(paths[table], glob=False).slice(kept, own.height)
                found = (rows.select("doc_id", *wanted) if wanted else rows).collect()
                if not found["doc_id"].equals(own["doc_id"]):
                    raise DataError(
                        f"the table {table} of the partition {key} does not hold its documents row by row (from row "
                        f"{kept}): materialise {table} of this partition again"
                    )
                parts.append(found.drop("doc_id"))
            kept += own.height
            yield pl.concat(parts, how="horizontal")


def corpus_texts(
    lake: Lake,
    corpus: Mapping[str, Mapping[str, str]],
    redact_pii: bool = True,
    annotations: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[pl.DataFrame]:
    """Texts as a model reads them, with further annotations; see `corpus_parts`."""
    spans = {"pii": ("spans",)} if redact_pii else {}
    for part in corpus_parts(lake, corpus, ("text",), {**(annotations or {}), **spans}):
        if redact_pii:
            part = part.with_columns(redact(part["text"], part["spans"]).alias("text")).drop("spans")
        yield part


def read_texts(lake: Lake, corpus: dict[str, dict[str, str]], doc_ids: pl.Series, redact_pii: bool = True) -> pl.Series:
    """The texts of some documents as a model reads them, in the order of ``doc_ids``.

    Args:
        lake: the lake.
        corpus: ids of each partition's documents and annotations.
        doc_ids: which documents.
        redact_pii: put placeholders in the place of personal data.
    """
    wanted = doc_ids.unique().implode()

    def rows(identity: str, *columns: str) -> pl.DataFrame:
        table = pl.scan_parquet(lake.path(lake.get(identity), "data.parquet"), glob=False)
        return table.filter(pl.col("doc_id").is_in(wanted)).select("doc_id", *columns).collect()

    found = []
    for _, ids in sorted(corpus.items()):
        texts = rows(ids["documents"], "text").unique("doc_id", keep="first", maintain_order=True)
        if redact_pii and texts.height:
            texts = texts.join(rows(ids["pii"], "spans"), on="doc_id", how="left", maintain_order="left")
            texts = texts.with_columns(redact(texts["text"], texts["spans"]).alias("text")).drop("spans")
        found.append(texts)
    every = pl.concat(found).unique("doc_id", keep="first", maintain_order=True)
    return doc_ids.to_frame("doc_id").join(every, on="doc_id", how="left", maintain_order="left")["text"]
