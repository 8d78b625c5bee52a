"""The market for tokens: a price that clears each row of candidates, and control of the budget over episodes.

Best responses keep a candidate while its critical price is above the price. A network follows the price less than they
do, so the market asks best responses for more or less than is wanted, as the policy's own use of the budget requires.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curation_pipeline.policy.pool import F64
from curation_pipeline.policy.problem import ConstraintDuals
from curation_pipeline.policy.settings import PolicySettings

_SLACK = 2.0
"""A row of candidates is asked for at most this factor more, or less, than the budget's share."""
_CORRECTION = 2.0
"""The market answers to what is left over with this power of it. With 1 the budget use of an episode spread by .06,
with 2 by .04 (six trainings)."""
_MOST_DEMAND_GAIN = 5.0
"""Bound on what best responses are asked for over what is wanted, both ways."""
_MOST_WANTED = 0.9
"""Best responses are asked for no more than this share of a row, unless the budget is larger. The price that sells the
last document of a row too is that of an outlier: it paid for everything tenfold, and spoiled what the value network had
learned."""
_TIGHTENING = 0.7
"""What the market wants of an untrained policy falls to the budget at this rate an episode, while rows pay at least
nothing. By the clock alone, or from a share at which random choices lose, the policy was punished for nearly everything
at once, spent nothing in the second or third episode, and one training of ten on a small pool never came back."""
_TARGET_RATE, _MISSED, _MOST_TARGET = 0.3, 0.05, 1.25
"""Integral control over episodes: its rate, the most that one episode may count, and the bound on the target ratio."""


def clearing_price(critical: F64, length: F64, target: float) -> float:
    """The price at which best responses keep ``target`` normalised tokens of the candidates.

    Args:
        critical: (m,) price above which each candidate is skipped.
        length: (m,) normalised tokens.
        target: normalised tokens to keep; at most 0 prices everybody out, all of it prices everybody in.
    """
    order = np.argsort(-critical, kind="stable")
    if target <= 0.0:
        return float(critical[order[0]])
    place = int(np.searchsorted(np.cumsum(length[order]), target))
    return float(critical[order[min(place, len(order) - 1)]])


@dataclass(slots=True)
class Market:
    """Price, dual variables and control.

    Attributes:
        share: of the pool's tokens that the budget is.
        price: of a normalised token.
        duals: multipliers of the slow constraints.
        target_ratio: what is wanted over the budget. It falls to 1 from where the untrained policy is, and what
            episodes miss then adds up in it.
        demand_gain: what best responses are asked for over what is wanted: above 1 while the policy takes less of a row
            than they would.
        tightened: whether the target ratio has reached 1 once.
        asked: normalised tokens that the policy should take of the present row.
    """

    share: float
    price: float
    duals: ConstraintDuals
    target_ratio: float = 1.0
    demand_gain: float = 1.0
    tightened: bool = True
    asked: float = 0.0

    def clear(
        self, critical: F64, length: F64, budget_used: float, left: float, first: bool, settings: PolicySettings
    ) -> None:
        """Move the price to where it clears a row of candidates.

        Args:
            critical: (m,) see ``clearing_price``.
            length: (m,) normalised tokens.
            budget_used: share of the episode's budget that is spent.
            left: share of the episode's tokens that is still to come, this row included.
            first: whether it is the first row of an episode.
            settings: of the process.
        """
        tokens = float(length.sum())
        # This row should take its share of what is left of the budget. The share is bounded: near the end of an episode
        # a small excess would otherwise throw the price far outside of what the policy has learned.
        share = float(np.clip((self.target_ratio - budget_used) / left / self.target_ratio, 1.0 / _SLACK, _SLACK))
        wanted = self.target_ratio * self.share * tokens
        self.asked = share * wanted
        target = min(share**_CORRECTION * wanted * self.demand_gain, max(_MOST_WANTED * tokens, wanted))
        # The price of a full set says nothing about an empty one, so an episode starts at its own.
        rate = float(settings.price_rate > 0.0) if first else settings.price_rate
        self.price += rate * (clearing_price(critical, length, target) - self.price)

    def follow(self, taken: float, tokens: float, gained: float, steps: int, settings: PolicySettings) -> None:
        """Answer to what the policy did with a row.

        Args:
            taken: normalised tokens that it kept.
            tokens: of the whole row.
            gained: mean reward of a candidate.
            steps: rows of an episode.
            settings: of the process.
        """
        gain = self.demand_gain * np.exp(settings.demand_gain_rate * (1.0 - min(taken / self.asked, 2.0)))
        # What the market cannot ask for is not added up either, or it would have to be unlearned.
        most = min(max(_MOST_WANTED * tokens / self.asked, 1.0), _MOST_DEMAND_GAIN)
        self.demand_gain = float(np.clip(gain, 1.0 / _MOST_DEMAND_GAIN, most))
        if not self.tightened and gained >= 0.0:
            self.target_ratio = max(self.target_ratio * float(np.exp(-_TIGHTENING / steps)), 1.0)
            self.tightened = self.target_ratio == 1.0

    def end_episode(self, budget_use: float) -> None:
        """Correct the target ratio by what an episode missed of its budget."""
        if self.tightened:
            missed = float(np.clip(budget_use - 1.0, -_MISSED, _MISSED))
            self.target_ratio = float(
                np.clip(self.target_ratio - _TARGET_RATE * missed, 1.0 / _MOST_TARGET, _MOST_TARGET)
            )
