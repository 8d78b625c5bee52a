"""What the report shows of the drawn batches: shares by dimension, and parity of benign text by identity group."""

from __future__ import annotations

import polars as pl

from curation_pipeline.lake.lake import Lake
from curation_pipeline.stages.parity import batch_parity
from curation_pipeline.stages.state import MAIN, State


def selection(lake: Lake, states: dict[str, list[State]]) -> pl.DataFrame | None:
    """Shares of the pool's and of the batch's tokens along four dimensions, of every chain and iteration."""
    frames = []
    for chain, entries in states.items():
        for state in entries[1:]:
            pool = lake.frame(lake.get(state.own["pool"]))
            batch = lake.frame(lake.get(state.own["batches"])).select("doc_id", "weight")
            joined = pool.join(batch, on="doc_id", how="left").with_columns(pl.col("toxicity_bin").cast(pl.Utf8))
            total, drawn = joined["n_tokens"].sum(), joined.filter(pl.col("weight").is_not_null())["n_tokens"].sum()
            in_batch = pl.col("weight").is_not_null()
            for dimension in ("toxicity_bin", "source", "domain", "identity_group"):
                frames.append(
                    joined.group_by(pl.col(dimension).alias("value"))
                    .agg(
                        (pl.col("n_tokens").sum() / total).alias("pool_token_share"),
                        (pl.col("n_tokens").filter(in_batch).sum() / drawn).alias("batch_token_share"),
                        in_batch.mean().alias("selection_rate"),
                        pl.col("weight").mean().cast(pl.Float64).alias("mean_weight"),
                    )
                    .sort("value")
                    .with_columns(
                        pl.lit(chain).alias("chain"),
                        pl.lit(state.ordinal, pl.Int64).alias("ordinal"),
                        pl.lit(dimension).alias("dimension"),
                    )
                )
    return pl.concat(frames) if frames else None


def parity(lake: Lake, main: list[State]) -> pl.DataFrame | None:
    """Selection parity of every batch of the production chain, see `reward.parity`."""
    frames = [
        batch_parity(lake, state.own["pool"], state.own["batches"]).select(
            pl.lit(MAIN).alias("chain"), pl.lit(state.ordinal, pl.Int64).alias("ordinal"), pl.exclude("rate")
        )
        for state in main[1:]
    ]
    return pl.concat(frames) if frames else None
