"""Our way through the lm-evaluation-harness against figures that others published for the same model.

    python benchmarks/published_figures.py [--limit 300] [--out FILE]

SmolLM2-135M-Instruct out of its package answers the first items of three tasks, zero-shot. Beside each accuracy stands
what a model card on the Hugging Face hub gives for the same model, measured with the harness on all items
(lldois/SmolLM2-135M-Reasoning-SLERP-Champion, column "Baseline"). Two things differ: the package's weights have four
bits, and ARC's items are those of its validation split. About a quarter of an hour on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")

PUBLISHED = {"piqa": ("acc_norm", 0.6692), "arc_easy": ("acc", 0.5412), "arc_challenge": ("acc_norm", 0.2773)}


def main() -> None:
    """See the module's docstring."""
    from curation_pipeline.bootstrap import Bootstrap
    from curation_pipeline.config import cache_folder
    from curation_pipeline.datasets.harness_data import task_tables
    from curation_pipeline.evaluation.harness import run_harness
    from curation_pipeline.evaluation.harness_tasks import write_tasks
    from curation_pipeline.evaluation.settings import HarnessSettings
    from curation_pipeline.training.smollm2 import MODEL_ID, resolve_model

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--limit", type=int, default=300, help="first items of each task")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    cache, names = cache_folder(), tuple(PUBLISHED)
    found: dict[str, Any] = {"model": MODEL_ID, "limit": options.limit, "tasks": {}}
    with tempfile.TemporaryDirectory() as folder:
        write_tasks(Path(folder), task_tables(names, None, cache))
        settings = HarnessSettings(tasks=names, limit=options.limit, batch_size=16)
        model = Path(resolve_model(MODEL_ID, cache))
        metrics = run_harness(model, names, Path(folder), settings, 0, Bootstrap(0, 2_000, 0.95)).metrics
    for name, (metric, published) in PUBLISHED.items():
        row = metrics.filter(benchmark=f"harness/{name}", metric=metric).row(0, named=True)
        found["tasks"][name] = {
            "metric": metric, "items": row["n"], "value": row["value"], "low": row["ci_low"], "high": row["ci_high"],
            "published": published,
        }  # fmt: skip
        print(f"{name:14} {metric:8} {row['value']:.3f} ({row['ci_low']:.3f} to {row['ci_high']:.3f}), {published:.3f}")
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
