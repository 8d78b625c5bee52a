"""A pool with what a batch drew of it, a part at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from curation_pipeline.lake.keyed import shards_of
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest


def drawn_parts(lake: Lake, pool: Manifest, batch: Manifest, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Rows of a pool in its order, with the column weight: the loss weight of what was drawn, else null.

    Args:
        lake: the lake.
        pool: what was drawn from.
        batch: what was drawn, in order of doc_id, so that little of it is read for each part.
        columns: of the pool besides doc_id.
    """
    drawn = pl.scan_parquet(lake.path(batch, "data.parquet"), glob=False).select("doc_id", "weight")
    for shard in shards_of([lake.path(pool, "data.parquet")]):
        rows = shard.frame(["doc_id", *columns])
        first, last = pl.lit(rows["doc_id"].min()), pl.lit(rows["doc_id"].max())
        own = drawn.filter(pl.col("doc_id").is_between(first, last)).collect()
        yield rows.join(own, on="doc_id", how="left", maintain_order="left")
