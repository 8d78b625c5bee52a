from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import entropy

from curation_pipeline.errors import ConfigError
from curation_pipeline.policy.closed_form import closed_form_rule
from curation_pipeline.policy.features import Normaliser
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import Codes
from curation_pipeline.policy.problem import ConstraintDuals, prepare
from curation_pipeline.policy.scoring import frozen_on, scores_at, with_budget
from curation_pipeline.policy.selection_state import SelectionState
from curation_pipeline.policy.settings import PolicySettings
from research.synthetic_pool import SyntheticPool

SETTINGS = PolicySettings(random_features=16)
GOAL = Objective(0.3, 0.1, 0.6, 0.0, None, 1)


def shares(codes: Codes, small: SyntheticPool, goal: Objective) -> dict[str, float]:
    """Expected share of the drawn tokens of each value under the closed form."""
    rule = closed_form_rule(small.pool, SETTINGS, 0)
    state = frozen_on(rule, small.pool, with_budget(goal, small.budget_tokens))
    drawn = scores_at(state).probability * small.pool.n_tokens
    return dict(zip(codes.names, codes.shares(drawn), strict=True))


def test_a_target_draws_the_batch_towards_it(small: SyntheticPool) -> None:
    topic = small.pool.topic
    pool_share = topic.shares(small.pool.n_tokens.astype(np.float64))
    name = topic.names[int(np.argsort(pool_share)[len(pool_share) // 2])]
    aim = 3.0 * float(pool_share[topic.names.index(name)])
    free = shares(topic, small, GOAL)[name]
    drawn = shares(topic, small, replace(GOAL, targets={"topic": {name: aim}}))[name]
    assert abs(drawn - aim) < 0.5 * abs(free - aim)


def test_an_essential_share_is_held_where_the_pool_has_it(small: SyntheticPool) -> None:
    topic = small.pool.topic
    before = shares(topic, small, GOAL)
    pool_share = dict(zip(topic.names, topic.shares(small.pool.n_tokens.astype(np.float64)), strict=True))
    # The topic that the policy takes least of, of those that could fill the floor.
    name = min((n for n in topic.names if pool_share[n] > 0.03), key=lambda n: before[n] / pool_share[n])
    least = before[name] + 0.05
    after = shares(topic, small, replace(GOAL, essential={"topic": {name: least}}))
    assert after[name] >= 0.99 * least


def test_gains_are_the_steps_of_the_value_of_coverage(small: SyntheticPool) -> None:
    """A document's gain a token is what it adds to minus half of KL(target || set), whatever else is in the set."""
    settings = SETTINGS.model_copy(update={"novelty_share": 0.0, "gain_reference": None})
    name = small.pool.topic.names[0]
    goal = Objective(0.0, 0.0, 1.0, 0.0, None, small.budget_tokens, targets={"topic": {name: 0.2}})
    normaliser = Normaliser.fit(small.pool, settings.random_features, settings.novelty_bandwidth, 0)
    problem = prepare(small.pool, goal, normaliser, settings)
    candidates, bins = problem.candidates, problem.candidates.statistics.coverage
    assert bins.target is not None
    state = SelectionState(candidates.statistics, candidates.statistics.budget)
    some = np.arange(0, len(small.pool), 9)
    state.add(candidates, some, np.ones(len(some)), np.ones(len(some)))
    rows = np.arange(40)
    gain = problem.marginal_gain(state, rows, ConstraintDuals()).gain
    present = state.coverage + state.prior * bins.share
    for row in rows:
        more = present.copy()
        more[candidates.coverage_bin[row]] += candidates.length[row]
        step = 0.5 * (entropy(bins.target, present) - entropy(bins.target, more))
        exact = step * present.sum() / candidates.length[row]
        assert gain[row] == pytest.approx(np.clip(exact, -1.0, 1.0), abs=1e-9)


def test_a_register_enters_where_the_pool_has_it(small: SyntheticPool) -> None:
    goal = replace(GOAL, targets={"register": {"conversation": 0.3}})
    with pytest.raises(ConfigError, match=r"reward.targets names register, of which the pool says nothing"):
        shares(small.pool.topic, small, goal)
    n = len(small.pool)
    register = Codes((np.arange(n) % 10 == 0).astype(np.int32), ("article", "conversation"))
    known = replace(small, pool=replace(small.pool, register=register))
    assert abs(shares(register, known, goal)["conversation"] - 0.3) < 0.5 * abs(
        shares(register, known, GOAL)["conversation"] - 0.3
    )
    with pytest.raises(ConfigError, match=r"reward.essential.register.verse is 0.1, but the pool holds none of it"):
        shares(register, known, replace(GOAL, essential={"register": {"verse": 0.1}}))
