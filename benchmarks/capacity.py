"""The figures of the capacity model, out of the results of other benchmarks.

    python benchmarks/capacity.py [--kept FOLDER] [--scale FILE]

Writes `curation_pipeline/capacity/figures.json`, which `curate plan` and docs/explanation/scaling.md read. Processor
seconds and memory by step come from `scale.json` (short documents of several corpus sizes) and `prepare.json`
(documents of 65 words); what a step takes is fitted as fixed + a document + b byte, none of them negative, by least
squares of relative errors. Fits come from `training_speed.json`, evaluations from `demo.json`, transformers that score
texts from `scoring.json`. With ``--kept``, the folder of `scale.py --keep`, the bytes that each step writes are read
from the lakes there, and kept in `capacity.json`. The speed of a GPU is assumed: there was none.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "curation_pipeline" / "capacity" / "figures.json"
COUNTED = ("base_checkpoint", "base_metrics", "probes", "checkpoint", "evaluation", "experiment_cell")
"""Fits and evaluations, which the model counts in operations."""
REMADE = ("duplicates",)
"""Steps of `prepare.json` that work otherwise now."""
UNREAD = ("iteration_gate", "selection_policy", "cold_start")
"""Steps that read manifests, or a sample of fixed size, whatever the corpus has."""
BATCH = "batch of "
RISEN = 1.5
"""A step of the whole project whose time rose by less, from the smallest corpus to the largest, does not grow."""
LINE_BYTES = 52
"""Of a line of `scale.py`'s corpus besides its text."""
SCORED_PARAMETERS = 22.7e6
"""Of the network that `scoring.py` times."""
GPU = 1.0e14
"""Assumed: a third of what a data-centre GPU of 2020 (NVIDIA A100) does in bfloat16 at most, 312e12 a second."""

Point = tuple[float, float, float]
"""Documents, bytes of text, and what was measured."""


def bytes_written(folder: Path) -> dict[str, Any]:
    """Bytes by table of the lakes that `scale.py` kept, by number of documents; and bytes of a token."""
    from curation_pipeline.lake.lake import Lake

    found: dict[str, dict[str, float]] = {}
    tokens = text = 0.0
    for state in sorted(folder.glob("*/state")):
        lake = Lake.open(state / "lake")
        written = found.setdefault(state.parent.name, {})
        for manifest in lake.manifests():
            written[manifest.table] = written.get(manifest.table, 0) + manifest.n_bytes
        for documents in lake.heads("documents"):
            text += lake.frame(documents, columns=["n_bytes"])["n_bytes"].sum()
        for counts in lake.heads("token_counts"):
            tokens += lake.frame(counts, columns=["n_tokens"])["n_tokens"].sum()
    return {"bytes_written": found, "bytes_per_token": round(text / tokens, 2), "scored_bytes": scored_bytes()}


def scored_bytes() -> float:
    """Mean bytes of the texts that `scoring.py` times."""
    from peers.scoring_documents import draw

    from curation_pipeline.config import cache_folder

    texts = draw(cache_folder(), "scoring", 2_000, 0)["text"]
    return round(float(texts.str.len_bytes().mean()), 1)  # type: ignore[arg-type]


def line(points: list[Point], words: tuple[str, ...] = ("fixed", "document", "byte")) -> list[float]:
    """The line through some points, by least squares of relative errors; no part of it is negative.

    One point alone is taken for what grows with the documents, where words say that anything does.
    """
    if len({documents for documents, _, _ in points}) == 1 and len(words) > 1:
        return [0.0, float(f"{points[0][2] / points[0][0]:.4g}")]
    rows = np.array([[1.0, documents, text][: len(words)] for documents, text, _ in points])
    values = np.array([max(value, 1e-9) for _, _, value in points])
    scale = np.abs(rows).max(axis=0)
    solved, _ = nnls(rows / scale / values[:, None], np.ones(len(points)))
    return [float(f"{value:.4g}") for value in solved / scale]


def main() -> None:
    """See the module's docstring."""
    from curation_pipeline.steps.registry import steps

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kept", type=Path, help="folder of `scale.py --keep`")
    parser.add_argument("--scale", type=Path, default=HERE / "scale.json", help="what `scale.py` wrote")
    options = parser.parse_args()
    own = HERE / "capacity.json"
    if options.kept is not None:
        own.write_text(json.dumps(bytes_written(options.kept), indent=1) + "\n")
    paths = (own, options.scale, *(HERE / f"{name}.json" for name in ("prepare", "demo", "training_speed", "scoring")))
    measured, scale, prepare, demo, training, scoring = (json.loads(path.read_text()) for path in paths)
    seconds: dict[str, list[Point]] = {}
    memory: dict[str, list[Point]] = {}
    for run in scale["runs"]:
        n, text = run["documents"], run["megabytes"] * 1e6 - LINE_BYTES * run["documents"]
        batches = [name for name in run["steps"] if name.startswith(BATCH)]
        slowest = max(batches, key=lambda name: run["steps"][name]["cpu_seconds"], default="")
        for name, found in run["steps"].items():
            if name in batches and name != slowest:
                continue
            name = "baseline_batch" if name == slowest else name
            seconds.setdefault(name, []).append((n, text, found["cpu_seconds"]))
            peak = max(found["peak_mib"], found["peak_mib_of_a_worker"]) * 2**20
            memory.setdefault(name, []).append((n, text, peak))
    spans = {name: (points[0][2], points[-1][2]) for name, points in seconds.items()}
    n, text = prepare["documents"], prepare["megabytes"] * 1e6
    for name in prepare["runs"][0]["cpu_seconds_by_step"]:
        if name in seconds and name not in REMADE:
            every = [run["cpu_seconds_by_step"][name] for run in prepare["runs"]]
            seconds[name].append((n, text, statistics.median(every)))
    stages, iterations = demo["work_seconds_by_stage"], 3
    tables: dict[str, Any] = {}
    for name, step in steps().items():
        if name in COUNTED or name not in seconds:
            continue
        each = step.partitioning.value
        written = [
            (float(documents), 0.0, float(by_table[step.table]))
            for documents, by_table in measured["bytes_written"].items()
            if step.table in by_table
        ]
        first, last = spans[name]
        fixed = name in UNREAD or (each == "whole" and last < RISEN * first)
        known = memory[name]
        tables[name] = {
            "table": step.table,
            "each": each,
            "cpu_seconds": [max(first, last)] if fixed else line(seconds[name]),
            "peak_bytes": line(known, ("fixed", "document")) if len(known) > 1 else [known[0][2]],
            "bytes_written": line(written, ("fixed", "document")) if written else [0.0],
        }
    fixed_bytes, of_a_document = tables["documents"]["bytes_written"]  # what they hold is text
    last_run = scale["runs"][-1]
    mean = last_run["megabytes"] * 1e6 / last_run["documents"] - LINE_BYTES
    tables["documents"]["bytes_written"] = [fixed_bytes, 0.0, float(f"{of_a_document / mean:.4g}")]
    tables["baseline_batch"] = {
        **tables["curated_batch"],
        "each": "arm",
        "cpu_seconds": line(seconds["baseline_batch"]),
        "peak_bytes": [max(point[2] for point in memory["baseline_batch"])],
    }
    # The demo trains its policy at its full size, and refines its reward; `scale.py` does neither.
    tables["selection_policy"]["cpu_seconds"] = [round(stages["policies (loop)"] / iterations, 2)]
    refined = sum(stages[name] for name in ("heldout_likelihoods", "divergences (loop)", "audits (loop)")) / iterations
    tables["reward_model"] = {
        "table": "reward_models",
        "each": "iteration",
        "cpu_seconds": [round(refined, 2)],
        "peak_bytes": [2.0**30],
        "bytes_written": [0.0],
    }
    network = scoring["documents_per_cpu_second"]["detoxify"]["median"] * 2 * SCORED_PARAMETERS
    figures = {
        "measured": {
            "steps": f"benchmarks/{options.scale.name}: "
            + ", ".join(f"{run['documents']:,} documents" for run in scale["runs"])
            + f"; benchmarks/prepare.json: {n:,} documents",
            "machine": scale["machine"],
            "assumed": "operations_per_gpu_second",
        },
        "bytes_per_token": measured["bytes_per_token"],
        "operations_per_cpu_second": training["fp32"]["this project"]["gflop_a_second"] * 1e9,
        "operations_per_gpu_second": GPU,
        "detector_operations_per_cpu_second": round(network * measured["scored_bytes"] / measured["bytes_per_token"]),
        "evaluation_cpu_seconds": round(stages["metrics (loop)"] / iterations, 2),
        "evaluation_parameters": training["fp32"]["operations_a_token"] / 6,
        "evaluation_samples": 8,
        "steps": tables,
    }
    OUT.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"{OUT}: {len(tables)} steps")


if __name__ == "__main__":
    main()
