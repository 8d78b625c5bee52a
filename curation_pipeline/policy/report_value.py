"""What an expected batch is worth, kept as sums over blocks of documents.

The value is that of ``set_value``, divided into what safety, alignment, diversity and credit add to it. Each part is a
function of sums over documents. With the sums kept by block, a bootstrap over documents (Efron, 1979) costs one pass
over the pool, whatever its size, and a few numbers a block for every resample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curation_pipeline.policy.curated_set import Prepared
from curation_pipeline.policy.pool import F64, Rows
from curation_pipeline.policy.scores import Scores

MEASURES = ("value", "safety", "alignment", "diversity", "credit", "paid_value", "mean_harm", "effective_share")
"""``value`` is the sum of the next four. ``paid_value`` is the same measured from the reference gain, as training pays
it: weights that differ and documents that were drawn before then cost less, since u(w) and the repeat decay multiply a
smaller gain. The last two are stated beside them."""


@dataclass(frozen=True, slots=True)
class BlockSums:
    """Sums over the documents of each of B blocks, for one arm; lengths are normalised tokens.

    Attributes:
        facts: (B, 8) sums of p l, p w l, p w^2 l, p w l P(harm), p l^rho u(w), and the last times R_s, times R_a and
            times the credit of traits.
        paid_phi, phi: (B, D) sums of the random features, times p l^rho u(w) and times p w l.
        paid_cell, cell: (B, k) the same for the cells of coverage.
        paid_stratum, stratum: (B, K) the same for the strata.
    """

    facts: F64
    paid_phi: F64
    phi: F64
    paid_cell: F64
    cell: F64
    paid_stratum: F64
    stratum: F64

    def resampled(self, counts: F64) -> tuple[F64, ...]:
        """The sums of a sample that holds block b counts[b] times."""
        return tuple(
            counts @ part
            for part in (
                self.facts, self.paid_phi, self.phi, self.paid_cell, self.cell, self.paid_stratum, self.stratum
            )
        )  # fmt: skip


def block_sums(prepared: Prepared, scores: Scores, block: Rows, n_blocks: int) -> BlockSums:
    """Sums of an arm's expected batch.

    Args:
        prepared: the n documents and the objective; the same for all arms that are compared.
        scores: of the arm; weights of any scale, their mean over the expected tokens is made 1.
        block: (n,) block of each document, from 0.
        n_blocks: B.
    """
    tokens = scores.probability * prepared.length
    weight = scores.weight.astype(np.float64)
    weight *= tokens.sum() / (tokens @ weight)
    mass = tokens * weight
    paid = scores.probability * prepared.gain_scale * np.log2(1.0 + weight)
    safety = prepared.pool.safety.astype(np.float64)

    def by_block(values: F64) -> F64:
        return np.asarray(np.bincount(block, weights=values, minlength=n_blocks), dtype=np.float64)

    def by_code(values: F64, code: Rows, n: int) -> F64:
        flat = np.bincount(block * n + code, weights=values, minlength=n_blocks * n)
        return np.asarray(flat.reshape(n_blocks, n), dtype=np.float64)

    facts = (
        tokens, mass, mass * weight, mass * (1.0 - safety), paid, paid * safety, paid * prepared.pool.alignment,
        paid * prepared.trait_credit,
    )  # fmt: skip
    cells, strata = len(prepared.cell_share), len(prepared.stratum_share)
    cell, stratum = prepared.cell.astype(np.int64), prepared.pool.stratum.code.astype(np.int64)
    return BlockSums(
        facts=np.stack([by_block(values) for values in facts], axis=1),
        paid_phi=np.stack([by_block(paid * column) for column in prepared.phi.T], axis=1),
        phi=np.stack([by_block(mass * column) for column in prepared.phi.T], axis=1),
        paid_cell=by_code(paid, cell, cells),
        cell=by_code(mass, cell, cells),
        paid_stratum=by_code(paid, stratum, strata),
        stratum=by_code(mass, stratum, strata),
    )


def measures(prepared: Prepared, phi_pool: F64, sums: tuple[F64, ...]) -> F64:
    """The figures of ``MEASURES`` (8,) from the sums of one sample.

    Args:
        prepared: pool and objective.
        phi_pool: (D,) token-weighted mean of the pool's random features.
        sums: from ``BlockSums.resampled``.
    """
    facts, paid_phi, phi, paid_cell, cell, paid_stratum, stratum = sums
    tokens, mass, squares, harm, paid, paid_safety, paid_alignment, paid_traits = facts
    objective, share = prepared.objective, prepared.settings.novelty_share
    prior = prepared.settings.prior_share * tokens
    smoothed = mass + prior
    mean_phi = (phi + prior * phi_pool) / smoothed
    novelty = paid - float(paid_phi @ mean_phi)
    present = (cell + prior * prepared.cell_share) / smoothed
    if prepared.cell_target is None:
        deficit = -0.5 * np.log(present / prepared.cell_share)
    else:
        # What a small document takes off half of KL(target || set), per token of it.
        deficit = 0.5 * (prepared.cell_target / np.maximum(present, 1e-12) - 1.0)
    covered = float(paid_cell @ np.clip(deficit, -1.0, 1.0))
    strata = float(paid_stratum @ _credit(prepared, (stratum + prior * prepared.stratum_share) / smoothed))
    credit = strata + float(paid_traits)
    parts = np.array(
        [
            objective.alpha * paid_safety,
            objective.beta * paid_alignment,
            objective.gamma * (share * novelty + (1.0 - share) * covered),
            objective.eta * credit,
        ]
    )
    parts /= tokens
    value = parts.sum()
    from_reference = value - prepared.reference * paid / tokens
    return np.array([value, *parts, from_reference, harm / mass, mass**2 / (squares * tokens)])


def _credit(prepared: Prepared, stratum_share: F64) -> F64:
    """Credit (K,) of the pool's strata at a composition of them."""
    credit, index = prepared.objective.credit, prepared.credit_index
    if credit is None:
        return np.zeros(len(index))
    known = index >= 0
    composition = np.zeros(len(credit.strata))
    composition[index[known]] = stratum_share[known]
    return np.where(known, np.asarray(credit.at(composition))[index], 0.0)
