from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from curation_pipeline.policy.closed_form import closed_form_scores
from curation_pipeline.policy.keep_logits import keep_and_weight, probabilities
from curation_pipeline.policy.projection import project
from curation_pipeline.policy.scoring import load_policy, score_pool
from curation_pipeline.reward.credit import DownstreamCredit
from research.synthetic_pool import SyntheticPool, synthetic_pool

from .conftest import SMALL, Trained, objective

WEIGHTS = (0.0, 0.5, 1.0, 2.0)


@given(
    arrays(np.float64, (40, 4), elements=st.floats(-30, 30)),
    arrays(np.float64, 40, elements=st.floats(0.05, 8)),
    st.floats(0.01, 0.99),
)
@settings(max_examples=60, deadline=None)
def test_the_shift_meets_the_budget(logits: np.ndarray, length: np.ndarray, share: float) -> None:
    budget = share * length.sum()
    shift = project(keep_and_weight(logits, WEIGHTS)[0], length, budget, np.empty((40, 0))).shift
    probability, weight = probabilities(logits, shift, WEIGHTS)
    assert probability @ length == pytest.approx(budget, rel=1e-6)
    assert ((weight >= 0.5 - 1e-9) & (weight <= 2 + 1e-9)).all()


def test_probabilities_are_the_softmax() -> None:
    logits = np.array([[1.0, 0.0, 2.0, -1.0]])
    probability, weight = probabilities(logits, 0.7, WEIGHTS)
    softmax = np.exp(logits - np.array([0.7, 0, 0, 0]))[0]
    softmax /= softmax.sum()
    assert probability[0] == pytest.approx(1 - softmax[0])
    assert weight[0] == pytest.approx(softmax[1:] @ [0.5, 1, 2] / softmax[1:].sum())


def test_scores_meet_the_budget_in_drawn_and_in_weighted_tokens(trained: Trained) -> None:
    pool = synthetic_pool(4, 5_000)
    policy = load_policy(trained.summary.folder)
    tokens = pool.pool.n_tokens
    for share in (0.05, 0.2, 0.7):
        budget = int(share * tokens.sum())
        scores = score_pool(policy, pool.pool, trained.objective, budget)
        assert scores.probability @ tokens == pytest.approx(budget, rel=1e-6)
        assert (scores.probability * scores.weight) @ tokens == pytest.approx(budget, rel=1e-4)
    everything = score_pool(policy, pool.pool, trained.objective, 10 * int(tokens.sum()))
    np.testing.assert_allclose(everything.probability, 1)


def test_scoring_does_not_depend_on_the_pools_order(trained: Trained) -> None:
    pool = synthetic_pool(4, 3_000)
    policy = load_policy(trained.summary.folder)
    scores = score_pool(policy, pool.pool, trained.objective, pool.budget_tokens)
    order = np.random.default_rng(0).permutation(len(pool.pool))
    shuffled = type(pool.pool).from_frame(pool.frame[order])
    again = score_pool(policy, shuffled, trained.objective, pool.budget_tokens)
    np.testing.assert_allclose(again.probability, scores.probability[order], atol=1e-3)


@pytest.mark.parametrize("gamma", [0.3, 1.5])
def test_closed_form_is_consistent_at_strong_diversity(gamma: float) -> None:
    """Undamped iteration diverges here; a consistent state keeps all topics."""
    pool = synthetic_pool(8, 5_000)
    goal = dataclasses.replace(objective(pool.budget_tokens), gamma=gamma)
    scores = closed_form_scores(pool.pool, goal, SMALL, pool.budget_tokens, 0)
    tokens = scores.probability * pool.pool.n_tokens
    assert tokens.sum() == pytest.approx(pool.budget_tokens, rel=1e-6)
    assert pool.truth(scores.probability * scores.weight)[2] > pool.truth(np.ones(len(pool.pool)))[2] - 0.2
    topics = np.bincount(pool.topic, weights=tokens) / np.bincount(pool.topic, weights=pool.pool.n_tokens)
    assert topics.min() > 0.02
    harmful = scores.probability[pool.harmful].mean()
    assert harmful < 0.5 * scores.probability[~pool.harmful].mean()


def test_credit_moves_tokens_to_its_strata(small: SyntheticPool) -> None:
    strata = small.pool.stratum.names
    k = len(strata)
    wanted = np.array([name.startswith("t5|b0") for name in strata])
    share = small.pool.stratum.shares(small.pool.n_tokens.astype(float))
    credit = DownstreamCredit(strata, wanted.astype(float), np.zeros(k), share, r2=0.9)
    member = wanted[small.pool.stratum.code]
    got = []
    for eta in (0.0, 0.3):
        goal = dataclasses.replace(objective(small.budget_tokens), eta=eta, credit=credit)
        got.append(closed_form_scores(small.pool, goal, SMALL, small.budget_tokens, 0).probability[member].mean())
    assert got[1] > 1.5 * got[0]
