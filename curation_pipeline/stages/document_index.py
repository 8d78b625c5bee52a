"""Finding any document by its id or address without a scan; see `steps/corpus_wide/document_index.py`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from curation_pipeline.lake.keyed import lookup
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest

TABLE = "document_index"
DOC_ID = re.compile(r"^[0-9a-f]{32}$")
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
