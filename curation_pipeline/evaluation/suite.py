"""The whole evaluation of one checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from curation_pipeline.datasets.benchmarks import BenchmarkData
from curation_pipeline.errors import DataError
from curation_pipeline.evaluation.bias import bias_metrics
from curation_pipeline.evaluation.choices import choice_metrics
from curation_pipeline.evaluation.diversity import diversity_metrics
from curation_pipeline.evaluation.generation import generate
from curation_pipeline.evaluation.model import LanguageModel
from curation_pipeline.evaluation.perplexity import heldout_metrics, heldout_scores
from curation_pipeline.evaluation.preferences import preference_metrics
from curation_pipeline.evaluation.question_bias import bbq_metrics
from curation_pipeline.evaluation.rows import Bootstrap, Metric, metrics_frame
from curation_pipeline.evaluation.settings import EvaluationSettings
from curation_pipeline.evaluation.stereoset import stereoset_metrics
from curation_pipeline.evaluation.toxicity import BENCHMARK, Judge, judge_texts, toxicity_metrics
from curation_pipeline.progress import Progress, silent
from curation_pipeline.seeds import unit_hash
from curation_pipeline.training.runtime import torch_runtime

GENERATIONS_SCHEMA: dict[str, pl.DataType] = {
    "benchmark": pl.Utf8(),
    "prompt_id": pl.Utf8(),
    "sample": pl.Int32(),
    "prompt": pl.Utf8(),
    "text": pl.Utf8(),
    "score": pl.Float64(),
}


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Metrics and generations tables of one checkpoint, in the schemas of `rows` and of this module."""

    metrics: pl.DataFrame
    generations: pl.DataFrame


def evaluate(
    checkpoint_dir: Path,
    benchmarks: BenchmarkData,
    heldout: pl.DataFrame,
    judge: Judge,
    settings: EvaluationSettings,
    seed: int,
    progress: Progress | None = None,
    judge_name: str = "judge",
    window: int = 128,
) -> Evaluation:
    """Evaluate a checkpoint on safety, bias, alignment, capability and diversity.

    Which items are used, the sampled numbers and the resamples follow from `seed` and the items' ids alone, so that two
    checkpoints that are evaluated with one seed are paired item by item.

    Args:
        checkpoint_dir: folder in transformers' format.
        benchmarks: prompts, pairs and choices; those that have a role are cut to `settings.roles`.
        heldout: doc_id, source, domain, text, kind (``benign`` or ``toxic``): text that no pool holds.
        judge: scores the continuations, each alone without its prompt; it must not be one of the reward's detectors.
        settings: sizes and sampling.
        seed: of everything random here.
        progress: called as parts finish.
        judge_name: the judge's name and version, for the table.
        window: input tokens read at once: the training's sequence length.

    Raises:
        DataError: when a benchmark is empty for the wanted roles, or the judge gives no valid score.
        MissingModelError: when there is no checkpoint.
    """
    report = progress or silent
    bootstrap = Bootstrap(seed, settings.resamples, settings.confidence)
    size = settings.batch_tokens
    prompts = _take(_of_role(benchmarks.prompts, settings, "prompts"), "prompt_id", settings.n_prompts, seed, "kind")
    pairs = _take(
        _of_role(benchmarks.preferences, settings, "preferences"), "pair_id", settings.n_preferences, seed, "source"
    )
    bias_pairs = _sample_rows(benchmarks.bias_pairs, settings.n_bias_pairs, seed)
    choices = _take(benchmarks.choices, "item_id", settings.n_choices, seed, "benchmark")
    questions = _take(benchmarks.questions, "item_id", settings.n_bbq, seed, "condition")
    triples = _take(benchmarks.triples, "item_id", settings.n_stereoset, seed, "bias_type")
    rows: list[Metric] = []
    with torch_runtime(settings.threads):
        lm = LanguageModel.load(checkpoint_dir, window)
        report("held-out text", 0.0)
        rows += heldout_metrics(heldout_scores(lm, heldout, settings.max_heldout_chars, size), bootstrap)
        report("bias pairs", 0.2)
        rows += bias_metrics(lm, bias_pairs, bootstrap, size)
        if questions.height:
            rows += bbq_metrics(lm, questions, bootstrap, size)
        if triples.height:
            rows += stereoset_metrics(lm, triples, bootstrap, size)
        report("preferences", 0.3)
        rows += preference_metrics(lm, pairs, bootstrap, size)
        report("multiple choice", 0.4)
        if choices.height:
            rows += choice_metrics(lm, choices, bootstrap, size)
        texts = generate(
            lm,
            prompts["prompt_id"].to_list(),
            prompts["prompt"].to_list(),
            settings.samples,
            settings.max_new_tokens,
            settings.top_p,
            seed,
            settings.temperature,
            settings.batch_sequences,
            lambda what, fraction: report(what, 0.5 + 0.3 * fraction),
        )
    flat = [text for group in texts for text in group]
    report("judging continuations", 0.8)
    generations = pl.DataFrame(
        {
            "benchmark": BENCHMARK,
            "prompt_id": np.repeat(prompts["prompt_id"].to_numpy(), settings.samples),
            "sample": np.tile(np.arange(settings.samples, dtype=np.int32), prompts.height),
            "prompt": np.repeat(prompts["prompt"].to_numpy(), settings.samples),
            "text": flat,
            "score": judge_texts(judge, flat),
        },
        schema=GENERATIONS_SCHEMA,
    )
    rows += toxicity_metrics(generations, prompts, bootstrap, judge_name)
    rows += diversity_metrics(flat)
    report("evaluated", 1.0)
    return Evaluation(metrics_frame(rows, seed), generations)


def _of_role(frame: pl.DataFrame, settings: EvaluationSettings, what: str) -> pl.DataFrame:
    found = frame.filter(pl.col("role").is_in(list(settings.roles)))
    if found.is_empty():
        raise DataError(
            f"no {what} have a role in {list(settings.roles)}; there are {sorted(set(frame['role'].to_list()))}"
        )
    return found


def _take(frame: pl.DataFrame, key: str, count: int, seed: int, within: str) -> pl.DataFrame:
    """At most `count` rows of each group, those whose ids hash lowest, in the order of their ids."""
    ordered = frame.with_columns(pl.Series("_u", _uniform(frame[key], seed))).sort("_u", key)
    return ordered.filter(pl.int_range(pl.len()).over(within) < count).drop("_u").sort(key)


def _uniform(ids: pl.Series, seed: int) -> np.ndarray:
    """Uniform numbers for ids that may be any text."""
    from hashlib import blake2b

    return unit_hash([blake2b(str(value).encode(), digest_size=16).hexdigest() for value in ids], seed)


def _sample_rows(frame: pl.DataFrame, count: int, seed: int) -> pl.DataFrame:
    """At most `count` rows, chosen by the hash of their two sentences."""
    keys = frame.select(pl.concat_str("sent_more", "sent_less", separator="\x1f").alias("key"))["key"]
    order = np.argsort(_uniform(keys, seed), kind="stable")[:count]
    return frame[np.sort(order)]
