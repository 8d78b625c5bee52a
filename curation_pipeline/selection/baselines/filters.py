"""Filters: what passes is drawn at random, what does not pass fills the budget only where it must."""

from __future__ import annotations

from functools import partial

import numpy as np
from pydantic import Field

from curation_pipeline.policy.pool import Pool
from curation_pipeline.policy.scores import Scores
from curation_pipeline.selection.baseline import Baseline, SharedSettings
from curation_pipeline.selection.choosing import BY_CHANCE, TINY, crossing, ordered, scores, uniform
from curation_pipeline.selection.inputs import Inputs


class FilterSettings(SharedSettings):
    """Of thresholds and manual filters."""

    toxicity_threshold: float = Field(
        default=0.1, ge=0, le=1, description="tau: documents with P(harm) at or below it pass."
    )
    source_drop: float = Field(
        default=0.5,
        ge=0,
        lt=1,
        description="Share of the tokens of each source (or stratum), the most harmful, that a threshold within drops.",
    )
    manual_rules: tuple[str, ...] = Field(
        default=("gopher_quality", "gopher_repetition", "c4", "word_list"),
        min_length=1,
        description="Rules that manual_filters asks a document to pass; each is a flag pass_<name> of the inputs.",
    )


def threshold(pool: Pool, budget_tokens: int, seed: int, settings: FilterSettings, inputs: Inputs) -> Scores:
    """Constant probability for documents with P(harm) at or below ``toxicity_threshold``.

    Such filters have been blamed for deleting minority dialects (Xu et al. 2021, arXiv:2104.06390; Welbl et al. 2021,
    arXiv:2109.07445).
    """
    passes = pool.p_harm <= settings.toxicity_threshold
    return scores(uniform(pool, passes, budget_tokens), np.where(passes, BY_CHANCE, "P(harm) above the threshold"))


def threshold_within(
    pool: Pool,
    budget_tokens: int,
    seed: int,
    settings: FilterSettings,
    inputs: Inputs,
    axis: str,
) -> Scores:
    """Random within the cleanest ``1 - source_drop`` of each source's or stratum's tokens, more if the budget needs it.

    The shares of the batch stay those of the pool: the baseline to beat. A stratum is here topic x identity group: the
    toxicity bin of the policy's strata would keep its share as well, and nothing would be filtered.
    """
    axes = (pool.source,) if axis == "source" else (pool.topic, pool.group)
    code, k = crossing(*axes)
    share = min(budget_tokens / pool.total_tokens, 1.0)
    keep = max(1.0 - settings.source_drop, share)
    order = ordered(pool, pool.safety.astype(np.float64), code)
    tokens = pool.n_tokens[order]
    total = np.bincount(code, weights=pool.n_tokens, minlength=k)
    start = np.concatenate([[0.0], np.cumsum(total)[:-1]])[code[order]]
    passes = np.zeros(len(pool), np.bool_)
    passes[order] = np.cumsum(tokens) - tokens - start < keep * total[code[order]]
    available = np.bincount(code[passes], weights=pool.n_tokens[passes], minlength=k)
    inside = np.minimum(share * total / np.maximum(available, 1.0), 1.0)
    reason = np.where(passes, BY_CHANCE, f"among the most harmful of its {axis}")
    return scores(np.where(passes, inside[code], TINY), reason)


def manual_filters(pool: Pool, budget_tokens: int, seed: int, settings: FilterSettings, inputs: Inputs) -> Scores:
    """Constant probability for what passes all rules of thumb and, as C4 did, has no word of a list of bad words.

    Raises:
        DataError: the inputs lack the flag of a rule.
    """
    flags = inputs.require_flags(settings.manual_rules, len(pool))
    passes = np.logical_and.reduce(list(flags.values()))
    first = np.select([~flag for flag in flags.values()], [f"fails {name}" for name in flags], BY_CHANCE)
    return scores(uniform(pool, passes, budget_tokens), first)


BASELINES = (
    Baseline("threshold", "P(harm) below a threshold, random within", threshold, settings=FilterSettings),
    *(
        Baseline(
            f"threshold_within_{axis}",
            f"the cleanest part of each {axis}, random within",
            partial(threshold_within, axis=axis),
            settings=FilterSettings,
        )
        for axis in ("source", "stratum")
    ),
    Baseline(
        "manual_filters",
        "rules of Gopher (Rae et al. 2021, arXiv:2112.11446) and C4 (Raffel et al. 2020, arXiv:1910.10683)",
        manual_filters,
        needs="flags",
        settings=FilterSettings,
    ),
)
