"""What never enters a candidate pool, and why: a decision over annotations, made again for every iteration."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from curation_pipeline.config import RemovalSettings
from curation_pipeline.lake.lake import Lake
from curation_pipeline.stages.takedown import matches

SCHEMA: dict[str, pl.DataType] = dict.fromkeys(("doc_id", "cause", "detail"), pl.Utf8())
"""One row for each cause that removes a document; a document may have several."""


def removed_documents(
    lake: Lake, corpus: dict[str, dict[str, str]], references: dict[str, str], settings: RemovalSettings
) -> pl.DataFrame:
    """Every document of the frozen corpus that must not be drawn.

    Args:
        lake: the lake.
        corpus: ids of each partition's documents and annotations, as a gate freezes them.
        references: ids of the unpartitioned artefacts; ``duplicates`` and ``takedown_requests`` are read.
        settings: which causes count.

    Returns:
        Rows of `SCHEMA`, sorted.
    """
    found = [pl.DataFrame(schema=SCHEMA)]
    for ids in corpus.values():
        found.extend(_of_partition(lake, ids, references, settings))
    found.extend(_duplicates(lake, references, settings))
    return pl.concat(found).unique().sort(list(SCHEMA))


def _of_partition(
    lake: Lake, ids: dict[str, str], references: dict[str, str], settings: RemovalSettings
) -> Iterator[pl.DataFrame]:
    requests = lake.frame(lake.get(references["takedown_requests"]))
    if requests.height:
        documents = lake.frame(lake.get(ids["documents"]), columns=["doc_id", "url"])
        yield _rows(matches(documents, requests), "takedown request", pl.col("detail"))
    if settings.contamination:
        overlaps = lake.frame(lake.get(ids["contamination"])).filter(pl.col("n_overlaps") > 0)
        detail = pl.format("{} n-grams of {}", pl.col("n_overlaps"), pl.col("benchmark"))
        yield _rows(overlaps, "contaminated", detail)
    if settings.rules:
        flags = [f"pass_{name}" for name in settings.rules]
        failed = lake.frame(lake.get(ids["quality_rules"]), columns=["doc_id", *flags])
        for name, flag in zip(settings.rules, flags, strict=True):
            yield _rows(failed.filter(~pl.col(flag)), "rule", pl.lit(name))
    if settings.languages:
        spoken = lake.frame(lake.get(ids["language"]), columns=["doc_id", "language"])
        other = spoken.filter(~pl.col("language").is_in([*settings.languages, "und"]))
        yield _rows(other, "language", pl.col("language"))


def _duplicates(lake: Lake, references: dict[str, str], settings: RemovalSettings) -> Iterator[pl.DataFrame]:
    kinds = ["near"] * settings.near_duplicates + ["semantic"] * settings.semantic_duplicates
    if kinds:
        table = lake.frame(lake.get(references["duplicates"])).filter(~pl.col("kept") & pl.col("kind").is_in(kinds))
        for (kind,), rows in table.group_by("kind", maintain_order=True):
            detail = pl.format("of {}, similarity {}", pl.col("kept_doc_id"), pl.col("similarity").round(3))
            yield _rows(rows, f"{kind} duplicate", detail)


def _rows(frame: pl.DataFrame, cause: str, detail: pl.Expr) -> pl.DataFrame:
    return frame.select("doc_id", pl.lit(cause).alias("cause"), detail.cast(pl.Utf8).alias("detail"))
