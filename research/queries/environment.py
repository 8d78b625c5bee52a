"""Parallel candidates in which a policy may pay for a document's hidden scores before it is decided.

Action 0 decides by the best response to what is believed of the candidate; action 1 + k asks question k, which costs
its price and shows the same candidate with the answer. A candidate's episode ends with the decision, so with gamma = 1
the price of an answer is set against what the better decision gains. The shared state holds what is believed, as it
does when the policy is used. A decision is paid by the true scores, less what the best response to the first belief
would have been paid: deciding at once is worth exactly 0, and the return of a question is its realised value less its
price. (A policy that picked the weights as well had to find a gain of a few hundredths under the noise of its own
decisions.)

Two prices clear: tokens by the market of best responses, answers by a price that rises while more is asked than the
query budget allows, and answers earn what they cost. It starts low: at a price that questions at random do not earn, a
policy may stop asking before it knows what to ask, and learns nothing any more. Each candidate sees that price times a
random factor, so that the policy learns an order and not one threshold only, and can be told the price of another
query budget.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from scipy.special import ndtr
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from curation_pipeline.policy.environment import SelectionEnv
from curation_pipeline.policy.market import clearing_price
from curation_pipeline.policy.pool import F32, F64, Rows
from curation_pipeline.policy.problem import ConstraintDuals, Marginal, SelectionProblem
from curation_pipeline.policy.selection_state import SelectionState
from research.queries.views import Views

_SLACK = 2.0
"""The market for tokens asks for at most this factor more, or less, than the budget's share."""
_MEMORY = 0.8
"""Share of the demand for answers, and of what they earn, that is remembered from step to step."""
_PRICE_RANGE = 100.0
"""The query price rises to at most this factor of its first value, and never falls below that."""
_JITTER = 0.5
"""Standard deviation of the logarithm of a candidate's query price around the market's."""
_CLIP = 4.0
"""Bound of ``margin`` and ``surplus``."""
_LEAST = 1e-4
"""Gains and prices below this are shown as this, in units of reward."""
EXTRA_FEATURES = ("margin", "surplus", "log_query_price")
"""What is observed with the features of the selected set, see ``observed``."""


@dataclass(frozen=True, slots=True)
class QueryEpisode:
    """What one finished episode did.

    Attributes:
        budget_use: drawn tokens over the episode's token budget.
        query_use: cost of the answers over the episode's query budget.
        gain: mean gain of a candidate over the best response without questions, in units of reward, prices not taken.
        price: of a normalised token, at its end.
        query_price: of a unit of query cost, in units of reward, at its end.
    """

    budget_use: float
    query_use: float
    gain: float
    price: float
    query_price: float


class QueryEnv(SelectionEnv):
    """Parallel candidates with questions; only those that come without their scores are shown.

    Args:
        views: known documents in every view.
        rng: the order of candidates, and their prices.
        known_share: share of the pool whose scores are known; such candidates are decided without being shown.
    """

    def __init__(self, views: Views, rng: np.random.Generator, known_share: float) -> None:
        candidates = views.problem.candidates
        settings = candidates.statistics.settings
        self.views, self.problem, self.candidates, self.settings = views, views.problem, candidates, settings
        self.rng = rng
        self.duals = ConstraintDuals()
        self.finished: list[QueryEpisode] = []
        # The query budget is for the whole pool, and only candidates that come without scores are asked about.
        self._supply = views.settings.budget_share / max(1.0 - known_share, 1e-9)
        self._beside = known_share / max(1.0 - known_share, 1e-9)
        VecEnv.__init__(
            self,
            settings.n_parallel_candidates,
            spaces.Box(-np.inf, np.inf, (len(observed_names(views.problem)),), np.float32),
            spaces.Discrete(1 + len(views.cost)),
        )
        self._infos = [{}] * settings.n_parallel_candidates
        self._queue = np.empty(0, np.int64)
        self._actions = np.zeros(settings.n_parallel_candidates, np.int64)
        self._share = candidates.statistics.budget / candidates.tokens
        self.query_price = views.settings.first_price
        self._demand = self._supply
        self._earned = 0.0
        self.price = 0.0
        self._start_episode()

    def _start_episode(self) -> None:
        parallel, candidates = self.num_envs, self.settings.episode_candidates
        self._tokens_left = candidates * float(self.candidates.length.mean())
        self.selected = SelectionState(self.candidates.statistics, self._share * self._tokens_left)
        self._documents, self._view = np.zeros(parallel, np.int64), np.zeros(parallel, np.int64)
        self._own_price = np.ones(parallel)
        self._fresh = np.ones(parallel, np.bool_)
        self._step = self._decided = self._new = 0
        self._gained = self._spent = 0.0
        self._look()

    def _next_documents(self, n: int) -> Rows:
        """The next n of the endless stream of reshuffled documents."""
        parts, have = [self._queue], len(self._queue)
        while have < n:
            parts.append(self.rng.permutation(self.views.documents))
            have += len(parts[-1])
        stream = np.concatenate(parts)
        self._queue = stream[n:]
        return stream[:n]

    def _look(self) -> None:
        """Bring new candidates in the place of those that are decided, clear the market for them, and observe."""
        fresh = int(self._fresh.sum())
        self._known = np.empty(0, np.int64), np.empty(0, np.int64)
        known = self.views.full * self.views.documents + self._next_documents(round(self._beside * fresh))
        self._documents[self._fresh] = self._next_documents(fresh)
        self._view[self._fresh] = 0
        self._own_price[self._fresh] = np.exp(_JITTER * self.rng.standard_normal(fresh))
        self._new += fresh
        self._rows = self._view * self.views.documents + self._documents
        self._marginal = self.problem.marginal_gain(self.selected, self._rows, self.duals)
        if fresh:
            # Candidates with an answer were counted before, and most of them lie near the margin.
            beside = self.problem.marginal_gain(self.selected, known, self.duals)
            critical = self.problem.critical_price(self._marginal)[self._fresh]
            length = self.candidates.length[np.concatenate([self._rows[self._fresh], known])]
            left = (self.selected.budget - self.selected.drawn) / max(self._tokens_left, 1.0)
            target = float(np.clip(left, self._share / _SLACK, self._share * _SLACK)) * float(length.sum())
            critical = np.concatenate([critical, self.problem.critical_price(beside)])
            # The price of a full set says nothing about an empty one, so an episode starts at its own.
            rate = self.settings.price_rate * fresh / self.num_envs if self._step else 1.0
            self.price += rate * (clearing_price(critical, length, target) - self.price)
            self._known = known, self.problem.action_rewards(known, beside, self.price).argmax(axis=1)
        progress = min(self._decided / self.settings.episode_candidates, 1.0)
        paid, spread = self.query_price * self._own_price, self.views.spread[self._rows]
        self._observation = observed(
            self.problem, self.selected, self._rows, self._marginal, self.price, self.duals, progress, paid, spread
        )

    def _take(self, rows: Rows, choice: npt.NDArray[np.int64]) -> None:
        """Add decided candidates to the set."""
        weighted = np.asarray(self.settings.weights)[choice]
        self.selected.add(self.candidates, rows, (weighted > 0).astype(np.float64), weighted)
        self._tokens_left -= float(self.candidates.length[rows].sum())
        self._decided += len(rows)

    def reset(self) -> F32:
        """Start a new episode and return the observations (n_parallel_candidates, f)."""
        if self._step:
            self._start_episode()
        return self._observation.copy()

    def step_wait(self) -> VecEnvStepReturn:
        """Charge questions, decide the rest and pay by the true scores, and let both prices follow."""
        n, every = self.views.documents, np.arange(self.num_envs)
        bit = np.maximum(self._actions - 1, 0)
        # A question that was answered before tells nothing more, so it decides.
        asking = (self._actions > 0) & ((self._view >> bit & 1) == 0)
        choice = self.problem.action_rewards(self._rows, self._marginal, self.price).argmax(axis=1)
        first = self.problem.marginal_gain(self.selected, self._documents, self.duals)
        blind = self.problem.action_rewards(self._documents, first, self.price).argmax(axis=1)
        true_rows = self.views.full * n + self._documents
        known = self.problem.marginal_gain(self.selected, true_rows, self.duals)
        true = self.problem.action_rewards(true_rows, known, self.price)
        gain = (true[every, choice] - true[every, blind]) / self.problem.scale.unit
        cost = self.views.cost[bit]
        paid = np.where(asking, self.query_price * self._own_price * cost, 0.0)
        rewards = np.where(asking, -paid, gain).astype(np.float32)

        decided = ~asking
        self._take(self._rows[decided], choice[decided])
        self._take(*self._known)
        self.duals = self.duals.ascend(self.selected)
        earned = float(gain[decided & (self._view > 0)].sum() - paid.sum())
        self._follow(float(cost[asking].sum()), earned, int(self._fresh.sum()))
        self._gained += float(gain[decided].sum())
        self._view = np.where(asking, self._view | (1 << bit), self._view)
        self._fresh = decided
        self._step += 1
        done = decided
        if self._decided >= self.settings.episode_candidates:
            self.finished.append(self._finished_episode())
            self._start_episode()
            done = np.ones(self.num_envs, np.bool_)
        else:
            self._look()
        return self._observation.copy(), rewards, done, self._infos

    def _follow(self, spent: float, earned: float, new: int) -> None:
        """Move the query price after what this step's new candidates could have spent, and what they did and earned."""
        self._spent += spent
        self._demand = _MEMORY * self._demand + (1.0 - _MEMORY) * spent / max(new, 1)
        self._earned = _MEMORY * self._earned + (1.0 - _MEMORY) * earned / max(new, 1)
        # Answers that do not earn what they cost are too dear for this policy already.
        use = min(self._demand / self._supply, 2.0 if self._earned >= 0.0 else 1.0)
        moved = self.query_price * float(np.exp(self.views.settings.price_rate * (use - 1.0)))
        # While answers seem worth nothing, a price that followed the demand to nothing would be long in coming back.
        first = self.views.settings.first_price
        self.query_price = float(np.clip(moved, first, first * _PRICE_RANGE))

    def _finished_episode(self) -> QueryEpisode:
        return QueryEpisode(
            budget_use=self.selected.drawn / self.selected.budget,
            query_use=self._spent / (self._supply * self._new),
            gain=self._gained / max(self._decided, 1),
            price=self.price,
            query_price=self.query_price,
        )


def observed(
    problem: SelectionProblem,
    state: SelectionState,
    rows: Rows,
    marginal: Marginal,
    price: float,
    duals: ConstraintDuals,
    progress: float,
    query_price: F64 | float,
    spread: F64,
) -> F32:
    """What a policy that may ask sees of candidates (m, f), see ``observed_names``.

    ``margin`` is how far the price may rise before the best response to the belief is to skip, in units of reward;
    ``surplus`` the logarithm of what an answer would gain if the belief were normal (see ``normal_gain``) over the
    price of a unit of query cost; ``log_query_price`` that price.

    Args:
        problem: candidates and objective.
        state: shared by all.
        rows: (m,) places among the candidates.
        marginal: of the rows at the state.
        price: of a normalised token.
        duals: multipliers of the constraints.
        progress: of the episode, in [0, 1].
        query_price: of each candidate, or of all.
        spread: (m, 2) standard deviation of the belief about P(harm) and alignment.
    """
    margin = (problem.critical_price(marginal) - price) / problem.scale.unit
    gain = normal_gain(problem, rows, marginal, price, spread) / problem.scale.unit
    base = problem.observe(state, rows, marginal, price, duals, progress)
    kept = _digested(problem)
    seen = np.empty((len(rows), len(kept) + len(EXTRA_FEATURES)), np.float32)
    seen[:, :-3], seen[:, -3] = base[:, kept], np.clip(margin, -_CLIP, _CLIP)
    tell_price(seen, gain, query_price)
    return seen


def tell_price(seen: F32, gain: F64, query_price: F64 | float) -> None:
    """Write the columns that depend on the query price into what ``observed`` gave.

    Args:
        seen: (m, f) observations, changed in place.
        gain: (m,) from ``normal_gain``, in units of reward.
        query_price: of each candidate, or of all.
    """
    log_price = np.log(np.maximum(query_price, _LEAST))
    seen[:, -2] = np.clip(np.log(np.maximum(gain, _LEAST)) - log_price, -_CLIP, _CLIP)
    seen[:, -1] = log_price


def observed_names(problem: SelectionProblem) -> tuple[str, ...]:
    """The columns of ``observed``: the set's features but for the sentence vector, then ``EXTRA_FEATURES``.

    What the vector says of the hidden scores is in the belief. With the vector a policy learned by heart which of a few
    thousand known documents are worth a question.
    """
    return (*(problem.observation_names[i] for i in _digested(problem)), *EXTRA_FEATURES)


def _digested(problem: SelectionProblem) -> list[int]:
    return [i for i, name in enumerate(problem.observation_names) if not name.startswith("vector_")]


def normal_gain(problem: SelectionProblem, rows: Rows, marginal: Marginal, price: float, spread: F64) -> F64:
    """Value of information (m,) of choosing between weight 0 and 1, were the belief normal: s (f(z) - |z| F(-|z|)).

    With f and F the normal density and distribution, s the standard deviation of the value of weight 1 and z its mean
    over s (the expected improvement of Mockus, 1975). A hint to the policy: beliefs are not normal.

    Args:
        problem: candidates and objective.
        rows: (m,) places among the candidates.
        marginal: of the rows at the state.
        price: of a normalised token.
        spread: (m, 2) standard deviation of the belief about P(harm) and alignment.
    """
    candidates, objective = problem.candidates, problem.candidates.statistics.objective
    mean = candidates.length[rows] * marginal.gain - candidates.length[rows] * (price + marginal.penalty)
    deviation = candidates.length[rows] * np.linalg.norm(spread * (objective.alpha, objective.beta), axis=1)
    z = np.abs(mean) / np.maximum(deviation, 1e-12)
    gain: F64 = deviation * (np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi) - z * ndtr(-z))
    return np.where(deviation > 0.0, np.maximum(gain, 0.0), 0.0)
