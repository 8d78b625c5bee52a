"""Task files that make the evaluation harness read its tasks' items from local tables.

A file includes the harness's own definition of the task and changes nothing but where the items come from, so prompts,
choices, filters and metrics stay the harness's; the folder also serves the harness's own command.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from curation_pipeline.errors import ConfigError
from curation_pipeline.extras import extra

_SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")


def write_tasks(folder: Path, tables: Mapping[str, Mapping[str, pl.DataFrame]]) -> dict[str, int]:
    """Write ``<task>.yaml`` and its items for every task.

    Args:
        folder: made if absent; the harness's ``--include_path``.
        tables: task -> split -> items with the columns of the harness's own data set.

    Returns:
        Examples in the prompt of each task: none where the split that they would come from is not at hand.

    Raises:
        ConfigError: the harness has no such task, or none of its evaluation splits is at hand.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shots = {}
    for name, splits in tables.items():
        definition = definition_of(name)
        own = _load(definition)
        task: dict[str, Any] = {"include": str(definition), "task": name, "dataset_path": "parquet"}
        present = {key: own.get(key) for key in _SPLITS}
        task.update({key: None for key, split in present.items() if split is not None and split not in splits})
        if not {present["validation_split"], present["test_split"]} & set(splits):
            raise ConfigError(
                f"evaluation.harness.data: the task {name} is evaluated on {present['test_split'] or '-'} or "
                f"{present['validation_split'] or '-'}, but there is only {', '.join(sorted(splits))}"
            )
        source = present["fewshot_split"] or present["training_split"]
        shots[name] = int(own.get("num_fewshot") or 0) if source in splits else 0
        task["num_fewshot"] = shots[name]
        files = {split: folder / f"{name}.{split}.parquet" for split in splits}
        for split, table in splits.items():
            table.write_parquet(files[split])
        task["dataset_name"] = None
        task["dataset_kwargs"] = {"data_files": {split: str(path) for split, path in files.items()}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(task, sort_keys=False), encoding="utf-8")
    return shots


def definition_of(name: str) -> Path:
    """The harness's own file for a task.

    Its index would read every one of its ten thousand files; this looks for one line.

    Raises:
        ConfigError: there is none.
    """
    with extra("harness", "evaluation.harness"):
        import lm_eval

    root = Path(lm_eval.__file__).parent / "tasks"
    wanted = re.compile(rf"^[\"']?task[\"']?:\s*[\"']?{re.escape(name)}[\"']?\s*$", re.MULTILINE)
    likely = name.split("_", maxsplit=1)[0]
    for pattern in (f"{likely}*/**/*.yaml", "**/*.yaml"):
        for path in sorted(root.glob(pattern)):
            if wanted.search(path.read_text(encoding="utf-8")):
                return path
    raise ConfigError(
        f"evaluation.harness.tasks names {name!r}, which the evaluation harness does not have; "
        "`lm_eval ls tasks` lists what it has"
    )


def _load(path: Path) -> dict[str, Any]:
    from lm_eval.tasks._yaml_loader import load_yaml

    loaded: dict[str, Any] = load_yaml(path, resolve_func=False)
    return loaded
