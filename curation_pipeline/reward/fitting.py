"""Fitting the whole reward on the labelled texts; quality.py reports how good it is on those it never saw."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import polars as pl

from curation_pipeline.errors import DataError
from curation_pipeline.reward.alignment import Examples, Pairs, Texts
from curation_pipeline.reward.alignment_fit import fit_alignment
from curation_pipeline.reward.composite import RewardModel, RewardWeights
from curation_pipeline.reward.principles import PRINCIPLES_SCHEMA
from curation_pipeline.reward.quality import reward_quality
from curation_pipeline.reward.safety_fit import fit_safety
from curation_pipeline.reward.settings import RewardSettings

__all__ = ["fit_reward", "preference_pairs", "principle_examples", "reward_quality"]


def fit_reward(
    labels: pl.DataFrame,
    teacher_scores: pl.DataFrame,
    vectors: np.ndarray,
    settings: RewardSettings,
    seed: int,
    weights: RewardWeights | None = None,
    audit: pl.DataFrame | None = None,
    *,
    preferences: Pairs | None = None,
    examples: Examples | None = None,
    trained_on: Mapping[str, Collection[str]] | None = None,
    dataset_axes: Mapping[str, str] | None = None,
) -> RewardModel:
    """Fit safety and alignment; roles ``fit`` and ``calibrate`` of ``labels`` are used.

    Args:
        labels: n rows with ``dataset``, ``label`` (1 = harmful or stereotyping in every set), ``group``, ``role``, and
            ``text`` or ``identity_group``.
        teacher_scores: n rows, a Float32 column in [0, 1] a teacher, in the order of ``labels``.
        vectors: (n, d) sentence vectors of the labelled texts.
        settings: which axes and sets feed which part, and the priors.
        seed: for the folds.
        weights: of a running chain; None means those of the settings.
        audit: what the red team found about every teacher, or None.
        preferences: of `preference_pairs`, or None.
        examples: of `principle_examples`, or None.
        trained_on: teacher -> labelled sets whose texts of role ``fit`` it was fitted on.
        dataset_axes: labelled set -> axis (toxicity, bias, subtle), or None for what the packaged sets are about.

    Raises:
        DataError: when rows do not match, or a part has no text to be fitted on.
    """
    if not labels.height == teacher_scores.height == len(vectors):
        raise DataError(
            f"the reward needs one row of teacher scores ({teacher_scores.height}) and one vector ({len(vectors)}) for "
            f"each of the {labels.height} labels, in their order; annotate the labelled texts again"
        )
    safety = fit_safety(
        labels,
        teacher_scores,
        settings,
        seed,
        vectors=vectors,
        audit=audit,
        trained_on=trained_on,
        dataset_axes=dataset_axes,
    )
    aligned = labels["dataset"].is_in(list(settings.alignment_datasets))
    own = labels.filter(aligned)
    alignment = fit_alignment(
        vectors[aligned.to_numpy()],
        1.0 - own["label"].to_numpy(),
        own["dataset"],
        own["role"],
        settings,
        groups=own["group"],
        scores=teacher_scores.filter(aligned),
        pairs=preferences,
        examples=examples,
    )
    return RewardModel(safety, alignment, weights or RewardWeights.of(settings))


def preference_pairs(
    preferences: pl.DataFrame,
    vectors: tuple[np.ndarray, np.ndarray],
    scores: tuple[pl.DataFrame, pl.DataFrame] | None = None,
) -> Pairs:
    """Preference pairs with what is known of their replies.

    Args:
        preferences: n rows of ``datasets.preferences.PREFERENCES_SCHEMA``.
        vectors: (n, d) sentence vectors of the preferred and of the dispreferred replies.
        scores: teacher columns of both, where ``reward.alignment_features`` names teachers or quality is reported.

    Raises:
        DataError: when rows do not match.
    """
    n = preferences.height
    lengths = {n, *(len(part) for part in vectors), *(frame.height for frame in scores or ())}
    if lengths != {n}:
        raise DataError(f"{n} preference pairs need as many vectors and scores, got {sorted(lengths)}")
    first, second = scores if scores is not None else (None, None)
    return Pairs(
        Texts(vectors[0], first),
        Texts(vectors[1], second),
        preferences["source"].to_numpy(),
        preferences["role"].to_numpy(),
    )


def principle_examples(
    examples: pl.DataFrame, vectors: np.ndarray, scores: pl.DataFrame | None = None
) -> Examples | None:
    """Examples of written principles with what is known of them; None where there are none.

    Args:
        examples: n rows as ``principles.examples_of`` returns them.
        vectors: (n, d) sentence vectors of their texts.
        scores: teacher columns, where ``reward.alignment_features`` names teachers.

    Raises:
        DataError: when rows do not match.
    """
    if examples.is_empty():
        return None
    if set(PRINCIPLES_SCHEMA) - set(examples.columns) or examples.height != len(vectors):
        raise DataError(f"{examples.height} examples of principles and {len(vectors)} vectors do not match")
    return Examples(Texts(vectors, scores), examples["label"].to_numpy(), examples["principle"].to_numpy())
