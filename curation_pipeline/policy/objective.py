"""What the policy is asked to maximise in one iteration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from curation_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from curation_pipeline.reward.credit import DownstreamCredit


@dataclass(frozen=True, slots=True)
class Objective:
    """Weights of the composite reward (``reward.composite``) and the iteration's facts.

    Attributes:
        alpha, beta, gamma: weights of safety, alignment and diversity, at least 0.
        eta: weight of the downstream credit.
        credit: what the evaluations say a token of each stratum adds to the model, or None before any feedback.
        budget_tokens: tokens of drawn documents, whatever their weight.
        last_safety, last_capability: outcome of the parent's evaluation, in [0, 1].
        curriculum_stage: how far the curriculum is, in [0, 1].
        targets: axis -> value -> share of the batch's tokens that diversity aims at; empty for the pool's composition.
        essential: axis -> value -> least share of the batch's tokens.
    """

    alpha: float
    beta: float
    gamma: float
    eta: float
    credit: DownstreamCredit | None
    budget_tokens: int
    last_safety: float = 0.5
    last_capability: float = 0.5
    curriculum_stage: float = 0.0
    targets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    essential: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            ConfigError: a weight is negative, the budget is not positive, or a fact is not in [0, 1].
        """
        for name in ("alpha", "beta", "gamma", "eta"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"objective.{name} is {getattr(self, name)}; it must be a number of at least 0")
        for name in ("last_safety", "last_capability", "curriculum_stage"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"objective.{name} is {getattr(self, name)}; it must lie in [0, 1]")
        if self.budget_tokens < 1:
            raise ConfigError(f"objective.budget_tokens is {self.budget_tokens}; it must be at least 1")
