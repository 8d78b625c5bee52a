"""The audit batch: documents drawn at known probability, so that a few labels speak for the whole pool."""

from __future__ import annotations

import numpy as np
import polars as pl

from curation_pipeline.errors import DataError
from curation_pipeline.reward.refinement_settings import AuditSettings
from curation_pipeline.seeds import derive, unit_hash

STRATA = ("source", "identity_group")
"""Columns of the pool whose values are the strata of interest."""


def inclusion_probabilities(pool: pl.DataFrame, teachers: tuple[str, ...], settings: AuditSettings) -> np.ndarray:
    """Probability of each document to enter the audit batch, float64 (n,), above 0 for all of them.

    A share ``disagreement`` of the expected size goes to documents in proportion to how far the teachers and P(harm)
    stand apart, the rest is uniform; then every source and identity group is raised to its floor. The uniform part
    bounds the weights of the inverse-propensity estimate at pool / (size (1 - disagreement)).

    Args:
        pool: columns of the teachers and p_harm in [0, 1], source and identity_group.
        teachers: names of the teachers' columns.
        settings: size, mixture and floor.

    Raises:
        DataError: a column is missing.
    """
    missing = [name for name in (*teachers, "p_harm", *STRATA) if name not in pool.columns]
    if missing:
        raise DataError(f"the audit batch needs the pool's columns {', '.join(missing)}; build the pool again")
    n = pool.height
    if n == 0 or settings.documents == 0:
        return np.zeros(n)
    opinions = pool.select(*teachers, "p_harm").to_numpy().astype(np.float64)
    apart = opinions.max(axis=1) - opinions.min(axis=1) + 1e-3
    share = settings.disagreement
    probability = np.minimum(1.0, settings.documents * ((1.0 - share) / n + share * apart / apart.sum()))
    for column in STRATA:
        code = pool[column].cast(pl.Utf8).rank("dense").to_numpy().astype(np.int64) - 1
        for value in range(code.max() + 1):
            inside = code == value
            least = min(settings.floor, float(inside.sum()))
            for _ in range(20):  # what is cut at 1 is made up for by the others
                expected = float(probability[inside].sum())
                if expected >= least - 1e-9:
                    break
                probability[inside] = np.minimum(1.0, probability[inside] * least / expected)
    return np.asarray(probability)


def thinned(drawn: pl.DataFrame, most: int, seed: int) -> pl.DataFrame:
    """At most so many rows of a draw, chosen evenly by their hash; the probability of each falls with the share kept.

    Args:
        drawn: columns doc_id and probability.
        most: an upper bound that is never exceeded.
        seed: of the choice.
    """
    if drawn.height <= most:
        return drawn
    order = np.argsort(unit_hash(drawn["doc_id"], derive(seed, "thinned")))[: max(most, 0)]
    kept = drawn[np.sort(order)]
    return kept.with_columns(pl.col("probability") * (kept.height / drawn.height))


def draw_audit(pool: pl.DataFrame, teachers: tuple[str, ...], settings: AuditSettings, seed: int) -> pl.DataFrame:
    """The audit batch: rows of the pool with the column ``probability``, in order of doc_id.

    Every document is drawn on its own (Poisson sampling), so that its inclusion probability is exactly the one that is
    recorded, whatever else the pool holds.

    Args:
        pool: see `inclusion_probabilities`, with doc_id of 32 hexadecimal digits.
        teachers: names of the teachers' columns.
        settings: size, mixture and floor.
        seed: of the draw.
    """
    probability = inclusion_probabilities(pool, teachers, settings)
    drawn = unit_hash(pool["doc_id"], derive(seed, "audit")) < probability
    return pool.with_columns(pl.Series("probability", probability)).filter(pl.Series(drawn)).sort("doc_id")
