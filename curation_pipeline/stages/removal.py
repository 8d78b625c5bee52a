"""What never enters a candidate pool, and why: a decision over annotations, made again for every iteration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from curation_pipeline.config import RemovalSettings
from curation_pipeline.lake.lake import Lake
from curation_pipeline.stages.takedown import matches
from curation_pipeline.stages.texts import table_parts

SCHEMA: dict[str, pl.DataType] = dict.fromkeys(("doc_id", "cause", "detail"), pl.Utf8())
"""One row for each cause that removes a document; a document may have several."""


def removed_documents(
    lake: Lake, corpus: Mapping[str, Mapping[str, str]], references: Mapping[str, str], settings: RemovalSettings
) -> pl.DataFrame:
    """The rows of `removals` in one table, each once, sorted."""
    return pl.concat(removals(lake, corpus, references, settings)).unique().sort(list(SCHEMA))


def removals(
    lake: Lake, corpus: Mapping[str, Mapping[str, str]], references: Mapping[str, str], settings: RemovalSettings
) -> Iterator[pl.DataFrame]:
    """Every document of the frozen corpus that must not be drawn, as it is met.

    Args:
        lake: the lake.
        corpus: ids of each partition's documents and annotations, as a gate freezes them.
        references: ids of the unpartitioned artefacts; ``duplicates`` and ``takedown_requests`` are read.
        settings: which causes count.

    Yields:
        Rows of `SCHEMA`; a row may come again. The first frame is empty.
    """
    yield pl.DataFrame(schema=SCHEMA)
    requests = lake.frame(lake.get(references["takedown_requests"]))
    for ids in corpus.values():
        yield from _of_partition(lake, ids, requests, settings)
    yield from _duplicates(lake, references, settings)


def _of_partition(
    lake: Lake, ids: Mapping[str, str], requests: pl.DataFrame, settings: RemovalSettings
) -> Iterator[pl.DataFrame]:
    def parts(table: str, *columns: str) -> Iterator[pl.DataFrame]:
        return table_parts(lake, lake.get(ids[table]), columns)

    if requests.height:
        for documents in parts("documents", "doc_id", "url"):
            yield _rows(matches(documents, requests), "takedown request", pl.col("detail"))
    if settings.contamination:
        detail = pl.format("{} n-grams of {}", pl.col("n_overlaps"), pl.col("benchmark"))
        for overlaps in parts("contamination"):
            yield _rows(overlaps.filter(pl.col("n_overlaps") > 0), "contaminated", detail)
    if settings.rules:
        flags = [f"pass_{name}" for name in settings.rules]
        for passed in parts("quality_rules", "doc_id", *flags):
            for name, flag in zip(settings.rules, flags, strict=True):
                yield _rows(passed.filter(~pl.col(flag)), "rule", pl.lit(name))
    if settings.languages:
        other = ~pl.col("language").is_in([*settings.languages, "und"])
        for spoken in parts("language", "doc_id", "language"):
            yield _rows(spoken.filter(other), "language", pl.col("language"))


def _duplicates(lake: Lake, references: Mapping[str, str], settings: RemovalSettings) -> Iterator[pl.DataFrame]:
    kinds = ["near"] * settings.near_duplicates + ["semantic"] * settings.semantic_duplicates
    detail = pl.format("of {}, similarity {}", pl.col("kept_doc_id"), pl.col("similarity").round(3))
    for part in table_parts(lake, lake.get(references["duplicates"])) if kinds else ():
        for kind in kinds:
            dropped = part.filter(~pl.col("kept") & (pl.col("kind") == kind))
            yield _rows(dropped, f"{kind} duplicate", detail)


def _rows(frame: pl.DataFrame, cause: str, detail: pl.Expr) -> pl.DataFrame:
    return frame.select("doc_id", pl.lit(cause).alias("cause"), detail.cast(pl.Utf8).alias("detail"))
