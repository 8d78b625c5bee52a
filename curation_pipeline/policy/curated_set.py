"""The state that all candidates share: what has been curated so far, and what one more document is worth.

Training (``environment``) and scoring (``scoring``, ``closed_form``) build observations, gains and prices here, so that
a policy is asked in production exactly what it was asked in training. A token mass is counted in normalised tokens,
``n_tokens`` over the mean of the pool.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from curation_pipeline.policy.cells import cells_of, essential_floors
from curation_pipeline.policy.features import Normaliser
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import F32, F64, I32, NO_GROUP, Pool, Rows
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.reward.targets import divergence, divergence_drop

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


@dataclass(frozen=True, slots=True)
class Prepared:
    """What does not change while one pool is curated for one objective (n documents, G groups with a floor).

    Attributes:
        features, phi: (n, f) and (n, D).
        length: (n,) normalised tokens.
        gain_scale: (n,) length ** rho times the repeat decay.
        static_gain: (n,) alpha R_s + beta R_a - reference.
        reference: the gain that counts as zero, see ``PolicySettings.gain_reference``.
        reward_unit: token-weighted standard deviation of the gain over the pool at the pool's own composition; the
            environment pays in this unit, so that the value network sees returns near 1 for any objective.
        cell, cell_share: topic x identity group, the cells of coverage (free of toxicity, so that diversity never
            asks for toxic text), and their share of the pool's tokens; finer where targets name other axes.
        cell_target: the shares that the cells should have, or None for those of the pool.
        stratum_share: share of the pool's tokens in each stratum.
        credit_index: for each stratum of the pool its place in the credit's strata, -1 if it has none.
        benign: (n, G) R_s for members of the group, else 0; for an essential domain 1 for its documents.
        floor: (G,) least mean of ``benign`` in the curated set.
    """

    pool: Pool
    objective: Objective
    settings: PolicySettings
    features: F32
    phi: F32
    length: F64
    gain_scale: F64
    static_gain: F64
    reference: float
    reward_unit: float
    cell: I32
    cell_share: F64
    cell_target: F64 | None
    stratum_share: F64
    credit_index: Rows
    benign: F64
    floor: F64
    floor_names: tuple[str, ...]
    observation_names: tuple[str, ...]

    @property
    def budget(self) -> float:
        """The budget in normalised tokens, at most the whole pool."""
        return min(self.objective.budget_tokens / self.pool.total_tokens, 1.0) * float(self.length.sum())

    def coverage(self, share: F64) -> float:
        """What coverage makes of a composition (k,): minus half its divergence from what is aimed at, at most 0.

        The gains in ``CuratedSet.worth`` are its steps: of KL(target || composition) where there is a target, and of
        KL(composition || pool) where there is none.
        """
        present = np.maximum(share, 1e-12)
        if self.cell_target is not None:
            return -0.5 * divergence(self.cell_target, present)
        return -0.5 * float(share @ np.log(present / self.cell_share))


def prepare(pool: Pool, objective: Objective, normaliser: Normaliser, settings: PolicySettings) -> Prepared:
    """Everything that can be computed once for a pool and an objective."""
    length = pool.n_tokens / pool.n_tokens.mean()
    cells = cells_of(pool, length, objective.targets)
    place = {name: i for i, name in enumerate(objective.credit.strata)} if objective.credit is not None else {}
    floor_names, benign = _floors(pool, length, settings)
    essential_names, members, least = essential_floors(pool, objective.essential)
    floor = settings.group_floor * (length @ benign) / length.sum()
    prepared = Prepared(
        pool=pool,
        objective=objective,
        settings=settings,
        features=normaliser.features(pool),
        phi=normaliser.random_features(pool),
        length=length,
        gain_scale=length**settings.length_exponent * settings.repeat_decay**pool.n_drawn,
        static_gain=objective.alpha * pool.safety.astype(np.float64) + objective.beta * pool.alignment,
        reference=0.0,
        reward_unit=1.0,
        cell=cells.code,
        cell_share=cells.share,
        cell_target=cells.target,
        stratum_share=pool.stratum.shares(length),
        credit_index=np.array([place.get(name, -1) for name in pool.stratum.names], dtype=np.int64),
        benign=np.concatenate([benign, members], axis=1) if essential_names else benign,
        floor=np.concatenate([floor, least]) if essential_names else floor,
        floor_names=(*floor_names, *essential_names),
        observation_names=(*normaliser.names, *STATE_FEATURES, *GLOBAL_FEATURES),
    )
    gain = CuratedSet(prepared, prepared.budget).worth(np.arange(len(pool)), Duals()).gain
    unit = float(np.sqrt(np.cov(gain, aweights=length, ddof=0)))
    reference = 0.0
    if settings.gain_reference is not None:
        # The document that the budget would just include lies above this quantile, so a clearing price stays positive.
        quantile = settings.gain_reference * (1.0 - prepared.budget / float(length.sum()))
        reference = float(np.quantile(gain, quantile, weights=length, method="inverted_cdf"))
    return replace(
        prepared, static_gain=prepared.static_gain - reference, reference=reference, reward_unit=max(unit, 1e-6)
    )


def _floors(pool: Pool, length: F64, settings: PolicySettings) -> tuple[tuple[str, ...], F64]:
    names: list[str] = []
    columns: list[F64] = []
    for axis in settings.floor_axes:
        codes = pool.group if axis == "identity_group" else pool.domain
        for i, share in enumerate(codes.shares(length)):
            if share >= settings.floor_minimum_share and codes.names[i] != NO_GROUP:
                names.append(f"{axis}:{codes.names[i]}")
                columns.append(np.where(codes.code == i, pool.safety, 0.0).astype(np.float64))
    return tuple(names), np.stack(columns, axis=1) if columns else np.empty((len(pool), 0))


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
        share = prepared.length / prepared.length.sum()
        self._phi_pool = share @ prepared.phi
        self._harm_pool = 1.0 - float(share @ prepared.pool.safety)
        self._alignment_pool = float(share @ prepared.pool.alignment)

    @property
    def mass(self) -> float:
        """Weighted normalised tokens."""
        return float(self.totals[0])

    @property
    def drawn(self) -> float:
        """Normalised tokens of kept documents: what the budget counts."""
        return float(self.totals[1])

    def clear(self) -> None:
        """Empty the set."""
        for name in self.SUMS:
            getattr(self, name).fill(0.0)

    def add(self, rows: Rows, kept: F64, weighted: F64) -> None:
        """Add documents.

        Args:
            rows: (m,) places in the pool.
            kept: (m,) 1 for kept documents, or the probability of keeping them.
            weighted: (m,) the weight, or its expectation (0 if not kept).
        """
        prepared = self.prepared
        length = prepared.length[rows]
        mass = weighted * length
        self.stratum += np.bincount(prepared.pool.stratum.code[rows], weights=mass, minlength=len(self.stratum))
        self.cell += np.bincount(prepared.cell[rows], weights=mass, minlength=len(self.cell))
        self.phi += mass @ prepared.phi[rows]
        self.benign += mass @ prepared.benign[rows]
        safety = prepared.pool.safety[rows]
        self.totals += (mass.sum(), kept @ length, mass.sum() - mass @ safety, mass @ prepared.pool.alignment[rows])

    def worth(self, rows: Rows, duals: Duals) -> Worth:
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
        mean_phi = (self.phi + self.prior * self._phi_pool) / smoothed
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
        credit = self._credit(stratum_share)[code]
        gain = prepared.static_gain[rows] + objective.gamma * diversity + objective.eta * credit
        bonus = self._group_bonus(rows, duals)
        harm = 1.0 - prepared.pool.safety[rows]
        penalty = duals.toxicity * (harm - prepared.settings.toxicity_ceiling) - bonus
        relative = np.stack([stratum_ratio[code], cell_ratio[cell], novelty, credit, bonus], axis=1)
        return Worth(gain, penalty, relative)

    def observe(self, rows: Rows, worth: Worth, price: float, duals: Duals, progress: float) -> F32:
        """Observations (m, f + 15) in the order of ``Prepared.observation_names``."""
        prepared, objective = self.prepared, self.prepared.objective
        smoothed = self.mass + self.prior
        observation = np.empty((len(rows), len(prepared.observation_names)), np.float32)
        first = prepared.features.shape[1]
        second = first + len(STATE_FEATURES)
        observation[:, :first] = prepared.features[rows]
        observation[:, first:second] = worth.relative
        observation[:, second:] = (
            progress,
            self.drawn / self.budget,
            (self.totals[2] + self.prior * self._harm_pool) / smoothed,
            (self.totals[3] + self.prior * self._alignment_pool) / smoothed,
            smoothed / (self.drawn + self.prior),
            price,
            duals.toxicity,
            objective.last_safety - 0.5,
            objective.last_capability - 0.5,
            objective.curriculum_stage,
        )
        return observation

    def values(self, rows: Rows, worth: Worth, price: float) -> F64:
        """Reward (m, actions) of each weight: l^rho u(w) gain - w l (price + penalty)."""
        prepared = self.prepared
        weights = np.asarray(prepared.settings.weights)
        cost = prepared.length[rows] * (price + worth.penalty)
        worthwhile = prepared.gain_scale[rows] * worth.gain
        reward: F64 = worthwhile[:, None] * utility(prepared.settings.weights) - cost[:, None] * weights
        return reward

    def critical_price(self, rows: Rows, worth: Worth) -> F64:
        """(m,) the price a normalised token above which the best response to a candidate is to skip it."""
        weights = np.asarray(self.prepared.settings.weights[1:])
        ratio = utility(self.prepared.settings.weights)[1:] / weights
        per_token = self.prepared.gain_scale[rows] / self.prepared.length[rows] * worth.gain
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

    def _group_bonus(self, rows: Rows, duals: Duals) -> F64:
        prepared = self.prepared
        multiplier = np.array([duals.groups.get(name, 0.0) for name in prepared.floor_names])
        bonus: F64 = (prepared.benign[rows] - prepared.floor) @ multiplier
        return bonus


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
