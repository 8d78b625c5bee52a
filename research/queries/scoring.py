"""Spending a query budget on a pool: by a policy that learned to ask, or by a rule of the closed form.

Both go the same way: a state of the set that is consistent with what is believed, a score for every possible question,
the best of them asked within the exact budget, answers, and again. The closed form then decides on what is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from curation_pipeline.policy.artefact import ScoringPolicy
from curation_pipeline.policy.closed_form import BestResponse
from curation_pipeline.policy.features import Normaliser
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import F64, Pool, Rows
from curation_pipeline.policy.problem import ConstraintDuals, prepare
from curation_pipeline.policy.projection import sigmoid
from curation_pipeline.policy.scoring import DecisionRule, FrozenState, frozen_state
from curation_pipeline.policy.settings import PolicySettings
from research.queries.belief import Belief, Posterior
from research.queries.controls import choose, margin, settled, value_of_information
from research.queries.environment import normal_gain, observed, tell_price
from research.queries.settings import QuerySettings
from research.queries.views import believed_frame

_HALFWAY = 0.5
"""Progress that a policy is told at a frozen state, as in ``scoring``."""
_PRICE_SEARCH = 3.0
"""The price of a question is looked for within this distance of the training's last, in logarithms."""
_PRICE_STEPS = 12
_CLOSED_FORM_ROUNDS = 16
_CLOSED_FORM_SPEED = 2.0
"""Mean-field rounds of the closed form, and the speed of dual ascent between them."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is known and believed of n documents.

    Attributes:
        frame: as given; costly columns hold truth only where ``view`` says so.
        view: (n,) bit k is set where question k was answered.
        posterior: belief about each document in its view.
        pool: the documents as believed.
    """

    frame: pl.DataFrame
    view: Rows
    posterior: Posterior
    pool: Pool


Answer = Callable[[Rows, int], pl.DataFrame]
"""The columns that question k reveals, one row for each of the documents (m,) asked about."""
QuestionRule = Callable[[Knowledge], F64]
"""Scores (n, K): the higher, the sooner question k about a document is asked."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be done with a pool.

    Attributes:
        objective: with the token budget of the whole pool.
        settings: of the decision process.
        queries: the questions and their budget.
        normaliser: feature constants; those of a policy where one decides.
    """

    objective: Objective
    settings: PolicySettings
    queries: QuerySettings
    normaliser: Normaliser


def know(frame: pl.DataFrame, view: Rows, belief: Belief, task: Task, samples: bool = False) -> Knowledge:
    """What is believed of a pool; costly columns that a view hides are not read."""
    posterior = belief.posterior(frame, view, samples)
    pool = Pool.from_frame(believed_frame(frame, view, posterior, task.queries))
    return Knowledge(frame, view, posterior, pool)


def spend(start: Knowledge, rule: QuestionRule, answer: Answer, belief: Belief, task: Task) -> Knowledge:
    """Ask until the query budget is spent.

    Args:
        start: before any question.
        rule: who is asked about; it sees the answers of earlier rounds.
        answer: the costly scores.
        belief: imputes what stays hidden.
        task: of the pool.

    Returns:
        What is known afterwards. The cost of all answers is at most the budget, and below it by less than the cheapest
        question that was left.
    """
    questions, rounds = task.queries.questions, task.queries.rounds
    cost = np.array([question.cost for question in questions])
    n, k = start.frame.height, len(questions)
    left = task.queries.budget_share * n
    knowledge, samples = start, start.posterior.samples is not None
    for done in range(rounds):
        open_cost = np.where((knowledge.view[:, None] >> np.arange(k)) & 1, np.inf, cost)
        score = rule(knowledge)
        first = np.where(np.isfinite(open_cost), score, -np.inf).argmax(axis=1)
        everything = np.arange(n)
        asked = choose(score[everything, first], open_cost[everything, first], left / (rounds - done))
        left -= float(cost[first[asked]].sum())
        frame, view = knowledge.frame, knowledge.view.copy()
        for question in range(k):
            rows = asked[first[asked] == question]
            if len(rows):
                frame = _with_answers(frame, rows, answer(rows, question))
                view[rows] |= 1 << question
        knowledge = know(frame, view, belief, task, samples)
    return knowledge


def _with_answers(frame: pl.DataFrame, rows: Rows, answers: pl.DataFrame) -> pl.DataFrame:
    columns = {}
    for name in answers.columns:
        values = frame[name].cast(pl.Float64).to_numpy().copy()
        values[rows] = answers[name].cast(pl.Float64).to_numpy()
        columns[name] = pl.Series(values).cast(pl.Float32)
    return frame.with_columns(**columns)


def closed_form_at(knowledge: Knowledge, task: Task) -> FrozenState:
    """The best response to what is believed: gains are linear in the scores, so their means are enough."""
    problem = prepare(knowledge.pool, task.objective, task.normaliser, task.settings)
    decide = BestResponse(task.settings.closed_form_temperature)
    rule = DecisionRule(
        decide, task.normaliser, task.settings, ConstraintDuals(), _CLOSED_FORM_SPEED, _CLOSED_FORM_ROUNDS
    )
    return frozen_state(problem, rule)


def asking_odds(policy: ScoringPolicy, knowledge: Knowledge, state: FrozenState, task: Task, budget: float) -> F64:
    """A policy's log-odds (n, K) of asking before the closed form decides.

    The policy knows the price of an answer. It is told the one at which it would spend the budget, as in training.

    Args:
        policy: from ``train_query_policy``.
        knowledge: of the pool.
        state: of the closed form under the belief.
        task: of the pool.
        budget: query budget that is to be spent, in units of cost.
    """
    everything = np.arange(len(knowledge.pool))
    trained, spread = float(policy.record["query_price"]), knowledge.posterior.spread
    cost = np.array([question.cost for question in task.queries.questions])
    open_cost = np.where((knowledge.view[:, None] >> np.arange(len(cost))) & 1, 0.0, cost)
    low, high = np.log(trained) - _PRICE_SEARCH, np.log(trained) + _PRICE_SEARCH
    odds = np.zeros(open_cost.shape)
    problem, marginal, price = state.problem, state.marginal, state.price
    seen = observed(problem, state.state, everything, marginal, price, state.duals, _HALFWAY, trained, spread)
    gain = normal_gain(problem, everything, marginal, price, spread) / problem.scale.unit
    for _ in range(_PRICE_STEPS):
        tell_price(seen, gain, float(np.exp(0.5 * (low + high))))
        logits = policy.logits(seen).astype(np.float64)
        odds = logits[:, 1:] - logits[:, :1]
        if float((sigmoid(odds) * open_cost).sum()) > budget:
            low = 0.5 * (low + high)
        else:
            high = 0.5 * (low + high)
    return odds


def asked_by_policy(policy: ScoringPolicy, task: Task) -> QuestionRule:
    """Ask where the policy would, in the order of its log-odds."""
    budget = task.queries.budget_share / task.queries.rounds

    def rule(knowledge: Knowledge) -> F64:
        state = closed_form_at(knowledge, task)
        return asking_odds(policy, knowledge, state, task, budget * len(knowledge.pool))

    return rule


def asked_at_random(rng: np.random.Generator, task: Task) -> QuestionRule:
    """Ask about any document."""
    return lambda knowledge: rng.random((len(knowledge.pool), len(task.queries.questions)))


def asked_where_unsure(task: Task) -> QuestionRule:
    """Ask where the belief about a document's contribution to the reward has the largest standard deviation."""

    def rule(knowledge: Knowledge) -> F64:
        spread = knowledge.posterior.spread * (task.objective.alpha, task.objective.beta)
        return _each(np.linalg.norm(spread, axis=1) * knowledge.pool.n_tokens, task)

    return rule


def asked_near_the_margin(task: Task) -> QuestionRule:
    """Ask where the closed form is nearest to changing its mind."""
    return lambda knowledge: _each(margin(closed_form_at(knowledge, task)), task)


def asked_for_value(task: Task, after_answers: bool = False) -> QuestionRule:
    """Ask where an answer is worth most to the closed form.

    Args:
        task: of the pool.
        after_answers: at the price that clears once the answers are in, else at the present one.
    """
    cost = sum(question.cost for question in task.queries.questions)

    def rule(knowledge: Knowledge) -> F64:
        state = closed_form_at(knowledge, task)
        if not after_answers:
            return _each(value_of_information(state, knowledge.posterior), task)
        n = len(knowledge.pool)
        whole = 2 ** len(task.queries.questions) - 1
        open_cost = np.where(knowledge.view == whole, np.inf, cost)
        return _each(settled(state, knowledge.posterior, open_cost, task.queries.budget_share * n), task)

    return rule


def _each(score: F64, task: Task) -> F64:
    return np.repeat(score[:, None], len(task.queries.questions), axis=1)
