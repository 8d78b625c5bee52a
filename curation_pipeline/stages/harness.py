"""Benchmarks of the lm-evaluation-harness on an iteration's checkpoint."""

from __future__ import annotations

from pathlib import Path

from curation_pipeline.datasets.harness_data import task_tables
from curation_pipeline.errors import ConfigError
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.state import MAIN, chains, history


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
