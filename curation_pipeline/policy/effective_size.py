"""How many tokens a weighted batch is really worth, and a floor under it.

Kish's effective size (Survey Sampling, 1965): an average over units of weights w has the variance of an
unweighted average over ``(sum w)^2 / sum w^2`` units. The units here are tokens. All t_i tokens of document i carry its
weight w_i, and the document is in the batch with probability p_i, so that

    n_eff = (sum p_i t_i w_i)^2 / sum p_i t_i w_i^2,    share = n_eff / sum p_i t_i = 1 / (1 + cv^2),

with cv the coefficient of variation of the weights over the expected tokens. The share is 1 where weights are equal. If
all weights lie in [a, b] it is at least 4 a b / (a + b)^2 (Kantorovich's inequality), which is .64 for weights from 0.5
to 2: such weights need no floor below that. Tokens of one document resemble one another, hence `effective_documents`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curation_pipeline.errors import ConfigError
from curation_pipeline.policy.pool import F64

_ROOM = 1e-6
"""Relative room that the pull leaves, so that the floor holds once weights are rounded to float32."""


def effective_share(weight: npt.ArrayLike, tokens: npt.ArrayLike, probability: npt.ArrayLike = 1.0) -> float:
    """Kish's effective tokens over the tokens, in (0, 1]; 0 where nothing has any weight.

    Args:
        weight: (n,) loss weights, at least 0.
        tokens: (n,) tokens of each document, in any unit.
        probability: (n,) inclusion probabilities, or 1 for documents that are drawn. Sums over the batch are then
            replaced by their expectations.
    """
    weight, mass = _arrays(weight, tokens, probability)
    squares = float(mass @ weight**2)
    return 0.0 if squares <= 0.0 else float(mass @ weight) ** 2 / squares / float(mass.sum())


def effective_documents(weight: npt.ArrayLike, tokens: npt.ArrayLike) -> float:
    """Kish's effective number of documents, each weighing w_i t_i; 0 where nothing has any weight.

    Args:
        weight: (n,) loss weights of drawn documents, at least 0.
        tokens: (n,) their tokens.
    """
    weight, mass = _arrays(weight, tokens, 1.0)
    squares = float(((weight * mass) ** 2).sum())
    return 0.0 if squares <= 0.0 else float(mass @ weight) ** 2 / squares


def pull(tokens: float, weighted: float, squared: float, least: float) -> float:
    """How much of their spread weights may keep, from sums over a whole batch or over its parts.

    Args:
        tokens: sum of p t, above 0.
        weighted: sum of p t w, above 0.
        squared: sum of p t w^2.
        least: share of the expected tokens that stays effective, in [0, 1]; 0 asks for nothing, 1 for equal weights.

    Returns:
        The largest s in [0, 1] for which the weights w' = 1 + s (w tokens / weighted - 1) have that share. Their mean
        stays 1 and cv scales with s, so s = sqrt((1 / least - 1) / cv^2) where that is below 1.

    Raises:
        ConfigError: ``least`` is not in [0, 1].
    """
    if not 0.0 <= least <= 1.0:
        raise ConfigError(f"min_effective_share is {least}; it must lie in [0, 1]")
    variance = max(squared * tokens / weighted**2 - 1.0, 0.0)
    if least == 0.0 or variance == 0.0:
        return 1.0
    return min(float(np.sqrt((1.0 / least - 1.0) * (1.0 - _ROOM) / variance)), 1.0)


def hold_effective_share(probability: npt.ArrayLike, weight: npt.ArrayLike, tokens: npt.ArrayLike, least: float) -> F64:
    """Weights pulled towards 1 as little as a least effective share asks for.

    Documents keep their order by weight; inclusion probabilities, and with them the budget, are left alone.

    Args:
        probability: (n,) inclusion probabilities in [0, 1].
        weight: (n,) loss weights, at least 0.
        tokens: (n,) tokens of each document, in any unit.
        least: see ``pull``.

    Returns:
        float64 (n,) with ``sum(p * w' * tokens) = sum(p * tokens)``; ones where nothing has any weight.

    Raises:
        ConfigError: ``least`` is not in [0, 1].
    """
    weight, mass = _arrays(weight, tokens, probability)
    total, weighted = float(mass.sum()), float(mass @ weight)
    if weighted <= 0.0:
        return np.ones(len(weight))
    kept = pull(total, weighted, float(mass @ weight**2), least)
    return np.asarray(1.0 + kept * (weight * (total / weighted) - 1.0))


def _arrays(weight: npt.ArrayLike, tokens: npt.ArrayLike, probability: npt.ArrayLike) -> tuple[F64, F64]:
    """Weights and expected tokens (n,) in double precision."""
    mass = np.asarray(tokens, dtype=np.float64) * np.asarray(probability, dtype=np.float64)
    return np.asarray(weight, dtype=np.float64), mass
