"""Where every document lies, so that any of them is found without a scan.

The corpus has one table, and what is retired another: whoever asks what a document touched is answered after its source
was taken out of the profile, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from curation_pipeline.lake.keyed import ROW_GROUP, only
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.declared import declared
from curation_pipeline.stages.document_index import CORPUS, RETIRED
from curation_pipeline.steps.corpus.documents import STEP as DOCUMENTS
from curation_pipeline.steps.step import Step, Work, no_seed


def compute(work: Work, draft: Draft) -> None:
    """The place of every document, sorted by doc_id: `curate why` and the pool's lookups need no scan.

    ``data`` holds the corpus, ``retired`` what the profile no longer declares: doc_id, source, snapshot, row (in the
    documents' table), place (in the tables of annotations; null for a repeated document), url.

    Raises:
        DataError: the corpus is empty.
    """
    documents, retired = work.every(DOCUMENTS), _retired(work)
    _write_index(work.lake, documents, draft.folder, CORPUS)
    if retired:
        _write_index(work.lake, retired, draft.folder, RETIRED)
    index = pl.scan_parquet(draft.folder / f"{CORPUS}.parquet", glob=False)
    rows, distinct = index.select(pl.len(), pl.col("doc_id").n_unique().alias("n")).collect().row(0)
    draft.summary.update(rows=rows, distinct_documents=distinct, partitions=len(documents))
    if retired:
        draft.summary["retired"] = [m.partition_text for m in retired]


def _retired(work: Work) -> tuple[Manifest, ...]:
    return tuple(declared(work.ctx).retired.values())


def _parameters(work: Work) -> dict[str, Any]:
    retired = [m.id for m in _retired(work)]
    return {"retired": retired} if retired else {}


def _write_index(lake: Lake, documents: tuple[Manifest, ...], folder: Path, name: str) -> None:
    import duckdb

    paths = [only(lake.path(m, "data.parquet")) for m in documents]
    # DuckDB sorts outside of memory.
    with duckdb.connect(config={"temp_directory": str(folder / ".spill")}) as connection:
        parts = " union all ".join(
            "select doc_id, source, snapshot, url, duplicate, file_row_number::bigint as row"
            " from read_parquet(?, file_row_number = true)"
            for _ in paths
        )
        target = str(folder / f"{name}.parquet").replace("'", "''")
        connection.execute(
            f"""copy (
                select doc_id, source, snapshot, row::integer as row,
                    case when duplicate then null else
                        (sum((not duplicate)::integer) over (partition by source, snapshot order by row) - 1)
                    end::integer as place,
                    url
                from ({parts}) order by doc_id, source, snapshot, row
            ) to '{target}' (format parquet, compression zstd, row_group_size {ROW_GROUP})""",
            paths,
        )


STEP = Step(
    module=__name__,
    table="document_index",
    version="2",
    compute=compute,
    inputs=(DOCUMENTS,),
    also=lambda work: [m.id for m in _retired(work)],
    parameters=_parameters,
    seed=no_seed,
    kinds=frozenset({"duckdb", "parquet"}),
    follows_corpus=True,
)
