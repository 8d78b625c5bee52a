"""The end of an iteration: accept or reject its model, and commit the state that the next iteration starts from."""

from __future__ import annotations

from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.evaluation import performances
from curation_pipeline.stages.gate import gate_and_parent
from curation_pipeline.stages.state import CODE_VERSION, TABLE, State, state_partition

OWN_TABLES = ("pool", "probes", "policies", "batches", "checkpoints", "metrics", "reward_models")


def commit_cold_start(ctx: Context, chain: str) -> Manifest:
    """Commit the uncurated base as iteration 0 of a chain.

    Raises:
        LakeError: the base, its evaluation or the initial reward model has not been made.
    """
    lake = ctx.lake
    base, metrics, reward = (lake.require(table) for table in ("base_checkpoint", "base_metrics", "initial_reward"))
    reported, drive = performances(lake, metrics)
    state = State(
        chain=chain,
        ordinal=0,
        status="accepted",
        reason="the uncurated base",
        checkpoint_id=base.id,
        policy_id=None,
        reward_model_id=reward.id,
        metrics_id=metrics.id,
        performance=reported,
        drive=drive,
        batches=(),
        probes=(),
        own={"checkpoints": base.id, "metrics": metrics.id, "reward_models": reward.id},
        own_performance=reported,
        own_drive=drive,
        parent_state_id=None,
    )
    return _write(ctx, state, (base.id, metrics.id, reward.id), {})


def commit_iteration(ctx: Context, chain: str, ordinal: int, max_performance_drop: float | None = None) -> Manifest:
    """Accept or reject an iteration's model, and commit.

    A rejected iteration keeps its parent's model, policy and reward model in force, so the chain never deadlocks;
    what it made itself stays in the lake and in the record. Its probes are kept: they measured the shared base, and
    what they found is as true as before.

    Args:
        ctx: the surroundings.
        chain: the chain.
        ordinal: the iteration, from 1.
        max_performance_drop: largest fall of P (role ``credit``) that is accepted; the profile's where None.

    Raises:
        LakeError: a stage of the iteration has not been done.
    """
    lake = ctx.lake
    gate_manifest, gate, parent = gate_and_parent(lake, chain, ordinal)
    own = {table: found.id for table in OWN_TABLES if (found := lake.head(table, gate.partition)) is not None}
    metrics = lake.require("metrics", gate.partition)
    reported, drive = performances(lake, metrics)
    limit = ctx.profile.loop.max_performance_drop if max_performance_drop is None else max_performance_drop
    drop = parent.drive.performance - drive.performance
    accepted = drop <= limit
    change = f"P on credit data went from {parent.drive.performance:.4f} to {drive.performance:.4f}"
    reason = f"{change}; a fall of at most {limit:g} is accepted"
    state = State(
        chain=chain,
        ordinal=ordinal,
        status="accepted" if accepted else "rejected",
        reason=reason,
        checkpoint_id=own["checkpoints"] if accepted else parent.checkpoint_id,
        policy_id=own.get("policies", parent.policy_id) if accepted else parent.policy_id,
        reward_model_id=own.get("reward_models", parent.reward_model_id) if accepted else parent.reward_model_id,
        metrics_id=metrics.id if accepted else parent.metrics_id,
        performance=reported if accepted else parent.performance,
        drive=drive if accepted else parent.drive,
        batches=(*parent.batches, own["batches"]) if accepted else parent.batches,
        probes=(*parent.probes, own["probes"]) if "probes" in own else parent.probes,
        own=own,
        own_performance=reported,
        own_drive=drive,
        parent_state_id=gate.parent_state_id,
    )
    return _write(ctx, state, (gate_manifest.id, gate.parent_state_id, *own.values()), {"max_drop": limit})


def _write(ctx: Context, state: State, inputs: tuple[str, ...], parameters: dict[str, float]) -> Manifest:
    recipe = Recipe(
        TABLE, state_partition(state.chain, state.ordinal), inputs, parameters, ctx.profile.seed, CODE_VERSION
    )

    def make(draft: Draft) -> None:
        draft.json(state.to_dict(), "state")
        draft.summary.update(
            status=state.status,
            reason=state.reason,
            checkpoint=state.checkpoint_id,
            safety=round(state.performance.safety, 4),
            alignment=round(state.performance.alignment, 4),
            capability=round(state.performance.capability, 4),
            performance=round(state.performance.performance, 4),
        )

    return ctx.lake.build(recipe, make)
