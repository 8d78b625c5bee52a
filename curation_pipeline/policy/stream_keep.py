"""Decisions of a frozen state, a block of documents at a time, and the one shift that makes them meet the budget.

Once the state of the curated set is frozen, a document's log-odds of being kept and its weight if kept depend on the
document alone. Both are rounded to whole steps of 1/4096. A histogram over steps then holds the whole pool without
loss: those of parts add up exactly, in any order, and the shift of the budget is solved on it as if all documents were
at hand. Rounding moves a probability by less than 4e-5; where a document stands in its block moves the last bits of a
product in float32, hence a log-odds by one step now and then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from curation_pipeline.policy.curated_set import EVERY, CuratedSet, Duals, Prepared, Worth, prepare_rows
from curation_pipeline.policy.effective_size import pull
from curation_pipeline.policy.features import Normaliser
from curation_pipeline.policy.pool import F32, F64, I32, Pool, Rows
from curation_pipeline.policy.population import Population
from curation_pipeline.policy.projection import sigmoid, solve_shift

STEPS = 4096
"""Steps to one unit of log-odds, and of weight."""
_MOST = 2.0**16
"""Log-odds are cut here, far beyond where multipliers at their bound can take them: the shift of the budget, which is
not known yet, may bring any of them back to 0."""
BLOCK = 4096
"""Documents that are decided at once: their arrays stay in the cache."""


class Decide(Protocol):
    """A way to answer a state: the trained policy, or the best response."""

    def __call__(self, curated: CuratedSet, worth: Worth, price: float, duals: Duals) -> F64:
        """Logits (n, actions) of the documents behind the set, given their worth, the price and the multipliers."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """All that a decision depends on beside the document.

    Attributes:
        population: of the whole pool.
        normaliser: feature constants.
        decide: logits at a state.
        sums: of the curated set, see ``CuratedSet.SUMS``.
        budget: of the curated set, in normalised tokens.
        price, duals: at the state.
        multipliers: (G + 2,) of the projection, per unit of ``Prepared.constraints``.
    """

    population: Population
    normaliser: Normaliser
    decide: Decide
    sums: Mapping[str, F64]
    budget: float
    price: float
    duals: Duals
    multipliers: F64

    def logits(self, pool: Pool) -> tuple[F64, Prepared]:
        """Logits (n, actions) of some documents, and the documents as they were measured."""
        prepared = prepare_rows(self.population, self.normaliser, pool)
        curated = CuratedSet(prepared, self.budget)
        for name, value in self.sums.items():
            getattr(curated, name)[:] = value
        worth = curated.worth(EVERY, self.duals)
        return self.decide(curated, worth, self.price, self.duals), prepared

    def keep(self, pool: Pool) -> Kept:
        """How much each document is wanted."""
        n = len(pool)
        kept = Kept(np.empty(n, np.int32), np.empty(n, np.int32))
        weights = self.population.settings.weights
        for start in range(0, n, BLOCK):
            stop = min(start + BLOCK, n)
            logits, prepared = self.logits(pool.take(slice(start, stop)))
            keep, weight = keep_and_weight(logits, weights)
            block = Kept.of(keep + prepared.constraints(weight) @ self.multipliers, weight)
            kept.odds[start:stop] = block.odds
            kept.weight[start:stop] = block.weight
        return kept


def _whole(values: F64) -> I32:
    return np.rint(values * STEPS).astype(np.int32)


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
class Kept:
    """What a frozen state says of n documents.

    Attributes:
        odds: (n,) log-odds of being kept before the budget, in steps.
        weight: (n,) expected weight if kept, in steps.
    """

    odds: I32
    weight: I32

    @classmethod
    def of(cls, odds: F64, weight: F64) -> Kept:
        """Round log-odds and weights to whole steps."""
        return cls(_whole(np.clip(odds, -_MOST, _MOST)), _whole(weight))

    def histogram(self, n_tokens: npt.NDArray[np.int64]) -> KeepHistogram:
        """Tokens by log-odds. Sums of whole numbers in float64 are exact up to 2**53."""
        odds, place = np.unique(self.odds, return_inverse=True)
        weight = self.weight.astype(np.int64)
        squared = np.rint(weight**2 / STEPS)
        sums = [np.bincount(place, weights=n_tokens * per).astype(np.int64) for per in (1, weight, squared)]
        return KeepHistogram(odds.astype(np.int64), *sums)


@dataclass(frozen=True, slots=True)
class Cut:
    """What turns log-odds into inclusion probabilities that meet the budget.

    Attributes:
        shift: added to every log-odds; infinite where the budget takes everything.
        scale: of the weights, so that their mean over the expected tokens is 1.
        spread: how much of their distance from 1 they keep, see ``effective_size.pull``.
    """

    shift: float
    scale: float
    spread: float = 1.0

    @classmethod
    def of(cls, histogram: KeepHistogram, budget_tokens: int, least: float = 0.0) -> Cut:
        """The cut of a whole pool.

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
        return cls(shift, expected / weighted, pull(expected, weighted, squared, least))

    def probability(self, kept: Kept) -> F64:
        """Inclusion probability (n,) of each document."""
        return sigmoid(kept.odds / STEPS + self.shift)

    def weight(self, kept: Kept) -> F32:
        """Loss weight (n,) of each document if it is drawn."""
        return (1.0 + self.spread * (kept.weight * (self.scale / STEPS) - 1.0)).astype(np.float32)
