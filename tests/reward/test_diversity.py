from __future__ import annotations

import numpy as np
import pytest

from curation_pipeline.errors import DataError
from curation_pipeline.reward.diversity import fit_random_features


def _unit(n: int, d: int = 16, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, d))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def test_features_approximate_the_gaussian_kernel() -> None:
    vectors = _unit(200)
    features = fit_random_features(vectors, seed=1, size=4096)
    phi = features(vectors)
    np.testing.assert_allclose((phi**2).sum(1), 1.0, atol=1e-4)
    squared = ((vectors[:, None] - vectors[None]) ** 2).sum(-1)
    bandwidth = np.median(np.sqrt(squared[np.triu_indices(200, 1)]))
    np.testing.assert_allclose(phi @ phi.T, np.exp(-squared / (2 * bandwidth**2)), atol=0.1)


def test_no_vectors_is_an_error() -> None:
    with pytest.raises(DataError):
        fit_random_features(np.empty((0, 4)), seed=0)
