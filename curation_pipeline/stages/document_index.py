"""Where every document lies: one table sorted by doc_id, so that any of them is found without a scan."""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl

from curation_pipeline.lake.keyed import ROW_GROUP, lookup, only
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.sampling import corpus_documents

TABLE = "document_index"
DOC_ID = re.compile(r"^[0-9a-f]{32}$")
CODE_VERSION = "1"


@dataclass(frozen=True, slots=True)
class Location:
    """Where one copy of a document lies.

    Attributes:
        documents: the artefact of its partition.
        row: its row in that artefact's table.
        place: its row in every annotation of the partition; None for a repeated document, which has none of its own.
    """

    documents: Manifest
    row: int
    place: int | None


def document_index(ctx: Context) -> Manifest:
    """Index the current documents of every partition.

    The table is sorted outside of memory by DuckDB: doc_id, source, snapshot, row (in the documents' table), place (in
    the tables of annotations; null for a repeated document), url.

    Raises:
        DataError: the corpus is empty.
    """
    lake = ctx.lake
    documents = corpus_documents(lake)
    recipe = Recipe(TABLE, {}, tuple(m.id for m in documents), {}, 0, CODE_VERSION)

    def make(draft: Draft) -> None:
        import duckdb

        paths = [only(lake.path(m, "data.parquet")) for m in documents]
        with duckdb.connect(config={"temp_directory": str(draft.folder / ".spill")}) as connection:
            parts = " union all ".join(
                "select doc_id, source, snapshot, url, duplicate, file_row_number::bigint as row"
                " from read_parquet(?, file_row_number = true)"
                for _ in paths
            )
            target = str(draft.folder / "data.parquet").replace("'", "''")
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
        index = pl.scan_parquet(draft.folder / "data.parquet", glob=False)
        rows, distinct = index.select(pl.len(), pl.col("doc_id").n_unique().alias("n")).collect().row(0)
        draft.summary.update(rows=rows, distinct_documents=distinct, partitions=len(documents))

    return lake.build(recipe, make)


def locate(lake: Lake, doc_id: str) -> list[Location]:
    """Every copy of a document, in order of partition.

    Raises:
        LakeError: the index has not been made.
    """
    manifest = lake.require(TABLE)
    found = lookup(lake.path(manifest, "data.parquet"), [doc_id], ["source", "snapshot", "row", "place"])
    by_partition = {m.partition_text: m for m in map(lake.get, manifest.inputs)}
    return [
        Location(by_partition[f"{row['source']}|{row['snapshot']}"], row["row"], row["place"])
        for row in found.iter_rows(named=True)
    ]


def ids_of_url(lake: Lake, url: str) -> list[str]:
    """Documents that came from a page, by its exact address.

    Raises:
        LakeError: the index has not been made.
    """
    index = pl.scan_parquet(lake.path(lake.require(TABLE), "data.parquet"), glob=False)
    return index.filter(pl.col("url") == url).select("doc_id").unique().sort("doc_id").collect()["doc_id"].to_list()
