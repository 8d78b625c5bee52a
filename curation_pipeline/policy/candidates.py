"""Documents of a pool, measured against the statistics of the whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curation_pipeline.policy.features import Normaliser
from curation_pipeline.policy.pool import F32, F64, Pool, Rows
from curation_pipeline.policy.pool_statistics import PoolStatistics
from curation_pipeline.policy.traits import trait_credit

EVERY = slice(None)
"""All candidates, where a method asks for places."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Some documents of a pool (n of them, all of it in training), with what no selection changes.

    Attributes:
        statistics: of the whole pool.
        pool: the documents.
        feature_names, features: what a policy sees of a document alone; f names and (n, f).
        phi: (n, D) random features.
        length: (n,) normalised tokens: ``n_tokens`` over the mean of the whole pool.
        trait_credit: (n,) downstream credit for the documents' traits.
        coverage_bin: (n,) see ``CoverageBins``.
        floor_counts: (n, G) how much each document counts towards each floor.
        staleness: (n,) what earlier draws take off the gain, in units of the reward: 1 - repeat_decay^n_drawn.
    """

    statistics: PoolStatistics
    pool: Pool
    feature_names: tuple[str, ...]
    features: F32
    phi: F32
    length: F64
    trait_credit: F64
    coverage_bin: Rows
    floor_counts: F64
    staleness: F64

    @classmethod
    def of(cls, statistics: PoolStatistics, normaliser: Normaliser, pool: Pool, phi: F32 | None = None) -> Candidates:
        """Measure documents.

        Args:
            statistics: of the whole pool.
            normaliser: the feature constants.
            pool: the documents, in the codes behind the statistics.
            phi: (n, D) their random features where they are at hand.

        Raises:
            ConfigError: the pool's features are not those of the constants.
        """
        return cls(
            statistics=statistics,
            pool=pool,
            feature_names=normaliser.names,
            features=normaliser.features(pool),
            phi=normaliser.random_features(pool) if phi is None else phi,
            length=pool.n_tokens / statistics.mean_tokens,
            trait_credit=trait_credit(pool, statistics.objective.credit),
            coverage_bin=statistics.coverage.code(pool.columns),
            floor_counts=statistics.floor_counts(pool),
            # A factor on the gain would do nothing where it is near zero, and bring back documents of negative gain.
            staleness=np.asarray(1.0 - statistics.settings.repeat_decay**pool.n_drawn),
        )

    def __len__(self) -> int:
        return len(self.pool)

    @property
    def tokens(self) -> float:
        """Normalised tokens of all these documents."""
        return float(self.length.sum())

    def constraints(self, weight: F64) -> F64:
        """(n, G + 2) what may not be negative on average over the drawn tokens.

        For each floor what counts minus the least; for the ceiling tau - P(harm) and the same times the loss weight, so
        that neither what is drawn nor what the model is trained on exceeds it.

        Args:
            weight: (n,) of each document if it is drawn, in any unit.
        """
        room = self.statistics.settings.toxicity_ceiling - 1.0 + self.pool.safety.astype(np.float64)
        return np.column_stack([self.floor_counts - self.statistics.least, room, weight * room])
