from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from curation_pipeline.errors import DataError
from curation_pipeline.reward.diversity import (
    FeatureMean,
    coverage_gain,
    diversity_reward,
    fit_random_features,
    novelty,
)


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


def test_novelty_falls_as_copies_are_chosen() -> None:
    vectors = _unit(50)
    features = fit_random_features(vectors, seed=1)
    phi = features(vectors)
    nothing = FeatureMean.empty(features.size)
    np.testing.assert_array_equal(novelty(phi, nothing.mean), 1.0)
    copies = nothing.add(phi[[0, 0, 0]])
    assert novelty(phi[:1], copies.mean)[0] == pytest.approx(0.0, abs=1e-6)
    assert novelty(phi[1:], copies.mean).mean() > 0.2
    shards = nothing.add(phi[:20], np.full(20, 2.0)).merge(nothing.add(phi[20:]))
    whole = nothing.add(phi, np.repeat([2.0, 1.0], [20, 30]))
    np.testing.assert_allclose(shards.mean, whole.mean, atol=1e-12)


@given(arrays(np.float64, 6, elements=st.floats(0, 1e6)), arrays(np.float64, 6, elements=st.floats(1e-3, 10)))
def test_coverage_gain_has_the_sign_of_what_is_lacking(present: np.ndarray, target: np.ndarray) -> None:
    gain = coverage_gain(present, target)
    p = present / present.sum() if present.sum() > 0 else np.full(6, 1 / 6)
    lacking = target / target.sum() - p
    assert np.isfinite(gain).all()
    assert (np.sign(gain) == np.sign(lacking))[np.abs(lacking) > 1e-9].all()
    reward = diversity_reward(gain, np.linspace(0, 1, 6))
    assert ((reward >= 0) & (reward <= 1)).all()


def test_many_states_at_once_and_wrong_input() -> None:
    present = np.array([[1.0, 3.0], [0.0, 0.0]])
    gain = coverage_gain(present)
    np.testing.assert_allclose(gain[0], coverage_gain(present[0]))
    np.testing.assert_allclose(gain[1], 0.0)
    with pytest.raises(DataError):
        coverage_gain(np.array([1.0, -1.0]))
    with pytest.raises(DataError):
        fit_random_features(np.empty((0, 4)), seed=0)
