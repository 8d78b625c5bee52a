"""What a batch and an evaluation show about identity groups and registers."""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from curation_pipeline.errors import DataError
from curation_pipeline.reward.evidence import Measured

NO_GROUP = "none"
Z = 1.96


def selection_parity(pool: pl.DataFrame, drawn: pl.Series, min_documents: int = 100) -> dict[str, Measured]:
    """Selection rate of benign text that mentions a group, over that of benign text of the same source without one.

    Benign text has P(harm) below one half, and each document counts as 1 - P(harm) of one, so that a group whose
    benign text is doubted is not left out. Sources are put together by the rate ratio of Mantel and Haenszel (1959),
    since they differ in groups and in everything else; the 95% interval is that of Greenland and Robins (1985), which
    treats the draws of documents as independent.

    Args:
        pool: columns doc_id, source, identity_group, p_harm.
        drawn: ids of the drawn documents.
        min_documents: fewest benign documents of a group, and of none in its sources, for a figure.

    Returns:
        By group; a group with fewer documents, or without any draw on either side, is absent.
    """
    frame = pool.select("source", "identity_group", "p_harm", pl.col("doc_id").is_in(drawn.implode()).alias("drawn"))
    frame = frame.filter(pl.col("p_harm") < 0.5).with_columns((1.0 - pl.col("p_harm").cast(pl.Float64)).alias("mass"))
    cells = frame.group_by("source", "identity_group").agg(
        pl.len().alias("n"), pl.col("mass").sum(), (pl.col("mass") * pl.col("drawn")).sum().alias("drawn")
    )
    none = cells.filter(pl.col("identity_group") == NO_GROUP).drop("identity_group")
    found: dict[str, Measured] = {}
    for group in sorted(set(cells["identity_group"].to_list()) - {NO_GROUP}):
        both = cells.filter(pl.col("identity_group") == group).join(none, on="source", suffix="_none")
        n = int(both["n"].sum())
        if n < min_documents or int(both["n_none"].sum()) < min_documents:
            continue
        a, n1, c, n0 = (both[name].to_numpy() for name in ("drawn", "mass", "drawn_none", "mass_none"))
        total = n1 + n0
        top, bottom = float((a * n0 / total).sum()), float((c * n1 / total).sum())
        if top <= 0 or bottom <= 0:
            continue
        variance = float(((n1 * n0 * (a + c) - a * c * total) / total**2).sum()) / (top * bottom)
        ratio, spread = top / bottom, math.exp(Z * math.sqrt(max(variance, 0.0)))
        found[group] = Measured(ratio, ratio / spread, ratio * spread, n)
    return found


def register_ratios(base: pl.DataFrame, model: pl.DataFrame, min_texts: int = 8) -> dict[str, Measured]:
    """Bits per byte of clean held-out text over those of the base, by source, with paired 95% intervals.

    Args:
        base: columns doc_id, source, kind, nll, n_bytes (`evaluation.perplexity.heldout_scores`) of the base.
        model: the same of the model, on the same texts.
        min_texts: fewest benign texts of a source for a figure.

    Raises:
        DataError: the two were not measured on the same texts.
    """
    clean = [frame.filter(pl.col("kind") == "benign") for frame in (base, model)]
    both = clean[0].join(clean[1], on="doc_id", suffix="_model")
    if not both.height == clean[0].height == clean[1].height:
        raise DataError(f"{clean[0].height} and {clean[1].height} clean held-out texts, {both.height} in both")
    found: dict[str, Measured] = {}
    for (source,), group in both.sort("source").group_by(["source"], maintain_order=True):
        if group.height < min_texts:
            continue
        x, y = (group[name].to_numpy().astype(np.float64) for name in ("nll", "nll_model"))
        ratio = float(y.sum() / x.sum())
        # Ratio estimator: texts differ a hundredfold in length, and each is its own pair.
        spread = Z * float(np.sqrt(((y - ratio * x) ** 2).sum())) / float(x.sum())
        found[str(source)] = Measured(ratio, ratio - spread, ratio + spread, group.height)
    return found
