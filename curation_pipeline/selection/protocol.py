"""What every way of choosing data has in common."""

from __future__ import annotations

from typing import Protocol

from curation_pipeline.policy.pool import Pool
from curation_pipeline.policy.scores import Scores

__all__ = ["Scores", "Selector"]


class Selector(Protocol):
    """A way of choosing data: the policy, its closed-form control, or a baseline."""

    @property
    def name(self) -> str:
        """The arm's name in experiments."""

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """Inclusion probabilities and weights under a budget of ``budget_tokens`` tokens of drawn documents."""
