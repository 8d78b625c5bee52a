from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from curation_pipeline.errors import DataError
from curation_pipeline.reward.credit import CLIP, DownstreamCredit


def _credit(share: list[float], coverage: list[float], r2: float = 1.0) -> DownstreamCredit:
    k = len(share)
    names = tuple(f"t{i}" for i in range(k))
    return DownstreamCredit(names, np.array(share), np.array(coverage), np.full(k, 1 / k), r2=r2)


def test_direction_is_that_of_the_surrogate_s_gradient() -> None:
    """Against a numerical derivative of P with respect to the tokens of each stratum."""
    credit = _credit([0.4, -0.2, 0.1, 0.0], [0.02, 0.01, 0.05, 0.03])
    tokens = np.array([300.0, 500.0, 150.0, 50.0])

    def score(n: np.ndarray) -> float:
        q = n / n.sum()
        return float(credit.share @ q + credit.coverage @ np.log(q + credit.eps))

    slope = np.array([(score(tokens + step) - score(tokens - step)) / 2e-3 for step in 1e-3 * np.eye(4)])
    found = credit.at(tokens)
    assert np.abs(found).max() < CLIP
    np.testing.assert_allclose(found / np.linalg.norm(found), slope / np.linalg.norm(slope), atol=1e-6)
    q = tokens / tokens.sum()
    assert q @ found == pytest.approx(0.0, abs=1e-12)
    assert np.sqrt(q @ found**2) == pytest.approx(1.0)


def test_unreliable_credit_has_no_voice() -> None:
    full = _credit([1.0, 0.0], [0.0, 0.0]).at()
    np.testing.assert_allclose(_credit([1.0, 0.0], [0.0, 0.0], r2=0.3).at(), 0.3 * full)
    assert not _credit([1.0, 0.0], [0.0, 0.0], r2=-0.5).at().any()
    assert not DownstreamCredit.none(("a", "b")).at(np.array([1.0, 3.0])).any()


@given(
    arrays(np.float64, (3, 5), elements=st.floats(-1e3, 1e3)),
    arrays(np.float64, 5, elements=st.floats(0, 1e9)),
    st.floats(-2, 1),
)
def test_bounded_and_finite(fit: np.ndarray, tokens: np.ndarray, r2: float) -> None:
    found = DownstreamCredit(tuple("abcde"), fit[0], fit[1], np.abs(fit[2]), r2=r2).at(tokens)
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= CLIP


def test_json_and_another_order_of_strata() -> None:
    credit = _credit([1.0, 2.0, 3.0], [0.1, 0.2, 0.3], r2=0.5)
    again = DownstreamCredit.from_json(json.loads(json.dumps(credit.to_json())))
    assert again.to_json() == credit.to_json()
    moved = credit.indexed(["t2", "new", "t0"])
    assert moved.share.tolist() == [3.0, 0.0, 1.0]
    with pytest.raises(DataError, match="3 non-negative"):
        credit.at(np.ones(2))
    with pytest.raises(DataError):
        DownstreamCredit.from_json({"strata": ["a"]})
