"""What the baselines share: the reward they rank by, and how a ranking becomes inclusion probabilities.

A deterministic baseline gives probability 1 to what it chooses and a tiny one to the rest, which is drawn only to fill
the last tokens of the budget (or, when too little passes a filter, as much as is needed to keep arms at equal tokens).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from curation_pipeline.policy.pool import F64, Codes, Pool, Rows
from curation_pipeline.policy.scores import Scores
from curation_pipeline.reward.composite import composite_reward
from curation_pipeline.seeds import derive, unit_hash
from curation_pipeline.selection.baseline import SharedSettings

TINY = 1e-9
"""Probability of a document that a deterministic baseline would rather not draw."""
BY_CHANCE = "left out by chance"


class StaticWeights(NamedTuple):
    """Weights of the reward of single documents: neither diversity nor credit."""

    alpha: float
    beta: float
    gamma: float = 0.0
    eta: float = 0.0


def static_reward(pool: Pool, settings: SharedSettings) -> F64:
    """The reward alpha R_s + beta R_a (n,) of each document alone, whatever else is selected."""
    weights = StaticWeights(settings.safety_weight, settings.alignment_weight)
    return np.asarray(composite_reward(weights, pool.safety, pool.alignment))


def scores(probability: F64, reason: str | Sequence[str] | npt.NDArray[np.str_]) -> Scores:
    """Scores with weights of 1.

    Args:
        probability: (n,) inclusion probabilities.
        reason: why each document would not be drawn, or the one reason of all.
    """
    n = len(probability)
    reasons = [reason] * n if isinstance(reason, str) else np.asarray(reason).tolist()
    return Scores(probability, np.ones(n, np.float32), reasons)


def ordered(pool: Pool, score: F64, group: npt.NDArray[np.integer[Any]] | None = None) -> Rows:
    """Rows from the highest score to the lowest, within groups (n,) if given, one group after the other.

    Ties go by doc_id, so that the order of the pool's rows does not matter.
    """
    groups = np.zeros(len(pool), np.int64) if group is None else group
    frame = pl.DataFrame({"group": groups, "score": -score, "doc_id": pool.doc_id})
    return frame.select(pl.arg_sort_by("group", "score", "doc_id")).to_series().to_numpy().astype(np.int64)


def best(pool: Pool, score: F64, budget_tokens: int, why: str) -> Scores:
    """Probability 1 for the documents of the highest score that fit the budget together."""
    order = ordered(pool, score)
    return chosen(len(pool), order[np.cumsum(pool.n_tokens[order]) <= budget_tokens], why)


def chosen(n: int, rows: Rows, why: str) -> Scores:
    """Probability 1 for some rows of n."""
    probability = np.full(n, TINY)
    probability[rows] = 1.0
    return scores(probability, why)


def uniform(pool: Pool, passes: npt.NDArray[np.bool_], budget_tokens: int) -> F64:
    """One probability (n,) for all that passes, such that the budget is met, and the tiny one for the rest."""
    available = int(pool.n_tokens[passes].sum())
    return np.where(passes, min(budget_tokens / available, 1.0) if available else 0.0, TINY)


def waterfill(tokens: F64, budget: float, wanted: F64 | None = None) -> F64:
    """What each stratum gives: min(tokens, c * wanted), with c such that all give the budget together.

    Args:
        tokens: (k,) tokens of each stratum.
        budget: at or above the sum of ``tokens`` everything is given.
        wanted: (k,) shares of any scale, at least 0; strata of share 0 give only what the others cannot. None for equal
            shares.
    """
    wanted = np.ones(len(tokens)) if wanted is None else wanted
    if budget >= tokens.sum():
        return tokens.astype(np.float64)
    positive = wanted > 0
    if tokens[positive].sum() <= budget:
        rest = np.where(positive, 0.0, tokens)
        return np.asarray(np.where(positive, tokens, rest * (budget - tokens[positive].sum()) / max(rest.sum(), 1e-12)))
    ratio = np.where(positive, tokens / np.where(positive, wanted, 1.0), np.inf)
    order = np.argsort(ratio, kind="stable")
    # With the strata of the smallest ratio exhausted, c is what is left over what the others want.
    left = budget - np.concatenate([[0.0], np.cumsum(tokens[order])[:-1]])
    wants = np.cumsum(wanted[order][::-1])[::-1]
    c = left / np.maximum(wants, 1e-300)
    first = int(np.argmax(c <= ratio[order]))
    return np.asarray(np.minimum(tokens, c[first] * wanted))


def shuffled(pool: Pool, seed: int, *names: str) -> F64:
    """A uniform number (n,) in (0, 1) of each document, a function of its id and the seed alone."""
    return unit_hash(pool.doc_id, derive(seed, *names))


def crossing(*axes: Codes) -> tuple[Rows, int]:
    """The crossing of some axes: the bin (n,) of each document, and how many bins there are."""
    code = axes[0].code.astype(np.int64)
    for axis in axes[1:]:
        code = code * len(axis.names) + axis.code
    values, place = np.unique(code, return_inverse=True)
    return place.astype(np.int64), len(values)
