"""Maximum a posteriori of a noisy "or" of seen and unseen harm, with weights that vary between labelled sets.

The model of a text i of data set d (Pearl 1988; a lower asymptote in the sense of Abbott 1925):

    P(y = 1) = 1 - (1 - s_d(i)) (1 - h_d(i)),
    s_d(i) = sigmoid(b_d + w_d' logit T_i),            h_d(i) = sigmoid(c_d + u' v_i),
    w_d ~ N(w, tau^2),  b_d ~ N(b, tau_b^2),  w ~ N(prior of the teachers),  b ~ N(0, 1).

Two data sets of one axis seldom mean the same by their labels, and a teacher that is excellent on one can be useless on
another. So every set has its own weights, drawn towards common ones (a hierarchical or "multilevel" regression, Gelman
and Hill 2007): a set with many labels is weighed by its own, one with few or none by what holds over sets. The common
weights are what a text of unknown origin gets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

LEVEL_SD = 3.0
"""Prior standard deviation of the unseen cause's level: it is for the labels to say."""


@dataclass(frozen=True, slots=True, eq=False)
class StackPrior:
    """Priors of the stack.

    Attributes:
        centre, sd: (k,) of the common weights of the k teachers.
        weight_sd: tau, standard deviation of a data set's weights around the common ones.
        intercept_sd: tau_b, of a data set's intercept around the common one.
        l2: precision of the unseen cause's coefficients on vectors.
    """

    centre: np.ndarray
    sd: np.ndarray
    weight_sd: float
    intercept_sd: float
    l2: float


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """The fitted parameters.

    Attributes:
        weights: (D + 1, k) of each data set, the last row the common ones, none negative; ``intercepts`` (D + 1,).
        levels: (D,) level c_d of the unseen cause; ``head``: (q,) its coefficients u.
    """

    weights: np.ndarray
    intercepts: np.ndarray
    levels: np.ndarray
    head: np.ndarray


def fit_stack(
    logits: np.ndarray,
    vectors: np.ndarray,
    dataset: np.ndarray,
    n_datasets: int,
    y: np.ndarray,
    mass: np.ndarray,
    prior: StackPrior,
) -> Stack:
    """Fit all data sets of one axis together.

    Args:
        logits: (n, k) logits of the teachers' scores.
        vectors: (n, q) features of the unseen cause, zero for a text whose set has a constant one; q may be 0.
        dataset: (n,) integers in [0, n_datasets).
        n_datasets: D.
        y: (n,) labels in [0, 1], counted as shares of a positive.
        mass: (n,) weights.
        prior: of all parameters.
    """
    n, k = logits.shape
    q, d = vectors.shape[1], n_datasets
    rows = [np.flatnonzero(dataset == j) for j in range(d)]
    dependent = np.flatnonzero((vectors != 0.0).any(axis=1)) if q else np.empty(0, dtype=np.int64)
    of_vectors = vectors[dependent]
    n_stack = (d + 1) * (k + 1)
    start = np.concatenate([np.tile(np.append(prior.centre, 0.0), d + 1), np.full(d, -1.0), np.zeros(q)])

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        stack, level, head = theta[:n_stack].reshape(d + 1, k + 1), theta[n_stack : n_stack + d], theta[n_stack + d :]
        m = np.empty(n)
        for j, at in enumerate(rows):
            m[at] = logits[at] @ stack[j, :k] + stack[j, k]
        g = level[dataset]
        g[dependent] += of_vectors @ head
        log_none = -np.logaddexp(0.0, m) - np.logaddexp(0.0, g)
        some = np.maximum(-np.expm1(log_none), 1e-12)
        pull = 1.0 - y - y * np.exp(log_none) / some
        slope_m, slope_g = mass * pull * expit(m), mass * pull * expit(g)
        value = -float((mass * (y * np.log(some) + (1.0 - y) * log_none)).sum())

        off = stack[:d] - stack[d]
        scale = np.append(np.full(k, prior.weight_sd**-2), prior.intercept_sd**-2)
        common = np.append((stack[d, :k] - prior.centre) / prior.sd**2, stack[d, k])
        value += 0.5 * float((scale * off**2).sum() + prior.l2 * head @ head + ((level / LEVEL_SD) ** 2).sum())
        value += 0.5 * float((((stack[d, :k] - prior.centre) / prior.sd) ** 2).sum() + stack[d, k] ** 2)

        grad = np.zeros_like(stack)
        for j, at in enumerate(rows):
            grad[j, :k], grad[j, k] = logits[at].T @ slope_m[at], slope_m[at].sum()
        grad[:d] += scale * off
        grad[d] = common - (scale * off).sum(axis=0)
        of_level = np.bincount(dataset, weights=slope_g, minlength=d) + level / LEVEL_SD**2
        return value, np.concatenate([grad.ravel(), of_level, of_vectors.T @ slope_g[dependent] + prior.l2 * head])

    # No negative weight anywhere: a higher score of a teacher never makes a text safer.
    bounds = ([(0.0, None)] * k + [(None, None)]) * (d + 1) + [(None, None)] * (d + q)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 2000, "maxfun": 4000})
    stack = found.x[:n_stack].reshape(d + 1, k + 1)
    return Stack(stack[:, :k].copy(), stack[:, k].copy(), found.x[n_stack : n_stack + d], found.x[n_stack + d :])
