"""What every arm chooses from a pool of real text, judged by people's labels that none of its scores has seen.

    python benchmarks/decision_quality.py --data FOLDER [--quick] [--cache FOLDER] [--out FILE]

FOLDER holds published sets in their publishers' own files (see `decision_pool.py`, which builds the pool). Every arm
draws 30% of the pool's tokens, with five seeds, from a pool that two sets of teachers score in turn. Arms: every
baseline, the closed form and PPO; and with mends of parity some of them once more:

- *dialect*: text with a marker of African American English that names no group is an identity group of its own, so
  that strata, cells of coverage and floors know it;
- *dialect, floors*: beside that, every identity group keeps at least its share of the pool's tokens over the pool's
  share of benign tokens (1 - mean P(harm)): what it would hold if all that is left out were harmful and of no group. It
  is a floor on membership (``policy.membership_floor``). The policy's own floors count P(benign), so that a detector
  which calls a dialect harmful empties them.
- *dialect, floors, ceiling*: beside these a ceiling on the mean P(harm) of .15 in place of .05. Where P(harm) is so
  high that no batch of this size keeps the ceiling, its multiplier rises to the bound, and hardly anything but safety
  counts: so it is with the rich teachers, whose P(harm) over three axes is well above what people say.

Nothing was tuned but the last two mends, whose need and form were seen on this pool: the floors on the demo's teachers
(the rich ones are their test), the ceiling on the rich ones.

- **Composite**: .5 (1 - harm) + .25 alignment + .25 diversity of the batch's weighted tokens; harm is people's label in
  place of P(harm) (1 = what the text's own set calls harmful; unlabelled reference text counts as harmless), alignment
  the model's score, diversity half the mean kernel distance of two tokens' documents and half exp(-KL) of topic x group
  shares against the pool's. *Strict* calls Davidson's "offensive" tweets harmful as well.
- **Parity**: the share of the benign texts (by people's label) of a group that is drawn, over that of benign texts that
  name no group and bear no marker of dialect; groups of 100 benign texts or more, the least of them. *Within sources*
  compares with benign texts of the same sources in the group's proportions, since most groups stand in a few sources.
- Intervals: 95%, bootstrap over documents and seeds at once, the same resamples for all arms, so that differences are
  paired.
- `regmix` has no probes here: its 36 mixtures are valued by the model's own reward and coverage in place of a training.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from decision_judge import ALPHA, BETA, F64, GAMMA, GROUPS, Judge, interval, parity
from decision_pool import build

from curation_pipeline.credit.mixtures import composition, probe_mixtures
from curation_pipeline.credit.mixtures import draw as draw_mixture
from curation_pipeline.credit.settings import CreditSettings
from curation_pipeline.credit.surrogate import fit_credit
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import Pool
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.reward.credit import DownstreamCredit
from curation_pipeline.seeds import derive, generator
from curation_pipeline.selection.baselines import BASELINES, baseline
from curation_pipeline.selection.draw import Drawn, draw
from curation_pipeline.selection.inputs import PREFIX, Inputs
from curation_pipeline.selection.policy_selector import PolicySelector
from curation_pipeline.selection.protocol import Selector
from curation_pipeline.selection.settings import BaselineSettings

ROOT = Path(__file__).parents[1]
UNSEEN = 9_000
BUDGET = 0.3
PROBES = 36
REACHABLE = 0.15
"""``policy.toxicity_ceiling`` of the last mend."""
BOTH = ("closed_form", "ppo")
MENDS = {
    "": (),
    " + dialect": (*BOTH, "threshold_within_stratum"),
    " + dialect, floors": BOTH,
    " + dialect, floors, ceiling": BOTH,
}
"""Suffix of an arm -> the arms that are also run with it."""


def with_dialect(frame: pl.DataFrame, docs: pl.DataFrame) -> pl.DataFrame:
    """The pool with text in dialect as an identity group of its own, where it names no other group."""
    marked = docs["dialect_aae_any"] & (frame["identity_group"] == "none")
    group = pl.when(marked).then(pl.lit("dialect")).otherwise("identity_group").alias("identity_group")
    return frame.with_columns(group).with_columns(
        pl.format("t{}|b{}|{}", pl.col("topic"), pl.col("toxicity_bin"), pl.col("identity_group")).alias("stratum")
    )


def stand_in_credit(frame: pl.DataFrame, pool: Pool, judge: Judge, seed: int) -> DownstreamCredit:
    """The regression of the modelled composite of random mixtures on their composition: no training, no labels."""
    strata = tuple(sorted(set(frame["stratum"])))
    rows = []
    for mixture in probe_mixtures(frame, PROBES, seed):
        weight = np.zeros(len(pool))
        weight[draw_mixture(frame, mixture, int(BUDGET * pool.total_tokens), seed)] = 1.0
        shares = composition(frame, strata, weight).tolist()
        value = float(judge.composite(judge.sums(weight, pool.p_harm), "harm")[0])
        rows.append({"base": "pool", "strata": list(strata), "shares": shares, "performance": value})
    there = composition(frame, strata)
    return fit_credit(pl.DataFrame(rows), strata, there, np.zeros(PROBES), CreditSettings(), there)


def choose(
    arm: str, seed: int, frame: pl.DataFrame, docs: pl.DataFrame, target: pl.Series, judge: Judge, quick: bool
) -> tuple[Pool, Drawn, float]:
    """One draw of one arm; the last is its CPU seconds."""
    mend = next(name for name in sorted(MENDS, key=len, reverse=True) if arm.endswith(name))
    name = arm.removesuffix(mend)
    seen = with_dialect(frame, docs) if mend else frame
    pool = Pool.from_frame(seen)
    budget = int(BUDGET * pool.total_tokens)
    objective = Objective(ALPHA, BETA, GAMMA, 0.0, None, budget)
    # The demo's floor and ceiling.
    policy = PolicySettings(
        group_floor=0.8,
        membership_floor=1.0 if "floors" in mend else 0.0,
        toxicity_ceiling=REACHABLE if "ceiling" in mend else 0.05,
    )
    if quick:
        policy = policy.model_copy(update={"cold_start_candidates": 32_768})
    settings = BaselineSettings(safety_weight=ALPHA, alignment_weight=BETA, diversity_weight=GAMMA)
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        selector: Selector
        if name == "ppo":
            from curation_pipeline.policy.ppo import train_policy

            train_policy(pool, objective, policy, derive(seed, "ppo"), None, Path(folder))
            selector = PolicySelector(Path(folder), objective)
        else:
            texts = dict(zip(docs["doc_id"], docs["text"], strict=True)) if name == "dsir" else {}
            inputs = Inputs(
                flags={
                    column.removeprefix(PREFIX): docs[column].fill_null(True).to_numpy()
                    for column in (docs.columns if name == "manual_filters" else ())
                    if column.startswith(PREFIX) and docs.schema[column] == pl.Boolean
                },
                texts=(lambda ids: pl.Series("text", [texts[i] for i in ids])) if name == "dsir" else None,
                target=target if name == "dsir" else None,
                credit=stand_in_credit(seen, pool, judge, seed) if name == "regmix" else None,
                objective=objective,
                policy=policy,
            )
            selector = baseline(name, settings, inputs)
        scores = selector.scores(pool, budget, seed)
    drawn = draw(pool.doc_id, scores.probability, scores.weight, pool.n_tokens, budget, derive(seed, "draw"))
    return pool, drawn, time.process_time() - started


def measure(frame: pl.DataFrame, docs: pl.DataFrame, target: pl.Series, seeds: int, quick: bool) -> dict[str, Any]:
    """All arms on the pool of one set of teachers."""
    arms = [*BASELINES, "ppo", *(f"{name}{mend}" for mend, names in MENDS.items() for name in names)]
    judge = Judge(docs, Pool.from_frame(frame), 100 if quick else 400)
    b = len(judge.resampled) - 1
    pick = generator(7, "decision quality", "seeds").integers(0, seeds, (b, seeds))

    def picked(values: F64) -> F64:
        """Mean over seeds (last axis): of all in row 0, of a resample of them in each other row."""
        rest = np.stack([values[1 + i][..., pick[i]].mean(axis=-1) for i in range(b)])
        return np.concatenate([values[:1].mean(axis=-1), rest])

    pool_share = np.bincount(judge.source, weights=judge.tokens) / judge.tokens.sum()
    composites: dict[str, dict[str, F64]] = {}
    out: dict[str, Any] = {}
    for arm in arms:
        found, benign, strict, seconds, shares, use = [], [], [], [], [], []
        for seed in range(UNSEEN, UNSEEN + seeds):
            pool, drawn, cpu = choose(arm, seed, frame, docs, target, judge, quick)
            weight = np.asarray(drawn.weight, np.float64)
            found.append(judge.sums(weight))
            benign.append(judge.rates(drawn.drawn, strict=False))
            strict.append(judge.rates(drawn.drawn, strict=True))
            mass = judge.tokens * drawn.drawn
            shares.append(np.bincount(judge.source, weights=mass, minlength=len(judge.sources)) / mass.sum())
            use.append(float(pool.n_tokens[drawn.drawn].sum()) / (BUDGET * pool.total_tokens))
            seconds.append(cpu)
        means = {name: picked(np.stack([run[name] for run in found], axis=-1)) for name in found[0]}
        composites[arm] = {
            name: picked(np.stack([judge.composite(run, name) for run in found], axis=-1))
            for name in ("harm", "strict_harm")
        }
        kept = np.mean(shares, axis=0) / pool_share
        out[arm] = {
            "composite": interval(composites[arm]["harm"], pivot=True),
            "composite_strict": interval(composites[arm]["strict_harm"], pivot=True),
            **{name: interval(value, pivot=True) for name, value in means.items()},
            "source_shares_kept": {name: round(float(kept[i]), 3) for i, name in enumerate(judge.sources)},
            "least_budget_use": round(min(use), 4),
            "parity": parity(benign, judge.benign_sizes(False), picked),
            "parity_strict": parity(strict, judge.benign_sizes(True), picked),
            "cpu_seconds": round(float(np.median(seconds)), 2),
        }
        one = out[arm]
        print(
            f"{arm:32s} composite {one['composite'][0]:.4f}  harm {one['harm'][0]:.3f}  diversity "
            f"{one['diversity'][0]:.3f}  parity {one['parity']['ratio']['least'][0]:.2f} "
            f"({one['parity']['ratio']['group']}), strict {one['parity_strict']['ratio']['least'][0]:.2f} "
            f"({one['parity_strict']['ratio']['group']})  {one['cpu_seconds']:.1f} s", flush=True,
        )  # fmt: skip
    for arm in arms:
        for other in ("random", "threshold", "closed_form", "ppo"):
            if arm != other:
                gain = composites[arm]["harm"] - composites[other]["harm"]
                out[arm][f"composite_minus_{other}"] = interval(gain, pivot=True)
    sizes = {name: dict(zip(GROUPS, judge.benign_sizes(name == "strict").tolist(), strict=True))
             for name in ("benign", "strict")}  # fmt: skip
    return {"arms": out, "benign_texts": sizes, "passing_threshold": round(float((frame["p_harm"] <= 0.1).mean()), 4)}  # type: ignore[arg-type]


def plot(found: dict[str, Any], target: Path) -> None:
    """Composite and least parity of every arm, a colour for each set of teachers."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 8), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3, sharey=True)
    first = next(iter(found["teachers"].values()))["arms"]
    order = sorted(first, key=lambda arm: float(first[arm]["composite"][0]))
    colours = ("#1b6ca8", "#d08c2f")
    for shift, colour, (which, entry) in zip((-0.18, 0.18), colours, found["teachers"].items(), strict=True):
        for axes, path in (
            (left, ("composite",)),
            (middle, ("parity", "ratio", "least")),
            (right, ("parity", "within_sources", "least")),
        ):
            found_here: list[Any] = [entry["arms"][arm] for arm in order]
            for step in path:
                found_here = [one[step] for one in found_here]
            values = np.array(found_here)
            spread = np.abs(values[:, 1:].T - values[:, 0])
            place = np.arange(len(order)) + shift
            axes.errorbar(values[:, 0], place, xerr=spread, fmt="o", ms=4, color=colour, label=f"{which} teachers")
    left.set_yticks(range(len(order)), order)
    left.set_xlabel("composite on people's labels, 95% interval")
    left.legend(frameon=False, loc="lower right")
    for axes, name in ((middle, "all sources"), (right, "within sources")):
        axes.axvline(0.8, color="grey", linewidth=0.8)
        axes.set_xlabel(f"least parity of a group's benign texts, {name}")
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", linewidth=0.3)
    figure.savefig(target, dpi=110)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data")
    parser.add_argument("--quick", action="store_true", help="a seventh of the documents, two seeds")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=None, help="folder that keeps the scored pool between runs")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    seeds = 2 if options.quick else options.seeds
    docs, pools, target = build(options.data, options.quick, options.cache)
    assert all(frame["doc_id"].equals(docs["doc_id"]) for frame in pools.values()), "labels in the pool's order"
    found: dict[str, Any] = {
        "documents": docs.height,
        "tokens": int(docs["n_tokens"].sum()),
        "budget_share": BUDGET,
        "seeds": seeds,
        "sources": docs.group_by("source")
        .agg(pl.len().alias("texts"), pl.col("n_tokens").sum(), pl.col("label", "strict").mean().round(4))
        .sort("source")
        .to_dicts(),
        "teachers": {},
    }
    for which, frame in pools.items():
        print(f"{which} teachers", flush=True)
        found["teachers"][which] = measure(frame, docs, target, seeds, options.quick)
        options.out.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    found["machine"] = {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()}
    options.out.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    plot(found, options.out.with_suffix(".png"))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
