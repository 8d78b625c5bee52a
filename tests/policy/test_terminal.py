from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.errors import ConfigError
from curation_pipeline.policy.curated_set import Prepared, prepare
from curation_pipeline.policy.environment import CandidateLanes
from curation_pipeline.policy.features import Normaliser
from curation_pipeline.policy.pool import F64
from curation_pipeline.policy.ppo import train_policy
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.policy.terminal import Tally, Terminal, lost_without, surrogate_terminal, value_of, won_with
from curation_pipeline.reward.credit import DownstreamCredit
from research.synthetic_pool import SyntheticPool

from .conftest import SMALL, objective

PAID = SMALL.model_copy(update={"terminal_weight": 2.0})


def curved(sums: F64, drawn: F64) -> F64:
    """Neither a sum over documents nor one over lanes."""
    p: F64 = np.tanh(sums[:, 0] / (1.0 + np.abs(sums[:, 1]))) + 0.1 * np.sqrt(drawn)
    return p


def ready(pool: SyntheticPool, settings: PolicySettings) -> Prepared:
    normaliser = Normaliser.fit(pool.pool, settings.random_features, settings.novelty_bandwidth, 0)
    return prepare(pool.pool, objective(pool.budget_tokens), normaliser, settings)


def some_terminal(pool: SyntheticPool) -> Terminal:
    return Terminal(np.random.default_rng(2).random((len(pool.pool), 2)), curved)


@given(st.integers(1, 9), st.integers(0, 1_000))
def test_a_difference_is_the_value_with_less_the_value_without(parts: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    terminal = Terminal(np.empty((0, 2)), curved)
    tally = Tally(rng.random((parts, 2)), rng.random(parts))
    for part in range(parts):
        others = np.arange(parts) != part
        rest = Tally(tally.sums[others], tally.drawn[others])
        lost = value_of(terminal, tally) - (value_of(terminal, rest) if parts > 1 else 0.0)
        assert lost_without(terminal, tally)[part] == pytest.approx(lost, abs=1e-9)
        one = Tally(tally.sums[part : part + 1], tally.drawn[part : part + 1])
        if parts > 1:
            assert won_with(terminal, rest, one)[0] == pytest.approx(lost, abs=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_the_terminal_reward_is_what_documents_add(small: SyntheticPool, gamma: float) -> None:
    """Against a plain loop over what each lane drew."""
    settings = PAID.model_copy(update={"gamma": gamma})
    plain, paid = ready(small, SMALL), ready(small, settings)
    terminal = some_terminal(small)
    a = CandidateLanes(plain, np.random.default_rng(0))
    b = CandidateLanes(paid, np.random.default_rng(0), terminal=terminal)
    rng = np.random.default_rng(3)
    steps = SMALL.episode_candidates // SMALL.n_lanes
    lanes: list[list[tuple[int, float]]] = [[] for _ in range(SMALL.n_lanes)]
    sums = np.zeros((SMALL.n_lanes, 2))
    drawn = np.zeros(SMALL.n_lanes)
    forecast, budget = b._forecast, b.curated.budget
    for step in range(steps):
        actions = rng.integers(0, 4, SMALL.n_lanes)
        rows = b._rows.copy()
        without, with_terminal = a.step(actions)[1], b.step(actions)[1]
        got = (with_terminal - without) * paid.reward_unit
        expected = np.zeros(SMALL.n_lanes)
        for lane, (row, action) in enumerate(zip(rows, actions, strict=True)):
            lanes[lane].append((int(row), settings.weights[action]))
            mass = settings.weights[action] * paid.length[row]
            kept = paid.length[row] * (action > 0)
            sums[lane] += mass * terminal.statistics[row]
            drawn[lane] += kept
            if gamma == 0.0:
                more = curved(forecast.sums + mass * terminal.statistics[row], forecast.drawn + kept)
                expected[lane] = (more - curved(forecast.sums, forecast.drawn))[0]
        if gamma > 0.0 and step == steps - 1:
            for lane in range(SMALL.n_lanes):
                others = np.arange(SMALL.n_lanes) != lane
                rest = curved(sums[others].sum(axis=0, keepdims=True), drawn[others].sum()[None])
                expected[lane] = (curved(sums.sum(axis=0, keepdims=True), drawn.sum()[None]) - rest)[0]
        np.testing.assert_allclose(got, 2.0 * budget * expected, rtol=2e-3, atol=2e-3)
    assert b.episodes[0].terminal == pytest.approx(float(curved(sums.sum(axis=0)[None], drawn.sum()[None])[0]))
    np.testing.assert_allclose(b._forecast.sums, sums.sum(axis=0, keepdims=True))
    assert not b._held.sums.any(), "the next episode starts with an empty set"


@pytest.mark.parametrize("gamma", [0.0, 0.9])
def test_state_round_trip_with_a_terminal_reward(small: SyntheticPool, gamma: float) -> None:
    prepared = ready(small, PAID.model_copy(update={"gamma": gamma}))
    terminal = some_terminal(small)
    first = CandidateLanes(prepared, np.random.default_rng(0), terminal=terminal)
    actions = np.random.default_rng(3).integers(0, 4, size=(30, SMALL.n_lanes))
    for step in range(11):
        first.step(actions[step])
    second = CandidateLanes(prepared, np.random.default_rng(9), terminal=terminal)
    second.set_state(first.get_state())
    for step in range(11, 30):
        np.testing.assert_array_equal(first.step(actions[step])[1], second.step(actions[step])[1])
    assert first.episodes[-1] == second.episodes[-1]


def test_the_surrogate_pays_what_its_credit_says(small: SyntheticPool) -> None:
    """The difference of a small document is the gradient, and the credit is the gradient at unit scale."""
    strata = small.pool.stratum.names
    rng = np.random.default_rng(1)
    k = len(strata)
    credit = DownstreamCredit(strata, 0.1 * rng.standard_normal(k), 0.01 * rng.random(k), np.full(k, 1 / k), r2=0.8)
    terminal = surrogate_terminal(small.pool, credit)
    length = small.pool.n_tokens / small.pool.n_tokens.mean()
    base = Tally((length @ terminal.statistics)[None], np.array([length.sum()]))
    tiny = Tally(1e-4 * terminal.statistics, np.full(len(length), 1e-4))
    won = won_with(terminal, base, tiny)
    at = credit.at(base.sums[0] / base.sums.sum())[small.pool.stratum.code]
    inside = np.abs(at) < 0.99 * 2.5 * 0.8
    assert np.corrcoef(won[inside], at[inside])[0, 1] > 0.999


def test_a_terminal_reward_without_a_prediction_is_refused(small: SyntheticPool, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="terminal_weight"):
        train_policy(small.pool, objective(small.budget_tokens), PAID, 0, None, tmp_path)
