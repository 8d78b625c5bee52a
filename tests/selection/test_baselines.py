from __future__ import annotations

import numpy as np
import pytest

from curation_pipeline.errors import ConfigError
from curation_pipeline.policy.synthetic import SyntheticPool, synthetic_pool
from curation_pipeline.selection.baselines import BASELINES, baseline
from curation_pipeline.selection.draw import draw
from curation_pipeline.selection.settings import BaselineSettings


@pytest.fixture(scope="module")
def pool() -> SyntheticPool:
    return synthetic_pool(11, 6_000)


def shares(pool: SyntheticPool, code: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    mass = np.bincount(code, weights=pool.pool.n_tokens * drawn, minlength=code.max() + 1)
    return np.asarray(mass / mass.sum())


def drawn_by(name: str, pool: SyntheticPool, budget: int, **settings: float) -> np.ndarray:
    scores = baseline(name, BaselineSettings(**settings)).scores(pool.pool, budget, 0)
    return draw(pool.pool.doc_id, scores.probability, scores.weight, pool.pool.n_tokens, budget, 0).drawn


@pytest.mark.parametrize("name", sorted(BASELINES))
@pytest.mark.parametrize("share", [0.05, 0.2, 0.9])
def test_every_baseline_uses_the_budget(pool: SyntheticPool, name: str, share: float) -> None:
    budget = int(share * pool.pool.total_tokens)
    drawn = drawn_by(name, pool, budget)
    assert budget - 1024 < pool.pool.n_tokens[drawn].sum() <= budget
    assert baseline(name).name == name


def test_each_does_what_its_name_says(pool: SyntheticPool) -> None:
    budget, p_harm, tokens = pool.budget_tokens, pool.pool.p_harm, pool.pool.n_tokens
    assert p_harm[drawn_by("threshold", pool, budget)].max() <= 0.1
    strict = drawn_by("threshold", pool, budget, toxicity_threshold=0.001)
    assert (p_harm[strict] > 0.001).any(), "too little passes, so the rest fills the budget"
    longest = drawn_by("length_only", pool, budget)
    # All but the few that fill the last tokens of the budget.
    assert np.sort(tokens[longest])[10] >= tokens[~longest].max() - 5
    best = drawn_by("top_k", pool, budget, alignment_weight=0.0)
    assert p_harm[best].mean() < 0.02
    source = pool.pool.source.code
    everything = np.ones(len(source), bool)
    within = drawn_by("threshold_within_source", pool, budget)
    np.testing.assert_allclose(shares(pool, source, within), shares(pool, source, everything), atol=0.03)
    assert p_harm[within].mean() < 0.5 * p_harm.mean()
    topic = pool.pool.topic.code
    quota = drawn_by("top_k_per_topic", pool, budget)
    np.testing.assert_allclose(shares(pool, topic, quota), shares(pool, topic, everything), atol=0.01)
    flat = shares(pool, topic, drawn_by("stratified", pool, budget))
    assert flat.std() < 0.5 * shares(pool, topic, everything).std()


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="no baseline 'best'"):
        baseline("best")
