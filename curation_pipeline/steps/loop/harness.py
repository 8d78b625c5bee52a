"""Benchmarks as everyone else runs them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from curation_pipeline.bootstrap import Bootstrap
from curation_pipeline.evaluation.rows import metrics_frame
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.seeds import derive
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.harness import write_harness_tasks
from curation_pipeline.steps.figures import metrics_table
from curation_pipeline.steps.loop.checkpoint import STEP as CHECKPOINT
from curation_pipeline.steps.step import Partitioning, Step, Work
from curation_pipeline.steps.view import View


def compute(work: Work, draft: Draft) -> None:
    """Benchmarks of the lm-evaluation-harness on the checkpoint, run by the harness itself.

    The profile names the tasks (`evaluation.harness.tasks`; none by default). They are for people: nothing of them
    drives the loop. On the folder of `write_harness_tasks` the harness's own command finds the same.

    Raises:
        ConfigError: the harness lacks a task, or its items cannot be had.
    """
    evaluation = work.profile.evaluation
    settings, seed = evaluation.harness, derive(work.profile.seed, "harness")
    if not settings.tasks:
        draft.frame(metrics_frame([], seed))
        draft.summary.update(tasks=0, checkpoint=work[CHECKPOINT].id)
        return
    from curation_pipeline.evaluation.harness import run_harness

    bootstrap = Bootstrap(seed, evaluation.resamples, evaluation.confidence)
    with TemporaryDirectory(prefix="harness-") as folder:
        shots = write_harness_tasks(work.ctx, Path(folder))
        work.ctx.progress("the evaluation harness", 0.1)
        found = run_harness(work.lake.folder(work[CHECKPOINT]), settings.tasks, Path(folder), settings, seed, bootstrap)
    draft.frame(found.metrics)
    draft.frame(found.items, "items")
    draft.json(found.not_applicable, "not_applicable")
    headline = found.metrics.filter(pl.col("metric").is_in(["acc", "pct_stereotype", "exact_match/strict-match"]))
    draft.summary.update(
        tasks=len(settings.tasks) - len(found.not_applicable),
        not_applicable=sorted(found.not_applicable),
        examples_in_the_prompt=shots,
        from_the_hub=sorted(set(settings.tasks) - set(shots)),
        checkpoint=work[CHECKPOINT].id,
        **{row["benchmark"].removeprefix("harness/"): round(row["value"], 4) for row in headline.to_dicts()},
    )


def view(ctx: Context, manifest: Manifest) -> View:
    """All metrics."""
    return View({"metrics": metrics_table(ctx.lake, manifest)})


def _parameters(work: Work) -> dict[str, Any]:
    evaluation = work.profile.evaluation
    return {
        "harness": evaluation.harness.model_dump(mode="json"),
        "resamples": evaluation.resamples,
        "confidence": evaluation.confidence,
    }


STEP = Step(
    module=__name__,
    table="harness",
    version="2",
    compute=compute,
    partitioning=Partitioning.ITERATION,
    inputs=(CHECKPOINT,),
    parameters=_parameters,
    kinds=frozenset({"huggingface"}),
    view=view,
)
