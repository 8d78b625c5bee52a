"""What a batch's page shows beside its numbers: parity between identity groups, and shares before and after."""

from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from assets.metadata import plot
from curation_pipeline.reward.parity import PARITY_FLOOR

PARITY = "identity_parity"


def parity(found: pl.DataFrame) -> dg.AssetCheckResult:
    """Whether every group's parity reaches the floor; shown with the ends of its interval.

    Args:
        found: rows of `reward.parity.PARITY_SCHEMA`.
    """
    figures = {
        group: [round(value, 3), round(low, 3), round(high, 3)]
        for group, value, low, high in found.select("identity_group", "parity", "parity_low", "parity_high").iter_rows()
    }
    return dg.AssetCheckResult(
        check_name=PARITY,
        passed=bool((found["parity"] >= PARITY_FLOOR).all()),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"selection_rate_ratio_by_group": dg.MetadataValue.json(figures)},
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
