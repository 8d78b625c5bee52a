"""The state that all candidates share: what has been selected so far, as sums over documents.

A token mass is counted in normalised tokens, ``n_tokens`` over the mean of the pool. Pseudo-tokens at the pool's own
composition (``prior_share`` of the budget) keep the shares of a small set finite.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from curation_pipeline.policy.candidates import Candidates
from curation_pipeline.policy.pool import F32, F64, Rows
from curation_pipeline.policy.pool_statistics import PoolStatistics, weighted_sum
from curation_pipeline.reward.targets import divergence_drop

EPS = 1e-3
"""Share added to bins before a ratio to a target is shown to the policy, so that an unwanted bin's is finite."""


class SetFeatures(NamedTuple):
    """What a policy sees of m candidates relative to the set, (m,) each.

    Attributes:
        half_log_stratum_ratio: half of the logarithm of the stratum's share in the set over that in the pool.
        half_log_coverage_ratio: the same of the coverage bin, over its target where there is one.
        novelty: one minus the kernel to the mean of the set.
        stratum_credit: downstream credit c of the document at the set's composition.
        group_bonus: what the multipliers of the floors pay for the document.
    """

    half_log_stratum_ratio: F64
    half_log_coverage_ratio: F64
    novelty: F32
    stratum_credit: F64
    group_bonus: F64


class GlobalFeatures(NamedTuple):
    """What a policy sees of the set and the market, the same for all candidates."""

    progress: float
    budget_used: float
    mean_harm: float
    mean_alignment: float
    mean_weight: float
    price: float
    toxicity_dual: float
    last_safety: float
    last_capability: float
    curriculum_stage: float


class SelectionState:
    """The selected set.

    Args:
        statistics: of the pool.
        budget: normalised tokens of the episode (or of the draw) behind the pseudo-tokens.

    Attributes:
        stratum: (K,) weighted tokens by stratum.
        coverage: (k,) the same by coverage bin.
        phi: (D,) weighted sum of the random features.
        floors: (G,) weighted sums of what counts towards each floor.
        totals: (4,) weighted tokens, drawn tokens, and the weighted sums of P(harm) and alignment.
    """

    SUMS = ("stratum", "coverage", "phi", "floors", "totals")

    def __init__(self, statistics: PoolStatistics, budget: float) -> None:
        self.statistics = statistics
        self.budget = budget
        self.prior = statistics.settings.prior_share * budget
        self.stratum = np.zeros(len(statistics.stratum_share))
        self.coverage = np.zeros(len(statistics.coverage.share))
        self.phi = np.zeros(len(statistics.mean_phi))
        self.floors = np.zeros(len(statistics.floors))
        self.totals = np.zeros(4)

    @property
    def mass(self) -> float:
        """Weighted normalised tokens."""
        return float(self.totals[0])

    @property
    def drawn(self) -> float:
        """Normalised tokens of kept documents: what the budget counts."""
        return float(self.totals[1])

    def add(self, candidates: Candidates, rows: Rows | slice, kept: F64, weighted: F64) -> None:
        """Add documents.

        Args:
            candidates: of the same pool.
            rows: (m,) places among the candidates, or ``EVERY``.
            kept: (m,) 1 for kept documents, or the probability of keeping them.
            weighted: (m,) the loss weight, or its expectation (0 if not kept).
        """
        pool, length = candidates.pool, candidates.length[rows]
        mass = weighted * length
        self.stratum += np.bincount(pool.stratum.code[rows], weights=mass, minlength=len(self.stratum))
        self.coverage += np.bincount(candidates.coverage_bin[rows], weights=mass, minlength=len(self.coverage))
        self.phi += weighted_sum(mass, candidates.phi[rows])
        self.floors += mass @ candidates.floor_counts[rows]
        harm = mass.sum() - mass @ pool.safety[rows]
        self.totals += (mass.sum(), kept @ length, harm, mass @ pool.alignment[rows])

    def set_features(
        self, candidates: Candidates, rows: Rows | slice, floor_multipliers: F64
    ) -> tuple[SetFeatures, F64]:
        """What candidates are relative to this set: the features, and the diversity R_d (m,).

        Args:
            candidates: of the same pool.
            rows: (m,) places among the candidates, or ``EVERY``.
            floor_multipliers: (G,) lambda_D of each floor.
        """
        statistics, bins = self.statistics, self.statistics.coverage
        smoothed = self.mass + self.prior
        stratum_share = (self.stratum + self.prior * statistics.stratum_share) / smoothed
        coverage_share = (self.coverage + self.prior * bins.share) / smoothed
        mean_phi = (self.phi + self.prior * statistics.mean_phi) / smoothed
        code, bin_ = candidates.pool.stratum.code[rows], candidates.coverage_bin[rows]
        novelty = 1.0 - candidates.phi[rows] @ mean_phi.astype(np.float32)
        if bins.target is None:
            ratio = 0.5 * np.log(coverage_share / bins.share)
            deficit = np.clip(-ratio, -1.0, 1.0)[bin_]
        else:
            ratio = 0.5 * (np.log(coverage_share + EPS) - np.log(bins.target + EPS))
            # Per token and in the unit of the ratio: what the document takes off half of KL(target || set).
            length = candidates.length[rows]
            drop = divergence_drop(bins.target, self.coverage + self.prior * bins.share, bin_, length)
            deficit = np.clip(0.5 * smoothed / length * drop, -1.0, 1.0)
        part = statistics.settings.novelty_share
        # Between the rare violations no floor has a multiplier, and this is asked for every candidate.
        counts = candidates.floor_counts[rows]
        bonus = (counts - statistics.least) @ floor_multipliers if floor_multipliers.any() else np.zeros(len(counts))
        features = SetFeatures(
            half_log_stratum_ratio=(0.5 * np.log(stratum_share / statistics.stratum_share))[code],
            half_log_coverage_ratio=ratio[bin_],
            novelty=novelty,
            stratum_credit=statistics.stratum_credit(stratum_share)[code] + candidates.trait_credit[rows],
            group_bonus=bonus,
        )
        return features, part * novelty + (1.0 - part) * deficit

    def global_features(self, price: float, toxicity_dual: float, progress: float) -> GlobalFeatures:
        """Features of the set and the market.

        Args:
            price: of a normalised token, in units of the reward.
            toxicity_dual: lambda_T in the same unit.
            progress: of the episode, in [0, 1].
        """
        statistics, objective = self.statistics, self.statistics.objective
        smoothed = self.mass + self.prior
        return GlobalFeatures(
            progress=progress,
            budget_used=self.drawn / self.budget,
            mean_harm=float(self.totals[2] + self.prior * statistics.mean_harm) / smoothed,
            mean_alignment=float(self.totals[3] + self.prior * statistics.mean_alignment) / smoothed,
            mean_weight=smoothed / (self.drawn + self.prior),
            price=price,
            toxicity_dual=toxicity_dual,
            last_safety=objective.last_safety - 0.5,
            last_capability=objective.last_capability - 0.5,
            curriculum_stage=objective.curriculum_stage,
        )
