"""Fitting the whole reward on the labelled texts, and reporting how good it is on those it never saw."""

from __future__ import annotations

import numpy as np
import polars as pl

from curation_pipeline.errors import DataError
from curation_pipeline.reward.alignment import alignment_quality, fit_alignment
from curation_pipeline.reward.composite import RewardModel, RewardWeights
from curation_pipeline.reward.diversity import fit_random_features
from curation_pipeline.reward.safety import fit_safety, safety_quality
from curation_pipeline.reward.settings import RewardSettings

QUALITY_SCHEMA: dict[str, pl.DataType] = {
    "part": pl.Utf8(),
    "dataset": pl.Utf8(),
    "metric": pl.Utf8(),
    "value": pl.Float64(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "n": pl.Int64(),
}


def fit_reward(
    labels: pl.DataFrame,
    teacher_scores: pl.DataFrame,
    vectors: np.ndarray,
    pool_vectors: np.ndarray,
    settings: RewardSettings,
    seed: int,
    weights: RewardWeights | None = None,
) -> RewardModel:
    """Fit safety, alignment and the novelty features; roles ``fit`` and ``calibrate`` of ``labels`` are used.

    Args:
        labels: n rows with ``dataset``, ``label`` (1 = harmful or stereotyping in every set), ``group``, ``role``.
        teacher_scores: n rows, a Float32 column in [0, 1] a teacher, in the order of ``labels``.
        vectors: (n, d) sentence vectors of the labelled texts.
        pool_vectors: (m, d) vectors of (a sample of) the pool, for the novelty features.
        settings: which sets feed which part, and the priors.
        seed: for the novelty features.
        weights: of a running chain; None means those of the settings.

    Raises:
        DataError: when rows do not match, or a part has no text of role ``fit``.
    """
    _check(labels, teacher_scores, vectors)
    safe, aligned = _rows(labels, settings.safety_datasets), _rows(labels, settings.alignment_datasets)
    safety = fit_safety(
        teacher_scores.filter(pl.Series(safe)),
        labels["label"].to_numpy()[safe],
        labels["role"].filter(pl.Series(safe)),
        settings,
        vectors=vectors[safe],
    )
    alignment = fit_alignment(
        vectors[aligned],
        1.0 - labels["label"].to_numpy()[aligned],
        labels["dataset"].filter(pl.Series(aligned)),
        labels["role"].filter(pl.Series(aligned)),
        settings,
        groups=labels["group"].filter(pl.Series(aligned)),
    )
    novelty = fit_random_features(pool_vectors, seed, settings.novelty_features)
    return RewardModel(safety, alignment, novelty, weights or RewardWeights.of(settings))


def reward_quality(
    model: RewardModel,
    labels: pl.DataFrame,
    teacher_scores: pl.DataFrame,
    vectors: np.ndarray,
    settings: RewardSettings,
    seed: int,
    role: str = "report",
) -> pl.DataFrame:
    """AUROC and calibration error of safety and alignment on the labels of one role.

    Args:
        model: the fitted reward.
        labels: as in ``fit_reward``.
        teacher_scores: as in ``fit_reward``.
        vectors: as in ``fit_reward``.
        settings: as in ``fit_reward``.
        seed: for the bootstrap.
        role: of the texts; never ``fit`` or ``calibrate`` for an honest number.

    Returns:
        One row a part, data set and metric with the columns of ``QUALITY_SCHEMA``; only the calibration error has an
        interval. ``auroc_seen`` is that of P(harm) as the pool gets it, from the teachers alone.
    """
    _check(labels, teacher_scores, vectors)
    rows: list[tuple[str, str, str, float, float | None, float | None, int]] = []
    chosen = (labels["role"] == role).to_numpy()
    y = labels["label"].to_numpy()
    for name in settings.safety_datasets:
        at = chosen & (labels["dataset"] == name).to_numpy()
        if at.any():
            found = safety_quality(model.safety, teacher_scores.filter(pl.Series(at)), y[at], vectors[at], seed)
            error = found.reliability
            rows.append(("safety", name, "auroc", found.auroc, None, None, found.n))
            rows.append(("safety", name, "auroc_seen", found.auroc_seen, None, None, found.n))
            rows.append(("safety", name, "ece", error.ece, error.ci_low, error.ci_high, found.n))
    at = chosen & _rows(labels, settings.alignment_datasets)
    kept = labels.filter(pl.Series(at))
    for quality in alignment_quality(model.alignment, vectors[at], 1.0 - y[at], kept["dataset"], seed, kept["group"]):
        error = quality.reliability
        rows.append(("alignment", quality.dataset, "auroc_within_group", quality.auroc_within, None, None, quality.n))
        rows.append(("alignment", quality.dataset, "auroc", quality.auroc, None, None, quality.n))
        rows.append(("alignment", quality.dataset, "ece", error.ece, error.ci_low, error.ci_high, quality.n))
    return pl.DataFrame(rows, schema=QUALITY_SCHEMA, orient="row")


def _rows(labels: pl.DataFrame, datasets: tuple[str, ...]) -> np.ndarray:
    return np.asarray(labels["dataset"].is_in(list(datasets)).to_numpy())


def _check(labels: pl.DataFrame, teacher_scores: pl.DataFrame, vectors: np.ndarray) -> None:
    if not labels.height == teacher_scores.height == len(vectors):
        raise DataError(
            f"the reward needs one row of teacher scores ({teacher_scores.height}) and one vector ({len(vectors)}) for "
            f"each of the {labels.height} labels, in their order; annotate the labelled texts again"
        )
