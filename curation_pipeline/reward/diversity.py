"""The diversity reward: what a document adds to what has been chosen already.

Two marginal gains, both functions of the state of the batch and not of the document alone, which
``policy.curated_set`` keeps; the random features of the second are fitted here. Coverage: the batch's
composition p over strata should be near q; without targets a stratum gains half the log ratio q / p, which is what a
token takes off half of KL(p || q), up to a term that all strata share (for named targets see ``targets``). Novelty: how
far a document's kernel feature is from the mean feature of the batch, the kernel herding criterion (Chen, Welling and
Smola 2010), with random Fourier features (Rahimi and Recht 2007) so that the batch is summarised by one vector of fixed
size that merges over shards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from curation_pipeline import seeds
from curation_pipeline.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class RandomFeatures:
    """Random Fourier features of a Gaussian kernel: phi(x)'phi(y) approximates exp(-|x - y|^2 / (2 bandwidth^2)).

    Attributes:
        frequencies: (d, D / 2) float64, one column a random direction, in units of 1 / bandwidth.
    """

    frequencies: np.ndarray

    @property
    def size(self) -> int:
        """D, the length of a feature."""
        return 2 * int(self.frequencies.shape[1])

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Features of vectors (n, d): float32 (n, D), each of length exactly 1 (cosine and sine pairs)."""
        angles = np.asarray(vectors, dtype=np.float32) @ self.frequencies.astype(np.float32)
        scale = np.float32(1.0 / np.sqrt(self.frequencies.shape[1]))
        return np.concatenate([np.cos(angles), np.sin(angles)], axis=1) * scale

    def to_parts(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and metadata."""
        return {"frequencies": self.frequencies}, {}

    @staticmethod
    def from_parts(arrays: Mapping[str, np.ndarray], _meta: Mapping[str, Any]) -> RandomFeatures:
        """The inverse of ``to_parts``."""
        return RandomFeatures(arrays["frequencies"])


def fit_random_features(vectors: np.ndarray, seed: int, size: int = 64, sample: int = 1000) -> RandomFeatures:
    """Features whose bandwidth is the median distance between sampled vectors (Gretton et al. 2012).

    Args:
        vectors: (n, d) with n >= 1.
        seed: draws the directions and the sample.
        size: D, even.
        sample: vectors used for the median.

    Raises:
        DataError: when there is no vector or the size is odd.
    """
    if len(vectors) == 0 or size < 2 or size % 2:
        raise DataError(f"random features need vectors and an even size, got {len(vectors)} vectors and size {size}")
    random = seeds.generator(seed, "novelty")
    rows = np.asarray(vectors, dtype=np.float64)[np.sort(random.permutation(len(vectors))[:sample])]
    squared = (rows**2).sum(1)[:, None] + (rows**2).sum(1) - 2.0 * rows @ rows.T
    apart = np.sqrt(np.maximum(squared[np.triu_indices(len(rows), 1)], 0.0))
    apart = apart[apart > 1e-6]
    bandwidth = float(np.median(apart)) if apart.size else 1.0
    return RandomFeatures(random.standard_normal((rows.shape[1], size // 2)) / bandwidth)
