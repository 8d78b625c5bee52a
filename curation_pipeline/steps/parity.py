"""The check of parity between identity groups."""

from __future__ import annotations

import polars as pl

from curation_pipeline.steps.view import Answer, Check

PARITY = Check(
    "identity_parity",
    "among texts that the reward model calls clean, those that mention an identity group are drawn at least 0.8 times "
    "as often as those that mention none",
)


def parity(pool: pl.DataFrame, batch: pl.DataFrame) -> Answer:
    """Selection rate of clean text that mentions an identity group, over that of clean text that mentions none."""
    clean = pool.filter(pl.col("toxicity_bin") == 0).with_columns(
        pl.col("doc_id").is_in(batch["doc_id"].implode()).alias("drawn")
    )
    # Compared inside each source: sources differ in identity terms and in everything else.
    rates = clean.group_by("source", pl.col("identity_group").ne("none").alias("mentions")).agg(
        pl.len().alias("n"), pl.col("drawn").mean().alias("rate")
    )
    wide = rates.filter("mentions").join(rates.filter(~pl.col("mentions")), on="source", suffix="_none")
    wide = wide.filter((pl.col("n") >= 100) & (pl.col("n_none") >= 100) & (pl.col("rate_none") > 0))
    ratios = {row["source"]: round(row["rate"] / row["rate_none"], 3) for row in wide.iter_rows(named=True)}
    return PARITY.answer(all(ratio >= 0.8 for ratio in ratios.values()), selection_rate_ratio_by_source=ratios)
