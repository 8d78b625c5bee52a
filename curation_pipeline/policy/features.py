"""Candidate features with constants that are frozen at cold start and travel with the policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curation_pipeline.errors import ConfigError
from curation_pipeline.policy.pool import F32, Pool
from curation_pipeline.seeds import generator

_CLIP = 5.0
"""Standardised features are cut at this many standard deviations, so that one outlier cannot saturate the network."""


@dataclass(frozen=True, slots=True)
class Normaliser:
    """Means, scales and random projections, fitted once and never moved by a later pool.

    Attributes:
        names: the f candidate features in order.
        mean, scale: (f,) standardisation.
        omega, phase: (d, D) and (D,), random Fourier features of a Gaussian kernel (Rahimi and Recht, 2007).
    """

    names: tuple[str, ...]
    mean: F32
    scale: F32
    omega: F32
    phase: F32

    @classmethod
    def fit(cls, pool: Pool, random_features: int, bandwidth: float, seed: int) -> Normaliser:
        """Constants from a pool.

        Args:
            pool: the pool of the cold start.
            random_features: D.
            bandwidth: kernel width as a multiple of the median distance between documents.
            seed: of the projections and of the pairs behind the median.
        """
        names, raw = _raw(pool)
        with np.errstate(invalid="ignore"):
            known = np.isfinite(raw)
            count = np.maximum(known.sum(axis=0), 1)
            mean = np.where(known, raw, 0.0).sum(axis=0) / count
            scale = np.sqrt(np.where(known, (raw - mean) ** 2, 0.0).sum(axis=0) / count)
        scale[scale < 1e-6] = 1.0
        rng = generator(seed, "normaliser")
        pairs = rng.integers(0, len(pool), size=(2, 4096))
        distance = np.linalg.norm(pool.vectors[pairs[0]] - pool.vectors[pairs[1]], axis=1)
        median = float(np.median(distance[distance > 0])) if bool((distance > 0).any()) else 1.0
        omega = rng.standard_normal((pool.vectors.shape[1], random_features)) / (bandwidth * median)
        phase = rng.uniform(0.0, 2.0 * np.pi, random_features)
        return cls(
            names, mean.astype(np.float32), scale.astype(np.float32), omega.astype(np.float32), phase.astype(np.float32)
        )

    def features(self, pool: Pool) -> F32:
        """Standardised features (n, f); a missing value becomes 0, the mean of the cold start's pool.

        Raises:
            ConfigError: the pool's features are not those that the constants were fitted on.
        """
        names, raw = _raw(pool)
        if names != self.names:
            differ = sorted(set(names) ^ set(self.names))
            raise ConfigError(
                f"the pool's features differ from the policy's in {', '.join(differ) or 'their order'}; "
                "train without a parent (cold start) after a change of detectors"
            )
        raw -= self.mean
        raw /= self.scale
        np.clip(raw, -_CLIP, _CLIP, out=raw)
        raw[np.isnan(raw)] = 0.0
        return raw

    def random_features(self, pool: Pool) -> F32:
        """Features phi (n, D) with phi(x)'phi(y) close to the kernel of x and y."""
        phi: F32 = np.cos(pool.vectors @ self.omega + self.phase) * np.float32(np.sqrt(2.0 / len(self.phase)))
        return phi


def _raw(pool: Pool) -> tuple[tuple[str, ...], F32]:
    columns: dict[str, F32] = {
        **{f"vector_{i}": column for i, column in enumerate(pool.vectors.T)},
        **{f"detector_{name}": column for name, column in zip(pool.detector_names, pool.detectors.T, strict=True)},
        "p_harm": pool.p_harm,
        "alignment": pool.alignment,
        "quality": pool.quality,
        "log_tokens": pool.log_tokens,
        "centroid_distance": pool.centroid_distance,
        "log_times_drawn": np.log1p(pool.n_drawn).astype(np.float32),
    }
    return tuple(columns), np.stack(list(columns.values()), axis=1)
