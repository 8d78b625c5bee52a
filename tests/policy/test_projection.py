from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_pipeline.policy.projection import MAX_MULTIPLIER, project, sigmoid


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
    found = project(keep, tokens, budget, groups - floors)
    p = sigmoid(keep + found.shift)
    assert p @ tokens == pytest.approx(budget, rel=1e-6)
    held = (p * tokens) @ groups / budget
    assert (held >= floors * 0.99).all()
    assert (found.multipliers >= 0).all()
    # Complementary slackness: a floor that is exceeded costs nothing.
    assert (found.multipliers[held > floors * 1.02] < 1e-6).all()


def test_nothing_moves_where_the_policy_meets_the_floors() -> None:
    keep, tokens, groups = problem(1)
    free = project(keep, tokens, 0.3 * tokens.sum(), groups)
    bare = project(keep, tokens, 0.3 * tokens.sum(), np.empty((400, 0)))
    np.testing.assert_allclose(free.shift, bare.shift)


def test_without_floors_a_shunned_group_is_gone_and_with_them_it_is_not() -> None:
    keep, tokens, groups = problem(2)
    budget = 0.2 * tokens.sum()
    floors = 0.6 * (tokens @ groups) / tokens.sum()
    without = sigmoid(keep + project(keep, tokens, budget, groups).shift)
    with_floors = sigmoid(keep + project(keep, tokens, budget, groups - floors).shift)
    assert (without * tokens) @ groups[:, 0] / budget < 0.2 * floors[0]
    assert (with_floors * tokens) @ groups[:, 0] / budget >= 0.99 * floors[0]


def test_a_floor_that_the_pool_cannot_meet_does_not_hang() -> None:
    keep, tokens, groups = problem(3)
    found = project(keep, tokens, 0.5 * tokens.sum(), groups - np.array([5.0, 0.0, 0.0]))
    assert np.isfinite(found.shift).all()
    assert sigmoid(keep + found.shift) @ tokens == pytest.approx(0.5 * tokens.sum(), rel=1e-6)


@given(st.integers(0, 10_000), st.floats(0.1, 0.5), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
@settings(max_examples=40)
def test_a_ceiling_holds_beside_the_floors(seed: int, share: float, strict: float, floor: float) -> None:
    """The policy likes harm; the ceiling lies between the least that any draw can have and what it would draw."""
    keep, tokens, groups = problem(seed)
    budget = share * tokens.sum()
    harm = np.random.default_rng(seed).beta(1, 4, len(keep))
    keep = keep + 8.0 * harm
    own = sigmoid(keep + project(keep, tokens, budget, np.empty((400, 0))).shift) * tokens
    least = np.sort(harm)[: int(share * 200)].mean()
    ceiling = least + (0.3 + 0.7 * strict) * (float(own @ harm) / budget - least)
    floors = 0.5 * floor * (tokens @ groups) / tokens.sum()
    found = project(keep, tokens, budget, np.column_stack([groups - floors, ceiling - harm]))
    p = sigmoid(keep + found.shift) * tokens
    assert p.sum() == pytest.approx(budget, rel=1e-6)
    assert p @ harm / budget < 1.003 * ceiling
    assert (p @ groups / budget >= floors * 0.99).all()


def test_a_ceiling_that_no_draw_meets_is_met_as_far_as_it_goes() -> None:
    keep, tokens, groups = problem(4)
    budget = 0.5 * tokens.sum()
    harm = np.random.default_rng(4).uniform(0.1, 1.0, len(keep))
    found = project(keep, tokens, budget, (0.05 - harm)[:, None])
    p = sigmoid(keep + found.shift) * tokens
    order = np.argsort(harm)
    within = np.cumsum(tokens[order]) <= budget
    assert found.multipliers[0] == MAX_MULTIPLIER
    assert p.sum() == pytest.approx(budget, rel=1e-6)
    assert p @ harm / budget == pytest.approx(np.average(harm[order][within], weights=tokens[order][within]), rel=0.01)
    # Nor can it be met together with this floor; both are then held as far as bounded multipliers go.
    both = project(keep, tokens, budget, np.column_stack([groups[:, 0] - 5.0, 0.05 - harm]))
    assert np.isfinite(both.shift).all()
