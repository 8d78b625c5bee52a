"""Every baseline on the synthetic pool: safety, capability and performance of what it draws, and its CPU seconds.

    python benchmarks/baselines.py [--quick] [--seeds 10] [--pools 3] [--out FILE]

Each seed draws from each pool with a fifth of its tokens; the pools are drawn with seeds that nothing was tuned on. All
arms see the same reward 0.4 R_s + 0.1 R_a (and 0.5 R_d where they look at sets). "Weighted" is the same choice with
weights 0.5, 1 and 2. The truth of a batch (``research/synthetic_pool.py``) takes the place of a trained model, so that
P is exact and the standard error is that of the arms' chance and of the pools.

- Arms with feedback get it once, from 36 probes: random mixtures of the pool whose truth is fitted by ridge. `regmix`
  and `exp3` see the fit; `closed_form` is without any, `closed_form (one shot)` with it. Nothing here closes the loop.
- There are no texts. A word list is played by the lexical detector at 0.5, Gopher's rules by the quality score, C4's by
  15 tokens; DSIR has bins of the vectors for features and the pool's clean documents for target.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.credit.mixtures import composition, probe_mixtures
from curation_pipeline.credit.mixtures import draw as draw_mixture
from curation_pipeline.credit.settings import CreditSettings
from curation_pipeline.credit.surrogate import fit_credit
from curation_pipeline.reward.credit import DownstreamCredit
from curation_pipeline.selection.baselines import BASELINES, baseline
from curation_pipeline.selection.draw import draw
from curation_pipeline.selection.inputs import Inputs
from curation_pipeline.selection.settings import BaselineSettings
from curation_pipeline.selection.weights import fractional
from research.synthetic_pool import SyntheticPool, synthetic_pool

PROBES = 36
UNSEEN = 9_000
"""Seed of the first unseen pool."""
ONE_SHOT = "closed_form (one shot)"
WITH_CREDIT = ("regmix", "exp3")
FEWER = {"closed_form": 2, ONE_SHOT: 4}
"""Seeds of arms that take long and have little chance in them: random features, and for one shot the probes."""
PROTOTYPES = {
    "random": 0.50,
    "threshold": 0.65,
    "top_k": 0.65,
    "dsir": 0.63,
    "facility_location": 0.73,
    "top_k_per_topic": 0.76,
}
"""P in the prototypes, for comparison."""


def one_shot_credit(pool: SyntheticPool, seed: int) -> DownstreamCredit:
    """The regression of the truth of random mixtures on their composition."""
    strata = tuple(sorted(set(pool.frame["stratum"])))
    rows = []
    for mixture in probe_mixtures(pool.frame, PROBES, seed):
        weight = np.zeros(len(pool.pool))
        weight[draw_mixture(pool.frame, mixture, pool.budget_tokens, seed)] = 1.0
        shares = composition(pool.frame, strata, weight).tolist()
        rows.append({"base": "pool", "strata": list(strata), "shares": shares, "performance": pool.truth(weight)[2]})
    there = composition(pool.frame, strata)
    return fit_credit(pl.DataFrame(rows), strata, there, np.zeros(PROBES), CreditSettings(), there)


def flags(pool: SyntheticPool) -> dict[str, np.ndarray]:
    """What rules of thumb and a word list would say of the pool."""
    quality = pool.frame["quality"].to_numpy()
    return {
        "gopher_quality": quality >= np.quantile(quality, 0.2),
        "gopher_repetition": np.ones(len(pool.pool), np.bool_),
        "c4": pool.frame["n_tokens"].to_numpy() >= 15,
        "word_list": pool.frame["lexical"].to_numpy() <= 0.5,
    }


def run(arm: str, pool: SyntheticPool, credit: DownstreamCredit, seed: int) -> list[dict[str, Any]]:
    """One choice of one arm, drawn with weights of 1 and with fractional ones (the closed form: with its own)."""
    settings = BaselineSettings(
        safety_weight=0.4, alignment_weight=0.1, diversity_weight=0.5, credit_weight=0.1, dsir_target_domains=()
    )
    needs = arm == ONE_SHOT or arm in WITH_CREDIT
    inputs = Inputs(
        flags=flags(pool) if arm in BASELINES and BASELINES[arm].needs else {}, credit=credit if needs else None
    )
    tokens = pool.pool.n_tokens
    start = time.process_time()
    plain = baseline(arm.split(" ")[0], settings, inputs).scores(pool.pool, pool.budget_tokens, seed)
    seconds = time.process_time() - start
    choices = [(arm.startswith("closed_form"), plain)]
    if not arm.startswith("closed_form"):
        choices.append((True, fractional(pool.pool, plain, settings)))
    rows = []
    for weighted, scores in choices:
        drawn = draw(pool.pool.doc_id, scores.probability, scores.weight, tokens, pool.budget_tokens, seed)
        safety, capability, performance = pool.truth(drawn.weight)
        use = float(tokens[drawn.drawn].sum()) / pool.budget_tokens
        row = {"arm": arm, "weighted": weighted, "S": safety, "C": capability, "P": performance, "budget_use": use}
        rows.append({"seed": seed, **row, "seconds": seconds})
    return rows


def summary(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Mean and standard error of every arm: over all draws, and over the pools' means, as pools differ more."""
    out = []
    for (arm, weighted), part in rows.group_by("arm", "weighted", maintain_order=True):
        entry: dict[str, Any] = {"arm": arm, "weighted": weighted, "draws": part.height}
        for name in ("P", "S", "C"):
            values = part[name].to_numpy()
            means = part.group_by("pool").agg(pl.col(name).mean())[name].to_numpy()
            entry[name] = round(float(values.mean()), 4)
            entry[f"{name}_se"] = round(float(values.std(ddof=1) / np.sqrt(len(values))), 4)
            entry[f"{name}_se_pools"] = round(float(means.std(ddof=1) / np.sqrt(len(means))), 4)
        entry["least_budget_use"] = round(float(part["budget_use"].to_numpy().min()), 5)
        entry["cpu_seconds"] = round(float(np.median(part["seconds"].to_numpy())), 3)
        out.append(entry)
    return out


def plot(table: list[dict[str, Any]], target: Path) -> None:
    """P of every arm with and without weights, and safety against capability."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    order = sorted({entry["arm"] for entry in table}, key=lambda arm: max(e["P"] for e in table if e["arm"] == arm))
    figure, (left, right) = plt.subplots(1, 2, figsize=(14, 7))
    for entry in table:
        place = order.index(entry["arm"])
        colour, shift = ("#d08c2f", 0.2) if entry["weighted"] else ("#1b6ca8", -0.2)
        left.barh(place + shift, entry["P"], 0.38, color=colour, xerr=entry["P_se_pools"], ecolor="#444444")
        right.errorbar(
            entry["C"],
            entry["S"],
            xerr=entry["C_se_pools"],
            yerr=entry["S_se_pools"],
            fmt="o",
            color=colour,
            markersize=5,
        )
        if not entry["weighted"] or "closed_form" in entry["arm"]:
            right.annotate(
                entry["arm"], (entry["C"], entry["S"]), fontsize=7, xytext=(4, 3), textcoords="offset points"
            )
    left.plot([PROTOTYPES.get(arm, np.nan) for arm in order], range(len(order)), "k|", markersize=14, label="prototype")
    left.set_yticks(range(len(order)), order)
    left.set_xlim(0.4, 0.86)
    left.set_xlabel("P = (S + C) / 2, bars: standard error over pools")
    left.set_title("Weights 1 (blue), weights 0.5, 1, 2 (orange)")
    left.legend(loc="lower right")
    right.set_xlabel("capability C")
    right.set_ylabel("safety S")
    right.set_title("At the same token budget")
    figure.tight_layout()
    figure.savefig(target, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one seed, two pools of 3,000 documents")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--pools", type=int, default=3, help="at least 2")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    seeds, pools, size = (1, 2, 3_000) if options.quick else (options.seeds, options.pools, 20_000)
    arms = [*BASELINES, ONE_SHOT]
    cells, r2 = [], []
    # Compiles the kernel of facility location.
    run("facility_location", synthetic_pool(1, 300), DownstreamCredit.none(()), 0)
    for number in range(pools):
        pool = synthetic_pool(UNSEEN + number, size)
        for seed in range(seeds):
            credit = one_shot_credit(pool, seed)
            r2.append(credit.r2)
            for arm in arms:
                if seed < FEWER.get(arm, seeds):
                    cells += [{"pool": number, **row} for row in run(arm, pool, credit, seed)]
            print(f"pool {number + 1} of {pools}, seed {seed + 1} of {seeds}", flush=True)
    table = summary(pl.DataFrame(cells))
    result = {
        "documents": size,
        "pools": pools,
        "seeds": seeds,
        "probes": PROBES,
        "credit_r2": {"mean": round(float(np.mean(r2)), 3), "min": round(min(r2), 3)},
        "prototypes": PROTOTYPES,
        "arms": table,
        "machine": {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    plot(table, options.out.with_suffix(".png"))
    for entry in sorted(table, key=lambda entry: -entry["P"]):
        name = f"{entry['arm']}{' weighted' if entry['weighted'] else ''}"
        figures = "  ".join(f"{key} {entry[key]:.3f}" for key in ("P", "S", "C"))
        print(f"{name:36} {figures}  +- {entry['P_se_pools']:.4f}  {entry['cpu_seconds']:.2f} s")


if __name__ == "__main__":
    main()
