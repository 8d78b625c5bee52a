"""What was selected: shares of the pool and of the batch, and parity of benign text by identity group."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
from markupsafe import Markup

from curation_pipeline.escaping import one_line
from curation_pipeline.lake.lake import Lake
from curation_pipeline.report.html import grid, join, paragraph
from curation_pipeline.report.plots import ranges, shares
from curation_pipeline.report.section import IS_LAST, ReportData, ReportSource, ReportTable, Rows, Section
from curation_pipeline.stages.parity import batch_parity
from curation_pipeline.stages.state import MAIN, State

SELECTION = ReportTable(
    "selection",
    {"chain": str, "ordinal": int, "dimension": str, "value": str, "pool_token_share": float}
    | {"batch_token_share": float, "selection_rate": float, "mean_weight": float},
)
PARITY = ReportTable(
    "parity",
    {"chain": str, "ordinal": int, "identity_group": str, "documents": int, "parity": float, "parity_low": float}
    | {"parity_high": float},
)
TITLES = {
    "toxicity_bin": "toxicity bin (0 is the cleanest)",
    "domain": "domain",
    "source": "source",
    "identity_group": "identity group mentioned",
}


def query(source: ReportSource) -> dict[str, Rows]:
    """Shares along each dimension, and selection rates of benign text over that of text that mentions no group."""
    return {
        "selection": token_shares(source.lake, source.states),
        "parity": batch_parities(source.lake, source.main),
    }


def token_shares(lake: Lake, states: Mapping[str, list[State]]) -> pl.DataFrame | None:
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


def batch_parities(lake: Lake, main: list[State]) -> pl.DataFrame | None:
    """Selection parity of every batch of the production chain, see `reward.parity`."""
    frames = [
        batch_parity(lake, state.own["pool"], state.own["batches"]).select(
            pl.lit(MAIN).alias("chain"), pl.lit(state.ordinal, pl.Int64).alias("ordinal"), pl.exclude("rate")
        )
        for state in main[1:]
    ]
    return pl.concat(frames) if frames else None


def show(data: ReportData) -> Markup:
    """One plot for each dimension of the last iteration, and one of parity."""
    mine = data.table(SELECTION).filter(pl.col("arm") == data.arm)
    rows, plots = mine.filter(IS_LAST), []
    for dimension, title in TITLES.items():
        here = rows.filter(pl.col("dimension") == dimension)
        if dimension == "toxicity_bin":
            here = here.sort(pl.col("value").cast(pl.Int64, strict=False), nulls_last=True)
        else:
            here = here.sort("pool_token_share", descending=True).head(12)
        if here.height:
            columns = ["value", "pool_token_share", "batch_token_share", "selection_rate", "mean_weight"]
            plots.append(shares(here.select(columns), title, f"selected-{dimension}"))
    groups = data.table(PARITY).filter((pl.col("arm") == data.arm) & (pl.col("identity_group") != "none"))
    groups = groups.filter(IS_LAST).filter(pl.col("parity").is_finite()).sort("parity")
    if groups.height:
        named = groups.select("documents", name="identity_group", value="parity", low="parity_low", high="parity_high")
        label = "selection rate over that of none; 1 is parity"
        plots.append(ranges(named, "benign text by identity group", "parity", reference=1, label=label))
    at = f", iteration {rows['ordinal'][0]}" if rows.height else ""
    return join(
        paragraph(
            f"{one_line(data.arm, 40)}{at}. The hollow point is the share of the pool's tokens, the filled one the "
            "share of the batch's. Lines at parity are 95% intervals over documents."
        ),
        grid(plots),
    )


SECTION = Section(60, "selection", "What was selected", show, (SELECTION, PARITY), query)
