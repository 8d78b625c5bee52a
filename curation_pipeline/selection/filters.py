"""Filters: what passes is drawn at random, what does not pass fills the budget only where it must."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from curation_pipeline.policy.pool import Pool
from curation_pipeline.policy.scores import Scores
from curation_pipeline.selection.choosing import BY_CHANCE, TINY, crossing, ordered, scores, uniform
from curation_pipeline.selection.inputs import Inputs
from curation_pipeline.selection.settings import BaselineSettings


@dataclass(frozen=True, slots=True)
class Threshold:
    """The plain filter: P(harm) at or below ``settings.toxicity_threshold``, random within what passes.

    Such filters have been blamed for deleting minority dialects (Xu et al. 2021, arXiv:2104.06390; Welbl et al. 2021,
    arXiv:2109.07445).
    """

    settings: BaselineSettings = field(default_factory=BaselineSettings)
    name: str = "threshold"

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """Constant probability for what passes."""
        passes = pool.p_harm <= self.settings.toxicity_threshold
        return scores(uniform(pool, passes, budget_tokens), np.where(passes, BY_CHANCE, "P(harm) above the threshold"))


@dataclass(frozen=True, slots=True)
class ThresholdWithin:
    """A threshold of its own for each source or stratum, which keeps their shares of the batch: the baseline to beat.

    A stratum is here topic x identity group: the toxicity bin of the policy's strata would keep its share as well, and
    nothing would be filtered.
    """

    settings: BaselineSettings = field(default_factory=BaselineSettings)
    axis: Literal["source", "stratum"] = "source"

    @property
    def name(self) -> str:
        """``threshold_within_source`` or ``threshold_within_stratum``."""
        return f"threshold_within_{self.axis}"

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """Random within the cleanest ``1 - source_drop`` of each cell's tokens, more if the budget needs more."""
        axes = (pool.source,) if self.axis == "source" else (pool.topic, pool.group)
        code, k = crossing(*axes)
        share = min(budget_tokens / pool.total_tokens, 1.0)
        keep = max(1.0 - self.settings.source_drop, share)
        order = ordered(pool, pool.safety.astype(np.float64), code)
        tokens = pool.n_tokens[order]
        total = np.bincount(code, weights=pool.n_tokens, minlength=k)
        start = np.concatenate([[0.0], np.cumsum(total)[:-1]])[code[order]]
        passes = np.zeros(len(pool), np.bool_)
        passes[order] = np.cumsum(tokens) - tokens - start < keep * total[code[order]]
        available = np.bincount(code[passes], weights=pool.n_tokens[passes], minlength=k)
        inside = np.minimum(share * total / np.maximum(available, 1.0), 1.0)
        reason = np.where(passes, BY_CHANCE, f"among the most harmful of its {self.axis}")
        return scores(np.where(passes, inside[code], TINY), reason)


@dataclass(frozen=True, slots=True)
class ManualFilters:
    """The usual practice: rules of thumb and a list of words, random within what passes all of them.

    Gopher's rules (Rae et al. 2021, arXiv:2112.11446), C4's (Raffel et al. 2020, arXiv:1910.10683) and, as C4 did, the
    removal of every page with a word of a list of bad words.
    """

    settings: BaselineSettings = field(default_factory=BaselineSettings)
    inputs: Inputs = field(default_factory=Inputs)
    name: str = "manual_filters"

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """Constant probability for what passes.

        Raises:
            DataError: the inputs lack the flag of a rule.
        """
        flags = self.inputs.require_flags(self.settings.manual_rules, len(pool))
        passes = np.logical_and.reduce(list(flags.values()))
        first = np.select([~flag for flag in flags.values()], [f"fails {name}" for name in flags], BY_CHANCE)
        return scores(uniform(pool, passes, budget_tokens), first)
