"""The state that all candidates share: what has been curated so far, and what one more document is worth.

Training (``environment``) and scoring (``scoring``, ``closed_form``) build observations, gains and prices here, so that
a policy is asked in production exactly what it was asked in training. A token mass is counted in normalised tokens,
``n_tokens`` over the mean of the pool.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from curation_pipeline.policy.features import Normaliser
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import F32, F64, Pool, Rows
from curation_pipeline.policy.population import Population, Prepared, composition_of
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.policy.traits import trait_credit
from curation_pipeline.reward.targets import divergence_drop

__all__ = [
    "EPS", "EVERY", "GLOBAL_FEATURES", "STATE_FEATURES", "CuratedSet", "Duals", "Prepared", "Worth", "clearing_price",
    "prepare", "prepare_rows", "survey_sample", "utility",
]  # fmt: skip

EVERY = slice(None)
"""All documents of ``Prepared``, where a method asks for places."""
_BLOCK = 4096
EPS = 1e-3
"""Share added to cells before a ratio is shown to the policy, so that an unwanted cell's is finite."""
STATE_FEATURES = ("half_log_stratum_ratio", "half_log_cell_ratio", "novelty", "stratum_credit", "group_bonus")
GLOBAL_FEATURES = (
    "progress",
    "budget_used",
    "mean_harm",
    "mean_alignment",
    "mean_weight",
    "price",
    "toxicity_dual",
    "last_safety",
    "last_capability",
    "curriculum_stage",
)


@dataclass(frozen=True, slots=True)
class Duals:
    """Multipliers of the slow constraints: lambda_T of the toxicity ceiling, lambda_D of each group's floor."""

    toxicity: float = 0.0
    groups: Mapping[str, float] = field(default_factory=dict)


def prepare(pool: Pool, objective: Objective, normaliser: Normaliser, settings: PolicySettings) -> Prepared:
    """Everything that can be computed once for a whole pool and an objective."""
    names = {axis: codes.names for axis, codes in pool.columns.items()}
    return survey_sample(pool, None, composition_of(pool), names, objective, normaliser, settings)


def survey_sample(
    sample: Pool,
    multiplicity: F64 | None,
    composition: pl.DataFrame,
    names: Mapping[str, tuple[str, ...]],
    objective: Objective,
    normaliser: Normaliser,
    settings: PolicySettings,
) -> Prepared:
    """A sample of a pool, prepared, with the population of the whole pool behind it.

    Args:
        sample: (n documents), or the whole pool.
        multiplicity: (n,) how many tokens of the pool each token of the sample stands for; None for one each.
        composition: of the whole pool.
        names: axis -> names of the sample's codes.
        objective: what is maximised.
        normaliser: the feature constants.
        settings: of the process.
    """
    tokens = sample.n_tokens if multiplicity is None else sample.n_tokens * multiplicity
    phi = normaliser.random_features(sample)
    population = Population.of(composition, names, _weighted_sum(tokens / tokens.sum(), phi), objective, settings)
    prepared = prepare_rows(population, normaliser, sample, phi)
    gain = CuratedSet(prepared, prepared.budget).worth(EVERY, Duals()).gain
    unit = float(np.sqrt(np.cov(gain, aweights=tokens, ddof=0)))
    reference = 0.0
    if settings.gain_reference is not None:
        # The document that the budget would just include lies above this quantile, so a clearing price stays positive.
        quantile = settings.gain_reference * (1.0 - prepared.budget / population.documents)
        reference = float(np.quantile(gain, quantile, weights=tokens, method="inverted_cdf"))
    population = replace(population, reference=reference, reward_unit=max(unit, 1e-6))
    loss = reference + _repeat_cost(population, sample)
    return replace(prepared, population=population, static_gain=prepared.static_gain - loss)


def prepare_rows(population: Population, normaliser: Normaliser, pool: Pool, phi: F32 | None = None) -> Prepared:
    """Some documents of a pool, measured against the population of all.

    Args:
        population: of the whole pool.
        normaliser: the feature constants.
        pool: the documents, in the population's codes.
        phi: (n, D) their random features where they are at hand.
    """
    objective, settings = population.objective, population.settings
    length = pool.n_tokens / population.mean_tokens
    gain_scale = length if settings.length_exponent == 1.0 else length**settings.length_exponent
    worth = objective.alpha * pool.safety.astype(np.float64) + objective.beta * pool.alignment
    return Prepared(
        population=population,
        pool=pool,
        features=normaliser.features(pool),
        phi=normaliser.random_features(pool) if phi is None else phi,
        length=length,
        gain_scale=gain_scale,
        static_gain=worth - population.reference - _repeat_cost(population, pool),
        trait_credit=trait_credit(pool, objective.credit),
        cell=population.cells.code(pool.columns),
        benign=population.benign(pool),
        observation_names=(*normaliser.names, *STATE_FEATURES, *GLOBAL_FEATURES),
    )


def _repeat_cost(population: Population, pool: Pool) -> F64:
    """What earlier draws take off a document's gain (n,).

    A factor on the gain would do nothing where it is near its zero, and bring documents back of which it is negative.
    """
    return np.asarray(population.reward_unit * (1.0 - population.settings.repeat_decay**pool.n_drawn))


def utility(weights: tuple[float, ...]) -> F64:
    """u(w) = log2(1 + w) of each action: concave, u(0) = 0, u(1) = 1."""
    return np.log2(1.0 + np.asarray(weights))


@dataclass(frozen=True, slots=True)
class Worth:
    """What m candidates are worth at one state.

    Attributes:
        gain: (m,) alpha R_s + beta R_a + gamma R_d + eta c - reference.
        penalty: (m,) lambda_T (T - tau) - lambda_D (d - floor), per normalised token.
        relative: (m, 5) the state-relative features in the order of ``STATE_FEATURES``.
    """

    gain: F64
    penalty: F64
    relative: F64


class CuratedSet:
    """The curated set as sums that can be added to, damped, saved and restored.

    Args:
        prepared: the pool and objective.
        budget: normalised tokens of the episode (or of the draw) behind the pseudo-counts.
    """

    SUMS = ("stratum", "cell", "phi", "benign", "totals")

    def __init__(self, prepared: Prepared, budget: float) -> None:
        self.prepared = prepared
        self.budget = budget
        self.prior = prepared.settings.prior_share * budget
        self.stratum = np.zeros(len(prepared.stratum_share))
        self.cell = np.zeros(len(prepared.cell_share))
        self.phi = np.zeros(prepared.phi.shape[1])
        self.benign = np.zeros(prepared.benign.shape[1])
        # Weighted tokens, drawn tokens, and the weighted sums of P(harm) and alignment.
        self.totals = np.zeros(4)

    @property
    def mass(self) -> float:
        """Weighted normalised tokens."""
        return float(self.totals[0])

    @property
    def drawn(self) -> float:
        """Normalised tokens of kept documents: what the budget counts."""
        return float(self.totals[1])

    def over(self, prepared: Prepared) -> CuratedSet:
        """A copy of the same set, to be asked about other documents of the pool."""
        other = CuratedSet(prepared, self.budget)
        for name in self.SUMS:
            getattr(other, name)[:] = getattr(self, name)
        return other

    def clear(self) -> None:
        """Empty the set."""
        for name in self.SUMS:
            getattr(self, name).fill(0.0)

    def add(self, rows: Rows | slice, kept: F64, weighted: F64) -> None:
        """Add documents.

        Args:
            rows: (m,) places in the pool, or ``EVERY``.
            kept: (m,) 1 for kept documents, or the probability of keeping them.
            weighted: (m,) the weight, or its expectation (0 if not kept).
        """
        prepared = self.prepared
        length = prepared.length[rows]
        mass = weighted * length
        self.stratum += np.bincount(prepared.pool.stratum.code[rows], weights=mass, minlength=len(self.stratum))
        self.cell += np.bincount(prepared.cell[rows], weights=mass, minlength=len(self.cell))
        self.phi += _weighted_sum(mass, prepared.phi[rows])
        self.benign += mass @ prepared.benign[rows]
        safety = prepared.pool.safety[rows]
        self.totals += (mass.sum(), kept @ length, mass.sum() - mass @ safety, mass @ prepared.pool.alignment[rows])

    def worth(self, rows: Rows | slice, duals: Duals) -> Worth:
        """Gains and state-relative features of candidates at this state."""
        prepared, objective = self.prepared, self.prepared.objective
        smoothed = self.mass + self.prior
        stratum_share = (self.stratum + self.prior * prepared.stratum_share) / smoothed
        cell_share = (self.cell + self.prior * prepared.cell_share) / smoothed
        stratum_ratio = 0.5 * np.log(stratum_share / prepared.stratum_share)
        target = prepared.cell_target
        if target is None:
            cell_ratio = 0.5 * np.log(cell_share / prepared.cell_share)
        else:
            cell_ratio = 0.5 * (np.log(cell_share + EPS) - np.log(target + EPS))
        mean_phi = (self.phi + self.prior * prepared.population.mean_phi) / smoothed
        code, cell = prepared.pool.stratum.code[rows], prepared.cell[rows]
        novelty = 1.0 - prepared.phi[rows] @ mean_phi.astype(np.float32)
        if target is None:
            deficit = np.clip(-cell_ratio, -1.0, 1.0)[cell]
        else:
            # Per token and in the unit of the ratio: what the document takes off half of KL(target || set).
            length = prepared.length[rows]
            drop = divergence_drop(target, self.cell + self.prior * prepared.cell_share, cell, length)
            deficit = np.clip(0.5 * smoothed / length * drop, -1.0, 1.0)
        part = prepared.settings.novelty_share
        diversity = part * novelty + (1.0 - part) * deficit
        credit = self._credit(stratum_share)[code] + prepared.trait_credit[rows]
        gain = prepared.static_gain[rows] + objective.gamma * diversity + objective.eta * credit
        bonus = self._group_bonus(rows, duals)
        harm = 1.0 - prepared.pool.safety[rows]
        penalty = duals.toxicity * (harm - prepared.settings.toxicity_ceiling) - bonus
        relative = np.stack([stratum_ratio[code], cell_ratio[cell], novelty, credit, bonus], axis=1)
        return Worth(gain, penalty, relative)

    def observe(self, rows: Rows | slice, worth: Worth, price: float, duals: Duals, progress: float) -> F32:
        """Observations (m, f + 15) in the order of ``Prepared.observation_names``.

        What is paid or charged at this state is seen in the unit of the reward: novelty less that of the pool's mean,
        the ratio of the cell, credit, bonus, price and lambda_T. In units of their own they differ by a factor of a
        hundred, and Adam learns what is small slowly: twice as many updates reached less.
        """
        prepared, objective = self.prepared, self.prepared.objective
        population, unit = prepared.population, prepared.reward_unit
        smoothed = self.mass + self.prior
        observation = np.empty((len(worth.gain), len(prepared.observation_names)), np.float32)
        first = prepared.features.shape[1]
        second = first + len(STATE_FEATURES)
        observation[:, :first] = prepared.features[rows]
        observation[:, first:second] = (worth.relative - population.relative_centre) * population.relative_scale
        observation[:, second:] = (
            progress,
            self.drawn / self.budget,
            (self.totals[2] + self.prior * prepared.population.mean_harm) / smoothed,
            (self.totals[3] + self.prior * prepared.population.mean_alignment) / smoothed,
            smoothed / (self.drawn + self.prior),
            price / unit,
            duals.toxicity / unit,
            objective.last_safety - 0.5,
            objective.last_capability - 0.5,
            objective.curriculum_stage,
        )
        return observation

    def values(self, rows: Rows | slice, worth: Worth, price: float) -> F64:
        """Reward (m, actions) of each weight: l^rho u(w) gain - w l (price + penalty)."""
        prepared = self.prepared
        weights = np.asarray(prepared.settings.weights)
        cost = prepared.length[rows] * (price + worth.penalty)
        worthwhile = prepared.scale_of(rows, worth.gain) * worth.gain
        reward: F64 = worthwhile[:, None] * utility(prepared.settings.weights) - cost[:, None] * weights
        return reward

    def critical_price(self, rows: Rows | slice, worth: Worth) -> F64:
        """(m,) the price a normalised token above which the best response to a candidate is to skip it."""
        weights = np.asarray(self.prepared.settings.weights[1:])
        ratio = utility(self.prepared.settings.weights)[1:] / weights
        per_token = self.prepared.scale_of(rows, worth.gain) / self.prepared.length[rows] * worth.gain
        # u(w)/w falls with w, so the smallest weight leaves last; a negative gain leaves at the largest.
        price: F64 = np.where(per_token > 0, ratio.max(), ratio.min()) * per_token - worth.penalty
        return price

    def update_duals(self, duals: Duals, speed: float = 1.0) -> Duals:
        """One step of dual ascent on the toxicity ceiling and, in relative terms, on the groups' floors."""
        if self.mass <= 0.0:
            return duals
        prepared, settings = self.prepared, self.prepared.settings
        # Both violations are relative and cut to [-1, 1]: a rate then means the same for a rare group and a common one.
        ceiling = max(settings.toxicity_ceiling, 0.01)
        excess = min((self.totals[2] / self.mass - settings.toxicity_ceiling) / ceiling, 1.0)
        toxicity = duals.toxicity + speed * settings.toxicity_dual_rate * excess
        groups: dict[str, float] = {}
        for name, floor, benign in zip(prepared.floor_names, prepared.floor, self.benign, strict=True):
            lack = 1.0 - benign / (self.mass * floor) if floor > 0 else 0.0
            value = duals.groups.get(name, 0.0) + speed * settings.group_dual_rate * max(lack, -1.0)
            groups[name] = float(np.clip(value, 0.0, settings.dual_max))
        return Duals(float(np.clip(toxicity, 0.0, settings.dual_max)), groups)

    def _credit(self, stratum_share: F64) -> F64:
        index, credit = self.prepared.credit_index, self.prepared.objective.credit
        if credit is None:
            return np.zeros(len(index))
        known = index >= 0
        composition = np.zeros(len(credit.strata))
        composition[index[known]] = stratum_share[known]
        return np.where(known, np.asarray(credit.at(composition))[index], 0.0)

    def _group_bonus(self, rows: Rows | slice, duals: Duals) -> F64:
        prepared = self.prepared
        multiplier = np.array([duals.groups.get(name, 0.0) for name in prepared.floor_names])
        benign = prepared.benign[rows]
        # Between the rare violations no group has a multiplier, and this is asked for every candidate.
        bonus: F64 = (benign - prepared.floor) @ multiplier if multiplier.any() else np.zeros(len(benign))
        return bonus


def _weighted_sum(mass: F64, phi: F32) -> F64:
    """sum_i mass_i phi_i (D,), in float32 within a block and in float64 over blocks."""
    total = np.zeros(phi.shape[1])
    for start in range(0, len(mass), _BLOCK):
        total += mass[start : start + _BLOCK].astype(np.float32) @ phi[start : start + _BLOCK]
    return total


def clearing_price(critical: F64, length: F64, target: float) -> float:
    """The price at which best responses keep ``target`` normalised tokens of the candidates.

    Args:
        critical: (m,) price above which each candidate is skipped.
        length: (m,) normalised tokens.
        target: normalised tokens to keep; at most 0 prices everybody out, all of it prices everybody in.
    """
    order = np.argsort(-critical, kind="stable")
    cumulative = np.cumsum(length[order])
    place = int(np.searchsorted(cumulative, target))
    if target <= 0.0:
        return float(critical[order[0]])
    return float(critical[order[min(place, len(order) - 1)]])
