"""How good the reward is on labels and choices that it never saw, compared with single detectors and simple rules."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from curation_pipeline.bootstrap import Interval
from curation_pipeline.errors import DataError
from curation_pipeline.reward.alignment import Pairs, alignment_quality
from curation_pipeline.reward.composite import RewardModel
from curation_pipeline.reward.fairness import FAIRNESS_SCHEMA, fairness_table
from curation_pipeline.reward.metrics import (
    RELIABILITY_SCHEMA,
    auroc,
    bootstrap,
    brier,
    expected_calibration_error,
    paired_bootstrap,
    reliability_table,
)
from curation_pipeline.reward.safety import as_documents
from curation_pipeline.reward.settings import RewardSettings

QUALITY_SCHEMA: dict[str, pl.DataType] = {
    "part": pl.Utf8(),
    "dataset": pl.Utf8(),
    "metric": pl.Utf8(),
    "group": pl.Utf8(),
    "value": pl.Float64(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "n": pl.Int64(),
}
RELIABILITY_BY_SET: dict[str, pl.DataType] = {"part": pl.Utf8(), "dataset": pl.Utf8(), **RELIABILITY_SCHEMA}


def reward_quality(
    model: RewardModel,
    labels: pl.DataFrame,
    teacher_scores: pl.DataFrame,
    vectors: np.ndarray,
    settings: RewardSettings,
    seed: int,
    role: str = "report",
    *,
    preferences: Pairs | None = None,
    preference_lengths: tuple[np.ndarray, np.ndarray] | None = None,
    dataset_axes: Mapping[str, str] | None = None,
    resamples: int = 200,
) -> pl.DataFrame:
    """Quality of safety and alignment on the labels of one role.

    Args:
        model: the fitted reward.
        labels: as in ``fit_reward``.
        teacher_scores: as in ``fit_reward``.
        vectors: as in ``fit_reward``.
        settings: as in ``fit_reward``.
        seed: for the bootstrap.
        role: of the texts; never ``fit`` or ``calibrate`` for an honest number.
        preferences: pairs with teacher scores, or None; those of ``role`` are judged.
        preference_lengths: (n,) lengths of the preferred and of the dispreferred replies in characters, for the rule
            that knows length alone.
        dataset_axes: labelled set -> axis for sets beyond those that were fitted; each set is judged by its own axis.
        resamples: of each bootstrap.

    Returns:
        A long frame of ``QUALITY_SCHEMA``. ``part`` is ``safety.<axis>``, ``alignment`` or ``preference``; ``group`` is
        empty but for metrics by group and for comparisons, where it names the other scorer. Safety has ``auroc``,
        ``auroc_seen`` (what the pool gets), ``ece``, ``brier``, ``auroc_gain`` and ``ece_gain`` over each teacher
        (paired; above 0 the ensemble is better), and the metrics of ``fairness.fairness_table``. Alignment has
        ``auroc``, ``auroc_within_group`` and ``ece``, preferences ``accuracy`` of each scorer and the alignment's
        ``accuracy_gain`` (paired).

    Raises:
        DataError: when rows do not match.
    """
    _check(labels, teacher_scores, vectors)
    rows: list[tuple[str, str, str, str, float, float | None, float | None, int]] = []

    def add(part: str, dataset: str, metric: str, found: Interval, group: str = "") -> None:
        rows.append((part, dataset, metric, group, found.value, found.low, found.high, found.n))

    for axis, name, at, p in _judged(model, labels, teacher_scores, vectors, role, dataset_axes):
        part, y = f"safety.{axis}", labels["label"].to_numpy()[at]
        seen = model.safety.seen(as_documents(labels[at], teacher_scores[at]), axis)
        add(part, name, "auroc", bootstrap(auroc, p, y, seed, resamples))
        rows.append((part, name, "auroc_seen", "", auroc(seen, y), None, None, len(at)))
        add(part, name, "ece", bootstrap(expected_calibration_error, p, y, seed, resamples))
        add(part, name, "brier", bootstrap(brier, p, y, seed, resamples))
        for teacher in model.safety.teachers:
            other = teacher_scores[teacher].to_numpy()[at].astype(np.float64)
            add(part, name, "auroc_gain", paired_bootstrap(auroc, p, other, y, seed, resamples), teacher)
            add(part, name, "ece_gain", paired_bootstrap(_minus_ece, p, other, y, seed, resamples), teacher)
        fairness = _fairness(p, labels[at], seed, resamples)
        rows += [(part, name, *row) for row in fairness.select(FAIRNESS_SCHEMA.keys()).iter_rows()]
    rows += _alignment_rows(model, labels, teacher_scores, vectors, settings, seed, role)
    if preferences is not None:
        rows += _preference_rows(model, preferences, preference_lengths, seed, role, resamples)
    return pl.DataFrame(rows, schema=QUALITY_SCHEMA, orient="row")


def reward_reliability(
    model: RewardModel,
    labels: pl.DataFrame,
    teacher_scores: pl.DataFrame,
    vectors: np.ndarray,
    role: str = "report",
    *,
    dataset_axes: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """Reliability plot of P(harm) on each labelled set: rows of ``RELIABILITY_BY_SET``; arguments as above."""
    _check(labels, teacher_scores, vectors)
    frames = [pl.DataFrame(schema=RELIABILITY_BY_SET)]
    for axis, name, at, p in _judged(model, labels, teacher_scores, vectors, role, dataset_axes):
        table = reliability_table(p, labels["label"].to_numpy()[at])
        frames.append(
            table.select(pl.lit(f"safety.{axis}").alias("part"), pl.lit(name).alias("dataset"), *RELIABILITY_SCHEMA)
        )
    return pl.concat(frames)


def _judged(
    model: RewardModel,
    labels: pl.DataFrame,
    teacher_scores: pl.DataFrame,
    vectors: np.ndarray,
    role: str,
    dataset_axes: Mapping[str, str] | None,
) -> list[tuple[str, str, np.ndarray, np.ndarray]]:
    """(axis, data set, rows, P of that axis) of each set with texts of the role, by the axis that it labels."""
    fitted = {axis.name for axis in model.safety.axes}
    axis_of = {name: axis.name for axis in model.safety.axes for name in axis.datasets}
    axis_of |= {name: axis for name, axis in (dataset_axes or {}).items() if axis in fitted}
    chosen = (labels["role"] == role).to_numpy()
    found = []
    for name, axis in sorted(axis_of.items(), key=lambda item: (item[1], item[0])):
        at = np.flatnonzero(chosen & (labels["dataset"] == name).to_numpy())
        if at.size:
            documents = as_documents(labels[at], teacher_scores[at])
            found.append((axis, name, at, model.safety.p_harm_labelled(documents, axis, vectors[at])))
    return found


def _minus_ece(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return -expected_calibration_error(probabilities, labels)


def _fairness(p: np.ndarray, labels: pl.DataFrame, seed: int, resamples: int) -> pl.DataFrame:
    """By the group that the text names and by the set's own groups."""
    documents = as_documents(labels, labels.select("label"))
    frames = [pl.DataFrame(schema=FAIRNESS_SCHEMA)]
    y = labels["label"].to_numpy()
    for column in ("identity_group", "group"):
        if column in documents.columns and documents[column].n_unique() > 1:
            frames.append(fairness_table(p, y, documents[column], seed, resamples=resamples))
    return pl.concat(frames).unique(["metric", "group"], keep="first", maintain_order=True)


def _alignment_rows(
    model: RewardModel,
    labels: pl.DataFrame,
    teacher_scores: pl.DataFrame,
    vectors: np.ndarray,
    settings: RewardSettings,
    seed: int,
    role: str,
) -> list[tuple[str, str, str, str, float, float | None, float | None, int]]:
    at = np.flatnonzero(
        ((labels["role"] == role) & labels["dataset"].is_in(list(settings.alignment_datasets))).to_numpy()
    )
    kept, scores = labels[at], teacher_scores[at]
    y = 1.0 - kept["label"].to_numpy()
    found = alignment_quality(model.alignment, vectors[at], y, kept["dataset"], seed, kept["group"], scores)
    rows: list[tuple[str, str, str, str, float, float | None, float | None, int]] = []
    for quality in found:
        name, error, n = quality.dataset, quality.reliability, quality.n
        rows.append(("alignment", name, "auroc_within_group", "", quality.auroc_within, None, None, n))
        rows.append(("alignment", name, "auroc", "", quality.auroc, None, None, n))
        rows.append(("alignment", name, "ece", "", error.value, error.low, error.high, n))
    return rows


def _preference_rows(
    model: RewardModel,
    pairs: Pairs,
    lengths: tuple[np.ndarray, np.ndarray] | None,
    seed: int,
    role: str,
    resamples: int,
) -> list[tuple[str, str, str, str, float, float | None, float | None, int]]:
    """Accuracy of the alignment head, of length alone and of (low) toxicity alone, ties counting half."""
    margins = {
        "alignment": model.alignment.raw(pairs.preferred.vectors, pairs.preferred.scores)
        - model.alignment.raw(pairs.dispreferred.vectors, pairs.dispreferred.scores)
    }
    if pairs.preferred.scores is not None and pairs.dispreferred.scores is not None:
        # The baseline is what toxic wording alone tells, whatever other axes count as harm.
        axis = "toxicity" if any(axis.name == "toxicity" for axis in model.safety.axes) else None
        margins["toxicity_only"] = model.safety.seen(pairs.dispreferred.scores, axis) - model.safety.seen(
            pairs.preferred.scores, axis
        )
    if lengths is not None:
        shorter = lengths[1].astype(np.float64) - lengths[0].astype(np.float64)
        margins["length_only"] = shorter
    rows: list[tuple[str, str, str, str, float, float | None, float | None, int]] = []
    for source in sorted(set(pairs.source.tolist())):
        inside = pairs.source == source
        held = inside & (pairs.role == role)
        if not held.any():
            continue
        right = {name: _right(margin[held]) for name, margin in margins.items()}
        if lengths is not None:
            # Whether shorter or longer replies are preferred is learned where the head learns.
            learn = inside & (pairs.role == "fit")
            if learn.any() and _right(margins["length_only"][learn]).mean() < 0.5:
                right["length_only"] = 1.0 - right["length_only"]
        zero = np.zeros(int(held.sum()))
        for name, hits in right.items():
            found = bootstrap(_share, hits, zero, seed, resamples)
            rows.append(("preference", source, "accuracy", name, found.value, found.low, found.high, found.n))
            if name != "alignment":
                gain = paired_bootstrap(_share, right["alignment"], hits, zero, seed, resamples)
                rows.append(("preference", source, "accuracy_gain", name, gain.value, gain.low, gain.high, gain.n))
    return rows


def _share(hits: np.ndarray, _: np.ndarray) -> float:
    return float(hits.mean())


def _right(margin: np.ndarray) -> np.ndarray:
    """1 where the preferred text scores higher, one half where both score the same."""
    return np.asarray(0.5 * (1.0 + np.sign(margin)))


def _check(labels: pl.DataFrame, teacher_scores: pl.DataFrame, vectors: np.ndarray) -> None:
    if not labels.height == teacher_scores.height == len(vectors):
        raise DataError(
            f"the reward needs one row of teacher scores ({teacher_scores.height}) and one vector ({len(vectors)}) for "
            f"each of the {labels.height} labels, in their order; annotate the labelled texts again"
        )
