"""Fitting the safety reward: which texts may be used, the stacks' prior, one fit an axis. The model: safety.py."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
import polars as pl

from curation_pipeline.datasets.labelled import PACKAGED_AXES
from curation_pipeline.errors import DataError
from curation_pipeline.reward.axis import AxisModel, fit_axis
from curation_pipeline.reward.calibration import safe_logit
from curation_pipeline.reward.noisy_or import StackPrior
from curation_pipeline.reward.safety import SafetyModel, as_documents
from curation_pipeline.reward.settings import RewardSettings
from curation_pipeline.reward.trust import NO_AUDIT, Trust, trust_of


def usable(labels: pl.DataFrame, teachers: Collection[str], trained_on: Mapping[str, Collection[str]]) -> np.ndarray:
    """Boolean (n,): texts of role ``calibrate``, and of role ``fit`` in sets that no teacher was fitted on.

    A head's scores on the texts that it was fitted on are better than it is, and a stack that saw them would trust it
    too much.
    """
    spoilt = {dataset for teacher in teachers for dataset in trained_on.get(teacher, ())}
    role = pl.col("role")
    keep = (role == "calibrate") | ((role == "fit") & ~pl.col("dataset").is_in(sorted(spoilt)))
    return labels.select(keep).to_series().fill_null(False).to_numpy()


def fit_safety(
    labels: pl.DataFrame,
    scores: pl.DataFrame,
    settings: RewardSettings,
    seed: int,
    *,
    vectors: np.ndarray | None = None,
    audit: pl.DataFrame | None = None,
    trained_on: Mapping[str, Collection[str]] | None = None,
    dataset_axes: Mapping[str, str] | None = None,
) -> SafetyModel:
    """Fit every axis that has labels, on texts that no teacher was fitted on.

    Args:
        labels: n rows with ``dataset``, ``label`` in [0, 1], ``role``, and where known ``group``, ``identity_group`` or
            ``text``.
        scores: n rows, one column in [0, 1] a teacher.
        settings: axes and priors.
        seed: for the folds of the cross-fitting.
        vectors: (n, d) sentence vectors for unseen harm, or None for constant rates of it.
        audit: what the red team found about each teacher (trust.py), or None.
        trained_on: teacher -> labelled sets whose texts of role ``fit`` it was fitted on.
        dataset_axes: labelled set -> axis, or None for what the packaged sets are about.

    Raises:
        DataError: when an axis that counts has no usable text, a label lies outside of [0, 1], or lengths differ.
    """
    names = tuple(name for name in scores.columns if name not in ("doc_id", "text_id"))
    if labels.height != scores.height or (vectors is not None and len(vectors) != labels.height):
        raise DataError(f"safety: {scores.height} scores and {labels.height} labels do not match")
    if not names:
        raise DataError("safety: no teacher's column; it takes at least one")
    y = labels["label"].to_numpy()
    chosen = usable(labels, names, trained_on or {})
    if not np.isfinite(y[chosen]).all() or (chosen.any() and (y[chosen].min() < 0 or y[chosen].max() > 1)):
        raise DataError(f"safety: labels from {np.nanmin(y):.2f} to {np.nanmax(y):.2f}; they must lie in [0, 1]")
    documents = as_documents(labels, scores.select(names)).with_columns(labels["label"])
    trust = trust_of(audit, names, settings.audit_weight) if audit is not None else NO_AUDIT
    logits = safe_logit(scores.select(names).to_numpy())
    axis_of = PACKAGED_AXES if dataset_axes is None else dataset_axes
    fitted = []
    for axis in sorted({axis_of[name] for name in labels["dataset"].unique() if name in axis_of} - {"refusal"}):
        inside = labels["dataset"].is_in([name for name, of in axis_of.items() if of == axis]).to_numpy()
        rows = np.flatnonzero(chosen & inside)
        if not rows.size:
            continue
        own = documents[rows]
        datasets = tuple(sorted(own["source"].unique().to_list()))
        depends = tuple(
            settings.use_vector_head and vectors is not None and name in settings.background_datasets
            for name in datasets
        )
        fitted.append(
            fit_axis(
                axis,
                datasets,
                logits[rows],
                own,
                None if vectors is None else vectors[rows],
                _prior(names, axis, settings, trust),
                seed,
                with_vectors=depends,
                isotonic_from=settings.isotonic_from,
                slope_sd=settings.teacher_prior_sd,
                pool_base_rate=settings.pool_base_rates.get(axis),
                evasion=0.0,
            )
        )
    absent = [name for name in settings.axes if name not in {axis.name for axis in fitted}]
    if absent:
        raise DataError(
            f"safety: no usable text for the axes {', '.join(absent)}: it takes labelled sets with texts of role "
            "calibrate, or of role fit that no teacher was fitted on; add such a set, or change reward.axes"
        )
    fitted = [replace(axis, evasion=_evasion(axis, names, trust)) for axis in fitted]
    model = SafetyModel(names, tuple(fitted), settings.axes, settings.obfuscation_penalty, 0.5)
    first = model.background_axis()
    inside = chosen & labels["dataset"].is_in(list(first.datasets)).to_numpy()
    if any(first.with_vectors):
        marked = [name for name, depends in zip(first.datasets, first.with_vectors, strict=True) if depends]
        inside &= labels["dataset"].is_in(marked).to_numpy()
    background = first.background(None if vectors is None else vectors[inside], int(inside.sum()))
    rate = min(max(float(background.mean()), 1e-6), 1.0 - 1e-6)
    return replace(model, background=rate, pool_background=settings.pool_background)


def _prior(teachers: tuple[str, ...], axis: str, settings: RewardSettings, trust: Mapping[str, Trust]) -> StackPrior:
    """At the calibration of the axis's own teachers, each with the share of its trust; 0 for teachers of other axes."""
    trusted = np.array([trust[name].weight if name in trust else 1.0 for name in teachers])
    own = np.array([settings.teacher_axes.get(name, "toxicity") == axis for name in teachers])
    centre = np.where(own, trusted, 0.0)
    if own.any():
        centre = centre / centre.sum()
    return StackPrior(
        centre=centre,
        sd=settings.teacher_prior_sd * trusted,
        weight_sd=settings.dataset_sd,
        intercept_sd=settings.dataset_intercept_sd,
        l2=settings.background_l2,
    )


def _evasion(axis: AxisModel, teachers: tuple[str, ...], trust: Mapping[str, Trust]) -> float:
    """Evasion of the stack: that of the teachers, by their common weights."""
    weights = axis.stack.weights[-1]
    known = np.array([trust[name].evasion if name in trust else 0.0 for name in teachers])
    return float(known @ weights / weights.sum()) if weights.sum() > 0 else 0.0
