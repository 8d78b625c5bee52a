"""Rules that choose what to ask about, for the closed form: the controls of the policy that learned to ask.

The one-step-optimal rule is the value of information (Howard, 1966): what the best response gains on average by seeing
the answer first,

    VOI_i = E_s[max_w V_iw(s)] - max_w E_s[V_iw(s)],

over samples s of the posterior at the state and price of the set. It is optimal if the posterior is right, one question
is asked at a time, and answers move neither price nor set. ``settled`` corrects the last of these: the price is cleared
as it will be once the answers are in.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curation_pipeline.policy.market import clearing_price
from curation_pipeline.policy.pool import F64, Rows
from curation_pipeline.policy.problem import Marginal, weight_utility
from curation_pipeline.policy.scoring import FrozenState
from curation_pipeline.policy.selection_state import SetFeatures
from research.queries.belief import Posterior

_SETTLING = 4
"""Rounds in which the price after the answers is found."""


def margin(state: FrozenState) -> F64:
    """(n,) higher for documents nearer to the margin of selection at a state: minus |critical price - price|."""
    critical = state.problem.critical_price(state.marginal)
    nearness: F64 = -np.abs(critical - state.price) * state.problem.candidates.length
    return nearness


def value_of_information(state: FrozenState, posterior: Posterior, price: float | None = None) -> F64:
    """What seeing a document's scores before deciding is worth.

    Args:
        state: of the closed form under the belief; its pool holds the posterior's means.
        posterior: with samples (S, n, 2).
        price: instead of the state's.

    Returns:
        (n,) VOI in units of reward, at least 0.
    """
    gain, penalty = _sampled(state, posterior)
    total = np.zeros(gain.shape[1])
    paid = state.price if price is None else price
    for g, extra in zip(gain, penalty, strict=True):
        total += _best(state, g, extra, paid)
    informed = total / len(gain)
    value: F64 = np.maximum(informed - _best(state, gain.mean(axis=0), penalty.mean(axis=0), paid), 0.0)
    return value


def settled(state: FrozenState, posterior: Posterior, cost: F64, budget: float) -> F64:
    """The value of information at the price that will clear once the budget of answers is in.

    Args:
        state: as of ``value_of_information``.
        posterior: as of ``value_of_information``.
        cost: (n,) of the question about each document, infinite where it cannot be asked.
        budget: query budget in units of cost.
    """
    candidates, price = state.problem.candidates, state.price
    gain, penalty = _sampled(state, posterior)
    everything = np.arange(len(cost))
    for _ in range(_SETTLING):
        value = value_of_information(state, posterior, price)
        asked = choose(value / cost, cost, budget)
        rest = np.setdiff1d(everything, asked)
        critical, length = [state.problem.critical_price(_part(state.marginal, rest))], [candidates.length[rest]]
        for g, extra in zip(gain, penalty, strict=True):
            answered = Marginal(g[asked], extra[asked], _part(state.marginal, asked).features)
            critical.append(state.problem.critical_price(answered))
            length.append(candidates.length[asked] / len(gain))
        price = clearing_price(np.concatenate(critical), np.concatenate(length), candidates.statistics.budget)
    return value_of_information(state, posterior, price)


def choose(score: F64, cost: F64, budget: float) -> Rows:
    """The documents of the highest score whose costs fit the budget, one after the other.

    Args:
        score: (n,) higher is asked first.
        cost: (n,) of each; infinite or above what is left: not asked.
        budget: in units of cost.

    Returns:
        Places, in order of score. With equal costs exactly ``budget / cost`` are chosen.
    """
    order = np.argsort(-score, kind="stable")
    order = order[np.isfinite(cost[order])]
    left = budget + 1e-9 * max(budget, 1.0)
    chosen: list[npt.NDArray[np.int64]] = []
    # Whole runs that fit are taken at once; the loop is over the documents that do not fit.
    while len(order):
        order = order[cost[order] <= left]
        fitting = int(np.searchsorted(np.cumsum(cost[order]), left, side="right"))
        chosen.append(order[:fitting])
        left -= float(cost[order[:fitting]].sum())
        order = order[fitting:]
    return np.concatenate(chosen) if chosen else np.empty(0, np.int64)


def _sampled(state: FrozenState, posterior: Posterior) -> tuple[F64, F64]:
    """Gain and penalty (S, n) of each document under each sample."""
    assert posterior.samples is not None, "the value of information needs samples of the posterior"
    pool, objective = state.problem.candidates.pool, state.problem.candidates.statistics.objective
    safer = pool.p_harm - posterior.samples[:, :, 0]
    better = posterior.samples[:, :, 1] - pool.alignment
    gain: F64 = state.marginal.gain + objective.alpha * safer + objective.beta * better
    penalty: F64 = state.marginal.penalty - state.duals.toxicity * safer
    return gain, penalty


def _best(state: FrozenState, gain: F64, penalty: F64, price: float) -> F64:
    """(n,) value of the best weight."""
    candidates = state.problem.candidates
    weights = candidates.statistics.settings.weights
    cost = candidates.length * (price + penalty)
    scaled = candidates.length * gain
    values = scaled[:, None] * weight_utility(weights) - cost[:, None] * np.asarray(weights)
    best: F64 = values.max(axis=1)
    return best


def _part(marginal: Marginal, rows: Rows) -> Marginal:
    features = SetFeatures._make(feature[rows] for feature in marginal.features)
    return Marginal(marginal.gain[rows], marginal.penalty[rows], features)
