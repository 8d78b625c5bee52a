"""The draw of a batch by a selector that has to see many documents at once, a part of the pool at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from curation_pipeline.lake.keyed import SHARD_ROWS, shards_of
from curation_pipeline.policy.pool import F64, Pool
from curation_pipeline.policy.scores import Scores
from curation_pipeline.selection.draw import I64, Drawn, apply, limit_of, ranks
from curation_pipeline.selection.protocol import Decisions, PoolFile, Selector
from curation_pipeline.selection.stream_tables import COLUMNS


@dataclass(frozen=True, slots=True)
class InParts:
    """Draws with a selector that ranks or counts over what it sees, or fits something to it, part by part.

    A pool is sorted by doc_id, which is a hash: a run of its rows is a random sample of it. Each part is decided as a
    pool of its own, with its share of the budget, so that a rank, a quantile or a fit is that of the pool up to a
    sampling error of about one in 360, and a greedy choice keeps a constant factor of its guarantee (random partition:
    Barbosa, Ene, Nguyen and Ward 2015, arXiv:1502.02606). What is drawn is then found over all parts together, under
    one budget. A pool of at most `SHARD_ROWS` documents is one part.

    Attributes:
        selector: given the doc_ids of a part.
    """

    selector: Callable[[pl.Series], Selector]

    def decisions(self, file: PoolFile, budget_tokens: int, seed: int) -> Iterator[Decisions]:
        """The decisions of one part after the other."""
        rows = pl.scan_parquet(file.path, glob=False).select(pl.len(), pl.col("n_tokens").cast(pl.Int64).sum())
        documents, tokens = rows.collect().row(0)
        count = max(-(-documents // SHARD_ROWS), 1)
        shards = shards_of([file.path], max(-(-documents // count), 1))
        parts = []
        for number, shard in enumerate(shards):
            pool = Pool.from_frame(shard.frame())
            share = budget_tokens if count == 1 else budget_tokens * pool.total_tokens // tokens
            scores = self.selector(pool.doc_id).scores(pool, share, seed)
            part = _ScoredPart(file.scratch / f"scores-{number:05d}.parquet")
            part.save(scores, ranks(pool.doc_id, scores.probability, seed), pool.n_tokens)
            parts.append(part)
            file.progress("scores", 0.9 * (number + 1) / len(shards))
        limit = limit_of(parts, budget_tokens)
        for shard, part in zip(shards, parts, strict=True):
            scores, rank = part.load()
            drawn = apply(rank, limit)
            weight = np.where(drawn, scores.weight, np.float32(0.0))
            yield shard.frame(COLUMNS), scores, Drawn(drawn, weight, limit)


@dataclass(frozen=True, slots=True)
class _ScoredPart:
    """What a selector said about a part of a pool, on disk."""

    path: Path

    def save(self, scores: Scores, rank: F64, n_tokens: I64) -> None:
        reason = pl.lit(None, pl.Utf8) if scores.reason is None else pl.Series(scores.reason, dtype=pl.Utf8)
        columns = {"probability": scores.probability, "weight": scores.weight, "rank": rank, "n_tokens": n_tokens}
        pl.DataFrame(columns).with_columns(reason.alias("reason")).write_parquet(self.path, compression="lz4")

    def __call__(self) -> tuple[F64, I64]:
        frame = pl.read_parquet(self.path, columns=["rank", "n_tokens"], glob=False)
        return frame["rank"].to_numpy(), frame["n_tokens"].to_numpy()

    def load(self) -> tuple[Scores, F64]:
        frame = pl.read_parquet(self.path, glob=False)
        reason = None if frame["reason"].null_count() else frame["reason"].to_list()
        return Scores(frame["probability"].to_numpy(), frame["weight"].to_numpy(), reason), frame["rank"].to_numpy()
