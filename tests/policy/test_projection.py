from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_pipeline.policy.projection import project, sigmoid


def problem(seed: int, n: int = 400, g: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    member = rng.integers(0, g + 1, n)
    groups = np.stack([(member == k) * rng.uniform(0.3, 1.0, n) for k in range(g)], axis=1)
    keep = rng.normal(0, 2, n) - 6.0 * (member == 0)  # the policy shuns group 0
    return keep, rng.uniform(0.2, 3.0, n), groups


@given(st.integers(0, 10_000), st.floats(0.1, 0.6), st.floats(0.1, 0.9))
@settings(max_examples=40)
def test_budget_and_floors_hold(seed: int, share: float, floor: float) -> None:
    keep, tokens, groups = problem(seed)
    budget = share * tokens.sum()
    floors = floor * (tokens @ groups) / tokens.sum()
    found = project(keep, tokens, budget, groups, floors)
    p = sigmoid(keep + found.shift)
    assert p @ tokens == pytest.approx(budget, rel=1e-6)
    held = (p * tokens) @ groups / budget
    assert (held >= floors * 0.99).all()
    assert (found.multipliers >= 0).all()
    # Complementary slackness: a floor that is exceeded costs nothing.
    assert (found.multipliers[held > floors * 1.02] < 1e-6).all()


def test_nothing_moves_where_the_policy_meets_the_floors() -> None:
    keep, tokens, groups = problem(1)
    free = project(keep, tokens, 0.3 * tokens.sum(), groups, np.zeros(3))
    bare = project(keep, tokens, 0.3 * tokens.sum(), np.empty((400, 0)), np.empty(0))
    np.testing.assert_allclose(free.shift, bare.shift)


def test_without_floors_a_shunned_group_is_gone_and_with_them_it_is_not() -> None:
    keep, tokens, groups = problem(2)
    budget = 0.2 * tokens.sum()
    floors = 0.6 * (tokens @ groups) / tokens.sum()
    without = sigmoid(keep + project(keep, tokens, budget, groups, np.zeros(3)).shift)
    with_floors = sigmoid(keep + project(keep, tokens, budget, groups, floors).shift)
    assert (without * tokens) @ groups[:, 0] / budget < 0.2 * floors[0]
    assert (with_floors * tokens) @ groups[:, 0] / budget >= 0.99 * floors[0]


def test_a_floor_that_the_pool_cannot_meet_does_not_hang() -> None:
    keep, tokens, groups = problem(3)
    found = project(keep, tokens, 0.5 * tokens.sum(), groups, np.array([5.0, 0.0, 0.0]))
    assert np.isfinite(found.shift).all()
    assert sigmoid(keep + found.shift) @ tokens == pytest.approx(0.5 * tokens.sum(), rel=1e-6)
