"""Everything a report shows, gathered from the lake."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from scipy.stats import binomtest

from curation_pipeline.errors import LakeError
from curation_pipeline.evaluation.chance import with_chance
from curation_pipeline.evaluation.composite import composite_intervals
from curation_pipeline.experiment.comparison import relative_reduction
from curation_pipeline.experiment.report import render_report
from curation_pipeline.experiment.report_data import ReportData
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.lake.store import LocalStore
from curation_pipeline.seeds import generator
from curation_pipeline.stages.arms import reported_chains
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.declared import standing
from curation_pipeline.stages.refinement_report import refinement_parts
from curation_pipeline.stages.results_claims import claim_parts
from curation_pipeline.stages.results_policy import policy_parts
from curation_pipeline.stages.results_selection import parity, selection
from curation_pipeline.stages.state import MAIN, State, chains, history, state_partition

AXES = ("safety", "alignment", "capability", "performance")
GENERATIONS_SHOWN = 12
"""Sampled texts of each chain's last model in the report: the most harmful by the judge, and as many at random."""


def gather(ctx: Context) -> ReportData:
    """Collect what is there; parts that have not been made yet are left out.

    Raises:
        LakeError: nothing has been committed yet.
    """
    lake = ctx.lake
    states = {chain: history(lake, chain) for chain in reported_chains(ctx)}
    if MAIN not in states:
        raise LakeError("nothing has been committed yet: run `curate run` first")
    main = states[MAIN]
    return ReportData(
        title=f"Data curation, profile {ctx.profile.name}",
        created_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        arm=MAIN,
        baselines=ctx.profile.experiment.arms,
        token_budget=ctx.profile.loop.token_budget,
        about={
            "seed": str(ctx.profile.seed),
            "teachers": ", ".join(ctx.profile.annotate.teachers),
            "judge": ctx.profile.annotate.judge,
            "model in force": main[-1].checkpoint_id,
        },
        summary=_summary(lake, states),
        harm=_harm(ctx, states),
        metrics=_metrics(lake, states),
        selection=selection(lake, states),
        parity=parity(lake, main),
        **claim_parts(ctx, states),
        **policy_parts(lake, main),
        reward_moves=_reward_moves(lake, main),
        **refinement_parts(lake, main),
        learning=_learning(lake, main),
        divergence=_divergence(lake, main),
        judge_clean=_judge_clean(lake, ctx.profile.annotate.judge),
        inputs=_inputs(ctx),
        timings=_timings(lake, main),
        generations=_generations(lake, states),
        notes=_notes(main, sorted(set(chains(lake)) - states.keys())),
    )


def write_report(ctx: Context, path: Path, data: ReportData | None = None) -> Path:
    """Render the report into one HTML file, replaced whole.

    Raises:
        LakeError: nothing has been committed yet.
    """
    page = render_report(data or gather(ctx))
    LocalStore(path.parent).replace(path.name, page.encode())
    return path


def _own_metrics(lake: Lake, state: State) -> Manifest:
    return lake.get(state.own["metrics"])


def _summary(lake: Lake, states: dict[str, list[State]]) -> pl.DataFrame:
    rows = []
    for chain, entries in states.items():
        for state in entries:
            manifest = _own_metrics(lake, state)
            reference = lake.json(manifest, "performance")["reference_bits_per_byte"]["reported"]
            intervals = composite_intervals(lake.frame(manifest), reference)
            for axis in AXES:
                rows.append(
                    {
                        "chain": chain,
                        "ordinal": state.ordinal,
                        "status": state.status,
                        "axis": axis,
                        "value": getattr(state.own_performance, axis),
                        "ci_low": intervals[axis][0],
                        "ci_high": intervals[axis][1],
                    }
                )
    return pl.DataFrame(rows)


def _harm(ctx: Context, states: dict[str, list[State]]) -> pl.DataFrame | None:
    """Reduction of harmful outputs of the loop's model in force against each arm's, at the same ordinal."""
    rows = []
    main = states[MAIN]
    for arm in ctx.profile.experiment.arms:
        cells = [entries for chain, entries in states.items() if chain.split("/")[0] == arm]
        for state in main[1:]:
            others = [entries[state.ordinal] for entries in cells if len(entries) > state.ordinal]
            if not others:
                continue
            found = relative_reduction(
                [ctx.lake.frame(ctx.lake.get(state.metrics_id), "generations")],
                [ctx.lake.frame(ctx.lake.get(other.metrics_id), "generations") for other in others],
                generator(ctx.profile.seed, "reduction", arm, state.ordinal),
            )
            rows.append(
                {
                    "arm": MAIN,
                    "baseline": arm,
                    "ordinal": state.ordinal,
                    "benchmark": "toxicity_prompts",
                    "judge": ctx.profile.annotate.judge,
                    "rate": found.rate,
                    "baseline_rate": found.baseline_rate,
                    "reduction": found.value,
                    "ci_low": found.low,
                    "ci_high": found.high,
                    "n": found.n,
                }
            )
    return pl.DataFrame(rows) if rows else None


def _metrics(lake: Lake, states: dict[str, list[State]]) -> pl.DataFrame:
    """Every figure of every iteration, those of the evaluation harness among them where it was run."""
    frames = [
        lake.frame(manifest).with_columns(
            pl.lit(chain).alias("chain"), pl.lit(state.ordinal, pl.Int64).alias("ordinal")
        )
        for chain, entries in states.items()
        for state in entries
        for manifest in (_own_metrics(lake, state), *_of_the_harness(lake, chain, state))
    ]
    return with_chance(pl.concat(frames))


def _of_the_harness(lake: Lake, chain: str, state: State) -> list[Manifest]:
    """Its figures of the checkpoint that the iteration made, if there are any."""
    found = lake.head("harness", state_partition(chain, state.ordinal))
    return [] if found is None or found.summary["checkpoint"] != state.own.get("checkpoints") else [found]


def _reward_moves(lake: Lake, main: list[State]) -> pl.DataFrame:
    rows = []
    for state in main:
        manifest = lake.get(state.own["reward_models"])
        moves = lake.json(manifest, "moves") if state.ordinal else []
        reasons = {move["name"]: move["reason"] for move in moves}
        for weight in ("alpha", "beta", "gamma"):
            start = "the profile's value" if not state.ordinal else None
            rows.append(
                {
                    "ordinal": state.ordinal,
                    "weight": weight,
                    "value": float(manifest.summary[weight]),
                    "reason": reasons.get(weight, start),
                }
            )
    return pl.DataFrame(rows, schema_overrides={"reason": pl.Utf8})


def _learning(lake: Lake, main: list[State]) -> pl.DataFrame | None:
    quantities = ("mean_reward", "entropy", "approx_kl", "explained_variance", "clip_fraction", "price")
    frames = [
        lake.frame(lake.get(state.own["policies"]), "learning_curve")
        .select(pl.col("candidates").alias("step"), *(pl.col(name).cast(pl.Float64) for name in quantities))
        .unpivot(quantities, index="step", variable_name="quantity", value_name="value")
        .drop_nulls()
        .with_columns(pl.lit(state.ordinal, pl.Int64).alias("ordinal"))
        for state in main
        if "policies" in state.own
    ]
    return pl.concat(frames) if frames else None


def _divergence(lake: Lake, main: list[State]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "ordinal": state.ordinal,
                "teacher": float(frame["teacher_score"].mean() or 0.0),  # type: ignore[arg-type]
                "judge": float(frame["score"].mean() or 0.0),  # type: ignore[arg-type]
            }
            for state in main
            for frame in [lake.frame(_own_metrics(lake, state), "generations")]
        ]
    )


def _judge_clean(lake: Lake, judge: str) -> pl.DataFrame:
    figures = lake.require("heldout_texts").summary
    rate, n = float(figures["judge_false_positive_rate"]), int(figures["encyclopaedic_texts"])
    row = {"judge": judge, "dataset": "held-out encyclopaedic text", "n": n, "flagged": round(rate * n), "rate": rate}
    if n:
        found = binomtest(round(rate * n), n).proportion_ci(method="exact")
        row |= {"ci_low": float(found.low), "ci_high": float(found.high)}
    return pl.DataFrame([row])


def _inputs(ctx: Context) -> pl.DataFrame:
    known, _ = standing(ctx)
    return pl.DataFrame(
        [
            {
                "source": manifest.partition["source"],
                "snapshot": manifest.partition["snapshot"],
                "standing": known[manifest.partition_text],
                "documents": manifest.n_rows,
                "bytes": manifest.n_bytes,
                "duplicates": manifest.summary["duplicates"],
                "quarantined": manifest.summary["quarantined"],
                "content_hash": manifest.content_hash,
            }
            for manifest in ctx.lake.heads("documents")
        ]
    )


def _timings(lake: Lake, main: list[State]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"ordinal": state.ordinal, "stage": table, "seconds": lake.get(identity).seconds}
            for state in main
            for table, identity in state.own.items()
        ]
    )


def _generations(lake: Lake, states: dict[str, list[State]]) -> pl.DataFrame:
    frames = []
    for chain, entries in states.items():
        state = entries[-1]
        frame = lake.frame(_own_metrics(lake, state), "generations")
        worst = frame.sort("score", descending=True).head(GENERATIONS_SHOWN)
        usual = frame.sample(min(GENERATIONS_SHOWN, frame.height), seed=0)
        shown = pl.concat([worst, usual]).unique(["prompt_id", "sample"], keep="first", maintain_order=True)
        frames.append(
            shown.select("benchmark", "prompt", "text", "score").with_columns(
                pl.lit(chain).alias("chain"), pl.lit(state.ordinal, pl.Int64).alias("ordinal")
            )
        )
    return pl.concat(frames)


def _notes(main: list[State], left_out: list[str]) -> tuple[str, ...]:
    rejected = (
        f"Iteration {state.ordinal} was rejected and its parent's model stays in force: {state.reason}."
        for state in main
        if state.status == "rejected"
    )
    others = f"Left out, as the profile no longer asks for them: {', '.join(left_out)}."
    return (*rejected, others) if left_out else tuple(rejected)
