"""Hidden scores and priced questions: a policy that learned to ask, against the closed form with imputation.

    python benchmarks/queries.py [--quick] [--seeds 10] [--pools 3] [--budgets 0.05 0.1 0.2] [--out FILE]

P(harm), alignment and the second detector are known for 30% of a synthetic pool and hidden for the rest, where an
answer reveals all three. Every arm has the same 30%, the same imputation and the same number of answers, exactly. What
it draws from the whole pool is judged by two things that no arm sees: the set's value with the true scores
(``research/set_value.py``), as the share of the way from asking nothing to knowing everything that the closed form
goes; and the pool's downstream truth P. Weights are 0 and 1, so that the closed form is the best response and nothing
but what is known and asked differs. Pools are drawn with seeds that nothing was tuned on; a seed is another choice of
the 30% and another training. Intervals are paired bootstraps over pools and seeds.

Two beliefs: `forest` (leaves of randomised trees: heteroscedastic, close to calibrated) and `ridge` with one Gaussian
residual, a usual and wrong posterior. They were stated before the report's pools were seen.

- `random`, `unsure`, `margin`: questions at random, where the belief is widest, and nearest to the margin of selection.
- `voi`: one-step-optimal questions, the expected gain of the best response under samples of the posterior. The control.
- `voi_settled`: the same at the price that clears once the answers are in. `voi_normal`: by its formula for a normal.
- `ppo`: the policy asks. In every arm the closed form decides, so that only the questions differ.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.policy.artefact import load_policy
from curation_pipeline.policy.features import Normaliser
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.problem import SelectionProblem, prepare
from curation_pipeline.policy.scores import Scores
from curation_pipeline.policy.scoring import scores_at
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.seeds import derive, generator
from curation_pipeline.selection.draw import draw
from research.queries.belief import Belief
from research.queries.controls import margin, settled, value_of_information
from research.queries.environment import normal_gain
from research.queries.scoring import (
    Knowledge,
    QuestionRule,
    Task,
    asked_at_random,
    asked_where_unsure,
    asking_odds,
    closed_form_at,
    know,
    spend,
)
from research.queries.settings import QuerySettings
from research.queries.training import train_query_policy
from research.set_value import set_value
from research.synthetic_pool import SyntheticPool, synthetic_pool

UNSEEN = 9_020
"""Seed of the first unseen pool; 9,000 to 9,012 were looked at before the price of answers was mended."""
KNOWN = 0.3
BELIEFS = ("forest", "ridge")
TRAINED_AT = 0.1
"""Query budget that policies are trained for; others are met by the price that they are told."""
SETTINGS = PolicySettings(weights=(0.0, 1.0), closed_form_temperature=0.001)
DRAWS = 4
"""Batches drawn for one choice; their truth is averaged."""
CONTROLS = ("voi", "voi_settled", "voi_normal", "unsure", "margin", "random")
LEARNED = ("ppo",)


class Judge:
    """Judges choices from one pool by what no arm sees."""

    def __init__(self, pool: SyntheticPool, objective: Objective) -> None:
        constants = Normaliser.fit(pool.pool, SETTINGS.random_features, SETTINGS.novelty_bandwidth, 0)
        self.problem: SelectionProblem = prepare(pool.pool, objective, constants, SETTINGS)
        self.pool = pool

    def __call__(self, scores: Scores) -> dict[str, float]:
        """Value of the expected set; truth of drawn batches."""
        tokens, ids, budget = self.pool.pool.n_tokens, self.pool.pool.doc_id, self.pool.budget_tokens
        value = set_value(self.problem, scores.probability, scores.weight.astype(np.float64))
        batches = [draw(ids, scores.probability, scores.weight, tokens, budget, k).weight for k in range(DRAWS)]
        safety, capability, performance = np.mean([self.pool.truth(batch) for batch in batches], axis=0)
        return {
            "value": value.value, "mean_harm": value.mean_harm,
            "S": float(safety), "C": float(capability), "P": float(performance),
        }  # fmt: skip


def cell(pool: SyntheticPool, kind: str, seed: int, budgets: list[float], observations: int) -> list[dict[str, Any]]:
    """All arms on one pool, with one choice of what is known and one training."""
    n = len(pool.pool)
    objective = Objective(0.4, 0.1, 0.5, 0.0, None, pool.budget_tokens)
    judge = Judge(pool, objective)
    queries = QuerySettings(belief=kind, budget_share=TRAINED_AT, candidates=observations)  # type: ignore[arg-type]
    known = np.zeros(n, np.bool_)
    known[generator(seed, "known").choice(n, int(KNOWN * n), replace=False)] = True
    given = pool.frame.filter(pl.Series(known))
    costly = queries.questions[0].columns
    hidden = pool.frame.with_columns(pl.when(pl.Series(known)).then(pl.col(c)).alias(c) for c in costly)
    view = known.astype(np.int64)

    start = time.process_time()
    belief = Belief(given, queries, derive(seed, "belief"))
    fitting = time.process_time() - start
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        training = train_query_policy(
            given, n, pool.pool.total_tokens, objective, SETTINGS, queries, seed, Path(folder)
        )
        policy = load_policy(Path(folder))
    seconds = {"belief": fitting, "training": time.process_time() - start}

    task = Task(objective, SETTINGS, queries, policy.normaliser)
    ignorant = know(hidden, view, belief, task, samples=True)
    state = closed_form_at(ignorant, task)
    rows: list[dict[str, Any]] = []

    def note(arm: str, budget: float, knowledge: Knowledge, scores: Scores) -> None:
        asked = int((knowledge.view != view).sum())
        rows.append({"belief": kind, "seed": seed, "budget": budget, "arm": arm, "asked": asked, **judge(scores)})

    note("nothing", 0.0, ignorant, scores_at(state))
    everything = know(pool.frame, np.ones(n, np.int64), belief, task)
    note("everything", 1.0, everything, scores_at(closed_form_at(everything, task)))

    posterior = ignorant.posterior
    voi = value_of_information(state, posterior)
    by_formula = normal_gain(state.problem, np.arange(n), state.marginal, state.price, posterior.spread)
    for budget in budgets:
        part = Task(objective, SETTINGS, queries.model_copy(update={"budget_share": budget}), policy.normaliser)
        open_cost = np.where(known, np.inf, 1.0)
        # The first state is the same for all rules of the closed form.
        rules: dict[str, QuestionRule] = {
            "voi": lambda _: voi[:, None],
            "voi_settled": lambda _, c=open_cost, b=budget: settled(state, posterior, c, b * n)[:, None],  # type: ignore[misc]
            "voi_normal": lambda _: by_formula[:, None],
            "margin": lambda _: margin(state)[:, None],
            "ppo": lambda k, p=part, b=budget: asking_odds(policy, k, state, p, b * n),  # type: ignore[misc]
            "unsure": asked_where_unsure(part),
            "random": asked_at_random(generator(seed, "questions"), part),
        }  # fmt: skip
        for arm, rule in rules.items():
            knowledge = spend(ignorant, rule, lambda rows, _: pool.frame[rows].select(costly), belief, part)
            note(arm, budget, knowledge, scores_at(closed_form_at(knowledge, part)))
    last = training.episodes[-4:]
    shared = {
        "query_use": float(np.mean([episode.query_use for episode in last])),
        "budget_use": float(np.mean([episode.budget_use for episode in last])),
        **{f"{name}_seconds": value for name, value in seconds.items()},
    }
    return [{**row, **shared} for row in rows]


def decision_cost(seed: int, n: int) -> dict[str, float]:
    """Documents a CPU second of one pass that scores the question of every document, at a state that is there."""
    pool = synthetic_pool(UNSEEN - 1, n)
    objective = Objective(0.4, 0.1, 0.5, 0.0, None, pool.budget_tokens)
    queries = QuerySettings(candidates=8_192)
    given = pool.frame.head(n // 4)
    with tempfile.TemporaryDirectory() as folder:
        train_query_policy(given, n, pool.pool.total_tokens, objective, SETTINGS, queries, seed, Path(folder))
        policy = load_policy(Path(folder))
    task = Task(objective, SETTINGS, queries, policy.normaliser)
    belief = Belief(given, queries, seed)
    ignorant = know(pool.frame, np.zeros(n, np.int64), belief, task, samples=True)
    state = closed_form_at(ignorant, task)
    observations = np.zeros((n, len(policy.observation_names)), np.float32)
    timed: dict[str, Callable[[], object]] = {
        "policy": lambda: policy.logits(observations),
        "voi": lambda: value_of_information(state, ignorant.posterior),
        "voi_normal": lambda: normal_gain(
            state.problem, np.arange(n), state.marginal, state.price, ignorant.posterior.spread
        ),
        "forest_without_samples": lambda: belief.posterior(pool.frame, np.zeros(n, np.int64)),
        "forest_with_samples": lambda: belief.posterior(pool.frame, np.zeros(n, np.int64), True),
    }
    rates: dict[str, float] = {}
    for name, call in timed.items():
        start, calls = time.process_time(), 0
        while time.process_time() - start < 0.5:
            call()
            calls += 1
        rates[name] = round(calls * n / (time.process_time() - start))
    return {**rates, **whole(rates)}


def whole(rates: dict[str, float]) -> dict[str, float]:
    """The same with the belief that a rule needs: PPO its means and the formula for a normal, VOI its samples."""
    needs = {
        "policy_whole": ("forest_without_samples", "voi_normal", "policy"),
        "voi_whole": ("forest_with_samples", "voi"),
    }
    return {name: round(1.0 / sum(1.0 / rates[part] for part in parts)) for name, parts in needs.items()}


def paired(rows: pl.DataFrame, arm: str, control: str, column: str) -> dict[str, float]:
    """Mean difference of two arms with a 95% bootstrap interval: pools, then seeds within them, with replacement."""
    key = ["pool", "seed"]
    left = rows.filter(arm=arm).select(*key, column)
    both = left.join(rows.filter(arm=control).select(*key, column), on=key, suffix="_control").sort(key)
    difference = both[column].to_numpy() - both[f"{column}_control"].to_numpy()
    pools = both["pool"].to_numpy()
    groups = [difference[pools == pool] for pool in np.unique(pools)]
    rng = np.random.default_rng(0)
    means = []
    for _ in range(2_000):
        chosen = [groups[g] for g in rng.integers(0, len(groups), len(groups))]
        means.append(np.concatenate([rng.choice(group, len(group)) for group in chosen]).mean())
    low, high = np.quantile(means, [0.025, 0.975])
    return {
        "difference": round(float(difference.mean()), 5), "low": round(float(low), 5), "high": round(float(high), 5),
        "better_in": int((difference > 0).sum()), "of": len(difference),
    }  # fmt: skip


def recovered(rows: pl.DataFrame) -> pl.DataFrame:
    """Add ``recovered``: how far from asking nothing (0) to knowing everything (1) the value went."""
    key = ["belief", "pool", "seed"]
    ends = rows.filter(arm="nothing").select(*key, nothing="value").join(
        rows.filter(arm="everything").select(*key, everything="value"), on=key
    )  # fmt: skip
    share = (pl.col("value") - pl.col("nothing")) / (pl.col("everything") - pl.col("nothing"))
    return rows.join(ends, on=key).with_columns(recovered=share).drop("nothing", "everything")


def summary(rows: pl.DataFrame) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Means of all arms, and paired differences of what learned against every control."""
    table, pairs = [], []
    for (kind, budget, arm), part in rows.group_by("belief", "budget", "arm", maintain_order=True):
        entry: dict[str, Any] = {"belief": kind, "budget": budget, "arm": arm, "cells": part.height}
        for name in ("recovered", "value", "P", "S", "C", "mean_harm"):
            values = part[name].to_numpy()
            entry[name] = round(float(values.mean()), 5)
            entry[f"{name}_sd"] = round(float(values.std(ddof=1)), 5) if len(values) > 1 else None
        table.append(entry)
    for (kind, budget), part in rows.group_by("belief", "budget", maintain_order=True):
        for arm in LEARNED:
            for control in CONTROLS:
                if {arm, control} <= set(part["arm"]):
                    for column in ("recovered", "P"):
                        found = paired(part, arm, control, column)
                        entry = {"belief": kind, "budget": budget, "arm": arm, "control": control, "of_what": column}
                        pairs.append({**entry, **found})
    return table, pairs


def plot(table: list[dict[str, Any]], target: Path) -> None:
    """What each arm recovers, and P, over the query budget, for both beliefs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    kinds = [kind for kind in BELIEFS if any(entry["belief"] == kind for entry in table)]
    figure, axes = plt.subplots(2, len(kinds), figsize=(6.5 * len(kinds), 9), squeeze=False)
    colours = plt.get_cmap("tab10")
    for place, kind in enumerate(kinds):
        for number, arm in enumerate((*CONTROLS, *LEARNED)):
            part = sorted((e for e in table if e["belief"] == kind and e["arm"] == arm), key=lambda e: e["budget"])
            for axis, name in zip(axes[:, place], ("recovered", "P"), strict=True):
                axis.plot([100 * e["budget"] for e in part], [e[name] for e in part], "o-" if arm in LEARNED else "s--",
                          color=colours(number), label=arm)  # fmt: skip
        axes[0, place].set_title(f"belief: {kind}")
        axes[0, place].set_ylabel("share of the value of full scoring recovered")
        axes[1, place].set_ylabel("downstream truth P")
        axes[1, place].set_xlabel("answers, % of the pool")
    axes[0, 0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(target, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one seed, one pool of 3,000 documents")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--pools", type=int, default=3)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.05, 0.1, 0.2])
    parser.add_argument("--beliefs", nargs="+", choices=BELIEFS, default=list(BELIEFS))
    parser.add_argument("--observations", type=int, default=QuerySettings().candidates)
    parser.add_argument("--first-pool", type=int, default=UNSEEN, help="other seeds are for tuning")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.pools, options.documents, options.observations = 1, 1, 3_000, 32_768
    rows: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        for number in range(options.pools):
            pool = synthetic_pool(options.first_pool + number, options.documents)
            for kind in options.beliefs:
                found = cell(pool, kind, 100 * number + seed, options.budgets, options.observations)
                rows += [{"pool": number, **row} for row in found]
        print(f"seed {seed + 1} of {options.seeds}", flush=True)
        # Written after each seed, so that a run that is cut short has its figures.
        frame = recovered(pl.DataFrame(rows))
        table, pairs = summary(frame)
        result = {
            "documents": options.documents, "known": KNOWN, "pools": options.pools, "seeds": seed + 1,
            "first_pool": options.first_pool, "observations": options.observations,
            "cpu_seconds": {name: round(float(np.median(frame[f"{name}_seconds"].to_numpy())), 2)
                            for name in ("belief", "training")},
            "last_episodes": {name: {"mean": round(float(np.mean(frame[name].to_numpy())), 3),
                                     "min": round(float(frame[name].to_numpy().min()), 3),
                                     "max": round(float(frame[name].to_numpy().max()), 3)}
                              for name in ("query_use", "budget_use")},
            "arms": table, "paired": pairs,
            "machine": {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
        }  # fmt: skip
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    result["documents_a_cpu_second"] = decision_cost(0, 2_000 if options.quick else 10_000)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    plot(table, options.out.with_suffix(".png"))
    for entry in table:
        print(f"{entry['belief']:7} {entry['budget']:.2f} {entry['arm']:16} "
              f"recovered {entry['recovered']:.3f}  P {entry['P']:.4f}")  # fmt: skip
    for entry in pairs:
        if entry["control"] == "voi":
            print(entry)


if __name__ == "__main__":
    main()
