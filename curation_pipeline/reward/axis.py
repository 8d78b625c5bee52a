"""One axis of harm (toxicity, bias, subtle): teachers stacked on that axis's labels, calibrated, group by group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy.special import expit

from curation_pipeline import seeds
from curation_pipeline.errors import DataError
from curation_pipeline.reward.calibration import (
    Calibrator,
    calibrator_from_json,
    calibrator_to_json,
    fit_calibrator,
    shift_prior,
)
from curation_pipeline.reward.corrections import Corrections
from curation_pipeline.reward.group_shifts import fit_group_shifts
from curation_pipeline.reward.noisy_or import Stack, StackPrior, fit_stack

LEAST_P = 1e-4
"""Probabilities are kept this far from 0 and 1 where a log loss is taken."""
FOLDS = 5
SHIFTED_BY: tuple[str, ...] = ("source", "group")
"""Columns by whose values P is shifted: where a text comes from, and the labelled set's own group. Not the group that a
text names: shifting by it brought each group's base rate of harm back into scores that are blind to groups, and cost
BPSN .08 on EDOS, .06 on RedditBias and .14 on Impermium. A document without a column is not shifted by it."""


@dataclass(frozen=True, slots=True, eq=False)
class AxisModel:
    """P(harm of one axis), fitted; see safety.py for the model.

    Attributes:
        name: of the axis.
        datasets: D labelled sets that it was fitted on.
        stack: weights of each set and the common ones.
        with_vectors: (D,) whether a set's unseen harm depends on the sentence vectors.
        calibrator: from s(T) to a probability, fitted on scores of stacks that never saw the text.
        shifts: of the logit, by ``identity_group``, ``source`` and ``group``.
        base_rate: mean P over the labelled sets, each counting the same.
        pool_base_rate: base rate that texts of unknown source are taken to have, or None for ``base_rate``.
        evasion: share of disguised harm that escapes this axis's teachers, in [0, 1], from the red team.
    """

    name: str
    datasets: tuple[str, ...]
    stack: Stack
    with_vectors: tuple[bool, ...]
    calibrator: Calibrator
    shifts: Corrections
    base_rate: float
    pool_base_rate: float | None = None
    evasion: float = 0.0

    def places(self, documents: pl.DataFrame) -> np.ndarray:
        """Row of the stack of each document: that of the labelled set it comes from, else the common one."""
        if "source" not in documents.columns:
            return np.full(documents.height, len(self.datasets))
        known = {name: i for i, name in enumerate(self.datasets)}
        source = documents["source"].cast(pl.Utf8)
        return source.replace_strict(known, default=len(known), return_dtype=pl.Int64).fill_null(len(known)).to_numpy()

    def raw(self, logits: np.ndarray, places: np.ndarray) -> np.ndarray:
        """s(T) before calibration."""
        return _raw(self.stack, logits, places)

    def seen(self, logits: np.ndarray, documents: pl.DataFrame) -> np.ndarray:
        """P(harm that the teachers see), calibrated and shifted by group, float64 (n,)."""
        places = self.places(documents)
        p = self.shifts.apply(np.asarray(self.calibrator(self.raw(logits, places))), documents)
        if self.pool_base_rate is not None:
            unknown = places == len(self.datasets)
            p = np.where(unknown, shift_prior(p, self.base_rate, self.pool_base_rate), p)
        return p

    def unseen(self, documents: pl.DataFrame, vectors: np.ndarray | None) -> np.ndarray:
        """P(harm that no teacher sees) as in the labelled set that a document comes from; 0 for unknown sources."""
        return _unseen(self.stack, self.with_vectors, self.places(documents), vectors)

    def background(self, vectors: np.ndarray | None, n: int) -> np.ndarray:
        """Unseen harm of texts of any origin under the labelled sets whose unseen harm depends on the text."""
        at = np.flatnonzero(self.with_vectors) if any(self.with_vectors) else np.arange(len(self.datasets))
        level = np.full(n, float(self.stack.levels[at].mean()))
        return np.asarray(expit(level + _of_vectors(self.stack, vectors, n)))

    def to_parts(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and JSON-serialisable metadata."""
        stack = self.stack
        arrays = {
            "weights": stack.weights,
            "intercepts": stack.intercepts,
            "levels": stack.levels,
            "head": stack.head,
        }
        return arrays, {
            "name": self.name,
            "datasets": list(self.datasets),
            "with_vectors": list(self.with_vectors),
            "calibrator": calibrator_to_json(self.calibrator),
            "shifts": self.shifts.to_json(),
            "base_rate": self.base_rate,
            "pool_base_rate": self.pool_base_rate,
            "evasion": self.evasion,
        }

    @staticmethod
    def from_parts(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> AxisModel:
        """The inverse of ``to_parts``."""
        rate = meta["pool_base_rate"]
        return AxisModel(
            name=str(meta["name"]),
            datasets=tuple(meta["datasets"]),
            stack=Stack(arrays["weights"], arrays["intercepts"], arrays["levels"], arrays["head"]),
            with_vectors=tuple(bool(value) for value in meta["with_vectors"]),
            calibrator=calibrator_from_json(meta["calibrator"]),
            shifts=Corrections.from_json(meta["shifts"]),
            base_rate=float(meta["base_rate"]),
            pool_base_rate=None if rate is None else float(rate),
            evasion=float(meta["evasion"]),
        )


def _raw(stack: Stack, logits: np.ndarray, places: np.ndarray) -> np.ndarray:
    return np.asarray(expit((logits * stack.weights[places]).sum(axis=1) + stack.intercepts[places]))


def _of_vectors(stack: Stack, vectors: np.ndarray | None, n: int) -> np.ndarray:
    if not stack.head.size:
        return np.zeros(n)
    if vectors is None or vectors.shape != (n, stack.head.size):
        raise DataError(
            f"this safety model needs sentence vectors of shape ({n}, {stack.head.size}), got "
            f"{None if vectors is None else vectors.shape}"
        )
    return np.asarray(np.asarray(vectors, dtype=np.float64) @ stack.head)


def _unseen(stack: Stack, with_vectors: tuple[bool, ...], places: np.ndarray, vectors: np.ndarray | None) -> np.ndarray:
    n = len(places)
    known = places < len(stack.levels)
    depends = np.append(np.array(with_vectors, dtype=bool), False)[places]
    level = np.append(stack.levels, 0.0)[places]
    if depends.any():
        level = level + depends * _of_vectors(stack, vectors, n)
    return np.where(known, expit(level), 0.0)


def fit_axis(
    name: str,
    datasets: tuple[str, ...],
    logits: np.ndarray,
    labels: pl.DataFrame,
    vectors: np.ndarray | None,
    prior: StackPrior,
    seed: int,
    *,
    with_vectors: tuple[bool, ...],
    isotonic_from: int,
    slope_sd: float,
    pool_base_rate: float | None,
    evasion: float,
) -> AxisModel:
    """Fit one axis on texts that no teacher was fitted on.

    The calibrator and the group shifts are fitted on scores of stacks that never saw the text (cross-fitting), the
    stack that is kept on all texts.

    Args:
        name: of the axis.
        datasets: the D labelled sets of the axis that ``labels`` holds.
        logits: (n, k) logits of the teachers' scores.
        labels: n rows with ``source`` (one of ``datasets``), ``label`` in [0, 1], and where known ``identity_group``
            and ``group``.
        vectors: (n, q) sentence vectors, or None for unseen harm at a constant rate.
        prior: of the stack.
        seed: for the folds.
        with_vectors: (D,) as in `AxisModel`; all False where ``vectors`` is None.
        isotonic_from: labels from which isotonic regression may calibrate.
        slope_sd: of the calibrator's prior: the stack is calibrated already where it follows the teachers.
        pool_base_rate: as in `AxisModel`.
        evasion: as in `AxisModel`.
    """
    y = labels["label"].to_numpy().astype(np.float64)
    n, d = len(y), len(datasets)
    place = labels["source"].replace_strict({s: i for i, s in enumerate(datasets)}, return_dtype=pl.Int64).to_numpy()
    features = np.empty((n, 0))
    if vectors is not None and any(with_vectors):
        features = np.asarray(vectors, dtype=np.float64) * np.array(with_vectors, dtype=np.float64)[place][:, None]
    ones = np.ones(n)
    own_vectors = vectors if features.shape[1] else None

    fold = _folds(place, d, seed)
    raw, unseen = np.empty(n), np.empty(n)
    for k in range(FOLDS):
        held = fold == k
        if not held.any() or held.all():
            continue
        part = fit_stack(logits[~held], features[~held], place[~held], d, y[~held], ones[~held], prior)
        raw[held] = _raw(part, logits[held], place[held])
        unseen[held] = _unseen(part, with_vectors, place[held], None if own_vectors is None else own_vectors[held])
    stack = fit_stack(logits, features, place, d, y, ones, prior)
    if n < FOLDS:  # too few to hold any out
        raw, unseen = _raw(stack, logits, place), _unseen(stack, with_vectors, place, own_vectors)
    calibrator = fit_calibrator(raw, y, isotonic_from=isotonic_from, background=unseen, slope_sd=slope_sd)
    calibrated = np.asarray(calibrator(raw))
    # Where much harm is unseen, groups differ in what no teacher sees, which says nothing about the teachers.
    clear = ~np.array(with_vectors, dtype=bool)[place]
    columns = {
        column: labels[column].cast(pl.Utf8).fill_null("").to_numpy()[clear]
        for column in SHIFTED_BY
        if column in labels.columns
    }
    kept = _columns_that_help(calibrated[clear], y[clear], columns, unseen[clear], place[clear], fold[clear])
    shifts = fit_group_shifts(calibrated[clear], y[clear], kept, unseen[clear])
    final = shifts.apply(calibrated, labels)
    rates = [float(final[place == j].mean()) for j in range(d) if (place == j).any()]
    return AxisModel(
        name=name,
        datasets=datasets,
        stack=stack,
        with_vectors=with_vectors,
        calibrator=calibrator,
        shifts=shifts,
        base_rate=min(max(float(np.mean(rates)), 1e-6), 1.0 - 1e-6),
        pool_base_rate=pool_base_rate,
        evasion=evasion,
    )


def _columns_that_help(
    calibrated: np.ndarray,
    y: np.ndarray,
    columns: Mapping[str, np.ndarray],
    unseen: np.ndarray,
    place: np.ndarray,
    fold: np.ndarray,
) -> dict[str, np.ndarray]:
    """The columns, one after the other, whose shifts lower the log loss of held-out texts, every set counting the same.

    What a large set's labels say of a group (its "hate", another's "insult") must not be imposed on the others.
    """
    sets = np.unique(place)

    def loss(chosen: Mapping[str, np.ndarray]) -> float:
        p = calibrated.copy()
        for k in np.unique(fold) if chosen else ():
            held = fold == k
            if held.all():
                continue
            part = {name: values[~held] for name, values in chosen.items()}
            found = fit_group_shifts(calibrated[~held], y[~held], part, unseen[~held])
            p[held] = found.apply(calibrated[held], pl.DataFrame({name: chosen[name][held] for name in chosen}))
        p = np.clip(1.0 - (1.0 - p) * (1.0 - unseen), LEAST_P, 1.0 - LEAST_P)
        each = -(y * np.log(p) + (1.0 - y) * np.log1p(-p))
        return float(np.mean([each[place == j].mean() for j in sets]))

    kept: dict[str, np.ndarray] = {}
    if not len(y):
        return kept
    best = loss(kept)
    for name, values in columns.items():
        now = loss({**kept, name: values})
        if now < best:
            kept[name], best = values, now
    return kept


def _folds(place: np.ndarray, n_datasets: int, seed: int) -> np.ndarray:
    """A fold for each text, every data set spread evenly over the folds."""
    fold = np.empty(len(place), dtype=np.int64)
    random = seeds.generator(seed, "safety", "folds")
    for j in range(n_datasets):
        at = np.flatnonzero(place == j)
        fold[random.permutation(at)] = np.arange(len(at)) % FOLDS
    return fold
