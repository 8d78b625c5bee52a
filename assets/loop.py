"""One iteration of the closed loop, from its gate to its commit, over windows of time.

The edge from an iteration to the one before goes through `committed_state`, an external asset without computation:
the gate reads the parent's committed state from the lake and fails where there is none.
"""

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg
import polars as pl

from assets import policy_plots
from assets.annotations import ANNOTATION_ASSETS
from assets.batch_views import PARITY, parity, shares_plot
from assets.corpus import documents
from assets.corpus_wide import duplicates, tombstones
from assets.links import corpus_links, documents_of, input_links, used_partitions
from assets.metadata import OWNERS, asset_link, data_version, describe, markdown_table, plot, result
from assets.partitions import iteration_partitions, ordinal_of, window_of
from assets.references import cold_start, initial_reward, loss_plot, metrics_table
from assets.tracked import attempt, track_checkpoint, track_policy
from curation_pipeline.errors import GateClosedError
from curation_pipeline.escaping import link
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages import commit, gate, refinement, training
from curation_pipeline.stages import evaluation as evaluation_stage
from curation_pipeline.stages import harness as harness_stage
from curation_pipeline.stages.audit import audit_batch
from curation_pipeline.stages.credit_report import credit_section
from curation_pipeline.stages.detectors import models_in_force, open_expert
from curation_pipeline.stages.divergence import divergence_history, gap_trend, judge_and_teacher
from curation_pipeline.stages.parity import batch_parity
from curation_pipeline.stages.policy_report import policy_section
from curation_pipeline.stages.pool import CODE_VERSION as POOL_VERSION
from curation_pipeline.stages.pool import candidate_pool as build_pool
from curation_pipeline.stages.probes import CODE_VERSION as PROBES_VERSION
from curation_pipeline.stages.probes import run_probes
from curation_pipeline.stages.selection import BATCH_VERSION, POLICY_VERSION, draw_policy_batch, train_selection_policy
from curation_pipeline.stages.state import CODE_VERSION as STATE_VERSION
from curation_pipeline.stages.state import MAIN, State, parent_of, read_state
from resources.project import ProjectResource
from resources.tracking import TrackingResource


def _loop_asset(
    version: str, kinds: set[str], deps: Sequence[Any], description: str, check_specs: Sequence[dg.AssetCheckSpec] = ()
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """`dg.asset` with what all assets of the loop share; the version is the one that the stage's recipe declares."""
    return dg.asset(
        partitions_def=iteration_partitions(),
        group_name="loop",
        owners=OWNERS,
        pool="curation_loop",
        code_version=version,
        kinds=kinds,
        deps=deps,
        description=description,
        check_specs=check_specs,
    )


committed_state = dg.AssetSpec(
    "committed_state",
    partitions_def=iteration_partitions(),
    group_name="loop",
    owners=OWNERS,
    kinds={"json"},
    description="The committed state of each iteration, written by `iteration_commit`. It has no computation of its "
    "own: it carries the edge from an iteration to the next, which an acyclic graph cannot draw.",
)

PREVIOUS = dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1, allow_nonexistent_upstream_partitions=True)


def iteration_state(manifest: Manifest, state: State, window: str) -> dg.AssetMaterialization:
    """The event that tells Dagster of a commit that already stands in the lake."""
    return dg.AssetMaterialization(
        committed_state.key,
        partition=window,
        metadata={**describe(manifest), "reason": dg.MetadataValue.text(state.reason)},
        tags={"dagster/data_version": data_version(manifest).value},
    )


@_loop_asset(
    gate.CODE_VERSION,
    kinds={"json"},
    deps=[
        dg.AssetDep(committed_state, partition_mapping=PREVIOUS),
        dg.AssetDep(cold_start),
        dg.AssetDep(initial_reward),
        dg.AssetDep(duplicates),
        dg.AssetDep(tombstones),
        *(dg.AssetDep(asset, partition_mapping=dg.AllPartitionMapping()) for asset in (documents, *ANNOTATION_ASSETS)),
    ],
    description="Opens an iteration: reads the parent's committed state and freezes the ids of everything that the "
    "iteration will read. It fails, and changes nothing, where the parent has not been committed.",
)
def iteration_gate(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Open the gate."""
    ctx = project.context(context.log)
    ordinal = ordinal_of(context.partition_key)
    try:
        manifest = gate.open_gate(ctx, MAIN, ordinal)
        _, parent = parent_of(ctx.lake, MAIN, ordinal)
    except GateClosedError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    frozen = ctx.lake.json(manifest, "gate")["corpus"]
    parent_link = "cold_start" if ordinal == 1 else "committed_state"
    address = asset_link(parent_link, None if ordinal == 1 else window_of(ordinal - 1))
    extra = {
        "iteration": dg.MetadataValue.int(ordinal),
        "parent": dg.MetadataValue.md(f"{link(f'{parent_link} {ordinal - 1}', address)}, {parent.status}"),
        "frozen_inputs": corpus_links(ctx.lake, {key: ids["documents"] for key, ids in frozen.items()}),
    }
    return result(manifest, extra)


@_loop_asset(
    POOL_VERSION,
    kinds={"polars", "parquet"},
    deps=[iteration_gate],
    description="The documents that may be drawn, with the features that the policy sees: no duplicate, no held-out "
    "and no benchmark text, and nothing of the judge.",
)
def candidate_pool(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Build the pool."""
    ctx = project.context(context.log)
    manifest = build_pool(ctx, MAIN, ordinal_of(context.partition_key))
    frame = ctx.lake.frame(manifest, columns=["p_harm", "alignment"])

    def draw(axes: Any) -> None:
        axes.hist(frame["p_harm"].to_numpy(), bins=50, alpha=0.6, label="P(harm)")
        axes.hist(frame["alignment"].to_numpy(), bins=50, alpha=0.6, label="alignment")
        axes.set(ylabel="documents", yscale="log")
        axes.legend(frameon=False)

    return result(manifest, {"scores": plot(draw)})


@_loop_asset(
    PROBES_VERSION,
    kinds={"pytorch"},
    deps=[candidate_pool],
    description="Small fine-tunes of the shared base on random tilts of the pool. A ridge regression of what they "
    "measured gives each stratum its downstream credit, scaled by its leave-one-out R2.",
)
def probes(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Run the probes and fit the credit."""
    ctx = project.context(context.log)
    manifest = run_probes(ctx, MAIN, ordinal_of(context.partition_key))
    section = credit_section(ctx.lake, manifest)
    shown = section.strata if section.strata.height <= 40 else pl.concat([section.strata[:20], section.strata[-20:]])
    rows = shown.with_columns(pl.col(pl.Float64).round(4))
    extra = {
        "credit": policy_plots.inline(policy_plots.credit(section)),
        "credit_by_stratum": markdown_table(rows.columns, rows.iter_rows()),
        "fit": dg.MetadataValue.json(ctx.lake.json(manifest, "credit")),
    }
    return result(manifest, extra)


@_loop_asset(
    POLICY_VERSION,
    kinds={"pytorch"},
    deps=[candidate_pool, probes],
    description="The PPO policy that decides which documents to draw and how much they weigh, trained on the pool "
    "against the composite reward and the downstream credit, warm-started from the parent iteration.",
)
def selection_policy(
    context: dg.AssetExecutionContext, project: ProjectResource, tracking: TrackingResource
) -> dg.MaterializeResult:
    """Train the policy."""
    ctx = project.context(context.log)
    manifest = train_selection_policy(ctx, MAIN, ordinal_of(context.partition_key))
    section = policy_section(ctx.lake, manifest)
    if section is None:
        return result(manifest)
    pictures = policy_plots.policy_pictures(section)
    logged = attempt(manifest.id, lambda: track_policy(ctx, tracking, manifest, section, pictures, context.run_id))
    extra = {
        "against_the_closed_form": dg.MetadataValue.md(section.summary["against_the_closed_form"]),
        "inputs": input_links(ctx.lake, manifest),
        "mlflow_run": dg.MetadataValue.text(logged),
        **{name: policy_plots.inline(png) for name, png in pictures.items()},
        "card": dg.MetadataValue.md(section.card),
    }
    return result(manifest, extra)


BUDGET_MET, DRAWN_FROM_POOL = "token_budget_met", "drawn_from_pool"


@_loop_asset(
    BATCH_VERSION,
    kinds={"polars", "parquet"},
    deps=[candidate_pool, selection_policy],
    check_specs=[
        dg.AssetCheckSpec(BUDGET_MET, asset="curated_batch", blocking=True,
                          description="the drawn tokens meet the budget within one document"),
        dg.AssetCheckSpec(DRAWN_FROM_POOL, asset="curated_batch", blocking=True,
                          description="every drawn document stands in the pool, once, with a positive weight"),
        dg.AssetCheckSpec(PARITY, asset="curated_batch",
                          description="inside each source, texts that the reward model calls benign and that mention "
                          "an identity group are drawn at least 0.8 times as often as those that mention none"),
    ],
    description="The weighted batch: order sampling with the policy's probabilities under the token budget. The "
    "decision about every document of the pool is a row beside it.",
)  # fmt: skip
def curated_batch(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Draw the batch."""
    ctx = project.context(context.log)
    manifest = draw_policy_batch(ctx, MAIN, ordinal_of(context.partition_key))
    pool_manifest = next(ctx.lake.get(i) for i in manifest.inputs if i.startswith("pool-"))
    pool = ctx.lake.frame(pool_manifest)
    batch = ctx.lake.frame(manifest)
    longest = int(pool["n_tokens"].max() or 0)  # type: ignore[arg-type]
    figures = manifest.summary
    known = pool["doc_id"].is_in(batch["doc_id"].implode()).sum()
    checks = [
        dg.AssetCheckResult(
            check_name=BUDGET_MET,
            passed=abs(figures["tokens"] - figures["token_budget"]) <= longest,
            metadata={"tokens": figures["tokens"], "budget": figures["token_budget"], "longest_document": longest},
        ),
        dg.AssetCheckResult(
            check_name=DRAWN_FROM_POOL,
            passed=known == batch.height == batch["doc_id"].n_unique() and bool((batch["weight"] > 0).all()),
            metadata={"drawn": batch.height, "in_pool": int(known)},
        ),
        parity(batch_parity(ctx.lake, pool_manifest.id, manifest.id)),
    ]
    extra = {
        "inputs": input_links(ctx.lake, manifest),
        "raw_partitions": corpus_links(ctx.lake, documents_of(ctx.lake, manifest)),
        "before_and_after": shares_plot(figures["token_share_by_toxicity_bin"]),
    }
    return result(manifest, extra, checks)


LOSS_IS_FINITE = "loss_is_finite"


@_loop_asset(
    training.CODE_VERSION,
    kinds={"pytorch", "huggingface"},
    deps=[curated_batch],
    check_specs=[
        dg.AssetCheckSpec(
            LOSS_IS_FINITE, asset="checkpoint", blocking=True, description="every loss of the fit is finite"
        )
    ],
    description="The language model fine-tuned on the weighted batch, continued from the parent's checkpoint; a folder "
    "that `from_pretrained` opens.",
)
def checkpoint(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Fine-tune the model."""
    ctx = project.context(context.log)
    manifest = training.train_checkpoint(ctx, MAIN, ordinal_of(context.partition_key))
    losses = ctx.lake.frame(manifest, "losses")["loss"]
    check = dg.AssetCheckResult(
        check_name=LOSS_IS_FINITE,
        passed=bool(losses.is_finite().all()),
        metadata={"first": float(losses[0]), "last": float(losses[-1])},
    )
    extra = {
        "inputs": input_links(ctx.lake, manifest),
        "raw_partitions": used_partitions(ctx, manifest),
        "loss": loss_plot(ctx.lake, manifest),
        "folder": dg.MetadataValue.path(str(ctx.lake.folder(manifest))),
    }
    return result(manifest, extra, [check])


JUDGE_IS_FAIR, JUDGE_AGREES = "judge_false_positives", "judge_and_teacher_agree"


@_loop_asset(
    evaluation_stage.CODE_VERSION,
    kinds={"pytorch"},
    deps=[checkpoint],
    check_specs=[
        dg.AssetCheckSpec(JUDGE_IS_FAIR, asset="evaluation",
                          description="the judge flags at most 1% of clean encyclopaedic text; otherwise its sampled "
                          "metrics are not to be believed"),
        dg.AssetCheckSpec(JUDGE_AGREES, asset="evaluation",
                          description="teacher and judge see the harmful outputs move the same way; where they "
                          "diverge the policy is gaming its reward"),
    ],
    description="Safety, alignment, bias, capability and diversity of the checkpoint, with intervals. Sampled "
    "text is judged by the detector that did not make the reward.",
)  # fmt: skip
def evaluation(
    context: dg.AssetExecutionContext, project: ProjectResource, tracking: TrackingResource
) -> dg.MaterializeResult:
    """Evaluate the checkpoint."""
    ctx = project.context(context.log)
    ordinal = ordinal_of(context.partition_key)
    manifest = evaluation_stage.evaluate_checkpoint(ctx, MAIN, ordinal)
    figures = manifest.summary
    rate = figures["judge_false_positive_rate"]
    _, parent = parent_of(ctx.lake, MAIN, ordinal)
    before = ctx.lake.get(parent.metrics_id).summary
    moved = {name: figures[f"{name}_toxic_outputs"] - before[f"{name}_toxic_outputs"] for name in ("judge", "teacher")}
    checks = [
        dg.AssetCheckResult(
            check_name=JUDGE_IS_FAIR,
            passed=rate <= ctx.profile.annotate.judge_max_false_positives,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"false_positive_rate": rate},
        ),
        dg.AssetCheckResult(
            check_name=JUDGE_AGREES,
            passed=not (moved["teacher"] < 0 < moved["judge"]),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={f"change_by_{name}": round(value, 4) for name, value in moved.items()},
        ),
    ]
    logged = attempt(manifest.id, lambda: track_checkpoint(ctx, tracking, manifest, context.run_id))
    extra = {"metrics": metrics_table(ctx.lake, manifest), "mlflow": dg.MetadataValue.text(logged)}
    return result(manifest, extra, checks)


@_loop_asset(
    harness_stage.CODE_VERSION,
    kinds={"huggingface"},
    deps=[checkpoint],
    description="Benchmarks of the lm-evaluation-harness on the checkpoint, run by the harness itself on the tasks "
    "that the profile names (`evaluation.harness.tasks`; none by default). They are for people: nothing of them drives "
    "the loop.",
)
def harness(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Run the harness."""
    ctx = project.context(context.log)
    manifest = harness_stage.evaluate_with_harness(ctx, MAIN, ordinal_of(context.partition_key))
    return result(manifest, {"metrics": metrics_table(ctx.lake, manifest)})


GAP_IS_STABLE = "judge_and_teacher_stay_together"


@_loop_asset(
    refinement.CODE_VERSION,
    kinds={"scikitlearn"},
    deps=[curated_batch, evaluation],
    check_specs=[
        dg.AssetCheckSpec(GAP_IS_STABLE, asset="reward_model",
                          description="the gap between the flag rates of judge and teacher has not widened since the "
                          "first iteration by more than the profile allows")
    ],
    description="The reward model for the next iteration: the multipliers of the constraints moved by what the "
    "evaluation and the batch showed, with them alpha, beta and gamma, at most 20% a step, and P(harm) corrected by "
    "the audit batch, each move with its reason. A norm that changed comes in here.",
)  # fmt: skip
def reward_model(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Refine the reward model."""
    ctx = project.context(context.log)
    ordinal = ordinal_of(context.partition_key)
    manifest = refinement.refine_reward(ctx, MAIN, ordinal, open_expert(ctx, models_in_force(ctx)))
    judge_and_teacher(ctx, MAIN, ordinal)
    distance = divergence_history(ctx.lake, MAIN, ordinal)
    limit = ctx.profile.reward.divergence.max_widening
    trend = gap_trend(distance)
    check = dg.AssetCheckResult(
        check_name=GAP_IS_STABLE,
        passed=trend is None or not trend.widened(limit),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"limit": limit} if trend is None else {"limit": limit, "widening": trend.widening},
    )
    moves = [(m.name, f"{m.before:.3f}", f"{m.after:.3f}", m.reason) for m in refinement.read_moves(ctx.lake, manifest)]
    shown = distance.filter(pl.col("ordinal") == ordinal).select("what", "measure", "value", "ci_low", "ci_high", "n")
    rounded = shown.with_columns(pl.col(pl.Float64).round(4)).rows()
    extra = {
        "what_moved": markdown_table(["what", "from", "to", "reason"], moves),
        "divergence": markdown_table(shown.columns, rounded),
        "audit_batch": dg.MetadataValue.path(str(ctx.lake.folder(audit_batch(ctx, MAIN, ordinal)))),
    }
    return result(manifest, extra, [check])


class Acceptance(dg.Config):
    """How an iteration is accepted; the profile's value where nothing is given."""

    max_performance_drop: float | None = None


@_loop_asset(
    STATE_VERSION,
    kinds={"json"},
    deps=[curated_batch, checkpoint, evaluation, reward_model],
    description="Accepts or rejects the iteration's model and commits the state that the next iteration starts from. "
    "A rejected iteration keeps its parent's model, policy and reward in force, so the chain goes on.",
)
def iteration_commit(
    context: dg.AssetExecutionContext, config: Acceptance, project: ProjectResource
) -> dg.MaterializeResult:
    """Commit the iteration: storage first, then the event."""
    ctx = project.context(context.log)
    manifest = commit.commit_iteration(ctx, MAIN, ordinal_of(context.partition_key), config.max_performance_drop)
    state = read_state(ctx.lake, manifest)
    context.log_event(iteration_state(manifest, state, context.partition_key))
    return result(manifest, {"own_artefacts": input_links(ctx.lake, manifest)})
