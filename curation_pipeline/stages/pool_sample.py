"""A sample of fixed size that stands for a pool: what a policy, probes and reports are made on."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import polars as pl

from curation_pipeline.lake.keyed import shards_of
from curation_pipeline.seeds import unit_hash

DOCUMENTS = 131_072
"""Documents of the sample, about; a pool of at most so many is its own sample."""
_SEED = 1
"""The sample is a property of the pool: no seed of a run moves it."""


class PoolSample(NamedTuple):
    """Some documents of a pool, each in it with the same probability.

    Attributes:
        frame: their rows, in the pool's order.
        share: of the pool's tokens that they hold, in (0, 1].
    """

    frame: pl.DataFrame
    share: float

    def budget(self, tokens: int) -> int:
        """What a budget of the pool is in the sample, at least 1."""
        return max(round(tokens * self.share), 1)


def pool_sample(path: Path, documents: int = DOCUMENTS) -> PoolSample:
    """The sample of a pool in a Parquet file: the documents with the smallest hashes of their ids.

    Args:
        path: of the file; it is read a shard at a time.
        documents: about how many.
    """
    shards = shards_of([path])
    rows = sum(shard.rows for shard in shards)
    if rows <= documents:
        return PoolSample(pl.read_parquet(path, glob=False), 1.0)
    kept: list[pl.DataFrame] = []
    tokens = 0
    for shard in shards:
        frame = shard.frame()
        tokens += int(frame["n_tokens"].cast(pl.Int64).sum())
        kept.append(frame.filter(pl.Series(unit_hash(frame["doc_id"], _SEED) < documents / rows)))
    sample = pl.concat(kept)
    return PoolSample(sample, int(sample["n_tokens"].cast(pl.Int64).sum()) / tokens)
