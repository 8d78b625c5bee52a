"""Rewards of the whole set: zeta * (P - baseline), where P is no sum over documents.

P is a function of sums over the set: per document k statistics, added up with the document's weighted tokens. What one
document, or one lane's documents, changes in P is then a difference of two values (a difference reward: Wolpert and
Tumer, 2001), which is exact, costs one evaluation, and keeps a signal for each lane. One scalar for a thousand lanes
would say nothing to any of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from curation_pipeline.errors import ConfigError
from curation_pipeline.policy.pool import F64, Pool
from curation_pipeline.reward.credit import DownstreamCredit


@dataclass(frozen=True, slots=True)
class Terminal:
    """P of a set.

    Attributes:
        statistics: (n, k) what a unit of the weighted tokens of each document adds to the sums.
        value: P (j,) of j sets, from the sums (j, k) and the drawn normalised tokens (j,); it is asked about small
            changes of one set, so it has to be smooth.
    """

    statistics: F64
    value: Callable[[F64, F64], F64]


@dataclass(slots=True)
class Tally:
    """The sums of one set.

    Attributes:
        sums: (j, k) the statistics times weighted tokens, of each of j parts (lanes).
        drawn: (j,) drawn tokens of each part.
    """

    sums: F64
    drawn: F64

    @classmethod
    def empty(cls, parts: int, statistics: int) -> Tally:
        """A tally of nothing."""
        return cls(np.zeros((parts, statistics)), np.zeros(parts))

    def add(self, sums: F64, drawn: F64) -> None:
        """Add to each part."""
        self.sums += sums
        self.drawn += drawn

    def total(self) -> Tally:
        """All parts as one."""
        return Tally(self.sums.sum(axis=0, keepdims=True), np.array([self.drawn.sum()]))


def value_of(terminal: Terminal, tally: Tally) -> float:
    """P of all parts together."""
    whole = tally.total()
    return float(terminal.value(whole.sums, whole.drawn)[0])


def lost_without(terminal: Terminal, tally: Tally) -> F64:
    """P of the whole set less P without each part, (j,)."""
    whole = tally.total()
    rest: F64 = terminal.value(whole.sums - tally.sums, np.maximum(whole.drawn - tally.drawn, 0.0))
    return value_of(terminal, tally) - rest


def won_with(terminal: Terminal, base: Tally, added: Tally) -> F64:
    """P of a set with each part added to it alone, less P of the set, (j,)."""
    whole = base.total()
    more: F64 = terminal.value(whole.sums + added.sums, whole.drawn + added.drawn)
    return more - value_of(terminal, base)


def surrogate_terminal(pool: Pool, credit: DownstreamCredit) -> Terminal:
    """P as the credit's surrogate predicts it from the composition over strata, times its reliability.

    Args:
        pool: its strata that the surrogate does not know say nothing about P.
        credit: the fitted surrogate.

    Raises:
        ConfigError: no stratum of the pool is known to the surrogate.
    """
    place = {name: i for i, name in enumerate(credit.strata)}
    index = np.array([place.get(name, -1) for name in pool.stratum.names], dtype=np.int64)[pool.stratum.code]
    known = index >= 0
    if not bool(known.any()):
        raise ConfigError("the credit knows none of the pool's strata, so that no terminal reward can be predicted")
    statistics = np.zeros((len(pool), len(credit.strata)))
    statistics[np.flatnonzero(known), index[known]] = 1.0
    reliability = max(credit.r2, 0.0)

    def value(sums: F64, drawn: F64) -> F64:
        share = sums / np.maximum(sums.sum(axis=1, keepdims=True), 1e-12)
        predicted: F64 = reliability * (share @ credit.share + np.log(share + credit.eps) @ credit.coverage)
        return predicted

    return Terminal(statistics, value)
