"""The decision process: what selecting a candidate at a state gains, costs and shows.

Training (``environment``), scoring (``scoring``) and the closed form ask here for observations, gains and rewards, so
that a policy is asked in production exactly what it was asked in training. With u(w) = log2(1 + w) and a document of
l normalised tokens, the reward of weight w is

    l (u(w) [R - deduction] - w [price + lambda_T (P(harm) - tau) - lambda_D (d - floor)]),

R from ``reward.composite``, the prices from ``market``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from curation_pipeline.policy.candidates import EVERY, Candidates
from curation_pipeline.policy.features import Normaliser
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import F32, F64, Pool, Rows
from curation_pipeline.policy.pool_statistics import PoolStatistics, composition_of, weighted_sum
from curation_pipeline.policy.selection_state import GlobalFeatures, SelectionState, SetFeatures
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.reward.composite import composite_reward


@dataclass(frozen=True, slots=True)
class ConstraintDuals:
    """Multipliers of the slow constraints: lambda_T of the toxicity ceiling, lambda_D of each floor by its name."""

    toxicity: float = 0.0
    groups: Mapping[str, float] = field(default_factory=dict)

    def of_floors(self, statistics: PoolStatistics) -> F64:
        """(G,) lambda_D in the order of the pool's floors."""
        return np.array([self.groups.get(floor.name, 0.0) for floor in statistics.floors], dtype=np.float64)

    def ascend(self, state: SelectionState, speed: float = 1.0) -> ConstraintDuals:
        """One step of dual ascent on the toxicity ceiling and, in relative terms, on the floors."""
        if state.mass <= 0.0:
            return self
        settings = state.statistics.settings
        # Both violations are relative and cut to [-1, 1]: a rate then means the same for a rare group and a common one.
        ceiling = max(settings.toxicity_ceiling, 0.01)
        excess = min((state.totals[2] / state.mass - settings.toxicity_ceiling) / ceiling, 1.0)
        toxicity = self.toxicity + speed * settings.toxicity_dual_rate * excess
        groups: dict[str, float] = {}
        for floor, held in zip(state.statistics.floors, state.floors, strict=True):
            lack = 1.0 - held / (state.mass * floor.least) if floor.least > 0 else 0.0
            value = self.groups.get(floor.name, 0.0) + speed * settings.group_dual_rate * max(lack, -1.0)
            groups[floor.name] = float(np.clip(value, 0.0, settings.dual_max))
        return ConstraintDuals(float(np.clip(toxicity, 0.0, settings.dual_max)), groups)


@dataclass(frozen=True, slots=True)
class RewardScale:
    """Zero and unit of the gain.

    Attributes:
        reference: the gain that counts as zero, see ``PolicySettings.gain_reference``.
        unit: token-weighted standard deviation of the gain over the pool at the pool's own composition. The environment
            pays in this unit, so that the value network sees returns near 1 for any objective.
    """

    reference: float
    unit: float

    @classmethod
    def fit(cls, candidates: Candidates, multiplicity: F64 | None = None) -> RewardScale:
        """The scale of a pool.

        Args:
            candidates: a sample of the pool, or all of it.
            multiplicity: (n,) how many tokens of the pool each token of the sample stands for; None for one each.
        """
        statistics, pool = candidates.statistics, candidates.pool
        tokens = pool.n_tokens if multiplicity is None else pool.n_tokens * multiplicity
        empty = SelectionState(statistics, statistics.budget)
        features, diversity = empty.set_features(candidates, EVERY, np.zeros(len(statistics.floors)))
        objective, credit = statistics.objective, features.stratum_credit
        gain: F64 = composite_reward(objective, pool.safety, pool.alignment, diversity, credit)
        reference = 0.0
        if statistics.settings.gain_reference is not None:
            # The document that the budget would just include lies above this quantile, so a clearing price stays
            # positive.
            quantile = statistics.settings.gain_reference * (1.0 - statistics.budget / statistics.documents)
            reference = float(np.quantile(gain, quantile, weights=tokens, method="inverted_cdf"))
        return cls(reference, max(float(np.sqrt(np.cov(gain, aweights=tokens, ddof=0))), 1e-6))


def weight_utility(weights: tuple[float, ...]) -> F64:
    """u(w) = log2(1 + w) of each action: concave, u(0) = 0, u(1) = 1."""
    return np.log2(1.0 + np.asarray(weights))


@dataclass(frozen=True, slots=True)
class Marginal:
    """What m candidates add to a set.

    Attributes:
        gain: (m,) marginal gain: R less the deduction.
        penalty: (m,) lambda_T (P(harm) - tau) - lambda_D (d - floor), per normalised token.
        features: see ``SetFeatures``.
    """

    gain: F64
    penalty: F64
    features: SetFeatures


@dataclass(frozen=True, slots=True)
class SelectionProblem:
    """Candidates, and the scale of their reward.

    Attributes:
        candidates: with the statistics of their pool, the objective and the settings.
        scale: zero and unit of the gain.
    """

    candidates: Candidates
    scale: RewardScale

    @property
    def observation_names(self) -> tuple[str, ...]:
        """The columns of an observation in order: of the document, of its relation to the set, of set and market."""
        return observation_names(self.candidates.feature_names)

    def marginal_gain(self, state: SelectionState, rows: Rows | slice, duals: ConstraintDuals) -> Marginal:
        """What candidates at some places (m,) add to a set."""
        candidates, statistics = self.candidates, self.candidates.statistics
        features, diversity = state.set_features(candidates, rows, duals.of_floors(statistics))
        safety = candidates.pool.safety[rows]
        gain: F64 = composite_reward(
            statistics.objective,
            safety,
            candidates.pool.alignment[rows],
            diversity,
            features.stratum_credit,
            deduction=self.scale.reference + self.scale.unit * candidates.staleness[rows],
        )
        penalty = duals.toxicity * (1.0 - safety - statistics.settings.toxicity_ceiling) - features.group_bonus
        return Marginal(gain, penalty, features)

    def observe(
        self,
        state: SelectionState,
        rows: Rows | slice,
        marginal: Marginal,
        price: float,
        duals: ConstraintDuals,
        progress: float,
    ) -> F32:
        """Observations (m, f) in the order of ``observation_names``.

        What is paid or charged is seen in the unit of the reward: novelty less that of the pool's mean, the ratio of
        the coverage bin, credit, bonus, price and lambda_T. In units of their own they differ by a factor of a hundred,
        and Adam learns what is small slowly: twice as many updates reached less.
        """
        candidates, statistics = self.candidates, self.candidates.statistics
        objective, part, unit = statistics.objective, statistics.settings.novelty_share, self.scale.unit
        # The stratum's ratio enters no reward.
        paid = np.array([objective.gamma * (1.0 - part), objective.gamma * part, objective.eta, 1.0]) / unit
        novelty = 1.0 - float(statistics.mean_phi @ statistics.mean_phi)
        relative = np.stack(marginal.features, axis=1)
        first = candidates.features.shape[1]
        second = first + len(SetFeatures._fields)
        observation = np.empty((len(relative), second + len(GlobalFeatures._fields)), np.float32)
        observation[:, :first] = candidates.features[rows]
        observation[:, first:second] = (relative - np.array([0.0, 0.0, novelty, 0.0, 0.0])) * np.array([1.0, *paid])
        observation[:, second:] = state.global_features(price / unit, duals.toxicity / unit, progress)
        return observation

    def action_rewards(self, rows: Rows | slice, marginal: Marginal, price: float) -> F64:
        """Reward (m, actions) of each weight, see the module."""
        candidates, settings = self.candidates, self.candidates.statistics.settings
        length = candidates.length[rows]
        cost, gain = length * (price + marginal.penalty), length * marginal.gain
        reward: F64 = gain[:, None] * weight_utility(settings.weights) - cost[:, None] * np.asarray(settings.weights)
        return reward

    def critical_price(self, marginal: Marginal) -> F64:
        """(m,) the price of a normalised token above which the best response to a candidate is to skip it."""
        weights = self.candidates.statistics.settings.weights
        ratio = weight_utility(weights)[1:] / np.asarray(weights[1:])
        # u(w) / w falls with w, so the smallest weight leaves last; a negative gain leaves at the largest.
        price: F64 = np.where(marginal.gain > 0, ratio.max(), ratio.min()) * marginal.gain - marginal.penalty
        return price


def observation_names(features: tuple[str, ...]) -> tuple[str, ...]:
    """The columns of an observation, given those of a document alone."""
    return (*features, *SetFeatures._fields, *GlobalFeatures._fields)


def prepare(pool: Pool, objective: Objective, normaliser: Normaliser, settings: PolicySettings) -> SelectionProblem:
    """The problem of a whole pool in memory."""
    return prepare_sample(pool, None, composition_of(pool), objective, normaliser, settings)


def prepare_sample(
    sample: Pool,
    multiplicity: F64 | None,
    composition: pl.DataFrame,
    objective: Objective,
    normaliser: Normaliser,
    settings: PolicySettings,
) -> SelectionProblem:
    """The problem of a sample of a pool, with the statistics of the whole pool behind it.

    Args:
        sample: n documents in the codes of the whole, or the whole pool.
        multiplicity: (n,) how many tokens of the pool each token of the sample stands for; None for one each.
        composition: of the whole pool.
        objective: what is maximised.
        normaliser: the feature constants.
        settings: of the process.
    """
    tokens = sample.n_tokens if multiplicity is None else sample.n_tokens * multiplicity
    phi = normaliser.random_features(sample)
    names = {axis: codes.names for axis, codes in sample.columns.items()}
    mean_phi = weighted_sum(tokens / tokens.sum(), phi)
    statistics = PoolStatistics.of(composition, names, mean_phi, objective, settings)
    candidates = Candidates.of(statistics, normaliser, sample, phi)
    return SelectionProblem(candidates, RewardScale.fit(candidates, multiplicity))
