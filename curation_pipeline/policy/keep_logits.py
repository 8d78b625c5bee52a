"""From log-odds of being kept to inclusion probabilities and weights that meet the budget, for a pool in parts.

At a frozen state a document's log-odds of being kept and its weight if kept depend on the document alone. Both are
rounded to whole steps of 1/4096. A histogram over steps then holds the whole pool without loss: those of parts add up
exactly, in any order, and the shift that meets the budget is solved on it as if all documents were at hand. Rounding
moves a probability by less than 4e-5; the place of a document in its block moves the last bits of a product in float32,
hence a log-odds by one step now and then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curation_pipeline.errors import ConfigError
from curation_pipeline.policy.pool import F32, F64, I32, Rows
from curation_pipeline.policy.projection import sigmoid, solve_shift

STEPS = 4096
"""Steps to one unit of log-odds, and of weight."""
_MOST = 2.0**16
"""Log-odds are cut here, far beyond where multipliers at their bound can take them: the shift of the budget, which is
not known yet, may bring any of them back to 0."""
_ROOM = 1e-6
"""Relative room that shrunk weights leave, so that their floor holds once they are rounded to float32."""


def keep_and_weight(logits: F64, weights: tuple[float, ...]) -> tuple[F64, F64]:
    """Log-odds (n,) of any action but "skip", and the expected weight (n,) of a document that is kept.

    Args:
        logits: (n, actions) of the actions.
        weights: of the actions, the first of them 0.
    """
    top = logits[:, 1:].max(axis=1)
    odds = np.exp(logits[:, 1:] - top[:, None])
    total = odds.sum(axis=1)
    return np.asarray(np.log(total) + top - logits[:, 0]), np.asarray(odds @ np.asarray(weights[1:]) / total)


def shrink_weights(tokens: float, weighted: float, squared: float, least: float) -> float:
    """How much of their distance from 1 loss weights may keep, so that enough tokens stay effective.

    With weights w and inclusion probabilities p, Kish's effective size (Survey Sampling, 1965) over the expected tokens
    is (sum p t w)^2 / (sum p t w^2 sum p t) = 1 / (1 + cv^2), cv the coefficient of variation of the weights. It is at
    least .64 for weights from 0.5 to 2 (Kantorovich's inequality).

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


def probabilities(logits: F64, shift: F64 | float, weights: tuple[float, ...]) -> tuple[F64, F64]:
    """Probability of being kept and expected weight if kept, (n,) each, once ``shift`` is added to the log-odds."""
    keep, weight = keep_and_weight(logits, weights)
    return sigmoid(keep + shift), weight


@dataclass(frozen=True, slots=True)
class KeepHistogram:
    """Tokens by log-odds of being kept; sparse.

    Attributes:
        odds: (b,) log-odds in steps, strictly increasing.
        tokens: (b,) tokens of the documents there.
        weighted: (b,) tokens times weight in steps.
        squared: (b,) tokens times the square of the weight, in steps.
    """

    odds: Rows
    tokens: Rows
    weighted: Rows
    squared: Rows

    @classmethod
    def nothing(cls) -> KeepHistogram:
        """That of no documents."""
        return cls(*(np.empty(0, np.int64) for _ in range(4)))

    @classmethod
    def merge(cls, parts: Iterable[KeepHistogram]) -> KeepHistogram:
        """The histogram of several parts of a pool together; associative and commutative."""
        every = list(parts)
        odds, place = np.unique(np.concatenate([part.odds for part in every]), return_inverse=True)

        def total(name: str) -> Rows:
            sums = np.zeros(len(odds), np.int64)
            np.add.at(sums, place, np.concatenate([getattr(part, name) for part in every]))
            return sums

        return cls(odds, total("tokens"), total("weighted"), total("squared"))


@dataclass(frozen=True, slots=True)
class KeepLogits:
    """What a frozen state says of n documents.

    Attributes:
        odds: (n,) log-odds of being kept before the budget, in steps.
        weight: (n,) expected weight if kept, in steps.
    """

    odds: I32
    weight: I32

    @classmethod
    def of(cls, odds: F64, weight: F64) -> KeepLogits:
        """Round log-odds and weights to whole steps."""
        whole = (np.rint(values * STEPS).astype(np.int32) for values in (np.clip(odds, -_MOST, _MOST), weight))
        return cls(*whole)

    def histogram(self, n_tokens: npt.NDArray[np.int64]) -> KeepHistogram:
        """Tokens by log-odds. Sums of whole numbers in float64 are exact up to 2**53."""
        odds, place = np.unique(self.odds, return_inverse=True)
        weight = self.weight.astype(np.int64)
        squared = np.rint(weight**2 / STEPS)
        sums = [np.bincount(place, weights=n_tokens * per).astype(np.int64) for per in (1, weight, squared)]
        return KeepHistogram(odds.astype(np.int64), *sums)


@dataclass(frozen=True, slots=True)
class BudgetShift:
    """What turns log-odds into inclusion probabilities that meet the budget.

    Attributes:
        shift: added to every log-odds; infinite where the budget takes everything.
        scale: of the weights, so that their mean over the expected tokens is 1.
        shrink: how much of their distance from 1 they keep, see ``shrink_weights``.
    """

    shift: float
    scale: float
    shrink: float = 1.0

    @classmethod
    def of(cls, histogram: KeepHistogram, budget_tokens: int, least: float = 0.0) -> BudgetShift:
        """The shift of a whole pool.

        Args:
            histogram: of all its parts.
            budget_tokens: expected tokens of what is drawn.
            least: share of them that has to stay effective under the weights, in [0, 1].
        """
        odds, tokens = histogram.odds / STEPS, histogram.tokens.astype(np.float64)
        shift = np.inf if budget_tokens >= histogram.tokens.sum() else solve_shift(odds, tokens, float(budget_tokens))
        probability = sigmoid(odds + shift)
        expected = float(probability @ tokens)
        weighted, squared = (float(probability @ part) / STEPS for part in (histogram.weighted, histogram.squared))
        return cls(shift, expected / weighted, shrink_weights(expected, weighted, squared, least))

    def probability(self, kept: KeepLogits) -> F64:
        """Inclusion probability (n,) of each document."""
        return sigmoid(kept.odds / STEPS + self.shift)

    def weight(self, kept: KeepLogits) -> F32:
        """Loss weight (n,) of each document if it is drawn."""
        return (1.0 + self.shrink * (kept.weight * (self.scale / STEPS) - 1.0)).astype(np.float32)
