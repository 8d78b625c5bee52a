"""Training of the selection policy: speed, budget use, and the value of its set against the closed form's.

    python benchmarks/policy_training.py [--quick] [--seeds 10] [--pools 3] [--speed | --terminal] [--out FILE]

Every run trains on a synthetic pool of a seed on which nothing was tuned: with 196,608 candidates for a budget of 20%
of the pool's tokens, and with the default number for 20% and for 13%. The set is then scored as in production; its
value (``research/set_value.py``) is compared with the closed form's, which solves the same objective at the same budget
without learning:

- raw ratio: V / V_closed;
- ratio above random: (V - V_random) / (V_closed - V_random), which is the one to meet 98%;
- at equal weights: the same with all weights 1, so that only the choice of documents counts.

``seconds`` are CPU seconds of the whole ``train_policy`` on one thread; ``--speed`` measures speed alone, in turn with
the same task as single environments under ``DummyVecEnv``. ``--terminal`` runs another experiment: the downstream truth
P of the set, which is no sum over documents, is paid with weight zeta as a difference reward. There the policy is
compared in P with the closed form, with and without one-shot credit from 36 probes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from baselines import one_shot_credit
from dummy_lanes import candidates_per_second

from curation_pipeline.errors import TrainingDivergedError
from curation_pipeline.policy.artefact import load_policy
from curation_pipeline.policy.closed_form import closed_form_scores
from curation_pipeline.policy.environment import SelectionEnv
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import F64, Pool
from curation_pipeline.policy.ppo import train_policy
from curation_pipeline.policy.problem import prepare
from curation_pipeline.policy.scores import Scores
from curation_pipeline.policy.scoring import score_pool
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.reward.credit import DownstreamCredit
from curation_pipeline.selection.draw import draw
from research.set_value import random_value, set_value
from research.synthetic_pool import BUDGET_SHARE, COUNTER, N_TOPICS, SyntheticPool, synthetic_pool
from research.terminal import Terminal, TerminalEnv

UNSEEN = 9_010
"""Seed of the first unseen pool; 9,000 to 9,002 were looked at while the environment was mended."""
CASES: dict[str, tuple[float, dict[str, int]]] = {
    "budget 20%, 196,608 candidates": (0.2, {"cold_start_candidates": 196_608}),
    "budget 20%": (0.2, {}),
    "budget 13%": (0.13, {}),
}
LAST = 5
"""Episodes whose mean budget use is reported."""
ZETA = 1.0
TERMINAL_CANDIDATES = 196_608


def objective(pool: SyntheticPool, share: float) -> Objective:
    """The reward of all benchmarks: 0.4 R_s + 0.1 R_a + 0.5 R_d."""
    return Objective(0.4, 0.1, 0.5, 0.0, None, int(share * pool.pool.total_tokens))


def truth_terminal(pool: SyntheticPool) -> Terminal:
    """The hidden truth P of ``research/synthetic_pool.py`` as a function of sums, for the whole pool's budget."""
    size = np.bincount(pool.topic, minlength=N_TOPICS)
    importance = np.sqrt(size) / np.sqrt(size).sum()
    n = len(pool.pool)
    statistics = np.zeros((n, 3 + N_TOPICS))
    statistics[:, 0] = 1.0
    statistics[:, 1] = pool.harmful
    statistics[:, 2] = (pool.topic == COUNTER) & ~pool.harmful
    statistics[np.arange(n), 3 + pool.topic] = pool.information
    # An episode sees fewer candidates than the pool has documents; information saturates at the pool's scale.
    episode = min(PolicySettings().episode_candidates / n, 1.0)
    scale = importance * 0.5 * BUDGET_SHARE * n * episode

    def value(sums: F64, drawn: F64) -> F64:
        mass = np.maximum(sums[:, 0], 1e-9)
        safety = np.exp(-7.0 * sums[:, 1] / mass) * (0.85 + 0.15 * np.minimum(1.0, sums[:, 2] / mass / 0.04))
        information = sums[:, 3:] * (drawn / mass)[:, None]
        p: F64 = 0.5 * (safety + (1.0 - np.exp(-information / scale)) @ importance)
        return p

    return Terminal(statistics, value)


def surrogate_terminal(pool: Pool, credit: DownstreamCredit) -> Terminal:
    """P as the credit's surrogate predicts it from the composition over strata, times its reliability."""
    known = credit.indexed(pool.stratum.names)
    statistics = np.eye(len(known.strata))[pool.stratum.code]
    reliability = max(credit.r2, 0.0)

    def value(sums: F64, drawn: F64) -> F64:
        share = sums / np.maximum(sums.sum(axis=1, keepdims=True), 1e-12)
        p: F64 = reliability * (share @ known.share + np.log(share + known.eps) @ known.coverage)
        return p

    return Terminal(statistics, value)


def performance(pool: SyntheticPool, scores: Scores, tokens: int, seed: int) -> float:
    """True P of the batch that is drawn."""
    drawn = draw(pool.pool.doc_id, scores.probability, scores.weight, pool.pool.n_tokens, tokens, seed)
    return pool.truth(drawn.weight)[2]


def run(pool: SyntheticPool, case: str, seed: int, known: dict[float, Scores]) -> dict[str, Any]:
    """One training against the closed form, whose scores of the pool and seed are kept in ``known``."""
    share, changed = CASES[case]
    goal, settings = objective(pool, share), PolicySettings(**changed)
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        summary = train_policy(pool.pool, goal, settings, seed, None, Path(folder))
        seconds = time.process_time() - start
        policy = load_policy(Path(folder))
    scores = score_pool(policy, pool.pool, goal, goal.budget_tokens)
    if share not in known:
        known[share] = closed_form_scores(pool.pool, goal, settings, goal.budget_tokens, seed)
    closed = known[share]
    problem = prepare(pool.pool, goal, policy.normaliser, settings)
    equal = np.ones(len(pool.pool))
    own, other, chance = (
        set_value(problem, scores.probability, scores.weight),
        set_value(problem, closed.probability, closed.weight),
        random_value(problem),
    )
    own_equal, other_equal = (set_value(problem, x.probability, equal).value for x in (scores, closed))
    uses = [episode.budget_use for episode in summary.episodes]
    return {
        "case": case,
        "seed": seed,
        "candidates": summary.candidates,
        "seconds": seconds,
        "rate": summary.candidates / seconds,
        "value": own.value,
        "closed_form": other.value,
        "random": chance.value,
        "ratio": own.value / other.value,
        "ratio_above_random": (own.value - chance.value) / (other.value - chance.value),
        "ratio_equal_weights": (own_equal - chance.value) / (other_equal - chance.value),
        "mean_harm": own.mean_harm,
        "closed_form_mean_harm": other.mean_harm,
        "budget_use": float(np.mean(uses[-LAST:])),
        "least_use": min(uses[-LAST:]),
        "most_use": max(uses[-LAST:]),
        "P": performance(pool, scores, goal.budget_tokens, seed),
        "closed_form_P": performance(pool, closed, goal.budget_tokens, seed),
        "uses": [round(use, 4) for use in uses],
    }


def run_terminal(pool: SyntheticPool, seed: int) -> list[dict[str, Any]]:
    """P of the policy that is paid the truth of its set, and of what does not see it, or sees it through 36 probes.

    P is None where a training ended by selecting nothing.
    """
    goal = objective(pool, BUDGET_SHARE)
    credit = one_shot_credit(pool, seed)
    informed = Objective(0.4, 0.1, 0.5, 0.1, credit, goal.budget_tokens)
    plain = PolicySettings(cold_start_candidates=TERMINAL_CANDIDATES)
    late = plain.model_copy(
        update={"gamma": 1.0, "rollout_steps": plain.episode_candidates // plain.n_parallel_candidates}
    )
    arms = {
        "PPO": (goal, plain, None),
        "PPO + P forecast (gamma 0)": (goal, plain, truth_terminal(pool)),
        "PPO + P at the end (gamma 1)": (goal, late, truth_terminal(pool)),
        "PPO + surrogate forecast": (informed, plain, surrogate_terminal(pool.pool, credit)),
        "PPO + credit": (informed, plain, None),
    }
    rows = []
    for name, (what, settings, terminal) in arms.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                make: Callable[..., SelectionEnv] = SelectionEnv
                if terminal is not None:
                    make = partial(TerminalEnv, terminal=terminal, zeta=ZETA)
                train_policy(pool.pool, what, settings, seed, None, Path(folder), make_environment=make)
            except TrainingDivergedError:
                rows.append({"arm": name, "seed": seed, "P": None})
                continue
            policy = load_policy(Path(folder))
        scores = score_pool(policy, pool.pool, what, what.budget_tokens)
        rows.append({"arm": name, "seed": seed, "P": performance(pool, scores, goal.budget_tokens, seed)})
    for name, what in (("closed form", goal), ("closed form + credit", informed)):
        scores = closed_form_scores(pool.pool, what, plain, goal.budget_tokens, seed)
        rows.append({"arm": name, "seed": seed, "P": performance(pool, scores, goal.budget_tokens, seed)})
    return rows


def speed(candidates: int, repeats: int) -> dict[str, Any]:
    """Candidates a CPU second, in turn with the task as single environments, with the same settings and PPO."""
    pool = synthetic_pool(UNSEEN)
    goal, settings = objective(pool, BUDGET_SHARE), PolicySettings(cold_start_candidates=candidates)
    from curation_pipeline.policy.features import Normaliser

    normaliser = Normaliser.fit(pool.pool, settings.random_features, settings.novelty_bandwidth, 0)
    problem = prepare(pool.pool, goal, normaliser, settings)
    torch.set_num_threads(1)
    ours, theirs = [], []
    for number in range(repeats + 1):
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            train_policy(pool.pool, goal, settings, number, None, Path(folder))
            ours.append(candidates / (time.process_time() - start))
        theirs.append(candidates_per_second(problem, candidates // 16, number))
    # The first round imports and compiles.
    own, dummy = np.array(ours[1:]), np.array(theirs[1:])
    return {
        "candidates_per_cpu_second": spread(own),
        "dummy_lanes_per_cpu_second": spread(dummy),
        "times_dummy_lanes": {"median": round(float(np.median(own / dummy)), 1), **spread(own / dummy)},
        "runs": repeats,
    }


def spread(values: np.ndarray) -> dict[str, float]:
    """Mean, standard deviation and extremes."""
    return {
        "mean": round(float(values.mean()), 4),
        "sd": round(float(values.std(ddof=1)) if len(values) > 1 else 0.0, 4),
        "min": round(float(values.min()), 4),
        "max": round(float(values.max()), 4),
    }


def paired(rows: pl.DataFrame, arm: str, control: str) -> dict[str, float]:
    """Mean difference in P of runs on the same pool and seed, with a 95% interval by bootstrap over the runs."""
    wide = rows.pivot("arm", index=["pool", "seed"], values="P")
    return interval((wide[arm] - wide[control]).drop_nulls().to_numpy())


def interval(difference: np.ndarray) -> dict[str, float]:
    """The mean of paired differences (n,), with a 95% interval by bootstrap."""
    rng = np.random.default_rng(0)
    means = difference[rng.integers(0, len(difference), (4_000, len(difference)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {
        "difference": round(float(difference.mean()), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }


def plot(rows: list[dict[str, Any]], target: Path) -> None:
    """Value against the closed form, and budget use by episode."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4.5))
    for case, colour in zip(CASES, ("#7a9a3a", "#1b6ca8", "#d08c2f"), strict=True):
        part = [row for row in rows if row["case"] == case]
        axes[0].hist([row["ratio_above_random"] for row in part], alpha=0.6, color=colour, label=case)
        for row in part:
            axes[1].plot(row["uses"], color=colour, linewidth=0.7, alpha=0.7)
    axes[0].axvline(0.98, color="#444444", linestyle="--")
    axes[0].set_xlabel("set value above random, over the closed form's")
    axes[0].legend()
    axes[1].axhspan(0.97, 1.03, color="#cccccc", zorder=0)
    axes[1].set_xlabel("episode of training")
    axes[1].set_ylabel("budget use")
    axes[1].set_ylim(0.0, 2.5)
    figure.tight_layout()
    figure.savefig(target, dpi=110)


def plot_terminal(table: dict[str, Any], target: Path) -> None:
    """P of every arm."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    names = list(table)
    figure, axis = plt.subplots(figsize=(9, 4))
    axis.barh(
        names, [table[name]["mean"] for name in names], xerr=[table[name]["sd"] for name in names], color="#1b6ca8"
    )
    axis.set_xlim(0.6, 0.9)
    axis.set_xlabel("true P of the drawn batch, bars: standard deviation over runs")
    figure.tight_layout()
    figure.savefig(target, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one seed on one pool")
    parser.add_argument("--speed", action="store_true", help="speed alone; best on an idle machine")
    parser.add_argument("--terminal", action="store_true", help="the experiment with a reward of the whole set")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--pools", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    seeds, pools = (1, 1) if options.quick else (options.seeds, options.pools)
    name = f"policy_{'speed' if options.speed else 'terminal' if options.terminal else 'training'}.json"
    out: Path = options.out or Path(__file__).with_name(name)
    machine = {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()}
    if options.speed:
        found_speed = {"machine": machine, **(speed(32_768, 2) if options.quick else speed(131_072, 9))}
        out.write_text(json.dumps(found_speed, indent=1) + "\n")
        print(json.dumps(found_speed, indent=1))
        return
    rows: list[dict[str, Any]] = []
    for number in range(pools):
        pool = synthetic_pool(UNSEEN + number)
        for seed in range(seeds):
            known: dict[float, Scores] = {}
            found = run_terminal(pool, seed) if options.terminal else [run(pool, case, seed, known) for case in CASES]
            rows += [{"pool": number, **row} for row in found]
            print(f"pool {number + 1} of {pools}, seed {seed + 1} of {seeds}", flush=True)
    result: dict[str, Any] = {"pools": pools, "seeds": seeds, "machine": machine}
    if options.terminal:
        frame = pl.DataFrame(rows)
        arms = frame["arm"].unique(maintain_order=True).to_list()
        result["zeta"] = ZETA
        of_arm = {arm: frame.filter(arm=arm)["P"] for arm in arms}
        result["arms"] = {
            arm: {**spread(found.drop_nulls().to_numpy()), "collapsed": found.null_count()}
            for arm, found in of_arm.items()
        }
        result["against"] = {
            control: {arm: paired(frame, arm, control) for arm in arms if arm.startswith("PPO")}
            for control in arms
            if control.startswith("closed")
        }
        plot_terminal(result["arms"], out.with_suffix(".png"))
    else:
        figures = ("ratio", "ratio_above_random", "ratio_equal_weights", "budget_use", "seconds", "candidates", "P")
        for case in CASES:
            part = [row for row in rows if row["case"] == case]
            entry: dict[str, Any] = {key: spread(np.array([row[key] for row in part])) for key in figures}
            lead = np.array([row["P"] - row["closed_form_P"] for row in part])
            entry["P minus closed form"] = {**spread(lead), **interval(lead)}
            entry["98% of the closed form's value"] = f"{sum(row['ratio'] >= 0.98 for row in part)} of {len(part)}"
            entry["within 3% of the budget"] = (
                f"{sum(abs(row['budget_use'] - 1) <= 0.03 for row in part)} of {len(part)}"
            )
            result[case] = entry
        plot(rows, out.with_suffix(".png"))
    result["rows"] = rows
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({key: value for key, value in result.items() if key != "rows"}, indent=1))


if __name__ == "__main__":
    main()
