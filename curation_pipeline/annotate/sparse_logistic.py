"""L2 logistic regression over sparse rows with an optional dense block, weighted and with soft labels.

Solved by L-BFGS from zero in one thread over exact sums in a fixed order: the same input gives the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from curation_pipeline.errors import DataError

ITERATIONS = 200


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """n rows of features.

    Attributes:
        sparse: scipy CSR (n, k).
        dense: (n, d) or None.
    """

    sparse: Any
    dense: np.ndarray | None = None

    def __getitem__(self, rows: np.ndarray) -> Rows:
        """Some of the rows."""
        return Rows(self.sparse[rows], None if self.dense is None else self.dense[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """A fitted model: sparse (k,), dense (d,) or None, bias."""

    sparse: np.ndarray
    dense: np.ndarray | None
    bias: float

    def margins(self, rows: Rows) -> np.ndarray:
        """Log-odds of rows, float64 (n,)."""
        z = np.asarray(rows.sparse @ self.sparse) + self.bias
        if self.dense is not None:
            assert rows.dense is not None
            z = z + rows.dense @ self.dense
        return np.asarray(z, dtype=np.float64)


def balanced(labels: np.ndarray, datasets: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the positive and of the negative share of each label, which together sum to n.

    Data sets have equal mass, groups the mass of their texts within their set, the two classes of a group equal mass:
    otherwise the largest set would decide, and naming a group whose texts were labelled harmful more often would by
    itself count as harm.

    Args:
        labels: (n,) in [0, 1].
        datasets: n names.
        groups: n names, each within its data set.
    """
    positive, negative = labels.astype(np.float64), 1.0 - labels.astype(np.float64)
    names = np.unique(datasets)
    for name in names:
        inside = datasets == name
        for group in np.unique(groups[inside]):
            rows = inside & (groups == group)
            mass = len(labels) / len(names) * rows.sum() / inside.sum()
            for side in (positive, negative):
                total = side[rows].sum()
                if total > 1e-9:
                    side[rows] *= mass / (2.0 * total)
    return positive, negative


def fit_logistic(
    rows: Rows, positive: np.ndarray, negative: np.ndarray, inverse_penalty: float, start: Weights | None = None
) -> Weights:
    """Least weighted log loss plus the penalty |w|^2 / (2 C); the bias is free.

    Args:
        rows: n rows.
        positive: (n,) weight of each row as a positive one.
        negative: (n,) weight as a negative one.
        inverse_penalty: C, above 0.
        start: weights to start from, such as those of another penalty; None for zero.

    Raises:
        DataError: when one of the labels has no weight.
    """
    from scipy.optimize import minimize

    if not (positive.sum() > 0 and negative.sum() > 0):
        raise DataError("a logistic head needs texts of both labels")
    width = rows.sparse.shape[1]
    used = np.flatnonzero(rows.sparse.getnnz(axis=0))  # what no row has keeps a weight of zero
    matrix = rows.sparse[:, used].astype(np.float64)
    back = matrix.T.tocsr()
    dense = None if rows.dense is None else rows.dense.astype(np.float64)
    mass = positive + negative
    split = len(used)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        w, v, bias = parameters[:split], parameters[split:-1], parameters[-1]
        z = matrix @ w + bias
        if dense is not None:
            z += dense @ v
        error = mass * scipy.special.expit(z) - positive
        value = float((mass * np.logaddexp(0.0, z) - positive * z).sum())
        value += float(parameters[:-1] @ parameters[:-1]) / (2.0 * inverse_penalty)
        gradient = np.empty_like(parameters)
        gradient[:split] = back @ error
        if dense is not None:
            gradient[split:-1] = dense.T @ error
        gradient[:-1] += parameters[:-1] / inverse_penalty
        gradient[-1] = error.sum()
        return value, gradient

    first = np.zeros(split + (0 if dense is None else dense.shape[1]) + 1)
    if start is not None:
        first[:split], first[-1] = start.sparse[used], start.bias
        if start.dense is not None:
            first[split:-1] = start.dense
    options = {"maxiter": ITERATIONS, "ftol": 1e-7, "gtol": 1e-3}
    solution = minimize(loss, first, jac=True, method="L-BFGS-B", options=options).x
    sparse = np.zeros(width)
    sparse[used] = solution[:split]
    return Weights(sparse, None if dense is None else solution[split:-1], float(solution[-1]))


def choose_penalty(
    rows: Rows,
    positive: np.ndarray,
    negative: np.ndarray,
    fold: np.ndarray,
    scored: np.ndarray,
    grid: Sequence[float],
) -> tuple[float, list[float]]:
    """The inverse penalty with the least weighted log loss on texts left out.

    Args:
        rows: n rows.
        positive: (n,) weight of each row as a positive one.
        negative: (n,) weight as a negative one.
        fold: int (n,) the part in which a row is left out; -1 for rows that are always fitted on.
        scored: bool (n,) rows that count when left out (copies do not).
        grid: values of C.

    Returns:
        The chosen C and the mean loss of each, in the order of ``grid``.
    """
    ordered = sorted(set(grid))
    if len(ordered) == 1:
        return ordered[0], [float("nan")]
    losses = dict.fromkeys(ordered, 0.0)
    for part in np.unique(fold[fold >= 0]):
        fitted, held = np.flatnonzero(fold != part), np.flatnonzero((fold == part) & scored)
        train, test = rows[fitted], rows[held]
        weights: Weights | None = None
        for value in ordered:
            weights = fit_logistic(train, positive[fitted], negative[fitted], value, weights)
            z = weights.margins(test)
            losses[value] += float((positive[held] * np.logaddexp(0, -z) + negative[held] * np.logaddexp(0, z)).sum())
    counted = scored & (fold >= 0)
    total = float((positive + negative)[counted].sum())
    return min(ordered, key=lambda value: losses[value]), [losses[value] / total for value in grid]
