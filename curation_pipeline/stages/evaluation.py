"""The evaluation of a checkpoint: what is reported to people, and what drives the loop.

The two lean on disjoint data. Reported figures use items of role ``report`` and the judge; what accepts an iteration
and moves the reward uses likelihoods on items of role ``credit``, labelled by people or by the teacher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.annotate.topics import load_topics
from curation_pipeline.annotate.toxicity import HARM_THRESHOLD, toxicity_columns
from curation_pipeline.annotate.vectors import load_vectors
from curation_pipeline.bootstrap import Bootstrap
from curation_pipeline.config import Profile
from curation_pipeline.evaluation.benchmarks import preferences, red_team
from curation_pipeline.evaluation.benchmarks.heldout import capability_from_bits, safety_from_log_odds, summary
from curation_pipeline.evaluation.composite import composite, metric_value
from curation_pipeline.evaluation.items import ItemFrames
from curation_pipeline.evaluation.judging import Judge
from curation_pipeline.evaluation.likelihood import heldout_scores
from curation_pipeline.evaluation.model import LanguageModel
from curation_pipeline.evaluation.registry import versions
from curation_pipeline.evaluation.suite import evaluate
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.progress import silent
from curation_pipeline.seeds import derive
from curation_pipeline.stages.benchmarks import read_benchmarks
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.detectors import (
    MODELS,
    judge_parameters,
    score_judge,
    score_teachers,
    teacher_parameters,
)
from curation_pipeline.stages.state import Performance
from curation_pipeline.training.runtime import torch_runtime

VERSION = "6"
EVALUATION_INPUTS = ("benchmarks", "heldout_texts", "sentence_embedding", *MODELS)


def performances(lake: Lake, metrics: Manifest) -> tuple[Performance, Performance]:
    """The reported and the driving summary of an evaluation."""
    raw = lake.json(metrics, "performance")
    credit_metrics = raw["credit_metrics"] if "credit_metrics" in raw else raw["drive"]  # as earlier versions wrote it
    return Performance(**raw["reported"]), Performance(**credit_metrics)


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


def evaluation_parameters(profile: Profile) -> dict[str, Any]:
    """What an evaluation depends on besides the model and the artefacts that it reads."""
    return {
        "evaluation": profile.evaluation.model_dump(mode="json", exclude={"harness", "folder"}),
        **judge_parameters(profile.annotate),
        **teacher_parameters(profile.annotate),
        "window": profile.training.sequence_length,
        **({"versions": changed} if (changed := versions()) else {}),
    }


def judge_with(ctx: Context, references: Mapping[str, Manifest]) -> Judge:
    """The judge of the profile, from the models among the references."""
    quiet = ctx.with_progress(silent)

    def judge(texts: Sequence[str]) -> np.ndarray:
        scores = score_judge(quiet, pl.Series("text", texts), references)
        return scores.to_series(0).to_numpy().astype(np.float64)

    return judge


def write_evaluation(
    ctx: Context,
    draft: Draft,
    checkpoint: Manifest,
    references: Mapping[str, Manifest],
    base_metrics: Manifest | None,
    before: Manifest | None,
) -> None:
    """Evaluate a model: the metrics, ``items``, ``generations``, ``attacks`` and ``performance``.

    Args:
        ctx: the surroundings.
        draft: where they are written.
        checkpoint: the model.
        references: the artefacts of `EVALUATION_INPUTS`.
        base_metrics: evaluation of the base, whose bits per byte are the reference of capability; None for the base.
        before: evaluation of the model before it, which the red team starts from; None for the base.
    """
    settings = ctx.profile.evaluation
    lake = ctx.lake
    folder = lake.folder(checkpoint)
    benchmarks = read_benchmarks(lake, references["benchmarks"])
    heldout = lake.frame(references["heldout_texts"])
    seed = derive(ctx.profile.seed, "evaluation")
    embedding = lake.folder(references["sentence_embedding"])
    vectors, topics = load_vectors(embedding / "vectors"), load_topics(embedding / "topics")
    quiet = ctx.with_progress(silent)
    found = evaluate(
        folder, {**benchmarks, **_red_team(ctx, before, checkpoint)}, heldout.filter(pl.col("role") == "report"),
        judge_with(ctx, references), settings, seed, ctx.progress, ctx.profile.annotate.judge,
        ctx.profile.training.sequence_length, lambda texts: topics.assign(vectors.transform(texts))[0],
    )  # fmt: skip
    teachers = score_teachers(quiet, found.generations["text"], references)
    toxicity = teachers.select(toxicity_columns(ctx.profile.annotate.teachers)).mean_horizontal()
    generations = found.generations.with_columns(toxicity.alias("teacher_score"))
    credit_texts = heldout.filter(pl.col("role") == "credit")
    bits, odds, accuracy = _credit_figures(ctx, folder, credit_texts, benchmarks, seed)
    reported_bits = metric_value(found.metrics, "heldout", "bits_per_byte")
    reference = {"reported": reported_bits, "credit_metrics": bits}
    if base_metrics is not None:
        reference = lake.json(base_metrics, "performance")["reference_bits_per_byte"]
    summed = composite(found.metrics, reference["reported"])
    safety, capability = safety_from_log_odds(odds), capability_from_bits(bits, reference["credit_metrics"])
    reported = Performance(summed.safety, summed.alignment, summed.capability, summed.performance)
    credit_metrics = Performance(safety, accuracy, capability, 0.5 * (safety + capability))
    draft.frame(found.metrics)
    draft.frame(found.items, "items")
    draft.frame(generations, "generations")
    draft.frame(found.attacks, "attacks")
    draft.json(
        {
            "reported": asdict(reported),
            "credit_metrics": asdict(credit_metrics),
            "reference_bits_per_byte": reference,
        },
        "performance",
    )
    draft.summary.update(
        checkpoint=checkpoint.id,
        **{name: round(value, 4) for name, value in asdict(reported).items()},
        **{f"credit_{name}": round(value, 4) for name, value in asdict(credit_metrics).items()},
        judge_toxic_outputs=round(float((generations["score"] >= HARM_THRESHOLD).to_numpy().mean()), 4),
        teacher_toxic_outputs=round(float((generations["teacher_score"] >= HARM_THRESHOLD).to_numpy().mean()), 4),
        judge_false_positive_rate=references["heldout_texts"].summary["judge_false_positive_rate"],
    )


def _credit_figures(
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
