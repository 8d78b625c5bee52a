from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from curation_pipeline.errors import ConfigError
from curation_pipeline.policy.effective_size import effective_documents, effective_share, hold_effective_share, pull

N = 30
PROBABILITIES = arrays(np.float64, N, elements=st.floats(0.01, 1))
WEIGHTS = arrays(np.float64, N, elements=st.floats(0.01, 100))
TOKENS = arrays(np.int64, N, elements=st.integers(1, 1000))


def test_by_hand() -> None:
    """Ten tokens of weight 1 and ten of weight 3: 40^2 / (10 + 90) = 16 of 20."""
    assert effective_share([1.0, 3.0], [10, 10]) == pytest.approx(0.8)
    # The same with an expected document of each: a certain one and two halves.
    assert effective_share([1.0, 3.0, 3.0], [10, 10, 10], [1.0, 0.5, 0.5]) == pytest.approx(0.8)
    assert effective_documents([1.0, 3.0], [30, 10]) == pytest.approx(2)
    assert effective_documents([1.0, 1.0, 1.0], [100, 1, 1]) == pytest.approx(102**2 / 10_002)
    assert effective_share([0.0, 0.0], [10, 10]) == effective_documents([0.0], [10]) == 0
    # cv^2 is .25, a share of .9 allows 1/9: the weights .5 and 1.5 come two thirds of their way nearer to 1.
    held = hold_effective_share([1.0, 1.0], [1.0, 3.0], [10, 10], 0.9)
    np.testing.assert_allclose(held, [2 / 3, 4 / 3], rtol=1e-5)


@given(PROBABILITIES, WEIGHTS, TOKENS, st.floats(0, 1))
def test_the_share_holds_and_no_more_than_that(p: np.ndarray, w: np.ndarray, t: np.ndarray, least: float) -> None:
    held = hold_effective_share(p, w, t, least)
    mass = p * t
    assert mass @ held == pytest.approx(mass.sum())
    assert effective_share(held.astype(np.float32), t, p) >= least - 1e-9
    assert (held >= 0).all()
    assert (np.diff(held[np.argsort(w, kind="stable")]) >= -1e-9).all(), "in the order of the weights"
    before = effective_share(w, t, p)
    if before >= least:
        np.testing.assert_allclose(held, w * mass.sum() / (mass @ w))
    else:
        assert effective_share(held, t, p) == pytest.approx(least, rel=1e-4), "pulled no further than needed"


@given(PROBABILITIES, WEIGHTS, TOKENS, st.floats(0.01, 100))
def test_what_the_share_does_not_depend_on(p: np.ndarray, w: np.ndarray, t: np.ndarray, scale: float) -> None:
    share = effective_share(w, t, p)
    assert 0 < share <= 1 + 1e-12
    assert effective_share(scale * w, t, p) == pytest.approx(share)
    assert effective_share(w, scale * t, p) == pytest.approx(share)
    halves = effective_share(np.repeat(w, 2), np.repeat(t, 2) / 2, np.repeat(p, 2))
    assert halves == pytest.approx(share), "a document cut in two"
    low, high = w.min(), w.max()
    assert share >= 4 * low * high / (low + high) ** 2 - 1e-12, "Kantorovich"


@given(PROBABILITIES, WEIGHTS, TOKENS, st.floats(0, 1), st.integers(1, N - 1))
def test_sums_of_parts_say_the_same(p: np.ndarray, w: np.ndarray, t: np.ndarray, least: float, cut: int) -> None:
    parts = [
        np.array([(p * t)[r].sum(), (p * t * w)[r].sum(), (p * t * w**2)[r].sum()]) for r in (slice(cut), slice(cut, N))
    ]
    tokens, weighted, squared = (float(x) for x in parts[0] + parts[1])
    kept = pull(tokens, weighted, squared, least)
    expected = 1 + kept * (w * tokens / weighted - 1)
    np.testing.assert_allclose(hold_effective_share(p, w, t, least), expected, rtol=1e-6, atol=1e-9)


def test_ends_of_the_range() -> None:
    p, t, w = np.full(3, 0.5), np.array([5, 7, 9]), np.array([0.0, 0.1, 10.0])
    np.testing.assert_allclose(hold_effective_share(p, w, t, 1.0), 1)
    np.testing.assert_allclose(hold_effective_share(p, np.zeros(3), t, 0.5), 1)
    assert effective_share(hold_effective_share(p, w, t, 0.0), t, p) == pytest.approx(effective_share(w, t, p))
    with pytest.raises(ConfigError, match="min_effective_share"):
        hold_effective_share(p, w, t, 1.5)
