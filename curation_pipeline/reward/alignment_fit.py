"""Fitting the alignment head on anchors, preferences and examples of principles. What they are: alignment.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from scipy.special import expit

from curation_pipeline import seeds
from curation_pipeline.annotate.sparse_logistic import balanced
from curation_pipeline.errors import DataError
from curation_pipeline.reward.alignment import VECTORS, AlignmentModel, Examples, Pairs, Texts, teacher_logits
from curation_pipeline.reward.calibration import Calibrator, fit_calibrator
from curation_pipeline.reward.linear_head import TrainingRows, fit_head, held_out_loss
from curation_pipeline.reward.settings import RewardSettings

FOLDS = 5


def fit_alignment(
    vectors: np.ndarray,
    labels: np.ndarray,
    datasets: np.ndarray | pl.Series,
    roles: np.ndarray | pl.Series,
    settings: RewardSettings,
    groups: np.ndarray | pl.Series | None = None,
    *,
    scores: pl.DataFrame | None = None,
    pairs: Pairs | None = None,
    examples: Examples | None = None,
) -> AlignmentModel:
    """Fit on the texts of role ``fit`` and calibrate on those of role ``calibrate``; others are ignored.

    Args:
        vectors: (n, d) sentence vectors.
        labels: (n,) in [0, 1], 1 = aligned; for a set that labels harm or stereotyping, pass 1 - label.
        datasets: n names of data sets.
        roles: n roles.
        settings: ``alignment_features``, the weights of pairs and principles, ``l2`` (the one with the least loss on
            role ``calibrate`` is taken) and ``isotonic_from``.
        groups: n names of groups or categories within a data set, or None for one group each.
        scores: n rows of teacher columns; needed where ``alignment_features`` names teachers.
        pairs: human preferences, or None.
        examples: of written principles, or None.

    Raises:
        DataError: when no text has role ``fit``, labels lie outside of [0, 1], lengths differ, or a teacher's column is
            missing.
    """
    y, role, dataset = np.asarray(labels, dtype=np.float64), np.asarray(roles), np.asarray(datasets)
    if not (len(vectors) == len(y) == len(role) == len(dataset)):
        raise DataError(
            f"alignment: {len(vectors)} vectors, {len(y)} labels, {len(dataset)} data sets, {len(role)} roles"
        )
    group = np.full(len(y), "") if groups is None else np.asarray([str(name) for name in groups])
    fit, tune = role == "fit", role == "calibrate"
    if not fit.any() or not np.isfinite(y).all() or y.min() < 0 or y.max() > 1:
        raise DataError(f"alignment: {int(fit.sum())} texts of role fit; it takes some, with labels in [0, 1]")
    teachers = tuple(name for name in settings.alignment_features if name != VECTORS)
    d = vectors.shape[1] if VECTORS in settings.alignment_features else 0
    if not tune.any() and teachers:
        raise DataError("alignment: teachers' logits are weighed on texts of role calibrate, and there are none")

    def of_vectors(texts: Texts) -> np.ndarray:
        return np.asarray(texts.vectors, dtype=np.float64)[:, :d]

    def anchors(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return balanced(y[rows], dataset[rows], group[rows])

    x = np.asarray(vectors, dtype=np.float64)[:, :d]
    weak = _weak(examples, settings.principle_weight)
    coef, intercept = np.zeros(d), 0.0
    if d:
        n_sets = len(np.unique(dataset[fit]))
        first = _training_rows(x[fit], anchors(fit), n_sets, weak, pairs, "fit", of_vectors, settings)
        held = _training_rows(x[tune], anchors(tune), 1, None, pairs, "calibrate", of_vectors, settings)
        found = [fit_head(first, n_bounded=0, l2=l2) for l2 in settings.l2]
        losses = [held_out_loss(held, *candidate) for candidate in found]
        coef, intercept = found[int(np.argmin(losses))]
    raw = x @ coef + intercept
    if not teachers:
        return AlignmentModel(coef, intercept, _calibrated(raw[tune], anchors(tune), settings))

    # The heads were fitted on role fit, as the vectors' part was: what each is worth shows on role calibrate alone.
    def stacked(texts: Texts) -> np.ndarray:
        logits = teacher_logits(texts.scores, teachers, len(texts.vectors))
        return np.column_stack([-(of_vectors(texts) @ coef + intercept), logits]) if d else logits

    z = stacked(Texts(vectors, scores))[tune]
    weak = None if d else weak
    least = min(settings.l2)

    def stack_on(rows: np.ndarray) -> tuple[np.ndarray, float]:
        where = np.flatnonzero(tune)[rows]
        n_sets = len(np.unique(dataset[where]))
        fitted_on = _training_rows(z[rows], anchors(where), n_sets, weak, pairs, "calibrate", stacked, settings)
        return fit_head(fitted_on, n_bounded=z.shape[1], l2=least)

    every = np.arange(len(z))
    out = np.empty(len(z))
    fold = seeds.generator(len(z), "alignment", "folds").permutation(len(z)) % FOLDS
    for k in range(FOLDS):
        held_out = fold == k
        weights, level = stack_on(every if len(z) < 2 * FOLDS else every[~held_out])
        out[held_out] = z[held_out] @ weights + level
    weights, level = stack_on(every)
    share = -float(weights[0]) if d else 0.0
    return AlignmentModel(
        coef=share * coef,
        intercept=share * intercept + level,
        calibrator=_calibrated(out, anchors(tune), settings),
        teachers=teachers,
        teacher_coef=weights[1:] if d else weights,
    )


def _calibrated(raw: np.ndarray, masses: tuple[np.ndarray, np.ndarray], settings: RewardSettings) -> Calibrator:
    """The calibrator of logits on balanced labels.

    The balance weighs the two sides of a soft label differently; their shares are its label, their sum its weight.
    """
    positive, mass = masses[0], masses[0] + masses[1]
    known = mass > 0
    label = (positive / np.maximum(mass, 1e-12))[known]
    return fit_calibrator(expit(raw)[known], label, mass[known], isotonic_from=settings.isotonic_from)


def _weak(examples: Examples | None, weight: float) -> tuple[Texts, tuple[np.ndarray, np.ndarray]] | None:
    """The principles' examples with masses that sum to ``weight``, or None without any."""
    if examples is None or not len(examples.label) or weight == 0:
        return None
    n = len(examples.label)
    positive, negative = balanced(examples.label.astype(np.float64), examples.principle, np.full(n, ""))
    return examples.texts, (positive * weight / n, negative * weight / n)


def _training_rows(
    x: np.ndarray,
    masses: tuple[np.ndarray, np.ndarray],
    n_sets: int,
    weak: tuple[Texts, tuple[np.ndarray, np.ndarray]] | None,
    pairs: Pairs | None,
    role: str,
    features: Callable[[Texts], np.ndarray],
    settings: RewardSettings,
) -> TrainingRows:
    """Anchors, examples of principles and pairs of one role, with the masses that the settings give them.

    A set of anchors has the mass of its share of the texts; principles and each set of pairs are weighed against it.
    """
    per_set = len(x) / max(n_sets, 1)
    positive, negative = masses
    if weak is not None:
        x = np.vstack([x, features(weak[0])])
        positive, negative = np.append(positive, weak[1][0] * per_set), np.append(negative, weak[1][1] * per_set)
    difference, weight = np.empty((0, x.shape[1])), np.empty(0)
    chosen = np.flatnonzero(pairs.role == role) if pairs is not None else np.empty(0, dtype=np.int64)
    if pairs is not None and chosen.size and settings.preference_weight > 0:
        difference = (features(pairs.preferred) - features(pairs.dispreferred))[chosen]
        weight = _even(pairs.source[chosen]) * settings.preference_weight * per_set
    return TrainingRows(x, positive, negative, difference, weight)


def _even(source: np.ndarray) -> np.ndarray:
    """Weights that sum to 1 for each source."""
    _, place, counts = np.unique(source, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / counts[place])
