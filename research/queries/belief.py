"""What is believed about scores that were not asked for: an imputation with its uncertainty.

One belief is fitted for each set of answers that a document may have, on documents whose scores are all known. The
forest's posterior of a document is the empirical distribution of the known documents that share a leaf with it
(quantile regression forests, Meinshausen, 2006), over extremely randomised trees (Geurts, Ernst and Wehenkel, 2006);
ridge predictions of the logits are among its inputs, since trees are slow to find a linear trend.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from curation_pipeline.errors import DataError
from curation_pipeline.policy.pool import DIMS, F64, Rows
from curation_pipeline.seeds import derive, generator
from research.queries.settings import QuerySettings

TARGETS = ("p_harm", "alignment")
"""What the reward needs of a document."""
_KEYS = ("doc_id", "source", "snapshot", "domain", "n_tokens", "topic", "toxicity_bin", "identity_group", "stratum",
         "vector", "n_drawn")  # fmt: skip
_CATEGORIES = ("topic", "identity_group", "domain")
_MOST_LEVELS = 64
"""A category's rarer values share no indicator of their own."""
_RIDGE = 3.0
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Posterior:
    """Belief about (P(harm), alignment) of m documents.

    Attributes:
        mean, spread: (m, 2) expectation and standard deviation.
        samples: (S, m, 2) draws from the joint posterior, None unless asked for.
    """

    mean: F64
    spread: F64
    samples: F64 | None = None


@dataclass(frozen=True, slots=True)
class _Fitted:
    """The belief for one set of answers."""

    inputs: tuple[str, ...]
    coefficients: F64
    residual: F64
    forest: Any
    targets: F64
    leaves: npt.NDArray[np.int64]


class Belief:
    """Imputation for every set of answers.

    Args:
        frame: documents whose scores are all known, in the form of the ``pool`` contract.
        settings: questions and the kind of imputation.
        seed: of the trees.

    Raises:
        DataError: a column that a question reveals is missing.
    """

    def __init__(self, frame: pl.DataFrame, settings: QuerySettings, seed: int) -> None:
        missing = [c for question in settings.questions for c in question.columns if c not in frame.columns]
        if missing:
            raise DataError(f"questions reveal {', '.join(missing)}, which the pool lacks; it has {frame.columns}")
        self._settings = settings
        self._seed = seed
        self._levels: Mapping[str, list[str]] = {name: _levels(frame[name]) for name in _CATEGORIES}
        everything = 2 ** len(settings.questions) - 1
        self._fitted = {view: self._fit(frame, view) for view in range(everything)}

    def posterior(self, frame: pl.DataFrame, view: Rows, samples: bool = False) -> Posterior:
        """The belief about documents.

        Args:
            frame: n documents; columns that a document's answers do not reveal are not read for it.
            view: (n,) bit k is set where question k was answered.
            samples: also draw from the posterior, one sample a tree.
        """
        n = frame.height
        mean, spread = np.zeros((n, 2)), np.zeros((n, 2))
        drawn = np.zeros((self._settings.trees, n, 2)) if samples else None
        for code in np.unique(view):
            rows = np.flatnonzero(view == code)
            part = frame[rows]
            if code in self._fitted:
                found = self._predict(self._fitted[int(code)], part, int(code), samples)
                mean[rows], spread[rows] = found.mean, found.spread
                if drawn is not None:
                    drawn[:, rows] = found.samples
            revealed = self._revealed(int(code))
            for j, name in enumerate(TARGETS):
                if name in revealed:
                    mean[rows, j], spread[rows, j] = part[name].cast(pl.Float64).to_numpy(), 0.0
                    if drawn is not None:
                        drawn[:, rows, j] = mean[rows, j]
        return Posterior(mean, spread, drawn)

    def _revealed(self, view: int) -> set[str]:
        chosen = [question for k, question in enumerate(self._settings.questions) if view >> k & 1]
        return {column for question in chosen for column in question.columns}

    def _inputs(self, frame: pl.DataFrame, view: int) -> tuple[tuple[str, ...], F64]:
        costly = {column for question in self._settings.questions for column in question.columns}
        revealed = self._revealed(view)
        columns: dict[str, F64] = {}
        for name in sorted(c for c in frame.columns if frame.schema[c].is_numeric() and c not in _KEYS):
            if name not in costly or name in revealed:
                value = frame[name].cast(pl.Float64).to_numpy()
                inside = (value > 0.0) & (value < 1.0)
                # Scores in the unit interval are nearer to linear as log-odds.
                columns[name] = _logit(value) if bool(inside.mean() > 0.9) else np.nan_to_num(value)
        vectors = frame["vector"].to_numpy()
        if vectors.dtype == object:
            vectors = np.stack(list(vectors))
        columns.update({f"vector_{i}": column for i, column in enumerate(vectors[:, :DIMS].T.astype(np.float64))})
        columns["log_tokens"] = np.log(frame["n_tokens"].cast(pl.Float64).to_numpy())
        for name, levels in self._levels.items():
            text = frame[name].cast(pl.Utf8)
            columns.update({f"{name}={level}": (text == level).fill_null(False).to_numpy().astype(np.float64)
                            for level in levels})  # fmt: skip
        return tuple(columns), np.stack(list(columns.values()), axis=1)

    def _fit(self, frame: pl.DataFrame, view: int) -> _Fitted:
        names, inputs = self._inputs(frame, view)
        targets = np.stack([frame[name].cast(pl.Float64).to_numpy() for name in TARGETS], axis=1)
        padded = np.column_stack([np.ones(len(inputs)), inputs])
        penalty = _RIDGE * np.eye(padded.shape[1])
        penalty[0, 0] = 0.0
        if self._settings.belief == "ridge":
            coefficients: F64 = np.linalg.solve(padded.T @ padded + penalty, padded.T @ targets)
            residual: F64 = np.sqrt(((targets - padded @ coefficients) ** 2).mean(axis=0))
            return _Fitted(names, coefficients, residual, None, targets, np.empty((0, 0), np.int64))
        from sklearn.ensemble import ExtraTreesRegressor

        coefficients = np.asarray(np.linalg.solve(padded.T @ padded + penalty, padded.T @ _logit(targets)), np.float64)
        forest = ExtraTreesRegressor(
            self._settings.trees, min_samples_leaf=self._settings.leaf, max_features=0.5,
            random_state=derive(self._seed, "belief", view) % 2**32,
        )  # fmt: skip
        stacked = np.column_stack([padded @ coefficients, inputs]).astype(np.float32)
        forest.fit(stacked, targets)
        return _Fitted(names, coefficients, np.zeros(2), forest, targets, forest.apply(stacked))

    def _predict(self, fitted: _Fitted, frame: pl.DataFrame, view: int, samples: bool) -> Posterior:
        names, inputs = self._inputs(frame, view)
        if names != fitted.inputs:
            raise DataError("the documents' columns differ from those that the belief was fitted on")
        linear = np.column_stack([np.ones(len(inputs)), inputs]) @ fitted.coefficients
        rng = generator(self._seed, "posterior", view)
        if fitted.forest is None:
            spread = np.broadcast_to(fitted.residual, linear.shape).copy()
            noise = rng.standard_normal((self._settings.trees, *linear.shape)) if samples else None
            drawn = None if noise is None else np.clip(linear + noise * spread, 0.0, 1.0)
            return Posterior(np.clip(linear, 0.0, 1.0), spread, drawn)
        leaves = fitted.forest.apply(np.column_stack([linear, inputs]).astype(np.float32))
        first, second = np.zeros(linear.shape), np.zeros(linear.shape)
        drawn = np.zeros((leaves.shape[1], *linear.shape)) if samples else None
        for tree in range(leaves.shape[1]):
            known = fitted.leaves[:, tree]
            size = np.bincount(known, minlength=int(leaves[:, tree].max()) + 1)
            for j in range(2):
                y = fitted.targets[:, j]
                for power, total in ((1, first), (2, second)):
                    sums = np.bincount(known, weights=y**power, minlength=len(size))
                    total[:, j] += sums[leaves[:, tree]] / size[leaves[:, tree]]
            if drawn is not None:
                members, start = np.argsort(known, kind="stable"), np.cumsum(size) - size
                place = start[leaves[:, tree]] + np.floor(rng.random(len(linear)) * size[leaves[:, tree]]).astype(int)
                drawn[tree] = fitted.targets[members[place]]
        mean = first / leaves.shape[1]
        return Posterior(mean, np.sqrt(np.maximum(second / leaves.shape[1] - mean**2, 0.0)), drawn)


def cross_fitted(frame: pl.DataFrame, view: int, settings: QuerySettings, seed: int) -> Posterior:
    """Posterior of known documents as if only ``view`` had been answered, by beliefs that never saw them.

    Args:
        frame: documents whose scores are all known.
        view: answers that are taken as given.
        settings: as of ``Belief``.
        seed: of folds and trees.
    """
    fold = generator(seed, "folds").permutation(frame.height) % settings.folds
    mean, spread = np.zeros((frame.height, 2)), np.zeros((frame.height, 2))
    for k in range(settings.folds):
        rows = np.flatnonzero(fold == k)
        belief = Belief(frame.filter(pl.Series(fold != k)), settings, derive(seed, "fold", k))
        found = belief.posterior(frame[rows], np.full(len(rows), view))
        mean[rows], spread[rows] = found.mean, found.spread
    return Posterior(mean, spread)


def _levels(column: pl.Series) -> list[str]:
    counts = column.cast(pl.Utf8).drop_nulls().value_counts(sort=True).head(_MOST_LEVELS)
    return sorted(counts[column.name].to_list())


def _logit(p: F64) -> F64:
    clipped = np.clip(np.nan_to_num(p, nan=0.5), 1e-4, 1 - 1e-4)
    return np.log(clipped / (1.0 - clipped))
