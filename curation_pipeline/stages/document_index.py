"""Where every document lies: tables sorted by doc_id, so that any of them is found without a scan.

The corpus has one table, and what is retired another: whoever asks what a document touched is answered after its source
was taken out of the profile, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from curation_pipeline.lake.keyed import ROW_GROUP, lookup, only
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.declared import declared
from curation_pipeline.stages.sampling import corpus_documents

TABLE = "document_index"
DOC_ID = re.compile(r"^[0-9a-f]{32}$")
CODE_VERSION = "2"
CORPUS, RETIRED = "data", "retired"


@dataclass(frozen=True, slots=True)
class Location:
    """Where one copy of a document lies.

    Attributes:
        documents: the artefact of its partition.
        row: its row in that artefact's table.
        place: its row in every annotation of the partition; None for a repeated document, which has none of its own.
        retired: whether the profile no longer declared the partition when the index was made.
    """

    documents: Manifest
    row: int
    place: int | None
    retired: bool


def document_index(ctx: Context) -> Manifest:
    """Index the current documents of every partition: ``data`` those of the corpus, ``retired`` the others.

    The tables are sorted outside of memory by DuckDB: doc_id, source, snapshot, row (in the documents' table), place
    (in the tables of annotations; null for a repeated document), url.

    Raises:
        DataError: the corpus is empty.
    """
    lake = ctx.lake
    documents, retired = corpus_documents(ctx), list(declared(ctx).retired.values())
    parameters = {"retired": [m.id for m in retired]} if retired else {}
    recipe = Recipe(TABLE, {}, tuple(m.id for m in (*documents, *retired)), parameters, 0, CODE_VERSION)

    def make(draft: Draft) -> None:
        _write_index(lake, documents, draft.folder, CORPUS)
        if retired:
            _write_index(lake, retired, draft.folder, RETIRED)
        index = pl.scan_parquet(draft.folder / f"{CORPUS}.parquet", glob=False)
        rows, distinct = index.select(pl.len(), pl.col("doc_id").n_unique().alias("n")).collect().row(0)
        draft.summary.update(rows=rows, distinct_documents=distinct, partitions=len(documents))
        if retired:
            draft.summary["retired"] = [m.partition_text for m in retired]

    return lake.build(recipe, make)


def _write_index(lake: Lake, documents: list[Manifest], folder: Path, name: str) -> None:
    import duckdb

    paths = [only(lake.path(m, "data.parquet")) for m in documents]
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


def _tables(lake: Lake) -> tuple[Manifest, dict[str, Path]]:
    """The index and its tables by name, the corpus first.

    Raises:
        LakeError: the index has not been made.
    """
    manifest = lake.require(TABLE)
    held = {file.name for file in manifest.files}
    names = [name for name in (CORPUS, RETIRED) if f"{name}.parquet" in held]
    return manifest, {name: lake.path(manifest, f"{name}.parquet") for name in names}


def locate(lake: Lake, doc_id: str) -> list[Location]:
    """Every copy of a document, in order of partition; those in retired partitions last.

    Raises:
        LakeError: the index has not been made.
    """
    manifest, tables = _tables(lake)
    by_partition = {m.partition_text: m for m in map(lake.get, manifest.inputs)}
    return [
        Location(by_partition[f"{row['source']}|{row['snapshot']}"], row["row"], row["place"], name == RETIRED)
        for name, path in tables.items()
        for row in lookup(path, [doc_id], ["source", "snapshot", "row", "place"]).iter_rows(named=True)
    ]


def ids_of_url(lake: Lake, url: str) -> list[str]:
    """Documents that came from a page, by its exact address.

    Raises:
        LakeError: the index has not been made.
    """
    found = [pl.scan_parquet(path, glob=False).filter(pl.col("url") == url) for path in _tables(lake)[1].values()]
    return pl.concat(found).select("doc_id").unique().sort("doc_id").collect()["doc_id"].to_list()
