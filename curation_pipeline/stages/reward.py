"""The reward model as it is fitted on human labels; `refinement` moves it after each evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from curation_pipeline.annotate.head_settings import HEADS
from curation_pipeline.annotate.vectors import VectorModel, load_vectors
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.reward.alignment import Examples, Pairs
from curation_pipeline.reward.fitting import fit_reward, preference_pairs, principle_examples
from curation_pipeline.reward.principles import examples_of
from curation_pipeline.reward.quality import reward_quality, reward_reliability
from curation_pipeline.reward.settings import RewardSettings
from curation_pipeline.seeds import derive
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.detectors import MODELS, labels_hash, models_in_force, score_teachers

CODE_VERSION = "3"
NOT_FITTED = {
    "refinement", "audit", "divergence",
    "max_log_step", "refine_rate", "min_weight", "tolerance", "capability_tolerance",
}  # fmt: skip
"""Settings of the reward that no fitted part depends on: they say how it moves."""


def initial_reward(ctx: Context) -> Manifest:
    """Fit safety and alignment on human labels, with the profile's alpha, beta and gamma.

    It is fitted anew when labels, principles or detectors change, which is how a new norm reaches a running chain (see
    `refinement`), and stays as it is when only the corpus has grown.

    Raises:
        LakeError: labels, detectors, or their audit have not been made.
    """
    lake, settings = ctx.lake, ctx.profile.reward
    labels, embedding, audit = (lake.require(table) for table in ("labels", "sentence_embedding", "detector_audit"))
    models = models_in_force(ctx)
    frame = lake.frame(labels).filter(pl.col("role").is_in(["fit", "calibrate", "report"]))
    preferences = lake.frame(labels, "preferences")
    parameters = {
        "reward": settings.model_dump(mode="json", exclude=NOT_FITTED),
        "teachers": list(ctx.profile.annotate.teachers),
        "generation": ctx.profile.annotate.generation,
        "labels": labels_hash(frame),
        "preferences": labels_hash(preferences, ["source", "pair_id", "role"]),
        "models": [models[name].id for name in MODELS],
        "audit": audit.id,
    }
    inputs = (
        labels.id,
        embedding.id,
        audit.id,
        *(models[name].id for name in MODELS),
    )
    recipe = Recipe("initial_reward", {}, inputs, parameters, ctx.profile.seed, CODE_VERSION)

    def make(draft: Draft) -> None:
        vectoriser = load_vectors(lake.folder(embedding) / "vectors")
        vectors = vectoriser.transform(frame["text"])
        scores = score_teachers(ctx, frame["text"], models).select(ctx.profile.annotate.teachers)
        pairs = _pairs(ctx, preferences, vectoriser, models)
        model = fit_reward(
            frame,
            scores,
            vectors,
            settings,
            derive(ctx.profile.seed, "reward"),
            audit=lake.frame(audit).filter(pl.col("detector").is_in(list(ctx.profile.annotate.teachers))),
            preferences=pairs,
            examples=_principles(ctx, settings, vectoriser, models),
            trained_on=trained_on(ctx),
            dataset_axes=labels.summary["axes"],
        )
        model.save(draft.folder)
        axes = labels.summary["axes"]
        lengths = tuple(preferences[side].str.len_chars().to_numpy() for side in ("preferred", "dispreferred"))
        quality = reward_quality(
            model,
            frame,
            scores,
            vectors,
            settings,
            ctx.profile.seed,
            preferences=pairs,
            preference_lengths=None if pairs is None else (lengths[0], lengths[1]),
            dataset_axes=axes,
        )
        draft.frame(quality, "quality")
        draft.frame(reward_reliability(model, frame, scores, vectors, dataset_axes=axes), "reliability")
        shown = quality.filter((pl.col("group") == "") & pl.col("value").is_finite())
        draft.summary.update(
            identity=model.identity, alpha=settings.alpha, beta=settings.beta, gamma=settings.gamma,
            **{f"{part}_{metric}_{dataset}": round(value, 4)
               for part, dataset, metric, value in shown.select("part", "dataset", "metric", "value").iter_rows()},
        )  # fmt: skip

    return lake.build(recipe, make, founded=True)


def trained_on(ctx: Context) -> dict[str, tuple[str, ...]]:
    """Teacher -> the labelled sets whose texts of role ``fit`` it was fitted on."""
    settings = ctx.profile.annotate
    return {name: settings.heads.datasets_of(name) for name in settings.teachers if name in HEADS}


def _pairs(
    ctx: Context, preferences: pl.DataFrame, vectoriser: VectorModel, models: Mapping[str, Manifest]
) -> Pairs | None:
    """The preference pairs of the profile's labelled files; None where there are none."""
    if preferences.is_empty():
        return None
    sides = [preferences["preferred"].alias("text"), preferences["dispreferred"].alias("text")]
    vectors = [vectoriser.transform(side) for side in sides]
    teachers = ctx.profile.annotate.teachers
    scores = [score_teachers(ctx, side, models).select(teachers) for side in sides]
    return preference_pairs(preferences, (vectors[0], vectors[1]), (scores[0], scores[1]))


def _principles(
    ctx: Context, settings: RewardSettings, vectoriser: VectorModel, models: Mapping[str, Manifest]
) -> Examples | None:
    """The examples of the profile's written principles; None where there are none."""
    examples = examples_of(settings.principles)
    if examples.is_empty():
        return None
    scores: Any = score_teachers(ctx, examples["text"], models).select(ctx.profile.annotate.teachers)
    return principle_examples(examples, vectoriser.transform(examples["text"]), scores)
