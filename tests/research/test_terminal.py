from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.policy.environment import SelectionEnv
from curation_pipeline.policy.features import Normaliser
from curation_pipeline.policy.pool import F64
from curation_pipeline.policy.problem import SelectionProblem, prepare
from curation_pipeline.policy.settings import PolicySettings
from research.synthetic_pool import SyntheticPool
from research.terminal import Tally, Terminal, TerminalEnv, leave_one_out, marginal, value_of
from tests.policy.conftest import SMALL, objective


def curved(sums: F64, drawn: F64) -> F64:
    """Neither a sum over documents nor one over parts."""
    p: F64 = np.tanh(sums[:, 0] / (1.0 + np.abs(sums[:, 1]))) + 0.1 * np.sqrt(drawn)
    return p


def ready(pool: SyntheticPool, settings: PolicySettings) -> SelectionProblem:
    normaliser = Normaliser.fit(pool.pool, settings.random_features, settings.novelty_bandwidth, 0)
    return prepare(pool.pool, objective(pool.budget_tokens), normaliser, settings)


@given(st.integers(1, 9), st.integers(0, 1_000))
def test_a_difference_is_the_value_with_less_the_value_without(parts: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    terminal = Terminal(np.empty((0, 2)), curved)
    tally = Tally(rng.random((parts, 2)), rng.random(parts))
    for part in range(parts):
        others = np.arange(parts) != part
        rest = Tally(tally.sums[others], tally.drawn[others])
        lost = value_of(terminal, tally) - (value_of(terminal, rest) if parts > 1 else 0.0)
        assert leave_one_out(terminal, tally)[part] == pytest.approx(lost, abs=1e-9)
        one = Tally(tally.sums[part : part + 1], tally.drawn[part : part + 1])
        if parts > 1:
            assert marginal(terminal, rest, one)[0] == pytest.approx(lost, abs=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_the_terminal_reward_is_what_documents_add(small: SyntheticPool, gamma: float) -> None:
    """Against a plain loop over what each of the parallel candidates drew."""
    settings = SMALL.model_copy(update={"gamma": gamma})
    terminal = Terminal(np.random.default_rng(2).random((len(small.pool), 2)), curved)
    plain, paid = ready(small, SMALL), ready(small, settings)
    a = SelectionEnv(plain, np.random.default_rng(0))
    b = TerminalEnv(paid, np.random.default_rng(0), terminal=terminal, zeta=2.0)
    rng = np.random.default_rng(3)
    n, steps, length = a.num_envs, SMALL.episode_candidates // SMALL.n_parallel_candidates, paid.candidates.length
    sums, drawn = np.zeros((n, 2)), np.zeros(n)
    forecast, budget = b.forecast, b.selected.budget
    for step in range(steps):
        actions = rng.integers(0, 4, n)
        rows = b._rows.copy()
        without, with_terminal = a.step(actions)[1], b.step(actions)[1]
        got = (with_terminal - without) * paid.scale.unit
        expected = np.zeros(n)
        for i, (row, action) in enumerate(zip(rows, actions, strict=True)):
            mass, kept = settings.weights[action] * length[row], length[row] * (action > 0)
            sums[i] += mass * terminal.statistics[row]
            drawn[i] += kept
            if gamma == 0.0:
                more = curved(forecast.sums + mass * terminal.statistics[row], forecast.drawn + kept)
                expected[i] = (more - curved(forecast.sums, forecast.drawn))[0]
        if gamma > 0.0 and step == steps - 1:
            for i in range(n):
                others = np.arange(n) != i
                rest = curved(sums[others].sum(axis=0, keepdims=True), drawn[others].sum()[None])
                expected[i] = (curved(sums.sum(axis=0, keepdims=True), drawn.sum()[None]) - rest)[0]
        np.testing.assert_allclose(got, 2.0 * budget * expected, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(b.forecast.sums, sums.sum(axis=0, keepdims=True))
    assert not b.held.sums.any(), "the next episode starts with an empty set"
