"""Questions about hidden scores: nothing hidden is seen, budgets are exact, prices follow, answers are worth asking."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from curation_pipeline.errors import DataError
from curation_pipeline.policy.artefact import ScoringPolicy, load_policy
from curation_pipeline.policy.features import Normaliser
from research.queries.belief import Belief, Posterior
from research.queries.controls import choose, value_of_information
from research.queries.environment import QueryEnv, normal_gain
from research.queries.scoring import (
    Knowledge,
    QuestionRule,
    Task,
    asked_at_random,
    asked_by_policy,
    asked_for_value,
    asked_near_the_margin,
    asked_where_unsure,
    closed_form_at,
    know,
    spend,
)
from research.queries.settings import PricedQuestion, QuerySettings
from research.queries.training import train_query_policy
from research.queries.views import Views, training_views
from research.synthetic_pool import SyntheticPool, synthetic_pool
from tests.policy.conftest import SMALL, objective

SETTINGS = SMALL.model_copy(update={"weights": (0.0, 1.0), "n_parallel_candidates": 64, "episode_candidates": 1_024})
QUERIES = QuerySettings(trees=8, candidates=4_096, batch_size=128, budget_share=0.1)
DIMS, OWN = 16, 11
"""Dimensions of the vector, which a policy that asks does not see, and a candidate's other features."""
COSTLY = list(QUERIES.questions[0].columns)


@dataclass(frozen=True)
class World:
    """A pool of which 30% is known, and a short training on that."""

    pool: SyntheticPool
    known: np.ndarray
    hidden: pl.DataFrame
    belief: Belief
    task: Task
    policy: ScoringPolicy
    folder: Path

    def ignorant(self, frame: pl.DataFrame | None = None) -> Knowledge:
        return know(self.hidden if frame is None else frame, self.known.astype(np.int64), self.belief, self.task, True)

    def answer(self, rows: np.ndarray, _: int) -> pl.DataFrame:
        return self.pool.frame[rows].select(COSTLY)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    pool = synthetic_pool(5, 1_500)
    known = np.arange(1_500) % 10 < 3
    given_ = pool.frame.filter(pl.Series(known))
    hidden = pool.frame.with_columns(pl.when(pl.Series(known)).then(pl.col(c)).alias(c) for c in COSTLY)
    folder = tmp_path_factory.mktemp("queries")
    goal = objective(pool.budget_tokens)
    train_query_policy(given_, 1_500, pool.pool.total_tokens, goal, SETTINGS, QUERIES, 0, folder)
    policy = load_policy(folder)
    task = Task(goal, SETTINGS, QUERIES, policy.normaliser)
    return World(pool, known, hidden, Belief(given_, QUERIES, 0), task, policy, folder)


def views(world: World, queries: QuerySettings = QUERIES) -> Views:
    known = world.pool.frame.filter(pl.Series(world.known))
    return training_views(known, world.task.objective, world.pool.pool.total_tokens, SETTINGS, queries, 0)


def test_nothing_hidden_is_seen_before_it_is_asked_for(world: World) -> None:
    """Other hidden scores: the same questions, and the same decisions as long as nothing is asked."""
    rng = np.random.default_rng(3)
    unknown = pl.Series(~world.known)
    other = world.pool.frame.with_columns(
        pl.when(unknown).then(pl.Series(rng.random(1_500).astype(np.float32))).otherwise(pl.col(c)).alias(c)
        for c in COSTLY
    ).with_columns(toxicity_bin=pl.lit(0, pl.Int8), stratum=pl.lit("leak"))
    rules: list[QuestionRule] = [
        asked_by_policy(world.policy, world.task), asked_for_value(world.task), asked_near_the_margin(world.task),
        asked_where_unsure(world.task),
    ]  # fmt: skip
    one, two = world.ignorant(), world.ignorant(other)
    np.testing.assert_array_equal(closed_form_at(one, world.task).logits, closed_form_at(two, world.task).logits)
    for rule in rules:
        np.testing.assert_array_equal(rule(one), rule(two))


def test_in_training_too_an_observation_holds_what_is_believed(world: World) -> None:
    """The first observations do not change with the scores of documents that the belief's fold has not seen."""
    ready = views(world)
    candidates = ready.problem.candidates
    n = ready.documents
    blind, full = candidates.features[:n], candidates.features[n:]
    names = ready.normaliser.names
    neural = names.index("detector_neural")
    assert len(np.unique(blind[:, neural])) == 1 < len(np.unique(full[:, neural]))
    assert len(np.unique(blind[:, names.index("detector_known_judge")])) == 1
    truth = candidates.pool.p_harm[n:]
    believed = candidates.pool.p_harm[:n]
    assert 0.3 < np.corrcoef(truth, believed)[0, 1] < 0.999, "imputed by a belief that did not see the document"
    lanes = QueryEnv(ready, np.random.default_rng(0), 0.3)
    assert (lanes._view == 0).all()
    seen = lanes.reset()
    np.testing.assert_array_equal(seen[:, :OWN], blind[lanes._documents][:, DIMS:])


@given(st.integers(1, 60), st.floats(0, 40), st.integers(0, 2**32 - 1))
def test_the_chosen_fit_the_budget_and_nothing_else_does(n: int, budget: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    score, cost = rng.standard_normal(n), rng.choice([0.5, 1.0, 3.0, np.inf], n)
    chosen = choose(score, cost, budget)
    left = budget - cost[chosen].sum()
    assert left >= -1e-6
    assert len(set(chosen.tolist())) == len(chosen)
    rest = np.setdiff1d(np.arange(n), chosen)
    assert not (cost[rest] < left - 1e-6).any(), "something that fits was left"
    same = choose(score, np.ones(n), budget)
    np.testing.assert_array_equal(np.sort(score[same])[::-1], np.sort(score)[::-1][: int(budget + 1e-9)])


@pytest.mark.parametrize("rounds", [1, 3])
def test_the_query_budget_is_met_exactly_and_only_hidden_documents_are_asked(world: World, rounds: int) -> None:
    for share in (0.02, 0.1, 0.25):
        queries = QUERIES.model_copy(update={"budget_share": share, "rounds": rounds})
        task = Task(world.task.objective, SETTINGS, queries, world.policy.normaliser)
        start = world.ignorant()
        for rule in (asked_by_policy(world.policy, task), asked_at_random(np.random.default_rng(0), task)):
            after = spend(start, rule, world.answer, world.belief, task)
            asked = after.view != start.view
            assert int(asked.sum()) == round(share * 1_500)
            assert not (asked & world.known).any()
            truth = world.pool.frame["p_harm"].to_numpy()
            np.testing.assert_allclose(after.pool.p_harm[asked], truth[asked], atol=1e-6)


def run(lanes: QueryEnv, ask: float, steps: int = 40) -> None:
    rng = np.random.default_rng(1)
    for _ in range(steps):
        lanes.step_async((rng.random(lanes.num_envs) < ask).astype(np.int64))
        lanes.step_wait()


def test_the_price_rises_while_too_much_is_asked_and_falls_while_too_little_is(world: World) -> None:
    ready = views(world)
    moved = {}
    for ask in (0.0, 0.14, 0.8):
        for begun in (QUERIES.first_price, 10.0 * QUERIES.first_price, 60.0 * QUERIES.first_price):
            lanes = QueryEnv(ready, np.random.default_rng(0), 0.3)
            lanes.query_price = begun
            run(lanes, ask)
            moved[ask, round(begun / QUERIES.first_price)] = lanes.query_price / begun
    assert moved[0.0, 10] < 0.5
    assert moved[0.0, 1] == 1.0, "never below the first"
    assert moved[0.14, 10] == pytest.approx(1.0, rel=0.5)
    assert moved[0.8, 1] > 2
    assert moved[0.8, 60] < 1.1, "questions at random that do not earn their price make it no dearer"


def test_a_question_is_paid_when_it_is_asked_and_pays_when_it_changes_the_decision(world: World) -> None:
    ready = views(world)
    lanes = QueryEnv(ready, np.random.default_rng(0), 0.3)
    n = ready.documents
    documents, paid = lanes._documents.copy(), lanes.query_price * lanes._own_price
    lanes.step_async(np.ones(lanes.num_envs))
    seen, reward, done, _ = lanes.step_wait()
    assert isinstance(seen, np.ndarray)
    assert not done.any()
    np.testing.assert_allclose(reward, -paid, rtol=1e-5)
    np.testing.assert_array_equal(documents, lanes._documents)
    np.testing.assert_array_equal(seen[:, :OWN], ready.problem.candidates.features[n + documents][:, DIMS:])
    # With the answer the decision is the best one, so it cannot lose against the one that was blind.
    lanes.step_async(np.ones(lanes.num_envs))
    _, reward, done, _ = lanes.step_wait()
    assert done.all()
    assert (reward > -1e-6).all()
    assert (reward > 0).any()
    lanes.step_async(np.zeros(lanes.num_envs))
    _, reward, _, _ = lanes.step_wait()
    np.testing.assert_array_equal(reward, 0.0)


def test_without_a_price_everything_is_asked(world: World, tmp_path: Path) -> None:
    """The degenerate policy and the healthy one."""
    known = world.pool.frame.filter(pl.Series(world.known))
    shares = {}
    for name, price in (("free", {"first_price": 1e-9, "price_rate": 0.0}), ("priced", {})):
        queries = QUERIES.model_copy(update={"candidates": 12_288, **price})
        made = train_query_policy(
            known, 1_500, world.pool.pool.total_tokens, world.task.objective, SETTINGS, queries, 1, tmp_path / name
        )
        shares[name] = np.mean([episode.query_use for episode in made.episodes[-3:]])
    assert shares["free"] > 2.0
    assert shares["priced"] < 0.75 * shares["free"]


def test_the_value_of_information_by_hand(world: World) -> None:
    """Two equally likely values: half of the gap when they lie on either side of zero, nothing when on one side."""
    knowledge = world.ignorant()
    state = closed_form_at(knowledge, world.task)
    n, candidates = len(knowledge.pool), state.problem.candidates
    wide = np.tile(knowledge.posterior.mean, (2, 1, 1))
    wide[0, :, 0] += 0.2
    wide[1, :, 0] -= 0.2
    got = value_of_information(state, Posterior(knowledge.posterior.mean, knowledge.posterior.spread, wide))
    length = candidates.length
    mean = candidates.length * state.marginal.gain - length * (state.price + state.marginal.penalty)
    step = 0.2 * (candidates.length * world.task.objective.alpha + length * state.duals.toxicity)
    np.testing.assert_allclose(got, np.maximum(step - np.abs(mean), 0) / 2, atol=1e-6)
    assert (normal_gain(state.problem, np.arange(n), state.marginal, state.price, np.zeros((n, 2))) == 0).all()
    assert (value_of_information(state, knowledge.posterior)[world.known] < 1e-9).all()


def test_beliefs_know_how_wrong_they_are() -> None:
    pool = synthetic_pool(6, 4_000)
    truth = pool.frame.select("p_harm", "alignment").to_numpy()
    for kind, r2 in (("forest", (0.8, 0.6)), ("ridge", (0.7, 0.6))):
        belief = Belief(pool.frame[:2_000], QuerySettings(belief=kind, trees=32), 0)  # type: ignore[arg-type]
        found = belief.posterior(pool.frame[2_000:], np.zeros(2_000, np.int64), True)
        error = found.mean - truth[2_000:]
        assert ((1 - error.var(axis=0) / truth[2_000:].var(axis=0)) > r2).all()
        assert found.samples is not None
        below = (found.samples < truth[2_000:]).mean(axis=0)
        assert (np.abs((below < 0.9).mean(axis=0) - 0.9) < 0.06).all(), "nine of ten lie below the ninth decile"


def test_two_questions_of_different_cost(world: World) -> None:
    """Each set of answers has its own belief, and both costs count."""
    questions = (
        PricedQuestion(name="screen", columns=("neural",), cost=0.25),
        PricedQuestion(name="judge", columns=("alignment", "p_harm")),
    )
    queries = QUERIES.model_copy(update={"questions": questions})
    known = world.pool.frame.filter(pl.Series(world.known))
    ready = views(world, queries)
    lanes = QueryEnv(ready, np.random.default_rng(0), 0.3)
    lanes.step_async(np.full(lanes.num_envs, 1))
    _, reward, _, _ = lanes.step_wait()
    assert reward.mean() == pytest.approx(-0.25 * queries.first_price, rel=0.5)
    lanes.step_async(np.full(lanes.num_envs, 2))
    lanes.step_wait()
    assert (lanes._view == 3).all()
    assert ready.spread[: ready.documents, 0].mean() > ready.spread[ready.documents : 2 * ready.documents, 0].mean()
    belief = Belief(known, queries, 0)
    constants = Normaliser.fit(know(world.hidden, world.known * 3, belief, world.task).pool, 16, 0.5, 0)
    task = Task(world.task.objective, SETTINGS, queries, constants)
    start = know(world.hidden, world.known.astype(np.int64) * 3, belief, task)

    def answer(rows: np.ndarray, k: int) -> pl.DataFrame:
        return world.pool.frame[rows].select(questions[k].columns)

    after = spend(start, asked_at_random(np.random.default_rng(0), task), answer, belief, task)
    gained = after.view & ~start.view
    assert 0.25 * (gained & 1).sum() + (gained >> 1).sum() == pytest.approx(150, abs=0.25)


def test_same_seed_same_bytes(world: World, tmp_path: Path) -> None:
    known = world.pool.frame.filter(pl.Series(world.known))
    train_query_policy(known, 1_500, world.pool.pool.total_tokens, world.task.objective, SETTINGS, QUERIES, 0, tmp_path)
    for file in ("policy.safetensors", "policy.json"):
        assert (tmp_path / file).read_bytes() == (world.folder / file).read_bytes()


def test_wrong_settings_and_too_little_knowledge_are_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="must reveal p_harm and alignment"):
        QuerySettings(questions=(PricedQuestion(name="a", columns=("p_harm",)),))
    with pytest.raises(DataError, match="at least 200"):
        train_query_policy(world.pool.frame[:50], 1_500, 1, world.task.objective, SETTINGS, QUERIES, 0, tmp_path)
