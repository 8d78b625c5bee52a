"""Deciding at scale: documents and logits a second, memory against the size of the pool, calibration of inclusion.

    python benchmarks/policy_scale.py [--quick] [--out FILE]

A policy is trained on a synthetic pool, and pools of growing size are made by tiling another one with fresh ids into a
Parquet file of a temporary folder. Each run is a process of its own that reads the file, surveys it, decides every
document, draws the batch and writes both tables; it reports its CPU seconds (workers included), wall seconds and peak
resident memory. The file is in the page cache when a run starts. Logits: a second of one process, in memory, with
features (from the pool's arrays to log-odds) and without (the network alone). Calibration: realised against predicted
inclusion by tenths of p, over many seeds of the draw. `--quick` ends at 200,000 documents.
"""

# ruff: noqa: E402 -- numpy and Polars read the number of threads when they are imported
from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
import polars as pl

from curation_pipeline.engine.settings import EngineSettings
from curation_pipeline.lake.keyed import ROW_GROUP, shards_of
from curation_pipeline.lake.lake import Draft
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool_statistics import composition_of
from curation_pipeline.policy.scoring import frozen_on, load_policy, policy_rule, score_pool, state_observations
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.policy.stream_sample import SAMPLE, key_columns, sample_rows
from curation_pipeline.selection.draw import BATCH, DECISIONS, draw
from curation_pipeline.selection.stream import decide_pool
from curation_pipeline.selection.stream_tables import COLUMNS, DrawTables
from research.synthetic_pool import SyntheticPool, synthetic_pool

UNSEEN, TRAINED = 9_000, 100
BASE = 20_000
SIZES, QUICK = (100_000, 1_000_000, 10_000_000), (50_000, 200_000)
REPEATS = 3
DRAWS = 400


def objective(budget_tokens: int) -> Objective:
    """The objective of the policy's tests."""
    return Objective(0.4, 0.1, 0.5, 0.0, None, budget_tokens)


def train(folder: Path) -> None:
    """A short training on a pool that no run scores."""
    from curation_pipeline.policy.ppo import train_policy

    pool = synthetic_pool(TRAINED, BASE)
    settings = PolicySettings(cold_start_candidates=81_920)
    train_policy(pool.pool, objective(pool.budget_tokens), settings, 0, None, folder)


def tile(made: SyntheticPool, n: int, path: Path) -> None:
    """A pool of n documents in a Parquet file, sorted by doc_id as the lake's are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(n)
    tiles = -(-n // BASE)
    writer = None
    left = pl.DataFrame()
    for number in range(tiles):
        head = np.sort(((number + rng.random(BASE)) / tiles * 2**32).astype(np.uint64))
        ids = [
            f"{first:08x}{rest.hex()}" for first, rest in zip(head.tolist(), _chunks(rng.bytes(12 * BASE)), strict=True)
        ]
        frame = made.frame.with_columns(pl.Series("doc_id", sorted(ids))).head(n - number * BASE)
        left = pl.concat([left, frame]) if left.height else frame
        while left.height >= ROW_GROUP or (number == tiles - 1 and left.height):
            table = left.head(ROW_GROUP).to_arrow(compat_level=pl.CompatLevel.oldest())
            # As the lake writes a pool: no dictionaries of numbers.
            texts = [field.name for field in table.schema if field.type == pa.large_string()]
            writer = writer or pq.ParquetWriter(path, table.schema, compression="lz4", use_dictionary=texts)
            writer.write_table(table)
            left = left.slice(ROW_GROUP)
    assert writer is not None
    writer.close()


def _chunks(raw: bytes) -> list[bytes]:
    return [raw[start : start + 12] for start in range(0, len(raw), 12)]


def decide(policy: Path, path: Path, workers: int) -> dict[str, float]:
    """One run in this process: from the file to both tables."""
    tokens = int(pl.scan_parquet(path).select(pl.col("n_tokens").cast(pl.Int64).sum()).collect().item())
    documents = int(pl.scan_parquet(path).select(pl.len()).collect().item())
    budget = tokens // 5
    started, cpu = time.perf_counter(), _cpu()
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        rule = policy_rule(load_policy(policy))
        decided = decide_pool(
            shards_of([path]), rule, objective(budget), 1, Path(folder), EngineSettings(workers=workers)
        )
        decided_at = time.perf_counter()
        draft = Draft(Path(folder), Path(folder))
        with draft.keyed_writer(DECISIONS, "decisions") as decisions, draft.keyed_writer(BATCH) as batch:
            tables = DrawTables(decisions, batch)
            tables.extend(decided.parts(COLUMNS))
        summary = tables.summary(budget)
        ended = time.perf_counter()
    kilobytes = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "documents": documents,
        "workers": workers,
        "wall_seconds": ended - started,
        "writing_seconds": ended - decided_at,
        "cpu_seconds": _cpu() - cpu,
        "documents_per_second": documents / (ended - started),
        "documents_per_cpu_second": documents / (_cpu() - cpu),
        "peak_mb": kilobytes[0] / 1e3,
        "peak_mb_of_a_worker": kilobytes[1] / 1e3 if workers > 1 else 0.0,
        "budget_use": float(str(summary["budget_use"])),
    }


def _cpu() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def runs(policy: Path, folder: Path, quick: bool) -> list[dict[str, float]]:
    """Every size with one and two workers, each run in a process of its own."""
    made = synthetic_pool(UNSEEN, BASE)
    found: list[dict[str, float]] = []
    for n in QUICK if quick else SIZES:
        path = folder / f"pool-{n}.parquet"
        tile(made, n, path)
        for workers in (1, 2):
            for _ in range(1 if quick or n > 1_000_000 else REPEATS):
                command = [sys.executable, __file__, "--child", str(policy), str(path), str(workers)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found.append(json.loads(done.stdout.splitlines()[-1]))
                print({name: round(value, 3) for name, value in found[-1].items()}, flush=True)
        path.unlink()
    return found


def logits(policy_folder: Path) -> dict[str, float]:
    """Documents a CPU second of one process: the network alone, and from the pool's arrays to log-odds."""
    made = synthetic_pool(UNSEEN + 1, BASE)
    policy, goal = load_policy(policy_folder), objective(made.budget_tokens)
    observations = state_observations(frozen_on(policy_rule(policy), made.pool, goal))
    composition = composition_of(made.pool)
    rows, times = sample_rows(key_columns(made.pool), composition)
    frozen = policy_rule(policy).freeze(made.pool.take(rows), times, composition, goal)

    def rate(function: Any, argument: Any) -> float:
        best = 0.0
        for _ in range(5):
            started = time.process_time()
            for _ in range(5):
                function(argument)
            best = max(best, 5 * BASE / (time.process_time() - started))
        return best

    return {"network_alone": rate(policy.logits, observations), "with_features": rate(frozen.keep, made.pool)}


def calibration(policy_folder: Path, draws: int) -> dict[str, Any]:
    """Realised against predicted inclusion by tenths of the documents in order of p, on three pools."""
    errors, worst = [], []
    for k in range(3):
        made = synthetic_pool(UNSEEN + 2 + k, 5_000)
        pool, budget = made.pool, made.budget_tokens
        scores = score_pool(load_policy(policy_folder), pool, objective(budget), budget)
        drawn = np.zeros(len(pool))
        for seed in range(draws):
            drawn += draw(pool.doc_id, scores.probability, scores.weight, pool.n_tokens, budget, seed).drawn
        bins = np.array_split(np.argsort(scores.probability), 10)
        gaps = [abs(float((drawn / draws)[rows].mean() - scores.probability[rows].mean())) for rows in bins]
        errors.append(float(np.mean(gaps)))
        worst.append(max(gaps))
    return {"draws": draws, "mean_error_by_pool": errors, "worst_bin_by_pool": worst}


def plot(found: dict[str, Any], path: Path) -> None:
    """Cost and memory against size."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.5))
    for workers in (1, 2):
        some = pl.DataFrame(found["runs"]).filter(pl.col("workers") == workers)
        by = some.group_by("documents").agg(
            pl.col("cpu_seconds", "wall_seconds", "peak_mb", "peak_mb_of_a_worker").median()
        )
        by = by.sort("documents")
        axes[0].plot(by["documents"], by["wall_seconds"], "o-", label=f"wall, {workers} worker{'s' * (workers > 1)}")
        axes[0].plot(by["documents"], by["cpu_seconds"], "x--", label=f"CPU, {workers} worker{'s' * (workers > 1)}")
        axes[1].plot(by["documents"], by["peak_mb"], "o-", label=f"{workers} worker{'s' * (workers > 1)}")
        if workers > 1:
            axes[1].plot(by["documents"], by["peak_mb_of_a_worker"], "x--", label="largest worker of 2")
    for axis, what in zip(axes, ("seconds", "peak resident memory, MB"), strict=True):
        axis.set(xscale="log", xlabel="documents", ylabel=what)
        axis.legend(fontsize=7)
    axes[0].set_yscale("log")
    axes[1].set_ylim(bottom=0)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="up to 200,000 documents, one run each")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"), help="where the figures go")
    parser.add_argument("--child", nargs=3, metavar=("POLICY", "POOL", "WORKERS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        policy, pool, workers = options.child
        print(json.dumps(decide(Path(policy), Path(pool), int(workers))))
        return
    with tempfile.TemporaryDirectory() as name:
        policy = Path(name) / "policy"
        trainer = multiprocessing.get_context("spawn").Process(target=train, args=(policy,))
        trainer.start()  # apart from this process, whose children's memory is measured
        trainer.join()
        found: dict[str, Any] = {
            "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
            "sample": SAMPLE,
            "logits_per_cpu_second": logits(policy),
            "calibration": calibration(policy, 100 if options.quick else DRAWS),
            "runs": runs(policy, Path(name), options.quick),
        }
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    plot(found, options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
