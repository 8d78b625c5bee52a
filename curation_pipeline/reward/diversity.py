"""The diversity reward: what a document adds to what has been chosen already.

Two marginal gains, both functions of the state of the batch and not of the document alone. Coverage: the batch's
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

EPS = 1e-3
"""Share added to every stratum before a ratio, so that an empty stratum's gain is finite."""


def coverage_gain(present: np.ndarray, target: np.ndarray | None = None, eps: float = EPS) -> np.ndarray:
    """Half log(q_k / p_k) of every stratum: above 0 where the batch has too little of it.

    Args:
        present: (k,) or (..., k) non-negative tokens or shares chosen so far; all zero means nothing chosen yet.
        target: (k,) wanted shares, or None for equal shares.
        eps: smoothing, as a share of the whole.

    Returns:
        float64 of the shape of ``present``; 0 everywhere when nothing is chosen and the target is uniform.

    Raises:
        DataError: when a number is negative or the target has another length.
    """
    p = np.asarray(present, dtype=np.float64)
    k = p.shape[-1]
    q = np.full(k, 1.0 / k) if target is None else np.asarray(target, dtype=np.float64)
    if q.shape != (k,) or (p < 0).any() or (q < 0).any() or q.sum() <= 0:
        raise DataError(f"coverage: {k} strata need non-negative shares and a target of that length, got {q.shape}")
    total = p.sum(-1, keepdims=True)
    p = np.where(total > 0, p / np.where(total > 0, total, 1.0), 1.0 / k)
    return np.asarray(0.5 * (np.log(q / q.sum() + eps) - np.log(p + eps)))


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


@dataclass(frozen=True, slots=True, eq=False)
class FeatureMean:
    """The weighted mean feature of a chosen set, as a sum that merges over shards.

    Attributes:
        total: (D,) float64 sum of weight times feature.
        weight: sum of weights.
    """

    total: np.ndarray
    weight: float

    @staticmethod
    def empty(size: int) -> FeatureMean:
        """Nothing chosen."""
        return FeatureMean(np.zeros(size), 0.0)

    def add(self, features: np.ndarray, weights: np.ndarray | None = None) -> FeatureMean:
        """The set with n more documents: features (n, D), weights (n,) or None for 1 each."""
        w = np.ones(len(features)) if weights is None else np.asarray(weights, dtype=np.float64)
        return FeatureMean(self.total + w @ np.asarray(features, dtype=np.float64), self.weight + float(w.sum()))

    def merge(self, other: FeatureMean) -> FeatureMean:
        """The union of two shards' sets."""
        return FeatureMean(self.total + other.total, self.weight + other.weight)

    @property
    def mean(self) -> np.ndarray:
        """(D,) mean feature; zero when nothing is chosen, which makes everything wholly novel."""
        return self.total / self.weight if self.weight > 0 else np.zeros_like(self.total)


def novelty(features: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """1 - phi(x)'mu_S, clipped to [0, 1]: features (n, D) against the mean feature (D,) of the chosen set.

    Returns:
        float64 of shape (n,); 1 for what resembles nothing chosen, 0 for a copy of a set that holds nothing else.
    """
    return np.clip(1.0 - np.asarray(features, dtype=np.float64) @ np.asarray(mean, dtype=np.float64), 0.0, 1.0)


def diversity_reward(gain: np.ndarray, new: np.ndarray) -> np.ndarray:
    """R_diversity in [0, 1]: the mean of coverage and novelty.

    Coverage gain g = half log(q / p) becomes q / (q + p) = sigmoid(2 g), which is 1/2 where the batch is on target.

    Args:
        gain: (n,) coverage gain of each document's stratum.
        new: (n,) novelty in [0, 1].
    """
    return np.asarray(0.5 / (1.0 + np.exp(-2.0 * np.asarray(gain, dtype=np.float64))) + 0.5 * np.asarray(new))
