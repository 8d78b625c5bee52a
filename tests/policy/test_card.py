"""The card says what is true of policies whose preferences are known, and compares them with their control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from curation_pipeline.policy.artefact import ScoringPolicy
from curation_pipeline.policy.card import Origin, policy_card
from curation_pipeline.policy.closed_form import closed_form_rule
from curation_pipeline.policy.features import Normaliser
from curation_pipeline.policy.pool import F32
from curation_pipeline.policy.problem import ConstraintDuals, SelectionProblem, observation_names, prepare
from curation_pipeline.policy.report import compare, control_at, identity_parity
from curation_pipeline.policy.report_value import MEASURES, block_sums, measures
from curation_pipeline.policy.scores import Scores
from curation_pipeline.policy.scoring import frozen_on, policy_rule, scores_at
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.reward.credit import DownstreamCredit
from curation_pipeline.seeds import generator
from research.set_value import set_value
from research.synthetic_pool import SyntheticPool, synthetic_pool

from .conftest import objective

SETTINGS = PolicySettings(net_arch=(8,), random_features=16, mean_field_rounds=4)


@pytest.fixture(scope="module")
def pool() -> SyntheticPool:
    return synthetic_pool(11, 4_000)


@pytest.fixture(scope="module")
def decided(pool: SyntheticPool) -> tuple[SelectionProblem, Scores]:
    """The pool under an objective with credit, and the closed form's scores."""
    strata = tuple(sorted(set(pool.frame["stratum"])))
    k = len(strata)
    share = generator(0, "share").standard_normal(k)
    credit = DownstreamCredit(strata, share, np.full(k, 0.01), np.full(k, 1.0 / k), r2=0.5)
    goal = replace(objective(pool.budget_tokens), eta=0.1, credit=credit)
    state = frozen_on(closed_form_rule(pool.pool, SETTINGS, 0), pool.pool, goal)
    return state.problem, scores_at(state)


def random_scores(pool: SyntheticPool) -> Scores:
    n = len(pool.pool)
    return Scores(np.full(n, 0.2), np.ones(n, np.float32))


def linear_policy(pool: SyntheticPool, wishes: Mapping[str, float]) -> ScoringPolicy:
    """A policy whose log-odds of keeping are a known sum of features, whatever else it sees."""
    normaliser = Normaliser.fit(pool.pool, SETTINGS.random_features, SETTINGS.novelty_bandwidth, 0)
    names = observation_names(normaliser.names)
    first: F32 = np.zeros((8, len(names)), np.float32)
    second: F32 = np.zeros((4, 8), np.float32)
    for unit, (name, slope) in enumerate(wishes.items()):
        # relu(x) - relu(-x) = x
        first[2 * unit, names.index(name)], first[2 * unit + 1, names.index(name)] = 1.0, -1.0
        second[1:, 2 * unit], second[1:, 2 * unit + 1] = slope, -slope
    network = {
        "mlp_extractor.policy_net.0.weight": first,
        "mlp_extractor.policy_net.0.bias": np.zeros(8, np.float32),
        "action_net.weight": second,
        "action_net.bias": np.zeros(4, np.float32),
    }
    return ScoringPolicy(network, normaliser, SETTINGS, names, 0.0, ConstraintDuals(), {})


def test_effects_have_the_sign_and_the_place_of_what_the_policy_wants(pool: SyntheticPool) -> None:
    policy = linear_policy(pool, {"p_harm": -1.5, "alignment": 0.8, "quality": 0.2})
    card = policy_card(policy, pool.pool, objective(pool.budget_tokens), pool.budget_tokens)
    effect = dict(card.effects.iter_rows())
    assert effect["p_harm"] < -0.02
    assert effect["alignment"] > effect["quality"] > 0.005
    others = [abs(value) for name, value in effect.items() if name not in ("p_harm", "alignment", "quality")]
    assert max(others) < 1e-6, "features that the policy does not look at"
    inside = card.group_effects.filter(feature="alignment", axis="toxicity_bin").sort("name")["effect"].to_list()
    assert inside[0] > 3 * inside[-1] > 0, "a document that is never drawn has little to gain"
    assert set(card.group_effects["axis"]) == {"domain", "toxicity_bin", "identity_group", "topic"}
    words = card.markdown
    assert "More of P(harm) lowers the chance" in words
    assert "More of the alignment score raises the chance" in words
    assert "length" not in words.split("## Who is selected")[0].split("|")[0]
    for axis in ("domain", "toxicity_bin", "identity_group", "topic"):
        rates = card.rates.filter(axis=axis)
        assert rates["share_before"].sum() == pytest.approx(1)
        assert rates["share_after"].sum() == pytest.approx(1)
        assert (rates["tokens"] * rates["selected"]).sum() == pytest.approx(pool.budget_tokens, rel=1e-3)


def test_the_value_of_a_set_by_blocks_is_its_value(
    decided: tuple[SelectionProblem, Scores], pool: SyntheticPool
) -> None:
    problem, scores = decided
    candidates = problem.candidates
    phi_pool = (candidates.length / candidates.tokens) @ candidates.phi
    for arm in (scores, random_scores(pool)):
        sums = block_sums(candidates, arm, np.arange(len(pool.pool)) % 7, 7)
        found = dict(zip(MEASURES, measures(problem, phi_pool, sums.resampled(np.ones(7))), strict=True))
        whole = set_value(problem, arm.probability, arm.weight.astype(np.float64))
        # The yardstick counts pseudo-tokens for the budget, the blocks for what was drawn: a few parts in 10,000.
        assert found["value"] == pytest.approx(whole.value, abs=2e-4)
        assert found["mean_harm"] == pytest.approx(whole.mean_harm, abs=1e-6)
        parts = ("safety", "alignment", "diversity", "credit")
        assert sum(found[part] for part in parts) == pytest.approx(found["value"])


def test_a_policy_like_the_closed_form_ties_and_a_random_one_trails(
    decided: tuple[SelectionProblem, Scores], pool: SyntheticPool
) -> None:
    problem, scores = decided
    same = compare(problem, scores, scores, generator(0))
    assert same.verdict == "ties with"
    assert "ties with the closed form" in same.sentence
    assert same.overlap == pytest.approx(1)
    assert same.correlation == pytest.approx(1)
    assert same.share_of_gain == pytest.approx(1)
    chance = compare(problem, random_scores(pool), scores, generator(0))
    assert chance.verdict == "trails"
    assert "trails the closed form" in chance.sentence
    assert chance.row("difference", "value")["high"] < 0
    assert chance.overlap == pytest.approx(chance.chance, abs=1e-3)
    assert chance.correlation is None
    better = compare(problem, scores, random_scores(pool), generator(0))
    assert better.verdict == "is ahead of"
    assert compare(problem, scores, scores, generator(0)).table.equals(same.table), "same seed, same figures"


def test_the_interval_of_a_difference_covers_it_on_other_documents(pool: SyntheticPool) -> None:
    """Two fixed rules, compared on small pools, against their difference on a large one."""

    def rules(of: SyntheticPool) -> tuple[SelectionProblem, Scores, Scores]:
        normaliser = Normaliser.fit(of.pool, SETTINGS.random_features, SETTINGS.novelty_bandwidth, 0)
        problem = prepare(of.pool, objective(of.budget_tokens), normaliser, SETTINGS)
        ones = np.ones(len(of.pool), np.float32)
        one = Scores(np.clip(0.4 - 0.5 * of.pool.p_harm.astype(np.float64), 0, 1), ones)
        other = Scores(np.clip(0.3 * of.pool.alignment.astype(np.float64), 0, 1), ones)
        return problem, one, other

    truth = compare(*rules(synthetic_pool(50, 16_000)), generator(0)).figure("difference", "safety")
    small = [
        compare(*rules(synthetic_pool(60 + k, 1_000)), generator(k)).row("difference", "safety") for k in range(12)
    ]
    covered = sum(row["low"] <= truth <= row["high"] for row in small)
    assert covered >= 9
    assert max(row["high"] - row["low"] for row in small) < abs(truth), "and is narrow enough to tell them apart"


def test_parity_is_the_rate_of_clean_text_that_names_a_group_over_that_of_text_that_names_none(
    pool: SyntheticPool,
) -> None:
    assert identity_parity(pool.pool, random_scores(pool)) == pytest.approx({"gender": 1, "dialect": 1})
    names = pool.frame["identity_group"].to_numpy()
    halved = Scores(np.where(names == "gender", 0.1, 0.2), np.ones(len(pool.pool), np.float32))
    assert identity_parity(pool.pool, halved)["gender"] == pytest.approx(0.5)


def test_the_card_tells_origin_and_control(pool: SyntheticPool) -> None:
    policy = linear_policy(pool, {"p_harm": -1.5, "alignment": 0.8})
    goal = objective(pool.budget_tokens)
    control = control_at(frozen_on(policy_rule(policy), pool.pool, goal), policy, 0)
    origin = Origin("policies-parent", 0.02, 0.9, 65_536, 1.01)
    words = policy_card(policy, pool.pool, goal, pool.budget_tokens, control=control, origin=origin).markdown
    assert "It started from policies-parent" in words
    assert "moved a little" in words
    assert "used 101% of the budget" in words
    assert control.sentence in words
    assert "| parity of gender |" in words
    cold = policy_card(
        policy, pool.pool, goal, pool.budget_tokens, origin=replace(origin, parent=None, kl_to_parent=None)
    )
    assert "started cold" in cold.markdown
    assert "closed form:" not in cold.markdown
