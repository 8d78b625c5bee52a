"""The whole evaluation of one checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from curation_pipeline.bootstrap import Bootstrap
from curation_pipeline.evaluation.benchmark import GENERATIONS_SCHEMA, Run, Topics
from curation_pipeline.evaluation.benchmarks.toxicity_prompts import BENCHMARK as PROMPTS
from curation_pipeline.evaluation.items import ItemFrames, choose_items
from curation_pipeline.evaluation.judging import Judge
from curation_pipeline.evaluation.model import LanguageModel
from curation_pipeline.evaluation.registry import all_benchmarks
from curation_pipeline.evaluation.rows import Metric, items_frame, metrics_frame
from curation_pipeline.evaluation.settings import EvaluationSettings
from curation_pipeline.progress import Progress, silent
from curation_pipeline.training.runtime import torch_runtime


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Tables of one checkpoint.

    Attributes:
        metrics: every metric, in ``rows.METRICS_SCHEMA``.
        items: what each metric is the mean of, item by item: two evaluations of one seed are paired by it.
        generations: continuations of the prompts, with the judge's scores, in ``benchmark.GENERATIONS_SCHEMA``.
        attacks: what the model wrote for other benchmarks: continuations of prompts made for this iteration
            (``red_team``) and replies to requests (``replies``); empty where there were none.
    """

    metrics: pl.DataFrame
    items: pl.DataFrame
    generations: pl.DataFrame
    attacks: pl.DataFrame


def evaluate(
    checkpoint_dir: Path,
    items: ItemFrames,
    heldout: pl.DataFrame,
    judge: Judge,
    settings: EvaluationSettings,
    seed: int,
    progress: Progress | None = None,
    judge_name: str = "judge",
    window: int = 128,
    topics: Topics | None = None,
) -> Evaluation:
    """Evaluate a checkpoint on every benchmark.

    Which items are used, the sampled numbers and the resamples follow from `seed` and the items' ids alone, so that two
    checkpoints that are evaluated with one seed are paired item by item; the prompts of ``red_team`` alone are not.

    Args:
        checkpoint_dir: folder in transformers' format.
        items: all items by benchmark; those that have a role are cut to `settings.roles`. The prompts of ``red_team``
            are made from what the model before failed on, see ``red_team.next_prompts``.
        heldout: doc_id, source, domain, text, kind (``benign`` or ``toxic``): text that no pool holds.
        judge: scores the continuations, each alone without its prompt; it must not be one of the reward's detectors.
        settings: sizes and sampling.
        seed: of everything random here.
        progress: called as parts finish.
        judge_name: the judge's name and version, for the table.
        window: input tokens read at once: the training's sequence length.
        topics: finds the topic of a text; without it topic coverage is not measured.

    Raises:
        DataError: when a benchmark is empty for the wanted roles, or the judge gives no valid score.
        MissingModelError: when there is no checkpoint.
    """
    report = progress or silent
    bootstrap = Bootstrap(seed, settings.resamples, settings.confidence)
    chosen = choose_items(items, settings, seed)
    asked = [b for b in all_benchmarks() if b.items is None or chosen[b.name].height]
    rows: list[Metric] = []
    with torch_runtime(settings.threads):
        lm = LanguageModel.load(checkpoint_dir, window)
        run = Run(lm, chosen, heldout, judge, judge_name, settings, bootstrap, topics)
        for place, benchmark in enumerate(asked):
            start = place / len(asked)

            def tell(what: str, part: float, start: float = start) -> None:
                report(what, start + part / len(asked))

            run.progress = tell
            run.progress(benchmark.name.replace("_", " "), 0.0)
            rows += benchmark.measure(run)
    report("evaluated", 1.0)
    generations = run.written.pop(PROMPTS.name)
    attacks = pl.concat([pl.DataFrame(schema=GENERATIONS_SCHEMA), *run.written.values()])
    return Evaluation(metrics_frame(rows, seed), items_frame(rows), generations, attacks)
