"""The whole evaluation of one checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from curation_pipeline.bootstrap import Bootstrap
from curation_pipeline.datasets.benchmarks import BenchmarkData
from curation_pipeline.datasets.safety_prompts import HARMLESS
from curation_pipeline.errors import DataError
from curation_pipeline.evaluation import attacks, red_team
from curation_pipeline.evaluation.bias import bias_metrics
from curation_pipeline.evaluation.challenges import challenge_metrics
from curation_pipeline.evaluation.choices import choice_metrics
from curation_pipeline.evaluation.diversity import Topics, coverage_metrics, diversity_metrics
from curation_pipeline.evaluation.generation import generate
from curation_pipeline.evaluation.group_likelihood import heldout_group_metrics, sentence_metrics
from curation_pipeline.evaluation.model import LanguageModel
from curation_pipeline.evaluation.perplexity import heldout_metrics, heldout_scores
from curation_pipeline.evaluation.preferences import preference_metrics
from curation_pipeline.evaluation.question_bias import bbq_metrics
from curation_pipeline.evaluation.refusal import refusal_metrics
from curation_pipeline.evaluation.rows import Metric, items_frame, metrics_frame
from curation_pipeline.evaluation.settings import EvaluationSettings
from curation_pipeline.evaluation.stereoset import stereoset_metrics
from curation_pipeline.evaluation.toxicity import BENCHMARK, Judge, bold_metrics, judge_texts, toxicity_metrics
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
    """Tables of one checkpoint, in the schemas of `rows` and of this module.

    Attributes:
        metrics: every metric.
        items: what each metric is the mean of, item by item: two evaluations of one seed are paired by it.
        generations: continuations of the benchmarks' prompts, with the judge's scores.
        attacks: continuations of prompts made for this iteration (``red_team``), with the judge's scores, and replies
            to requests (``replies``), with those of the judge of replies; empty where there were none.
    """

    metrics: pl.DataFrame
    items: pl.DataFrame
    generations: pl.DataFrame
    attacks: pl.DataFrame


@dataclass(frozen=True, slots=True)
class ReplyJudging:
    """Who judges written replies to harmful requests, and its name for the table."""

    judge: attacks.ReplyJudge = attacks.judge_by_refusal
    name: str = attacks.PHRASES


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
    adversarial: pl.DataFrame | None = None,
    topics: Topics | None = None,
    replies: ReplyJudging | None = None,
) -> Evaluation:
    """Evaluate a checkpoint on safety, bias, alignment, capability and diversity.

    Which items are used, the sampled numbers and the resamples follow from `seed` and the items' ids alone, so that two
    checkpoints that are evaluated with one seed are paired item by item; the prompts of `adversarial` alone are not.

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
        adversarial: prompts made from what the model before failed on, see ``red_team.next_prompts``.
        topics: finds the topic of a text; without it topic coverage is not measured.
        replies: who judges what larger models reply to harmful requests; phrases of refusal where None.

    Raises:
        DataError: when a benchmark is empty for the wanted roles, or the judge gives no valid score.
        MissingModelError: when there is no checkpoint.
    """
    report = progress or silent
    bootstrap = Bootstrap(seed, settings.resamples, settings.confidence)
    prompts = take(_of_role(benchmarks.prompts, settings, "prompts"), "prompt_id", settings.n_prompts, seed, "kind")
    requests = _requests(benchmarks.requests, settings, seed)
    with torch_runtime(settings.threads):
        lm = LanguageModel.load(checkpoint_dir, window)
        rows = _by_likelihood(lm, benchmarks, requests, heldout, settings, bootstrap, report)
        generations = _sampled(
            lm, prompts, BENCHMARK, judge, settings, seed, lambda what, part: report(what, 0.6 + 0.25 * part)
        )
        rows += toxicity_metrics(generations, prompts, bootstrap, judge_name)
        rows += bold_metrics(generations, prompts, bootstrap, judge_name)
        by_prompt = generations.group_by("prompt_id", maintain_order=True).agg("text")["text"].to_list()
        rows += diversity_metrics(by_prompt, bootstrap)
        if topics is not None:
            benign = heldout.filter(pl.col("kind") == "benign")["text"].to_list()
            rows += coverage_metrics(topics(generations["text"].to_list()), topics(benign), bootstrap)
        attacked = [pl.DataFrame(schema=GENERATIONS_SCHEMA)]
        if adversarial is not None and adversarial.height:
            report("prompts of the red team", 0.85)
            found = _sampled(lm, adversarial, red_team.BENCHMARK, judge, settings, seed, silent)
            rows += red_team.red_team_metrics(found, adversarial, bootstrap, judge_name)
            attacked.append(found)
        if requests.height and _parameters(lm) >= settings.least_parameters_to_reply:
            report("replies to requests", 0.9)
            written, found_rows = _replies(lm, requests, replies or ReplyJudging(), settings, seed, bootstrap)
            attacked.append(written)
            rows += found_rows
    report("evaluated", 1.0)
    return Evaluation(metrics_frame(rows, seed), items_frame(rows), generations, pl.concat(attacked))


def _by_likelihood(
    lm: LanguageModel,
    benchmarks: BenchmarkData,
    requests: pl.DataFrame,
    heldout: pl.DataFrame,
    settings: EvaluationSettings,
    bootstrap: Bootstrap,
    report: Progress,
) -> list[Metric]:
    """Everything that asks for likelihoods alone."""
    seed, size = bootstrap.seed, settings.batch_tokens
    pairs = _of_role(benchmarks.preferences, settings, "preferences")
    pairs = take(pairs, "pair_id", settings.n_preferences, seed, "source")
    choices = take(benchmarks.choices, "item_id", settings.n_choices, seed, "benchmark")
    questions = take(benchmarks.questions, "item_id", settings.n_bbq, seed, "condition")
    triples = take(benchmarks.triples, "item_id", settings.n_stereoset, seed, "bias_type")
    report("held-out text", 0.0)
    scores = heldout_scores(lm, heldout, settings.max_heldout_chars, size)
    rows = heldout_metrics(scores, bootstrap)
    rows += heldout_group_metrics(heldout, scores, bootstrap)
    rows += sentence_metrics(lm, bootstrap, size)
    report("bias pairs", 0.15)
    rows += bias_metrics(lm, sample_rows(benchmarks.bias_pairs, settings.n_bias_pairs, seed), bootstrap, size)
    parts: tuple[tuple[str, float, int, Callable[[], list[Metric]]], ...] = (
        ("questions about groups", 0.2, questions.height, lambda: bbq_metrics(lm, questions, bootstrap, size)),
        ("stereotypes", 0.3, triples.height, lambda: stereoset_metrics(lm, triples, bootstrap, size)),
        ("preferences", 0.35, pairs.height, lambda: preference_metrics(lm, pairs, bootstrap, size)),
        ("multiple choice", 0.4, choices.height, lambda: choice_metrics(lm, choices, bootstrap, size)),
        ("requests", 0.5, requests.height, lambda: refusal_metrics(lm, requests, bootstrap, size)),
        (
            "challenges",
            0.55,
            settings.n_challenges,
            lambda: challenge_metrics(lm, settings.n_challenges, seed, bootstrap, size),
        ),
    )
    for what, done, items, measure in parts:
        if items:
            report(what, done)
            rows += measure()
    return rows


def _sampled(
    lm: LanguageModel,
    prompts: pl.DataFrame,
    benchmark: str,
    judge: Judge,
    settings: EvaluationSettings,
    seed: int,
    report: Progress,
) -> pl.DataFrame:
    """Sampled continuations with the judge's scores, in `GENERATIONS_SCHEMA`."""
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
        report,
    )
    flat = [text for group in texts for text in group]
    report("judging continuations", 1.0)
    return pl.DataFrame(
        {
            "benchmark": benchmark,
            "prompt_id": np.repeat(prompts["prompt_id"].to_numpy(), settings.samples),
            "sample": np.tile(np.arange(settings.samples, dtype=np.int32), prompts.height),
            "prompt": np.repeat(prompts["prompt"].to_numpy(), settings.samples),
            "text": flat,
            "score": judge_texts(judge, flat),
        },
        schema=GENERATIONS_SCHEMA,
    )


def _replies(
    lm: LanguageModel,
    requests: pl.DataFrame,
    judging: ReplyJudging,
    settings: EvaluationSettings,
    seed: int,
    bootstrap: Bootstrap,
) -> tuple[pl.DataFrame, list[Metric]]:
    written = attacks.write_replies(lm, requests, settings.reply_tokens, settings.batch_sequences, seed)
    scores = attacks.judge_replies(judging.judge, requests["prompt"].to_list(), written)
    frame = requests.select(
        pl.lit(attacks.BENCHMARK).alias("benchmark"),
        pl.col("item_id").alias("prompt_id"),
        pl.lit(0, dtype=pl.Int32).alias("sample"),
        "prompt",
        pl.Series("text", written, dtype=pl.Utf8),
        pl.Series("score", scores),
    )
    return frame, attacks.reply_metrics(requests, written, scores, bootstrap, judging.name)


def _parameters(lm: LanguageModel) -> int:
    return sum(int(parameter.numel()) for parameter in lm.model.parameters())


def _of_role(frame: pl.DataFrame, settings: EvaluationSettings, what: str) -> pl.DataFrame:
    found = frame.filter(pl.col("role").is_in(list(settings.roles)))
    if found.is_empty():
        raise DataError(
            f"no {what} have a role in {list(settings.roles)}; there are {sorted(set(frame['role'].to_list()))}"
        )
    return found


def _requests(frame: pl.DataFrame, settings: EvaluationSettings, seed: int) -> pl.DataFrame:
    """The requests of the wanted roles, and all harmless ones, against which they are measured."""
    harmless = pl.col("kind") == HARMLESS
    wanted = frame.filter(pl.col("role").is_in(list(settings.roles)) & ~harmless)
    wanted = wanted.with_columns(pl.concat_str("benchmark", "kind", separator="/").alias("_set"))
    wanted = take(wanted, "item_id", settings.n_requests, seed, "_set").drop("_set")
    return pl.concat([wanted, frame.filter(harmless)]) if wanted.height else wanted


def take(frame: pl.DataFrame, key: str, count: int, seed: int, within: str) -> pl.DataFrame:
    """At most `count` rows of each group, those whose ids hash lowest, in the order of their ids."""
    ordered = frame.with_columns(pl.Series("_u", _uniform(frame[key], seed))).sort("_u", key)
    return ordered.filter(pl.int_range(pl.len()).over(within) < count).drop("_u").sort(key)


def _uniform(ids: pl.Series, seed: int) -> np.ndarray:
    """Uniform numbers for ids that may be any text."""
    from hashlib import blake2b

    return unit_hash([blake2b(str(value).encode(), digest_size=16).hexdigest() for value in ids], seed)


def sample_rows(frame: pl.DataFrame, count: int, seed: int) -> pl.DataFrame:
    """At most `count` rows, chosen by the hash of their two sentences."""
    keys = frame.select(pl.concat_str("sent_more", "sent_less", separator="\x1f").alias("key"))["key"]
    order = np.argsort(_uniform(keys, seed), kind="stable")[:count]
    return frame[np.sort(order)]
