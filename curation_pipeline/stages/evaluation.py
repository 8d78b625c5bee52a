"""The evaluation of a checkpoint: what is reported to people, and what drives the loop.

The two lean on disjoint data. Reported figures use items of role ``report`` and the judge; what accepts an iteration
and moves the reward uses likelihoods on items of role ``credit``, labelled by people or by the teacher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl

from curation_pipeline.annotate.topics import load_topics
from curation_pipeline.annotate.toxicity import toxicity_columns
from curation_pipeline.annotate.vectors import load_vectors
from curation_pipeline.evaluation.benchmarks import preferences, red_team
from curation_pipeline.evaluation.benchmarks.heldout import capability_from_bits, safety_from_log_odds, summary
from curation_pipeline.evaluation.composite import composite, metric_value
from curation_pipeline.evaluation.items import ItemFrames
from curation_pipeline.evaluation.judging import FLAG, Judge
from curation_pipeline.evaluation.likelihood import heldout_scores
from curation_pipeline.evaluation.model import LanguageModel
from curation_pipeline.evaluation.rows import Bootstrap
from curation_pipeline.evaluation.suite import evaluate
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.progress import silent
from curation_pipeline.seeds import derive
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.detectors import (
    MODELS,
    judge_parameters,
    score_judge,
    score_teachers,
    teacher_parameters,
)
from curation_pipeline.stages.gate import gate_and_parent
from curation_pipeline.stages.references import read_benchmarks
from curation_pipeline.stages.state import Performance
from curation_pipeline.training.runtime import torch_runtime

CODE_VERSION = "5"
EVALUATION_INPUTS = ("benchmarks", "heldout_texts", "sentence_embedding", *MODELS)


def performances(lake: Lake, metrics: Manifest) -> tuple[Performance, Performance]:
    """The reported and the driving summary of an evaluation."""
    raw = lake.json(metrics, "performance")
    return Performance(**raw["reported"]), Performance(**raw["drive"])


def evaluate_base(ctx: Context) -> Manifest:
    """Evaluate the uncurated base; its bits per byte are the reference of capability for every chain."""
    references = {table: ctx.lake.require(table) for table in EVALUATION_INPUTS}
    return _evaluate(ctx, "base_metrics", {}, ctx.lake.require("base_checkpoint"), references, None, None)


def evaluate_checkpoint(ctx: Context, chain: str, ordinal: int) -> Manifest:
    """Evaluate an iteration's checkpoint.

    Raises:
        LakeError: the checkpoint has not been trained.
    """
    _, gate, parent = gate_and_parent(ctx.lake, chain, ordinal)
    checkpoint = ctx.lake.require("checkpoints", gate.partition)
    references = {table: ctx.lake.get(gate.references[table]) for table in EVALUATION_INPUTS}
    before = ctx.lake.get(parent.metrics_id)
    return _evaluate(ctx, "metrics", gate.partition, checkpoint, references, ctx.lake.require("base_metrics"), before)


def _red_team(ctx: Context, before: Manifest | None, checkpoint: Manifest) -> dict[str, pl.DataFrame]:
    """New prompts made from what the model before failed on; none for the base, which has none before it."""
    if before is None:
        return {}
    settings = ctx.profile.evaluation.of(red_team.BENCHMARK)
    assert isinstance(settings, red_team.RedTeamSettings)
    columns = ["prompt", "text", "score"]
    failed = [ctx.lake.frame(before, "generations", columns=columns)]
    attacked = ctx.lake.frame(before, "attacks")
    failed.append(attacked.filter(pl.col("benchmark") == red_team.NAME).select(columns))
    seed = derive(ctx.profile.seed, "red team", checkpoint.partition["iteration"])
    return {red_team.NAME: red_team.next_prompts(pl.concat(failed), seed, settings.used)}


def judge_with(ctx: Context, references: Mapping[str, Manifest]) -> Judge:
    """The judge of the profile, from the models among the references."""
    quiet = ctx.telling(silent)

    def judge(texts: Sequence[str]) -> np.ndarray:
        scores = score_judge(quiet, pl.Series("text", texts), references)
        return scores.to_series(0).to_numpy().astype(np.float64)

    return judge


def _evaluate(
    ctx: Context,
    table: str,
    partition: dict[str, str],
    checkpoint: Manifest,
    references: dict[str, Manifest],
    base_metrics: Manifest | None,
    before: Manifest | None,
) -> Manifest:
    settings = ctx.profile.evaluation
    inputs = [checkpoint.id, *(manifest.id for manifest in references.values())]
    inputs += list(dict.fromkeys(found.id for found in (base_metrics, before) if found is not None))
    parameters = {
        "evaluation": settings.model_dump(mode="json", exclude={"harness", "folder"}),
        **judge_parameters(ctx.profile.annotate),
        **teacher_parameters(ctx.profile.annotate),
        "window": ctx.profile.training.sequence_length,
    }
    recipe = Recipe(table, partition, tuple(inputs), parameters, ctx.profile.seed, CODE_VERSION)

    def make(draft: Draft) -> None:
        lake = ctx.lake
        folder = lake.folder(checkpoint)
        benchmarks = read_benchmarks(lake, references["benchmarks"])
        heldout = lake.frame(references["heldout_texts"])
        seed = derive(ctx.profile.seed, "evaluation")
        embedding = lake.folder(references["sentence_embedding"])
        vectors, topics = load_vectors(embedding / "vectors"), load_topics(embedding / "topics")
        quiet = ctx.telling(silent)
        found = evaluate(
            folder, {**benchmarks, **_red_team(ctx, before, checkpoint)}, heldout.filter(pl.col("role") == "report"),
            judge_with(ctx, references), settings, seed, ctx.progress, ctx.profile.annotate.judge,
            ctx.profile.training.sequence_length, lambda texts: topics.assign(vectors.transform(texts))[0],
        )  # fmt: skip
        teachers = score_teachers(quiet, found.generations["text"], references)
        toxicity = teachers.select(toxicity_columns(ctx.profile.annotate.teachers)).mean_horizontal()
        generations = found.generations.with_columns(toxicity.alias("teacher_score"))
        bits, odds, accuracy = _drive(ctx, folder, heldout.filter(pl.col("role") == "credit"), benchmarks, seed)
        reported_bits = metric_value(found.metrics, "heldout", "bits_per_byte")
        reference = {"reported": reported_bits, "drive": bits}
        if base_metrics is not None:
            reference = lake.json(base_metrics, "performance")["reference_bits_per_byte"]
        summed = composite(found.metrics, reference["reported"])
        safety, capability = safety_from_log_odds(odds), capability_from_bits(bits, reference["drive"])
        reported = Performance(summed.safety, summed.alignment, summed.capability, summed.performance)
        drive = Performance(safety, accuracy, capability, 0.5 * (safety + capability))
        draft.frame(found.metrics)
        draft.frame(found.items, "items")
        draft.frame(generations, "generations")
        draft.frame(found.attacks, "attacks")
        draft.json(
            {"reported": asdict(reported), "drive": asdict(drive), "reference_bits_per_byte": reference}, "performance"
        )
        draft.summary.update(
            checkpoint=checkpoint.id,
            **{name: round(value, 4) for name, value in asdict(reported).items()},
            **{f"drive_{name}": round(value, 4) for name, value in asdict(drive).items()},
            judge_toxic_outputs=round(float((generations["score"] >= FLAG).to_numpy().mean()), 4),
            teacher_toxic_outputs=round(float((generations["teacher_score"] >= FLAG).to_numpy().mean()), 4),
            judge_false_positive_rate=references["heldout_texts"].summary["judge_false_positive_rate"],
        )

    return ctx.lake.build(recipe, make)


def _drive(
    ctx: Context, folder: Path, heldout: pl.DataFrame, benchmarks: ItemFrames, seed: int
) -> tuple[float, float, float]:
    """Bits per byte, toxic log-odds and preference accuracy on data of role ``credit``."""
    settings = ctx.profile.evaluation
    pairs = benchmarks[preferences.NAME].filter(pl.col("role") == "credit").group_by("source", maintain_order=True)
    pairs_of_source = settings.used(preferences.BENCHMARK)
    with torch_runtime(settings.threads):
        lm = LanguageModel.load(folder, ctx.profile.training.sequence_length)
        bits, odds = summary(heldout_scores(lm, heldout, settings.max_heldout_chars, settings.batch_tokens))
        rows = preferences.preference_metrics(
            lm, pairs.head(pairs_of_source), Bootstrap(seed, 10, settings.confidence), settings.batch_tokens
        )
    return bits, odds, rows[0].interval.value
