"""What the report shows of the drawn batches: shares by dimension, and parity of clean text by identity group."""

from __future__ import annotations

import polars as pl

from curation_pipeline.annotate.parity import katz_interval
from curation_pipeline.lake.lake import Lake
from curation_pipeline.stages.state import MAIN, State

_Z = 1.959964
"""Standard errors to each side of a 95% interval."""


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
    """Selection rate of clean text by mentioned identity group, over that of clean text that mentions none.

    With the 95% interval of such a ratio over documents.
    """
    rows = []
    for state in main[1:]:
        drawn = lake.frame(lake.get(state.own["batches"]), columns=["doc_id"])["doc_id"]
        clean = lake.frame(lake.get(state.own["pool"])).filter(pl.col("toxicity_bin") == 0)
        rates = clean.group_by("identity_group").agg(
            pl.len().alias("documents"), pl.col("doc_id").is_in(drawn.implode()).sum().alias("drawn")
        )
        none = next(rates.filter(pl.col("identity_group") == "none").iter_rows(named=True), None)
        if none is None or not none["drawn"]:
            continue
        for row in rates.filter(pl.col("identity_group") != "none").sort("identity_group").iter_rows(named=True):
            low, high = katz_interval(row["drawn"], row["documents"], none["drawn"], none["documents"], _Z)
            ratio = (row["drawn"] / row["documents"]) / (none["drawn"] / none["documents"])
            rows.append(
                {
                    "chain": MAIN,
                    "ordinal": state.ordinal,
                    "identity_group": row["identity_group"],
                    "documents": row["documents"],
                    "parity": ratio,
                    # Where a count is 0 the interval leans on half a document, and would not hold the ratio itself.
                    "parity_low": min(low, ratio),
                    "parity_high": max(high, ratio),
                }
            )
    return pl.DataFrame(rows) if rows else None
