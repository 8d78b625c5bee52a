"""What a batch's page shows beside its numbers: parity between identity groups, and shares before and after."""

from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from assets.metadata import plot

PARITY = "identity_parity"


def parity(pool: pl.DataFrame, batch: pl.DataFrame) -> dg.AssetCheckResult:
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
    return dg.AssetCheckResult(
        check_name=PARITY,
        passed=all(ratio >= 0.8 for ratio in ratios.values()),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"selection_rate_ratio_by_source": dg.MetadataValue.json(ratios)},
    )


def shares_plot(shares: dict[str, dict[str, float]]) -> dg.MetadataValue:
    """Token shares of the toxicity bins in the pool and in the batch."""
    names = sorted(shares["pool"])

    def draw(axes: Any) -> None:
        place = np.arange(len(names))
        for offset, (part, values) in zip((-0.2, 0.2), shares.items(), strict=True):
            axes.bar(place + offset, [values.get(name, 0.0) for name in names], width=0.38, label=part)
        axes.set_xticks(place, [f"bin {name}" for name in names])
        axes.set(ylabel="share of tokens", title="P(harm): bin 0 clean, 1 doubtful, 2 harmful")
        axes.legend(frameon=False)

    return plot(draw)
