from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_pipeline.errors import ConfigError, DataError
from curation_pipeline.policy.pool import Pool
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.selection.baselines import BASELINES, baseline
from curation_pipeline.selection.draw import decision_rows, draw
from curation_pipeline.selection.inputs import Inputs
from curation_pipeline.selection.settings import BaselineSettings
from research.synthetic_pool import SyntheticPool, synthetic_pool

from .arms import QUICK, drawn_by, flags_of, inputs_of, value

FRACTIONAL = QUICK.model_copy(update={"fractional_weights": True})
ROUND_OFF = {"closed_form", "cross_entropy"}
"""Their constants are means over the pool, whose last digits depend on the order of summation."""


@pytest.fixture(scope="module")
def pool() -> SyntheticPool:
    return synthetic_pool(11, 6_000)


@pytest.fixture(scope="module")
def tiny() -> SyntheticPool:
    return synthetic_pool(12, 500)


def shares(pool: SyntheticPool, code: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    mass = np.bincount(code, weights=pool.pool.n_tokens * drawn, minlength=code.max() + 1)
    return np.asarray(mass / mass.sum())


@pytest.mark.parametrize("name", sorted(BASELINES))
@given(share=st.floats(0.02, 0.97), seed=st.integers(0, 3), fractional=st.booleans())
@settings(max_examples=4, deadline=None)
def test_every_baseline_meets_the_budget_and_gives_reasons(
    tiny: SyntheticPool, name: str, share: float, seed: int, fractional: bool
) -> None:
    budget = int(share * tiny.pool.total_tokens)
    inputs = inputs_of(tiny.pool)
    if name == "closed_form":
        inputs = Inputs(policy=PolicySettings(random_features=8))
    selector = baseline(name, FRACTIONAL if fractional else QUICK, inputs)
    assert selector.name == name
    scores = selector.scores(tiny.pool, budget, seed)
    drawn = draw(tiny.pool.doc_id, scores.probability, scores.weight, tiny.pool.n_tokens, budget, seed)
    used = int(tiny.pool.n_tokens[drawn.drawn].sum())
    assert budget - int(tiny.pool.n_tokens.max()) < used <= budget
    refused = decision_rows(tiny.pool.doc_id, scores, drawn).filter(~drawn.drawn)["reason"]
    assert not set(refused) & {"", "not drawn"}
    if fractional and name != "closed_form":
        assert set(np.unique(scores.weight)) <= {0.5, 1.0, 2.0}


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_the_order_of_the_pool_does_not_matter(tiny: SyntheticPool, name: str) -> None:
    order = np.random.default_rng(0).permutation(len(tiny.pool))
    turned = Pool.from_frame(tiny.frame[order.tolist()])
    one = baseline(name, FRACTIONAL, inputs_of(tiny.pool)).scores(tiny.pool, tiny.budget_tokens, 5)
    other = baseline(name, FRACTIONAL, inputs_of(turned)).scores(turned, tiny.budget_tokens, 5)
    if name in ROUND_OFF:
        np.testing.assert_allclose(one.probability[order], other.probability, atol=0.02)
    else:
        np.testing.assert_array_equal(one.probability[order], other.probability)
        np.testing.assert_array_equal(one.weight[order], other.weight)
    again = baseline(name, FRACTIONAL, inputs_of(tiny.pool)).scores(tiny.pool, tiny.budget_tokens, 5)
    np.testing.assert_array_equal(one.probability, again.probability)


def test_each_does_what_its_name_says(pool: SyntheticPool) -> None:
    budget, p_harm, tokens = pool.budget_tokens, pool.pool.p_harm, pool.pool.n_tokens

    def rows(name: str, **changes: float) -> np.ndarray:
        return drawn_by(name, pool.pool, budget, QUICK.model_copy(update=changes)).drawn

    assert p_harm[rows("threshold")].max() <= 0.1
    strict = rows("threshold", toxicity_threshold=0.001)
    assert (p_harm[strict] > 0.001).any(), "too little passes, so the rest fills the budget"
    longest = rows("length_only")
    # All but the few that fill the last tokens of the budget.
    assert np.sort(tokens[longest])[10] >= tokens[~longest].max() - 5
    best = rows("top_k", alignment_weight=0.0)
    assert p_harm[best].mean() < 0.02
    source = pool.pool.source.code
    everything = np.ones(len(source), bool)
    within = rows("threshold_within_source")
    np.testing.assert_allclose(shares(pool, source, within), shares(pool, source, everything), atol=0.03)
    assert p_harm[within].mean() < 0.5 * p_harm.mean()
    topic = pool.pool.topic.code
    stratum = rows("threshold_within_stratum")
    np.testing.assert_allclose(shares(pool, topic, stratum), shares(pool, topic, everything), atol=0.02)
    assert p_harm[stratum].mean() < 0.6 * p_harm.mean()
    quota = rows("top_k_per_topic")
    np.testing.assert_allclose(shares(pool, topic, quota), shares(pool, topic, everything), atol=0.01)
    flat = shares(pool, topic, rows("stratified"))
    assert flat.std() < 0.5 * shares(pool, topic, everything).std()
    passes = np.logical_and.reduce(list(flags_of(pool.pool).values()))
    assert passes[rows("manual_filters")].all()


def test_the_length_residual_takes_length_out_of_the_reward(pool: SyntheticPool) -> None:
    log_tokens = pool.pool.log_tokens
    noise = np.random.default_rng(0).uniform(0, 0.2, len(log_tokens))
    long_is_good = dataclasses.replace(pool.pool, safety=(0.1 * log_tokens + noise).astype(np.float32))
    choice = QUICK.model_copy(update={"alignment_weight": 0.0})
    for name, low, high in (("top_k", 0.3, 1.0), ("length_residual", -0.05, 0.05)):
        chosen = drawn_by(name, long_is_good, pool.budget_tokens, choice).drawn
        assert low < np.corrcoef(log_tokens, chosen)[0, 1] < high, name


def test_manual_filters_name_the_first_rule_that_fails(tiny: SyntheticPool) -> None:
    flags = flags_of(tiny.pool)
    scores = baseline("manual_filters", QUICK, Inputs(flags=flags)).scores(tiny.pool, tiny.budget_tokens, 0)
    assert scores.reason is not None
    for i, reason in enumerate(scores.reason):
        failed = [name for name in QUICK.manual_rules if not flags[name][i]]
        assert reason == (f"fails {failed[0]}" if failed else "left out by chance")


def test_what_is_missing_is_said(tiny: SyntheticPool) -> None:
    with pytest.raises(ConfigError, match="no baseline 'best'"):
        baseline("best")
    for name in (name for name, entry in BASELINES.items() if entry.needs):
        with pytest.raises(DataError, match="pass_gopher_quality" if name == "manual_filters" else "none was given"):
            baseline(name).scores(tiny.pool, tiny.budget_tokens, 0)
    with pytest.raises(DataError, match="no document of the domains opera"):
        drawn_by("dsir", tiny.pool, 1000, BaselineSettings(dsir_target_domains=("opera",)))
    with pytest.raises(ValueError, match="one round"):
        BaselineSettings(search_evaluations=10)


def test_fractional_weights_keep_the_mean_and_the_topics(pool: SyntheticPool) -> None:
    plain, weighted = (drawn_by("random", pool.pool, pool.budget_tokens, choice) for choice in (QUICK, FRACTIONAL))
    np.testing.assert_array_equal(plain.drawn, weighted.drawn)
    for name in ("random", "top_k_per_topic"):
        scores = baseline(name, FRACTIONAL).scores(pool.pool, pool.budget_tokens, 0)
        mass = scores.probability * pool.pool.n_tokens
        assert scores.weight @ mass == pytest.approx(mass.sum(), rel=0.01)
        held, moved = (np.bincount(pool.topic, weights=part) for part in (mass, mass * scores.weight))
        # A cut through a topic falls beside a whole document.
        assert (np.abs(moved - held) <= 2 * pool.pool.n_tokens.max()).all()
    p_harm = pool.pool.p_harm
    means = [p_harm[weighted.weight == level].mean() for level in (2.0, 1.0, 0.5)]
    assert means == sorted(means)
    assert value(pool, weighted) > value(pool, plain) + 0.03


EXPECTED = {
    "random": 0.50,
    "threshold": 0.65,
    "top_k": 0.65,
    "dsir": 0.63,
    "facility_location": 0.73,
    "top_k_per_topic": 0.76,
}
"""P on a synthetic pool, from the prototypes."""


def test_the_ranking_on_the_synthetic_pool() -> None:
    pool = synthetic_pool(103)
    choice = BaselineSettings(safety_weight=0.4, alignment_weight=0.1, dsir_target_domains=())
    got = {name: value(pool, drawn_by(name, pool.pool, pool.budget_tokens, choice)) for name in EXPECTED}
    for name, wanted in EXPECTED.items():
        assert got[name] == pytest.approx(wanted, abs=0.08), name
    assert got["random"] < min(got["dsir"], got["top_k"]) - 0.03
    assert max(got["dsir"], got["top_k"]) < got["threshold"] < got["facility_location"] < got["top_k_per_topic"]
