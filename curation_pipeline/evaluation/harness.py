"""Benchmarks of the lm-evaluation-harness (Gao et al., 2024), run by the harness itself.

What is here is only the way in and out: local items go in as task files, and what the harness found of every item comes
out as rows of the metrics table. Its own command on the same checkpoint and folder gives the same numbers:

    lm_eval run --model hf --model_args pretrained=CHECKPOINT,dtype=float32 --include_path FOLDER --tasks NAMES
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.bootstrap import Bootstrap, Interval
from curation_pipeline.errors import ConfigError, DataError
from curation_pipeline.evaluation.rows import Axis, Metric, metrics_frame
from curation_pipeline.evaluation.settings import HarnessSettings
from curation_pipeline.extras import extra
from curation_pipeline.training.runtime import load_model, no_progress_bars, resolve_device, torch_runtime
from curation_pipeline.training.tokenizer import load_tokenizer

ITEMS_SCHEMA: dict[str, pl.DataType] = {
    "task": pl.Utf8(),
    "item": pl.Int64(),
    "item_hash": pl.Utf8(),
    "filter": pl.Utf8(),
    "metric": pl.Utf8(),
    "value": pl.Float64(),
    "n_choices": pl.Int32(),
    "tied": pl.Boolean(),
    "response": pl.Utf8(),
    "written": pl.Utf8(),
}
"""One row for each task, item, filter and metric; `value` is null for metrics that are no number of one item.

`response` is what the filter left of the answer, as JSON; `written` the whole text before it, null for likelihoods.
"""

_AXES: dict[str, Axis] = {"crows_pairs": "bias", "bbq": "bias", "winogender": "bias", "toxigen": "safety"}


@dataclass(frozen=True, slots=True, eq=False)
class HarnessResult:
    """What the harness found.

    Attributes:
        metrics: the metrics table.
        items: see ``ITEMS_SCHEMA``.
        not_applicable: task -> why it was not run.
    """

    metrics: pl.DataFrame
    items: pl.DataFrame
    not_applicable: dict[str, str]


def run_harness(
    checkpoint: Path, names: tuple[str, ...], folder: Path, settings: HarnessSettings, seed: int, bootstrap: Bootstrap
) -> HarnessResult:
    """Evaluate a checkpoint on tasks of the harness.

    Args:
        checkpoint: folder in transformers' format.
        names: of the tasks.
        folder: of ``write_tasks``; a task that is not in it is the harness's own and needs a hub.
        settings: how much of each task.
        seed: written to the rows.
        bootstrap: how intervals are made.

    Raises:
        ConfigError: the harness has no such task, or cannot load its items.
        DataError: it gave no result for a task.
    """
    with extra("harness", "evaluation.harness"):
        import lm_eval
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager

    local = {path.stem for path in folder.glob("*.yaml")}
    # The harness's own index takes a quarter of a minute to build: only where a task needs it.
    manager = TaskManager(include_path=str(folder), include_defaults=not local.issuperset(names))
    with torch_runtime(settings.threads), no_progress_bars():
        try:
            tasks = manager.load(list(names))["tasks"]
        except (KeyError, ValueError, OSError, ConnectionError) as error:
            raise ConfigError(
                f"evaluation.harness.tasks: cannot load {', '.join(names)} ({error}); put the items into the folder "
                "evaluation.harness.data, or give this machine a hub"
            ) from error
        # The harness would load a folder its own way: it is given what has been loaded here.
        model = HFLM(
            pretrained=load_model(checkpoint, resolve_device("auto")), tokenizer=load_tokenizer(checkpoint),
            batch_size=settings.batch_size,
        )  # fmt: skip
        size = sum(parameter.numel() for parameter in model.model.parameters())
        refused = _not_applicable(tasks, size, settings)
        run = [name for name in tasks if name not in refused]
        found = lm_eval.simple_evaluate(
            model, tasks=run, task_manager=manager, limit=settings.limit, log_samples=True, bootstrap_iters=0,
            random_seed=seed % 2**32, numpy_random_seed=seed % 2**32, torch_random_seed=seed % 2**32,
            fewshot_random_seed=seed % 2**32,
        ) if run else {"results": {}, "samples": {}, "higher_is_better": {}}  # fmt: skip
    if found is None or set(found["results"]) < set(run):
        raise DataError(f"the harness gave no result for {', '.join(sorted(set(run) - set((found or {})['results'])))}")
    rows: list[Metric] = []
    items: list[dict[str, Any]] = []
    for name in run:
        better = found["higher_is_better"][name]
        mine = [row for sample in found["samples"][name] for row in _item_rows(name, sample, set(better))]
        rows += _metric_rows(name, found["results"][name], better, pl.DataFrame(mine, schema=ITEMS_SCHEMA), bootstrap)
        items += mine
    return HarnessResult(metrics_frame(rows, seed), pl.DataFrame(items, schema=ITEMS_SCHEMA), refused)


def _not_applicable(tasks: dict[str, Any], parameters: int, settings: HarnessSettings) -> dict[str, str]:
    """Tasks that ask for free text of a model too small to write it."""
    if parameters >= settings.least_parameters_to_write:
        return {}
    return {
        name: f"asks for free text; the model has {parameters:,} parameters, fewer than "
        f"{settings.least_parameters_to_write:,} (evaluation.harness.least_parameters_to_write)"
        for name, task in tasks.items()
        if task.config.output_type == "generate_until"
    }


def _item_rows(task: str, sample: dict[str, Any], metrics: set[str]) -> list[dict[str, Any]]:
    responses = sample["filtered_resps"]
    scores = [response[0] for response in responses if isinstance(response, list | tuple)]
    texts = [text for answers in sample["resps"] for text in answers if isinstance(text, str)]
    return [
        {
            "task": task,
            "item": sample["doc_id"],
            "item_hash": sample["doc_hash"],
            "filter": sample["filter"],
            "metric": metric,
            "value": float(value) if isinstance(value, int | float | bool | np.number) else None,
            "n_choices": len(scores) or None,
            "tied": len(scores) > 1 and scores.count(max(scores)) > 1,
            "response": json.dumps(responses, default=str),
            "written": texts[0] if texts else None,
        }
        for metric, value in sample.items()
        if metric in metrics
    ]


def _metric_rows(
    task: str, results: dict[str, Any], better: dict[str, bool], items: pl.DataFrame, bootstrap: Bootstrap
) -> list[Metric]:
    """The harness's own values, each with our interval where it is a mean over items."""
    benchmark = f"harness/{task}"
    axis: Axis = next((axis for prefix, axis in _AXES.items() if task.startswith(prefix)), "capability")
    rows = []
    for key, value in results.items():
        metric, _, chain = key.partition(",")
        if metric not in better or not isinstance(value, int | float):
            continue
        mine = items.filter((pl.col("metric") == metric) & (pl.col("filter") == chain))
        values = mine["value"].to_numpy()
        name = metric if chain == "none" else f"{metric}/{chain}"
        found = Interval(float(value), math.nan, math.nan, mine.height)
        if mine.height and np.isfinite(values).all() and abs(float(values.mean()) - value) < 1e-9:
            found = bootstrap.mean(values, benchmark, name)
        rows.append(Metric(benchmark, name, found, axis, bool(better[metric])))
    choices = items.filter(pl.col("n_choices") > 1).unique("item", keep="first", maintain_order=True)
    if choices.height and "acc" in better:
        # A tie goes to the first option, which in minimal pairs is the right one: its rate must be known.
        for name, share in (("chance", 1.0 / choices["n_choices"]), ("tie_rate", choices["tied"])):
            plain = Interval(float(share.to_numpy().mean()), math.nan, math.nan, choices.height)
            rows.append(Metric(benchmark, name, plain, axis, name == "chance"))
    return rows
