"""Benchmarks of the lm-evaluation-harness on an iteration's checkpoint."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from curation_pipeline.bootstrap import Bootstrap
from curation_pipeline.datasets.harness_data import task_tables
from curation_pipeline.errors import ConfigError
from curation_pipeline.evaluation.rows import metrics_frame
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.seeds import derive
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.gate import gate_and_parent
from curation_pipeline.stages.state import MAIN, chains, history

TABLE = "harness"
CODE_VERSION = "2"


def evaluate_with_harness(ctx: Context, chain: str, ordinal: int) -> Manifest:
    """Run the tasks that the profile names on an iteration's checkpoint.

    Nothing here drives the loop. On the folder of `write_harness_tasks` the harness's own command finds the same.

    Raises:
        ConfigError: the harness lacks a task, or its items cannot be had.
        LakeError: the checkpoint has not been trained.
    """
    _, gate, _ = gate_and_parent(ctx.lake, chain, ordinal)
    checkpoint = ctx.lake.require("checkpoints", gate.partition)
    evaluation = ctx.profile.evaluation
    settings = evaluation.harness
    seed = derive(ctx.profile.seed, "harness")
    parameters = {
        "harness": settings.model_dump(mode="json"),
        "resamples": evaluation.resamples,
        "confidence": evaluation.confidence,
    }
    recipe = Recipe(TABLE, gate.partition, (checkpoint.id,), parameters, ctx.profile.seed, CODE_VERSION)

    def make(draft: Draft) -> None:
        if not settings.tasks:
            draft.frame(metrics_frame([], seed))
            draft.summary.update(tasks=0, checkpoint=checkpoint.id)
            return
        from curation_pipeline.evaluation.harness import run_harness

        bootstrap = Bootstrap(seed, evaluation.resamples, evaluation.confidence)
        with TemporaryDirectory(prefix="harness-") as folder:
            shots = write_harness_tasks(ctx, Path(folder))
            ctx.progress("the evaluation harness", 0.1)
            found = run_harness(ctx.lake.folder(checkpoint), settings.tasks, Path(folder), settings, seed, bootstrap)
        draft.frame(found.metrics)
        draft.frame(found.items, "items")
        draft.json(found.not_applicable, "not_applicable")
        headline = found.metrics.filter(pl.col("metric").is_in(["acc", "pct_stereotype", "exact_match/strict-match"]))
        draft.summary.update(
            tasks=len(settings.tasks) - len(found.not_applicable),
            not_applicable=sorted(found.not_applicable),
            examples_in_the_prompt=shots,
            from_the_hub=sorted(set(settings.tasks) - set(shots)),
            checkpoint=checkpoint.id,
            **{row["benchmark"].removeprefix("harness/"): round(row["value"], 4) for row in headline.to_dicts()},
        )

    return ctx.lake.build(recipe, make)


def write_harness_tasks(ctx: Context, folder: Path) -> dict[str, int]:
    """Write the profile's tasks and their items as task files of the harness.

    Returns:
        Task to examples in its prompt, for the tasks whose items are at hand without a hub.

    Raises:
        ConfigError: the profile names no task, or one that the harness does not have.
    """
    from curation_pipeline.evaluation.harness_tasks import write_tasks

    settings = ctx.profile.evaluation.harness
    if not settings.tasks:
        raise ConfigError(
            f'evaluation.harness.tasks of the profile {ctx.profile.name} is empty; name tasks, such as ["hellaswag"]'
        )
    ctx.progress("items of the evaluation harness", 0.0)
    return write_tasks(folder, task_tables(settings.tasks, settings.data, ctx.cache))


def harness_command(ctx: Context, folder: Path) -> str:
    """The harness's own command that evaluates the last checkpoint on a folder of `write_harness_tasks`.

    Raises:
        LakeError: nothing has been trained.
    """
    settings = ctx.profile.evaluation.harness
    state = history(ctx.lake, MAIN)[-1] if MAIN in chains(ctx.lake) else None
    model = ctx.lake.get(state.checkpoint_id) if state is not None else ctx.lake.require("base_checkpoint")
    limit = "" if settings.limit is None else f" --limit {settings.limit}"
    checkpoint = ctx.lake.folder(model)
    return (
        f"lm_eval run --model hf --model_args pretrained={checkpoint},dtype=float32 --include_path {folder} "
        f"--tasks {','.join(settings.tasks)} --batch_size {settings.batch_size}{limit} --log_samples "
        f"--output_path {folder / 'results'}"
    )
