"""What an evaluation shows about each source."""

from __future__ import annotations

import numpy as np
import polars as pl

from curation_pipeline.errors import DataError
from curation_pipeline.reward.evidence import Ratio

Z = 1.96


def source_ratios(base: pl.DataFrame, model: pl.DataFrame, min_texts: int = 8) -> dict[str, Ratio]:
    """Bits per byte of clean held-out text over those of the base, by source, with paired 95% intervals.

    Args:
        base: columns doc_id, source, kind, nll, n_bytes (`evaluation.likelihood.heldout_scores`) of the base.
        model: the same of the model, on the same texts.
        min_texts: fewest benign texts of a source for a figure.

    Raises:
        DataError: the two were not measured on the same texts.
    """
    clean = [frame.filter(pl.col("kind") == "benign") for frame in (base, model)]
    both = clean[0].join(clean[1], on="doc_id", suffix="_model")
    if not both.height == clean[0].height == clean[1].height:
        raise DataError(f"{clean[0].height} and {clean[1].height} clean held-out texts, {both.height} in both")
    found: dict[str, Ratio] = {}
    for (source,), group in both.sort("source").group_by(["source"], maintain_order=True):
        if group.height < min_texts:
            continue
        x, y = (group[name].to_numpy().astype(np.float64) for name in ("nll", "nll_model"))
        ratio = float(y.sum() / x.sum())
        # Ratio estimator: texts differ a hundredfold in length, and each is its own pair.
        spread = Z * float(np.sqrt(((y - ratio * x) ** 2).sum())) / float(x.sum())
        found[str(source)] = Ratio(ratio, ratio - spread, ratio + spread, group.height)
    return found
