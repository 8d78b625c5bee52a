"""The reward model: fitted once on human labels, then refined after each evaluation."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import polars as pl

from curation_pipeline.annotate.vectors import load_vectors
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.reward.composite import RewardModel
from curation_pipeline.reward.fitting import fit_reward, reward_quality
from curation_pipeline.reward.refine import refine
from curation_pipeline.seeds import derive
from curation_pipeline.stages.annotations import score_teachers
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.evaluation import performances
from curation_pipeline.stages.gate import gate_and_parent

CODE_VERSION = "1"
NOVELTY_SAMPLE = 200
"""Vectors of each raw partition that the novelty features are fitted on."""


def initial_reward(ctx: Context) -> Manifest:
    """Fit safety and alignment on human labels, with the profile's alpha, beta and gamma.

    Raises:
        LakeError: labels, detectors or sentence vectors have not been made.
    """
    lake, settings = ctx.lake, ctx.profile.reward
    labels, detectors, embedding = (lake.require(table) for table in ("labels", "detectors", "sentence_embedding"))
    parameters = {
        "reward": settings.model_dump(mode="json"),
        "teachers": list(ctx.profile.annotate.teachers),
        "generation": ctx.profile.annotate.generation,
    }
    inputs = (labels.id, detectors.id, embedding.id, *(m.id for m in lake.heads("sentence_vectors")))
    recipe = Recipe("initial_reward", {}, inputs, parameters, ctx.profile.seed, CODE_VERSION)

    def make(draft: Draft) -> None:
        frame = lake.frame(labels).filter(pl.col("role").is_in(["fit", "calibrate", "report"]))
        vectors = load_vectors(lake.folder(embedding) / "vectors").transform(frame["text"])
        scores = score_teachers(ctx, frame["text"], detectors)
        pool_vectors = np.concatenate(
            [
                lake.frame(m, columns=["vector"])["vector"].to_numpy()[:NOVELTY_SAMPLE]
                for m in lake.heads("sentence_vectors")
            ]
        )
        model = fit_reward(frame, scores, vectors, pool_vectors, settings, derive(ctx.profile.seed, "reward"))
        model.save(draft.folder)
        quality = reward_quality(model, frame, scores, vectors, settings, ctx.profile.seed)
        draft.frame(quality, "quality")
        draft.summary.update(
            identity=model.identity, alpha=settings.alpha, beta=settings.beta, gamma=settings.gamma,
            **{f"{part}_{metric}_{dataset}": round(value, 4)
               for part, dataset, metric, value in quality.select("part", "dataset", "metric", "value").iter_rows()},
        )  # fmt: skip

    return lake.build(recipe, make, founded=True)


def refine_reward(ctx: Context, chain: str, ordinal: int) -> Manifest:
    """The reward model of the next iteration, moved by what this one's evaluation on credit data showed.

    Raises:
        LakeError: the evaluation has not been done.
    """
    lake = ctx.lake
    _, gate, parent = gate_and_parent(lake, chain, ordinal)
    metrics = lake.require("metrics", gate.partition)
    before = lake.get(parent.reward_model_id)
    settings = ctx.profile.reward
    recipe = Recipe(
        "reward_models",
        gate.partition,
        (before.id, metrics.id, gate.parent_state_id),
        {"reward": settings.model_dump(mode="json")},
        ctx.profile.seed,
        CODE_VERSION,
    )

    def make(draft: Draft) -> None:
        model = RewardModel.load(lake.folder(before))
        _, now = performances(lake, metrics)
        axes = ("safety", "alignment", "capability")
        measured = {name: value for name, value in asdict(now).items() if name in axes}
        earlier = {name: value for name, value in asdict(parent.drive).items() if name in axes}
        # The base's capability is one half by definition: it is the reference that may be lost by a few percent.
        targets = {"safety": ctx.profile.loop.target_safety, "capability": 0.5}
        weights, moves = refine(model.weights, measured, earlier, targets, settings)
        refined = model.reweighted(weights)
        refined.save(draft.folder)
        draft.json([asdict(move) for move in moves], "moves")
        draft.summary.update(
            identity=refined.identity,
            alpha=round(weights.alpha, 4),
            beta=round(weights.beta, 4),
            gamma=round(weights.gamma, 4),
            moves="; ".join(f"{m.name} {m.before:.3f} to {m.after:.3f}: {m.reason}" for m in moves)
            or "none was needed",
        )

    return lake.build(recipe, make)
