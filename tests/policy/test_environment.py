from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.policy.candidates import EVERY
from curation_pipeline.policy.environment import SelectionEnv
from curation_pipeline.policy.features import Normaliser
from curation_pipeline.policy.market import clearing_price
from curation_pipeline.policy.problem import ConstraintDuals, SelectionProblem, prepare
from curation_pipeline.policy.selection_state import SelectionState
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.reward.credit import DownstreamCredit
from research.synthetic_pool import SyntheticPool, synthetic_pool

from .conftest import SMALL, objective


def prepared(pool: SyntheticPool, settings: PolicySettings = SMALL, **goal: object) -> SelectionProblem:
    normaliser = Normaliser.fit(pool.pool, settings.random_features, settings.novelty_bandwidth, 0)
    return prepare(pool.pool, dataclasses.replace(objective(pool.budget_tokens), **goal), normaliser, settings)  # type: ignore[arg-type]


def environment(ready: SelectionProblem) -> SelectionEnv:
    return SelectionEnv(ready, np.random.default_rng(0))


def test_reward_is_the_formula(small: SyntheticPool) -> None:
    """One candidate's reward, computed by hand from the frame."""
    settings = SMALL.model_copy(update={"gain_reference": None, "prior_share": 0.5})
    strata = tuple(sorted(set(small.frame["stratum"])))
    rng = np.random.default_rng(1)
    k = len(strata)
    credit = DownstreamCredit(strata, rng.standard_normal(k), np.zeros(k), np.full(k, 1 / k), r2=0.5)
    ready = prepared(small, settings, eta=0.3, credit=credit)
    state = SelectionState(ready.candidates.statistics, 200.0)
    rows = np.arange(100)
    weights = np.where(rows % 3 == 0, 2.0, 0.0)
    state.add(ready.candidates, rows, (weights > 0).astype(float), weights)
    duals = ConstraintDuals(0.7, {"identity_group:dialect": 0.4})
    row = 111
    marginal = ready.marginal_gain(state, np.array([row]), duals)
    got = ready.action_rewards(np.array([row]), marginal, 0.6)[0]
    phi = ready.candidates.phi

    frame = small.frame
    tokens = frame["n_tokens"].to_numpy() / frame["n_tokens"].mean()
    mass = np.where(np.isin(np.arange(len(tokens)), rows[weights > 0]), 2 * tokens, 0.0)
    prior = 0.5 * 200

    def share(member: np.ndarray) -> tuple[float, float]:
        pool_share = tokens[member].sum() / tokens.sum()
        return (mass[member].sum() + prior * pool_share) / (mass.sum() + prior), pool_share

    same_bin = (
        (frame["topic"] == frame["topic"][row]) & (frame["identity_group"] == frame["identity_group"][row])
    ).to_numpy()
    q, p = share(same_bin)
    mean_phi = (mass @ phi + prior * (tokens @ phi) / tokens.sum()) / (mass.sum() + prior)
    diversity = 0.5 * (1 - phi[row] @ mean_phi) + 0.5 * np.clip(-0.5 * np.log(q / p), -1, 1)
    composition = np.array([share((frame["stratum"] == name).to_numpy())[0] for name in strata])
    c = credit.at(composition)[strata.index(frame["stratum"][row])]
    harm = frame["p_harm"][row]
    gain = 0.4 * (1 - harm) + 0.1 * frame["alignment"][row] + 0.5 * diversity + 0.3 * c
    dialect = (frame["identity_group"] == "dialect").to_numpy()
    benign = np.where(dialect, 1 - frame["p_harm"].to_numpy(), 0.0)
    floor = settings.group_floor * (tokens @ benign) / tokens.sum()
    penalty = 0.7 * (harm - settings.toxicity_ceiling) - 0.4 * (benign[row] - floor)
    expected = [tokens[row] * (np.log2(1 + w) * gain - w * (0.6 + penalty)) for w in settings.weights]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert np.isfinite(got).all()
    assert got[0] == 0


def test_more_harm_is_never_worth_more(small: SyntheticPool) -> None:
    """The sign convention of the whole project: dR/dT < 0."""
    harm = small.frame["p_harm"].to_numpy()
    worse = dataclasses.replace(small.pool, safety=(1 - np.minimum(harm + 0.1, 1)).astype(np.float32))
    ready = prepared(small, SMALL.model_copy(update={"gain_reference": None}))
    other = dataclasses.replace(ready, candidates=dataclasses.replace(ready.candidates, pool=worse))
    state = SelectionState(ready.candidates.statistics, 10.0)
    marginals = [x.marginal_gain(state, EVERY, ConstraintDuals(0.5)) for x in (ready, other)]
    rewards = [x.action_rewards(EVERY, m, 0.5) for x, m in zip((ready, other), marginals, strict=True)]
    moved = harm <= 0.9
    assert (rewards[1][moved, 1:] < rewards[0][moved, 1:]).all()


def test_repeats_lose_gain(small: SyntheticPool) -> None:
    again = dataclasses.replace(small.pool, n_drawn=np.full(len(small.pool), 2, np.int32))
    normaliser = Normaliser.fit(small.pool, 8, 0.5, 0)
    stale, fresh = (prepare(p, objective(small.budget_tokens), normaliser, SMALL) for p in (again, small.pool))
    # Whatever the sign of the gain, the same document gains less, and leaves at a lower price.
    state = SelectionState(fresh.candidates.statistics, 10.0)
    old, new = (x.marginal_gain(state, EVERY, ConstraintDuals()) for x in (stale, fresh))
    np.testing.assert_allclose(old.gain, new.gain - (1 - SMALL.repeat_decay**2) * fresh.scale.unit)
    assert (new.gain < 0).any()
    assert (stale.action_rewards(EVERY, old, 0.1)[:, 1:] < fresh.action_rewards(EVERY, new, 0.1)[:, 1:]).all()
    assert (stale.critical_price(old) < fresh.critical_price(new)).all()


def test_state_round_trip(small: SyntheticPool) -> None:
    ready = prepared(small)
    first = environment(ready)
    rng = np.random.default_rng(3)
    actions = rng.integers(0, 4, size=(30, SMALL.n_parallel_candidates))
    first.reset()
    for step in range(5):
        first.step(actions[step])
    state = first.get_state()
    second = SelectionEnv(ready, np.random.default_rng(99))
    second.set_state({name: value.copy() for name, value in state.items()})
    for step in range(5, 30):  # over three ends of an episode
        a, b = first.step(actions[step]), second.step(actions[step])
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])
        assert (a[2] == b[2]).all()
    assert first.market.price == second.market.price
    assert first.market.duals == second.market.duals


def test_what_is_seen_and_paid_has_one_unit(small: SyntheticPool) -> None:
    """The same preferences in a unit four times as large: a policy sees the same, and earns the same."""
    k = len(set(small.frame["stratum"]))
    credit = DownstreamCredit(
        tuple(sorted(set(small.frame["stratum"]))), np.linspace(-1, 1, k), np.zeros(k), np.full(k, 1 / k), r2=0.5
    )
    fixed = SMALL.model_copy(update={"toxicity_dual_rate": 0.0, "group_dual_rate": 0.0})
    once, more = (
        environment(prepared(small, fixed, alpha=0.4 * x, beta=0.1 * x, gamma=0.5 * x, eta=0.1 * x, credit=credit))
        for x in (1.0, 4.0)
    )
    rng = np.random.default_rng(3)
    for _ in range(12):
        actions = rng.integers(0, 4, SMALL.n_parallel_candidates)
        (seen, paid, *_), (seen_more, paid_more, *_) = once.step(actions), more.step(actions)
        np.testing.assert_allclose(seen, seen_more, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(paid, paid_more, rtol=1e-5, atol=1e-6)
    assert more.market.price == pytest.approx(4.0 * once.market.price)


def test_the_market_waits_for_a_policy_that_loses(small: SyntheticPool) -> None:
    """It tightens with what the policy gains, and asks for no more than nine tenths of a row."""
    losing, gaining = (SelectionEnv(prepared(small), np.random.default_rng(0), initial_keep_rate=0.7) for _ in range(2))
    begun = losing.market.target_ratio
    for env, best in ((losing, False), (gaining, True)):
        for _ in range(2 * SMALL.episode_candidates // SMALL.n_parallel_candidates):
            values = env.problem.action_rewards(env._rows, env._marginal, env.market.price)
            # The worst way to keep, or the best response.
            env.step(values.argmax(axis=1) if best else values[:, 1:].argmin(axis=1) + 1)
            sold = env.problem.critical_price(env._marginal) > env.market.price
            length = env.problem.candidates.length[env._rows]
            assert length[sold].sum() <= 0.9 * length.sum()
    assert begun == losing.market.target_ratio > 3.0
    assert gaining.market.target_ratio < 0.5 * begun


def test_an_episode_sees_every_candidate_once(small: SyntheticPool) -> None:
    env = environment(prepared(small))
    seen = []
    for _ in range(SMALL.episode_candidates // SMALL.n_parallel_candidates):
        seen.append(env._rows)
        *_, done, _ = env.step(np.zeros(SMALL.n_parallel_candidates, int))
    assert done.all()
    assert len(np.unique(np.concatenate(seen))) == SMALL.episode_candidates
    assert env.episodes[0].budget_use == 0


@given(
    st.lists(st.tuples(st.floats(-3, 3), st.integers(1, 50)), min_size=1, max_size=60),
    st.floats(0.01, 0.99),
)
def test_clearing_price_meets_the_target_within_a_document(rows: list[tuple[float, int]], share: float) -> None:
    critical = np.array([row[0] for row in rows])
    length = np.array([row[1] for row in rows], dtype=float)
    target = share * length.sum()
    price = clearing_price(critical, length, target)
    assert length[critical > price].sum() <= target + 1e-9
    assert length[critical >= price].sum() >= target - 1e-9


def best_responses(env: SelectionEnv, episodes: int) -> list[float]:
    while len(env.episodes) < episodes:
        env.step(env.problem.action_rewards(env._rows, env._marginal, env.market.price).argmax(axis=1))
    return [episode.budget_use for episode in env.episodes]


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.97])
def test_the_market_clears(share: float) -> None:
    """With the demo's parallel candidates, best responses use the budget within 5%."""
    pool = synthetic_pool(5, 6_000)
    ready = prepared(pool, PolicySettings(), budget_tokens=int(share * pool.pool.total_tokens))
    assert np.mean(best_responses(environment(ready), 6)[-4:]) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("share", [0.2, 0.13])
def test_a_policy_that_hardly_follows_the_price_still_meets_the_budget(share: float) -> None:
    """It sees the price through a lag and takes more than the best response would, as networks do."""
    pool = synthetic_pool(5, 6_000)
    ready = prepared(pool, PolicySettings(), budget_tokens=int(share * pool.pool.total_tokens))
    env = SelectionEnv(ready, np.random.default_rng(0), initial_keep_rate=0.7)
    rng = np.random.default_rng(1)
    seen = env.market.price
    while len(env.episodes) < 12:
        seen += 0.5 * (env.market.price - seen)
        noise = 0.1 * ready.scale.unit * rng.standard_normal((env.num_envs, len(env.weights)))
        values = (
            env.problem.action_rewards(env._rows, env._marginal, seen) / ready.candidates.length[env._rows, None]
            + noise
        )
        env.step(values.argmax(axis=1))
    uses = [episode.budget_use for episode in env.episodes]
    assert uses[0] > 1.2, "the market starts where an untrained policy is"
    assert np.mean(uses[-5:]) == pytest.approx(1, abs=0.03)
    assert max(abs(use - 1) for use in uses[-5:]) < 0.15


def test_without_clearing_the_budget_is_missed(small: SyntheticPool) -> None:
    """Why there is a market: at a price that does not move the best responses spend far too much, or nothing."""
    use = [
        best_responses(
            environment(prepared(small, SMALL.model_copy(update={"price_rate": 0.0, "initial_price": price}))), 4
        )[-1]
        for price in (0.0, 3.0)
    ]
    assert use[0] > 1.5
    assert use[1] < 0.5


def test_duals_rise_when_constraints_are_broken(small: SyntheticPool) -> None:
    ready = prepared(small)

    def filled(rows: np.ndarray) -> SelectionState:
        state = SelectionState(ready.candidates.statistics, 100.0)
        state.add(ready.candidates, rows, np.ones(len(rows)), np.ones(len(rows)))
        return state

    duals = ConstraintDuals().ascend(filled(np.flatnonzero((small.frame["p_harm"] > 0.5).to_numpy())))
    assert duals.toxicity > 0
    assert duals.groups["domain:encyclopaedia"] > 0
    safe = filled(np.flatnonzero((small.frame["p_harm"] < 0.02).to_numpy()))
    assert duals.ascend(safe).toxicity < duals.toxicity
