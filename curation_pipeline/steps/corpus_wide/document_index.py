"""Where every document lies, so that any of them is found without a scan.

The corpus has one table, and what is retired another: whoever asks what a document touched is answered after its source
was taken out of the profile, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.lake.runs import sorted_runs
from curation_pipeline.stages.declared import declared
from curation_pipeline.stages.document_index import CORPUS, RETIRED
from curation_pipeline.stages.texts import table_parts
from curation_pipeline.steps.corpus.documents import STEP as DOCUMENTS
from curation_pipeline.steps.step import Step, Work, no_seed

SCHEMA: dict[str, pl.DataType] = {
    "doc_id": pl.Utf8(),
    "source": pl.Utf8(),
    "snapshot": pl.Utf8(),
    "row": pl.Int32(),
    "place": pl.Int32(),
    "url": pl.Utf8(),
}


def compute(work: Work, draft: Draft) -> None:
    """The place of every document, sorted by doc_id: `curate why` and the pool's lookups need no scan.

    ``data`` holds the corpus, ``retired`` what the profile no longer declares: doc_id, source, snapshot, row (in the
    documents' table), place (in the tables of annotations; null for a repeated document), url.

    Raises:
        DataError: the corpus is empty.
    """
    documents, retired = work.every(DOCUMENTS), _retired(work)
    rows, distinct = write_index(work.lake, documents, draft, CORPUS)
    if retired:
        write_index(work.lake, retired, draft, RETIRED)
    draft.summary.update(rows=rows, distinct_documents=distinct, partitions=len(documents))
    if retired:
        draft.summary["retired"] = [m.partition_text for m in retired]


def _retired(work: Work) -> tuple[Manifest, ...]:
    return tuple(declared(work.ctx).retired.values())


def _parameters(work: Work) -> dict[str, Any]:
    retired = [m.id for m in _retired(work)]
    return {"retired": retired} if retired else {}


def write_index(lake: Lake, documents: tuple[Manifest, ...], draft: Draft, name: str) -> tuple[int, int]:
    """Write a table; its rows, and the distinct documents among them."""
    rows = distinct = 0
    with sorted_runs(draft.folder) as runs, draft.keyed_writer(SCHEMA, name) as write:
        for manifest in documents:
            runs.extend(_places(lake, manifest))
        for part in runs.merged():
            write(part.sort("doc_id", "source", "snapshot", "row"))
            rows, distinct = rows + part.height, distinct + part["doc_id"].n_unique()
    return rows, distinct


def _places(lake: Lake, documents: Manifest) -> Iterator[pl.DataFrame]:
    row = place = 0
    for part in table_parts(lake, documents, ["doc_id", "source", "snapshot", "url", "duplicate"]):
        own = (~pl.col("duplicate")).cast(pl.Int32)
        yield part.select(
            "doc_id",
            "source",
            "snapshot",
            pl.int_range(row, row + pl.len(), dtype=pl.Int32).alias("row"),
            pl.when(~pl.col("duplicate")).then(place + own.cum_sum() - 1).cast(pl.Int32).alias("place"),
            "url",
        )
        row, place = row + part.height, place + part.height - int(part["duplicate"].sum())


STEP = Step(
    module=__name__,
    table="document_index",
    version="2",
    compute=compute,
    inputs=(DOCUMENTS,),
    also=lambda work: [m.id for m in _retired(work)],
    parameters=_parameters,
    seed=no_seed,
    kinds=frozenset({"polars", "parquet"}),
    follows_corpus=True,
)
