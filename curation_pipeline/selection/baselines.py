"""Every baseline beside the policy by name, behind the same interface and under the same token budget.

Each says of every document with what probability it would be drawn and, where it would not be, why; the draw
(``selection.draw``) is the policy's. With ``fractional_weights`` every one of them also weighs what it draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from curation_pipeline.errors import ConfigError
from curation_pipeline.policy.pool import Codes, Pool
from curation_pipeline.policy.scores import Scores
from curation_pipeline.selection.bandit import Exp3
from curation_pipeline.selection.choosing import BY_CHANCE, scores, waterfill
from curation_pipeline.selection.dsir import Dsir
from curation_pipeline.selection.facility_location import FacilityLocation
from curation_pipeline.selection.filters import ManualFilters, Threshold, ThresholdWithin
from curation_pipeline.selection.inputs import Inputs
from curation_pipeline.selection.mixture_search import RegMix
from curation_pipeline.selection.policy_search import CrossEntropy, objective_of
from curation_pipeline.selection.policy_selector import ClosedFormSelector
from curation_pipeline.selection.protocol import Selector
from curation_pipeline.selection.ranking import GumbelTopK, LengthOnly, LengthResidual, TopK, TopKPerTopic
from curation_pipeline.selection.settings import BaselineSettings
from curation_pipeline.selection.weights import Weighted


@dataclass(frozen=True, slots=True)
class Random:
    """Every document with the same probability."""

    name: str = "random"

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """Constant probability: the budget's share of the pool's tokens."""
        return scores(np.full(len(pool), min(budget_tokens / pool.total_tokens, 1.0)), BY_CHANCE)


@dataclass(frozen=True, slots=True)
class Stratified:
    """An equal share of the budget for each topic (or source or domain), random within; small ones are exhausted."""

    axis: Literal["topic", "source", "domain"] = "topic"
    name: str = "stratified"

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """min(1, c / tokens of the stratum), with c such that the budget is met."""
        codes: Codes = getattr(pool, self.axis)
        tokens = codes.shares(pool.n_tokens.astype(np.float64)) * pool.total_tokens
        return scores(np.minimum(waterfill(tokens, budget_tokens) / tokens, 1.0)[codes.code], BY_CHANCE)


@dataclass(frozen=True, slots=True)
class ClosedForm:
    """The mandatory control as an arm without a trained policy: the best response to the same reward.

    It weighs what it draws by itself, with the weights of the policy's settings.
    """

    settings: BaselineSettings = field(default_factory=BaselineSettings)
    inputs: Inputs = field(default_factory=Inputs)
    name: str = "closed_form"

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """Scores of the softened argmax."""
        objective = objective_of(self.settings, self.inputs, budget_tokens)
        return ClosedFormSelector(objective, self.inputs.policy).scores(pool, budget_tokens, seed)


BASELINES: dict[str, Callable[[BaselineSettings, Inputs], Selector]] = {
    "random": lambda settings, inputs: Random(),
    "stratified": lambda settings, inputs: Stratified(),
    "length_only": lambda settings, inputs: LengthOnly(),
    "length_residual": lambda settings, inputs: LengthResidual(settings),
    "manual_filters": ManualFilters,
    "threshold": lambda settings, inputs: Threshold(settings),
    "threshold_within_source": lambda settings, inputs: ThresholdWithin(settings, "source"),
    "threshold_within_stratum": lambda settings, inputs: ThresholdWithin(settings, "stratum"),
    "top_k": lambda settings, inputs: TopK(settings),
    "top_k_per_topic": lambda settings, inputs: TopKPerTopic(settings),
    "gumbel_top_k": lambda settings, inputs: GumbelTopK(settings),
    "dsir": Dsir,
    "facility_location": lambda settings, inputs: FacilityLocation(settings),
    "exp3": Exp3,
    "regmix": RegMix,
    "cross_entropy": CrossEntropy,
    "closed_form": ClosedForm,
}
"""The baselines by name."""

NEEDS: dict[str, str] = {"manual_filters": "flags", "regmix": "credit"}
"""Baselines that cannot do without something of ``Inputs``, and what it is."""


def baseline(name: str, settings: BaselineSettings | None = None, inputs: Inputs | None = None) -> Selector:
    """The baseline called ``name``.

    Args:
        name: one of ``BASELINES``.
        settings: of all baselines; None means the defaults.
        inputs: what some need beside the pool (see ``Inputs``).

    Raises:
        ConfigError: there is none.
    """
    if name not in BASELINES:
        raise ConfigError(f"no baseline {name!r}; there are {', '.join(sorted(BASELINES))}")
    settings = settings or BaselineSettings()
    selector = BASELINES[name](settings, inputs or Inputs())
    # The closed form weighs by itself.
    return Weighted(selector, settings) if settings.fractional_weights and name != "closed_form" else selector
