"""What an expected batch is worth, kept as sums over blocks of documents.

The value is that of ``research.set_value``, divided into what safety, alignment, diversity and credit add to it. Each
part is a function of sums over documents. With the sums kept by block, a bootstrap over documents (Efron, 1979) costs
one pass over the pool, whatever its size, and a few numbers a block for every resample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curation_pipeline.policy.candidates import Candidates
from curation_pipeline.policy.pool import F64, Rows
from curation_pipeline.policy.problem import SelectionProblem
from curation_pipeline.policy.scores import Scores
from curation_pipeline.reward.composite import reward_terms

MEASURES = ("value", "safety", "alignment", "diversity", "credit", "paid_value", "mean_harm", "effective_share")
"""``value`` is the sum of the next four. ``paid_value`` is the same measured from the reference gain, as training pays
it: weights that differ and documents that were drawn before then cost less, since u(w) and the repeat decay multiply a
smaller gain. The last two are stated with them."""


@dataclass(frozen=True, slots=True)
class BlockSums:
    """Sums over the documents of each of B blocks, for one arm; lengths are normalised tokens.

    Attributes:
        facts: (B, 8) sums of p l, p w l, p w^2 l, p w l P(harm), p l u(w), and the last times R_s, times R_a and
            times the credit of traits.
        paid_phi, phi: (B, D) sums of the random features, times p l u(w) and times p w l.
        paid_coverage, coverage: (B, k) the same for the bins of coverage.
        paid_stratum, stratum: (B, K) the same for the strata.
    """

    facts: F64
    paid_phi: F64
    phi: F64
    paid_coverage: F64
    coverage: F64
    paid_stratum: F64
    stratum: F64

    def resampled(self, counts: F64) -> tuple[F64, ...]:
        """The sums of a sample that holds block b counts[b] times."""
        return tuple(
            counts @ part
            for part in (
                self.facts, self.paid_phi, self.phi, self.paid_coverage, self.coverage, self.paid_stratum, self.stratum
            )
        )  # fmt: skip


def block_sums(candidates: Candidates, scores: Scores, block: Rows, n_blocks: int) -> BlockSums:
    """Sums of an arm's expected batch.

    Args:
        candidates: the n documents; the same for all arms that are compared.
        scores: of the arm; weights of any scale, their mean over the expected tokens is made 1.
        block: (n,) block of each document, from 0.
        n_blocks: B.
    """
    tokens = scores.probability * candidates.length
    weight = scores.weight.astype(np.float64)
    weight *= tokens.sum() / (tokens @ weight)
    mass = tokens * weight
    paid = scores.probability * candidates.length * np.log2(1.0 + weight)
    safety = candidates.pool.safety.astype(np.float64)

    def by_block(values: F64) -> F64:
        return np.asarray(np.bincount(block, weights=values, minlength=n_blocks), dtype=np.float64)

    def by_code(values: F64, code: Rows, n: int) -> F64:
        flat = np.bincount(block * n + code, weights=values, minlength=n_blocks * n)
        return np.asarray(flat.reshape(n_blocks, n), dtype=np.float64)

    facts = (
        tokens, mass, mass * weight, mass * (1.0 - safety), paid, paid * safety, paid * candidates.pool.alignment,
        paid * candidates.trait_credit,
    )  # fmt: skip
    statistics = candidates.statistics
    bins, strata = len(statistics.coverage.share), len(statistics.stratum_share)
    coverage, stratum = candidates.coverage_bin.astype(np.int64), candidates.pool.stratum.code.astype(np.int64)
    return BlockSums(
        facts=np.stack([by_block(values) for values in facts], axis=1),
        paid_phi=np.stack([by_block(paid * column) for column in candidates.phi.T], axis=1),
        phi=np.stack([by_block(mass * column) for column in candidates.phi.T], axis=1),
        paid_coverage=by_code(paid, coverage, bins),
        coverage=by_code(mass, coverage, bins),
        paid_stratum=by_code(paid, stratum, strata),
        stratum=by_code(mass, stratum, strata),
    )


def measures(problem: SelectionProblem, phi_pool: F64, sums: tuple[F64, ...]) -> F64:
    """The figures of ``MEASURES`` (8,) from the sums of one sample.

    Args:
        problem: pool and objective.
        phi_pool: (D,) token-weighted mean of the pool's random features.
        sums: from ``BlockSums.resampled``.
    """
    facts, paid_phi, phi, paid_coverage, coverage, paid_stratum, stratum = sums
    tokens, mass, squares, harm, paid, paid_safety, paid_alignment, paid_traits = facts
    statistics = problem.candidates.statistics
    bins, part = statistics.coverage, statistics.settings.novelty_share
    prior = statistics.settings.prior_share * tokens
    smoothed = mass + prior
    novelty = paid - float(paid_phi @ ((phi + prior * phi_pool) / smoothed))
    present = (coverage + prior * bins.share) / smoothed
    if bins.target is None:
        deficit = -0.5 * np.log(present / bins.share)
    else:
        # What a small document takes off half of KL(target || set), per token of it.
        deficit = 0.5 * (bins.target / np.maximum(present, 1e-12) - 1.0)
    covered = float(paid_coverage @ np.clip(deficit, -1.0, 1.0))
    strata = float(paid_stratum @ statistics.stratum_credit((stratum + prior * statistics.stratum_share) / smoothed))
    diversity, credit = part * novelty + (1.0 - part) * covered, strata + float(paid_traits)
    parts = np.array(reward_terms(statistics.objective, paid_safety, paid_alignment, diversity, credit))
    parts /= tokens
    value = parts.sum()
    from_reference = value - problem.scale.reference * paid / tokens
    return np.array([value, *parts, from_reference, harm / mass, mass**2 / (squares * tokens)])
