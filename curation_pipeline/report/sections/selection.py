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
from curation_pipeline.stages.corpus_figures import Sums
from curation_pipeline.stages.drawn import drawn_parts
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


_DIMENSIONS = ("toxicity_bin", "source", "domain", "identity_group")
_TOKENS, _DRAWN = pl.col("n_tokens").cast(pl.Int64), pl.col("weight").is_not_null()
_SUMS = (
    pl.len().cast(pl.Int64).alias("documents"),
    _TOKENS.sum().alias("tokens"),
    _TOKENS.filter(_DRAWN).sum().alias("drawn_tokens"),
    _DRAWN.sum().cast(pl.Int64).alias("drawn"),
    pl.col("weight").cast(pl.Float64).sum(),
)


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
            pool, batch = (lake.get(state.own[table]) for table in ("pool", "batches"))
            sums = {dimension: Sums([dimension], *_SUMS) for dimension in _DIMENSIONS}
            for part in drawn_parts(lake, pool, batch, ["n_tokens", *_DIMENSIONS]):
                for own in sums.values():
                    own.add(part.with_columns(pl.col("toxicity_bin").cast(pl.Utf8)))
            frames += [
                own.table().select(
                    pl.col(dimension).alias("value"),
                    (pl.col("tokens") / pl.col("tokens").sum()).alias("pool_token_share"),
                    (pl.col("drawn_tokens") / pl.col("drawn_tokens").sum()).alias("batch_token_share"),
                    (pl.col("drawn") / pl.col("documents")).alias("selection_rate"),
                    pl.when(pl.col("drawn") > 0).then(pl.col("weight") / pl.col("drawn")).alias("mean_weight"),
                    pl.lit(chain).alias("chain"),
                    pl.lit(state.ordinal, pl.Int64).alias("ordinal"),
                    pl.lit(dimension).alias("dimension"),
                )
                for dimension, own in sums.items()
            ]
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
