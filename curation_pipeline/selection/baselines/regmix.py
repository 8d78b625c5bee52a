"""RegMix-style one-shot regression (Liu et al. 2024, arXiv:2407.01492): predict what mixtures give, draw the best.

Small trainings on random mixtures are regressed once on their composition (``reward.credit.DownstreamCredit`` carries
the fit), the regression predicts the outcome of thousands of simulated mixtures, and the mean of the best of them is
drawn, at random within each stratum. RegMix simulates mixtures of a few sources from a Dirichlet distribution around
the pool's; with hundreds of strata nearly all such mixtures are alike, so here each level of each factor of a stratum's
name (topic, toxicity bin, identity group) gets a log-normal tilt, which is also how probes are drawn.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from curation_pipeline.errors import DataError
from curation_pipeline.policy.pool import F64, Pool
from curation_pipeline.policy.scores import Scores
from curation_pipeline.reward.credit import DownstreamCredit
from curation_pipeline.seeds import generator
from curation_pipeline.selection.baseline import Baseline, SharedSettings
from curation_pipeline.selection.choosing import scores, waterfill
from curation_pipeline.selection.inputs import Inputs

_SPREADS = (0.5, 1.0, 2.0)
"""Standard deviations of the log tilts, in turns: mixtures near the pool and far from it."""
_SEPARATOR = "|"


class MixtureSettings(SharedSettings):
    """Of RegMix."""

    mixtures: int = Field(default=4096, ge=1, le=1_000_000, description="Mixtures that regmix simulates.")
    mixtures_averaged: int = Field(default=32, ge=1, description="Best mixtures whose mean regmix draws.")


def regmix(pool: Pool, budget_tokens: int, seed: int, settings: MixtureSettings, inputs: Inputs) -> Scores:
    """One probability a stratum: what the best of many simulated mixtures wants of it, at most all of it.

    Raises:
        DataError: no regression was given, or its leave-one-out R2 is not positive.
    """
    credit = inputs.credit
    if credit is None or not credit.r2 > 0:
        raise DataError(
            "regmix needs a regression of probe outcomes with a positive leave-one-out R2; "
            f"{'none was given' if credit is None else f'this one has {credit.r2:.3f}'}: train more probes"
        )
    code, names = pool.stratum.code, pool.stratum.names
    tokens = np.bincount(code, weights=pool.n_tokens, minlength=len(names)).astype(np.float64)
    budget = float(min(budget_tokens, pool.total_tokens))
    mixture = _best(credit.indexed(names), tokens, budget, names, seed, settings)
    return scores(np.clip(mixture * budget / tokens, 0.0, 1.0)[code], "the mixture takes only a part of its stratum")


def _best(
    credit: DownstreamCredit, tokens: F64, budget: float, names: tuple[str, ...], seed: int, settings: MixtureSettings
) -> F64:
    factors = factor_levels(names)
    kept: list[tuple[float, int, F64]] = []
    for number in range(settings.mixtures):
        rng = generator(seed, "regmix", number)
        sigma = _SPREADS[number % len(_SPREADS)]
        tilt = sum((sigma * rng.standard_normal(levels.max() + 1)[levels] for levels in factors), np.zeros(len(names)))
        mixture = waterfill(tokens, budget, tokens * np.exp(tilt - tilt.max())) / budget
        kept.append((predicted(credit, mixture), number, mixture))
        if len(kept) >= 4 * settings.mixtures_averaged:
            kept = sorted(kept, key=lambda entry: (-entry[0], entry[1]))[: settings.mixtures_averaged]
    kept = sorted(kept, key=lambda entry: (-entry[0], entry[1]))[: settings.mixtures_averaged]
    return np.asarray(np.mean([mixture for _, _, mixture in kept], axis=0))


def factor_levels(names: tuple[str, ...]) -> list[np.ndarray]:
    """For each factor of the strata's names, the level (k,) of each stratum; one factor if names differ in form."""
    parts = [name.split(_SEPARATOR) for name in names]
    if len({len(part) for part in parts}) > 1:
        parts = [[name] for name in names]
    return [np.unique(column, return_inverse=True)[1] for column in zip(*parts, strict=True)]


def predicted(credit: DownstreamCredit, composition: np.ndarray) -> float:
    """The surrogate's P of a composition (k,) that sums to 1, without its constant."""
    return float(credit.share @ composition + credit.coverage @ np.log(composition + credit.eps))


BASELINES = (
    Baseline(
        "regmix",
        "one-shot regression on mixtures (Liu et al. 2024, arXiv:2407.01492)",
        regmix,
        needs="credit",
        settings=MixtureSettings,
    ),
)
