"""The closed loop on the synthetic pool: does feedback help, is it PPO or the loop, how far is the best batch?

    python benchmarks/closed_loop.py [--quick] [--drift] [--seeds 10] [--pools 3] [--workers 2] [--no-ppo]

Pools have seeds on which nothing was tuned; the settings of the loop and of one shot were chosen on pools 100 to 102.
All arms have one token budget and may weigh. The loop's reward is 0.3 R_s + 0.1 R_a + 0.6 R_d + 0.15 c, and without
feedback the same less c; one shot has its own weights, 0.4, 0.1, 0.5 and 0.06; the baselines have 0.4 and 0.1 for
safety and alignment, as in benchmarks/baselines.py. The truth of a batch (``research/synthetic_pool.py``) takes the
place of a trained and evaluated model.

- no feedback: the policy for that reward alone. One shot: 36 random mixtures of the whole pool and one ridge of their
  truth on strata (RegMix's way), then a policy. One shot, 84 local: as many evaluations as the loop has, around the
  policy without feedback, with traits, but no iteration. Loop: 36, then 4 times 12, around the current policy.
- The oracle knows the hidden harm and information of each document; the reader knows the form of the truth and the mean
  information of topics, but of a document only P(harm) (``research/oracle.py``).
- Drift (--drift): every night is another sample of a corpus that moves. Frozen is the policy of night 1, scored on
  later pools without training; "frozen credit" lets the closed form answer anew, but with the credit of night 1.

An iteration is rejected where its batch's P is below that of the parent's policy on the same pool.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.engine.mapping import map_tasks
from curation_pipeline.engine.settings import EngineSettings
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.selection.baselines import baseline
from curation_pipeline.selection.settings import BaselineSettings
from curation_pipeline.selection.weights import fractional
from research.closed_loop import (
    ClosedFormLearner,
    Iteration,
    PpoLearner,
    SimulationSettings,
    batch_truth,
    run_loop,
)
from research.oracle import oracle_weights, reader_weights
from research.synthetic_pool import SyntheticPool, synthetic_pool

UNSEEN = 9_010
"""Seed of the first unseen pool."""
ITERATIONS = 5
LOOPS = ("closed form, loop", "PPO, loop")
REFERENCES = ("oracle", "reader")
SETTINGS = SimulationSettings()
ONE_SHOT = replace(SETTINGS, alpha=0.4, beta=0.1, gamma=0.5, eta=0.06, traits=False, local=False)
"""One shot with weights of its own: with the loop's eta, which its far probes cannot carry, it is below no feedback."""
MANY = replace(SETTINGS, first=SETTINGS.first + (ITERATIONS - 1) * SETTINGS.later)


@dataclass(frozen=True, slots=True)
class Task:
    """One seed on one pool."""

    pool: int
    seed: int
    size: int
    drift: bool
    ppo: bool


def rows_of(arm: str, task: Task, values: tuple[float, float, float], iteration: int, **more: Any) -> dict[str, Any]:
    """One row of the results; values are (S, C, P)."""
    names = {"arm": arm, "pool": task.pool, "seed": task.seed, "iteration": iteration}
    return {**names, "S": values[0], "C": values[1], "P": values[2], **more}


def trend(arm: str, task: Task, loop: list[Iteration], seconds: float) -> list[dict[str, Any]]:
    """One row an iteration."""
    return [
        rows_of(
            arm, task, (done.safety, done.capability, done.performance), number,
            tried=done.tried, r2=done.r2, accepted=done.accepted, seconds=seconds,
        )
        for number, done in enumerate(loop)
    ]  # fmt: skip


def plain(arm: str, pool: SyntheticPool, seed: int) -> tuple[float, float, float]:
    """A baseline without feedback, with fractional weights."""
    settings = BaselineSettings(safety_weight=0.4, alignment_weight=0.1)
    scores = baseline(arm, settings).scores(pool.pool, pool.budget_tokens, seed)
    return batch_truth(pool, fractional(pool.pool, scores, settings), seed)


def static(task: Task) -> list[dict[str, Any]]:
    """All arms on one pool that stays as it is."""
    pool = synthetic_pool(UNSEEN + task.pool, task.size)
    rows = [
        rows_of(arm, task, plain(arm, pool, task.seed), 0)
        for arm in ("random", "threshold", "facility_location", "top_k_per_topic")
    ]
    if task.seed == 0:
        for name, best in zip(REFERENCES, (oracle_weights, reader_weights), strict=True):
            rows.append(rows_of(name, task, pool.truth(best(pool, pool.budget_tokens)), 0))
    with tempfile.TemporaryDirectory() as folder:
        for name in ("closed form", "PPO") if task.ppo else ("closed form",):

            def learner(part: str, policy: PolicySettings, name: str = name) -> ClosedFormLearner | PpoLearner:
                return PpoLearner(policy, Path(folder) / part) if name == "PPO" else ClosedFormLearner(policy)

            began = time.process_time()
            loop = run_loop([pool] * (ITERATIONS + 1), learner("loop", SETTINGS.policy), SETTINGS, task.seed)
            rows += trend(f"{name}, loop", task, loop, time.process_time() - began)
            none = loop[0]
            rows.append(rows_of(f"{name}, no feedback", task, (none.safety, none.capability, none.performance), 0))
            # The best response says what one shot is worth; PPO would say it again for a fifth of the whole time.
            shots = {} if name == "PPO" else {"one shot": ONE_SHOT, "one shot, 84 local": MANY}
            for arm, settings in shots.items():
                tried = run_loop([pool] * 2, learner(arm, settings.policy), settings, task.seed, none)[1]
                rows.append(rows_of(f"{name}, {arm}", task, tried.outcome, 0, r2=tried.r2))
    return rows


def drifting(task: Task) -> list[dict[str, Any]]:
    """All arms over nights on which the corpus moves."""
    pools = [
        synthetic_pool(UNSEEN + 100 * (task.pool + 1) + 10 * task.seed + night, task.size, night / ITERATIONS)
        for night in range(ITERATIONS + 1)
    ]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        learners: list[tuple[str, ClosedFormLearner | PpoLearner, str]] = [
            ("closed form", ClosedFormLearner(SETTINGS.policy), "closed form, frozen credit"),
            ("PPO", PpoLearner(SETTINGS.policy, Path(folder)), "PPO, frozen"),
        ]
        for name, learner, still in learners if task.ppo else learners[:1]:
            began = time.process_time()
            loop = run_loop(pools, learner, SETTINGS, task.seed)
            rows += trend(f"{name}, loop", task, loop, time.process_time() - began)
            for night, pool in enumerate(pools):
                for arm, done in ((still, loop[min(night, 1)]), (f"{name}, no feedback", loop[0])):
                    goal = replace(done.objective, budget_tokens=pool.budget_tokens)
                    scores = learner.scores(done.policy, pool.pool, goal, task.seed)
                    rows.append(rows_of(arm, task, batch_truth(pool, scores, task.seed), night))
        rows += [
            rows_of("top_k_per_topic", task, plain("top_k_per_topic", pool, task.seed), night)
            for night, pool in enumerate(pools)
        ]
    return rows


def run(task: Task) -> list[dict[str, Any]]:
    """The rows of one task."""
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    return drifting(task) if task.drift else static(task)


def last(rows: pl.DataFrame, drift: bool) -> pl.DataFrame:
    """One row for each arm, pool and seed: the last iteration, or with drift the mean of the nights from the second."""
    if drift:
        kept = rows.filter(pl.col("iteration") >= 2)
    else:
        kept = rows.filter(pl.col("iteration") == pl.col("iteration").max().over("arm"))
    return kept.group_by("arm", "pool", "seed", maintain_order=True).agg(pl.col("P", "S", "C").mean())


def spread(values: np.ndarray) -> float:
    """Standard error of a mean."""
    return round(float(values.std(ddof=1) / np.sqrt(len(values))), 4) if len(values) > 1 else 0.0


def table(cells: pl.DataFrame) -> list[dict[str, Any]]:
    """Mean, and its standard error over all cells and over the pools' means, of each arm."""
    entries = []
    for (arm,), part in cells.group_by("arm", maintain_order=True):
        entry: dict[str, Any] = {"arm": arm, "cells": part.height}
        for name in ("P", "S", "C"):
            means = part.group_by("pool").agg(pl.col(name).mean()).sort("pool")[name].to_numpy()
            entry[name] = round(float(part[name].to_numpy().mean()), 4)
            entry[f"{name}_se"], entry[f"{name}_se_pools"] = spread(part[name].to_numpy()), spread(means)
        entries.append(entry)
    return sorted(entries, key=lambda entry: -float(entry["P"]))


def differences(cells: pl.DataFrame) -> list[dict[str, Any]]:
    """Loops against every other arm, paired by pool and seed, and as shares of the references."""
    entries = []
    wide = cells.pivot("arm", index=["pool", "seed"], values="P", aggregate_function="mean").sort("pool", "seed")
    for reference in set(REFERENCES) & set(wide.columns):
        wide = wide.with_columns(pl.col(reference).max().over("pool"))
    for loop in (loop for loop in LOOPS if loop in wide.columns):
        for arm in (column for column in wide.columns if column not in ("pool", "seed", loop)):
            gap = (wide[loop] - wide[arm]).to_numpy()
            pools = wide.select("pool", gap=pl.lit(pl.Series(gap))).group_by("pool").agg(pl.col("gap").mean())["gap"]
            entry: dict[str, Any] = {"arm": loop, "against": arm, "P": round(float(gap.mean()), 4), "se": spread(gap)}
            entry |= {"se_pools": spread(pools.to_numpy()), "wins": int((gap > 0).sum()), "of": len(gap)}
            if arm in REFERENCES:
                entry["share"] = round(float((wide[loop] / wide[arm]).to_numpy().mean()), 4)
            entries.append(entry)
    return entries


def plot(rows: pl.DataFrame, entries: list[dict[str, Any]], drift: bool, target: Path) -> None:
    """P of the arms, and P by iteration."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5.5))
    ordered = entries[::-1]
    colours = ["#b0413e" if e["arm"] in LOOPS else "#777777" if e["arm"] in REFERENCES else "#1b6ca8" for e in ordered]
    left.barh(range(len(ordered)), [e["P"] for e in ordered], xerr=[e["P_se"] for e in ordered], color=colours)
    left.set_yticks(range(len(ordered)), [e["arm"] for e in ordered])
    left.set_xlim(0.45, None)
    left.set_xlabel("P, with its standard error over seeds and pools")
    over_time = rows.filter(pl.col("iteration").n_unique().over("arm") > 1)
    for (arm,), part in over_time.group_by("arm", maintain_order=True):
        grouped = part.group_by("iteration").agg(m=pl.col("P").mean(), s=pl.col("P").std(), n=pl.len())
        grouped = grouped.sort("iteration")
        error = (grouped["s"].fill_null(0.0) / grouped["n"].sqrt()).to_numpy()
        right.errorbar(grouped["iteration"].to_numpy(), grouped["m"].to_numpy(), yerr=error, label=str(arm), marker="o")
    if not drift:
        for entry in entries:
            if entry["arm"] == "reader" or "no feedback" in entry["arm"] or "one shot" in entry["arm"]:
                right.axhline(entry["P"], color="#999999", lw=0.8, ls=":")
                right.annotate(entry["arm"], (0, entry["P"]), fontsize=7, color="#666666")
    right.set_xlabel("night" if drift else "iteration")
    right.set_ylabel("P of the policy kept")
    right.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(target, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="two seeds, one pool of 4,000 documents")
    parser.add_argument("--drift", action="store_true", help="pools that change from night to night")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--pools", type=int, default=0, help="default 3; 1 with --drift, where each seed has its own")
    parser.add_argument("--size", type=int, default=5_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--no-ppo", action="store_true", help="the closed form alone, an eighth of the time")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    pools = options.pools or (1 if options.drift else 3)
    seeds, pools, size = (2, 1, 4_000) if options.quick else (options.seeds, pools, options.size)
    out = options.out or Path(__file__).with_name("closed_loop_drift.json" if options.drift else "closed_loop.json")
    tasks = [
        Task(pool, seed, size, options.drift, not options.no_ppo) for seed in range(seeds) for pool in range(pools)
    ]
    found: dict[int, list[dict[str, Any]]] = {}
    for index, rows in map_tasks(run, tasks, EngineSettings(workers=options.workers), "closed_loop"):
        found[index] = rows
        print(f"{len(found)} of {len(tasks)}", flush=True)
    every = pl.DataFrame([row for index in sorted(found) for row in found[index]], infer_schema_length=None)
    cells = last(every, options.drift)
    entries, gaps = table(cells), differences(cells)
    loops = every.filter(pl.col("arm").is_in(LOOPS))
    result = {
        "documents": size,
        "pools": pools,
        "seeds": seeds,
        "evaluations": {"probes": MANY.first, "batches": ITERATIONS + 1},
        "arms": entries,
        "paired": gaps,
        "trends": loops.group_by("arm", "iteration", maintain_order=True)
        .agg(pl.col("P", "tried", "r2").mean().round(4), pl.col("accepted").mean().round(3), n=pl.len())
        .to_dicts(),
        "cpu_seconds_a_loop": {
            str(arm): round(float(seconds), 1)
            for arm, seconds in loops.group_by("arm", maintain_order=True).agg(pl.col("seconds").mean()).iter_rows()
        },
        "machine": {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
    }
    part = out.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1) + "\n")
    part.replace(out)
    plot(every, entries, options.drift, out.with_suffix(".png"))
    for entry in entries:
        figures = "  ".join(f"{key} {entry[key]:.3f}" for key in ("P", "S", "C"))
        print(f"{entry['arm']:32} {figures}  +- {entry['P_se']:.4f} ({entry['P_se_pools']:.4f} over pools)")
    for gap in gaps:
        share = f"  share {gap['share']:.3f}" if "share" in gap else ""
        print(f"{gap['arm']:18} - {gap['against']:32} {gap['P']:+.4f} +- {gap['se']:.4f}{share}")


if __name__ == "__main__":
    main()
