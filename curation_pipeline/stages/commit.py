"""The end of an iteration: accept or reject its model, and commit the state that the next iteration starts from."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from typing import Any

from curation_pipeline.errors import LakeError
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.reward.curriculum import advanced, started
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.evaluation import performances
from curation_pipeline.stages.gate import gate_and_parent
from curation_pipeline.stages.state import CODE_VERSION, MAIN, TABLE, Refinement, State, committed, state_partition

logger = logging.getLogger(__name__)
OWN_TABLES = ("pool", "probes", "policies", "batches", "checkpoints", "metrics", "reward_models", "audits")


def commit_cold_start(ctx: Context, chain: str) -> Manifest:
    """Commit the uncurated base as iteration 0 of a chain.

    A chain that has gone on keeps the start that it had: a reward that was fitted again since reaches it through the
    refinement, and an evaluation by other settings counts from its next iteration on; neither rewrites its history.
    Only an arm whose base is another starts over, since its whole chain is run again.

    Raises:
        LakeError: the base, its evaluation or the initial reward model has not been made; or the base is another than
            the one that the loop's iterations go on from.
    """
    lake = ctx.lake
    base, metrics, reward = (lake.require(table) for table in ("base_checkpoint", "base_metrics", "initial_reward"))
    start = committed(lake, chain, 0)
    if start is not None and committed(lake, chain, 1) is not None:
        manifest, kept = start
        if kept.checkpoint_id == base.id:
            if kept.metrics_id != metrics.id:
                logger.warning(
                    "the evaluation's settings, judge or labels changed: iterations of chain %r are measured with "
                    "them from the next one on, and iteration 0 keeps the evaluation that it had",
                    chain,
                )
            return manifest
        if chain == MAIN:
            raise LakeError(
                f"chain {chain!r} has iterations that go on from {kept.checkpoint_id}, and the base is now {base.id}: "
                "put back the settings that it was made with (`curate status` names it), or start a new chain in a "
                "state folder of its own (--state); iteration 0 was not changed"
            )
    reported, credit_metrics = performances(lake, metrics)
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
        credit_metrics=credit_metrics,
        batches=(),
        probes=(),
        own={"checkpoints": base.id, "metrics": metrics.id, "reward_models": reward.id},
        own_performance=reported,
        own_credit_metrics=credit_metrics,
        parent_state_id=None,
        refinement=Refinement(fitted_reward_id=reward.id),
        curriculum=started(ctx.profile.curriculum) if chain == MAIN else None,
    )
    return _write(ctx, state, (base.id, metrics.id, reward.id), {})


def commit_iteration(ctx: Context, chain: str, ordinal: int, max_performance_drop: float | None = None) -> Manifest:
    """Accept or reject an iteration's model, and commit.

    A rejected iteration keeps its parent's model, policy and reward model in force, so the chain never deadlocks;
    what it made itself stays in the lake and in the record. Its probes are kept: they measured the shared base, and
    what they found is as true as before. The refinement backs off: its multipliers stay the parent's and its step
    halves. Where the labels or principles changed, the parent's reward under the new norm comes into force all the
    same: that the model did worse is no reason to go on with a norm that was given up.

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
    reported, credit_metrics = performances(lake, metrics)
    limit = ctx.profile.loop.max_performance_drop if max_performance_drop is None else max_performance_drop
    drop = parent.credit_metrics.performance - credit_metrics.performance
    accepted = drop <= limit
    change = f"P on credit data went from {parent.credit_metrics.performance:.4f} to {credit_metrics.performance:.4f}"
    reason = f"{change}; a fall of at most {limit:g} is accepted"
    rejected_reward, refinement = _refined(ctx, lake, own.get("reward_models"), parent, accepted)
    stages = ctx.profile.curriculum if chain == MAIN else ()
    before = () if ctx.profile.training.start_from == "base" else parent.batches
    state = State(
        chain=chain,
        ordinal=ordinal,
        status="accepted" if accepted else "rejected",
        reason=reason,
        checkpoint_id=own["checkpoints"] if accepted else parent.checkpoint_id,
        policy_id=own.get("policies", parent.policy_id) if accepted else parent.policy_id,
        reward_model_id=own.get("reward_models", parent.reward_model_id) if accepted else rejected_reward,
        metrics_id=metrics.id if accepted else parent.metrics_id,
        performance=reported if accepted else parent.performance,
        credit_metrics=credit_metrics if accepted else parent.credit_metrics,
        batches=(*before, own["batches"]) if accepted else parent.batches,
        probes=(*parent.probes, own["probes"]) if "probes" in own else parent.probes,
        own=own,
        own_performance=reported,
        own_credit_metrics=credit_metrics,
        parent_state_id=gate.parent_state_id,
        refinement=refinement,
        curriculum=advanced(parent.curriculum, stages, asdict(credit_metrics), accepted, ordinal),
    )
    parameters: dict[str, Any] = {"max_drop": limit}
    if stages:
        parameters["curriculum"] = [stage.model_dump(mode="json") for stage in stages]
    return _write(ctx, state, (gate_manifest.id, gate.parent_state_id, *own.values()), parameters)


def _refined(ctx: Context, lake: Lake, reward_id: str | None, parent: State, accepted: bool) -> tuple[str, Refinement]:
    """The reward model in force after a rejection, and what the next refinement starts with either way."""
    settings, before = ctx.profile.reward.refinement, parent.refinement
    if reward_id is None:  # a baseline's chain has no reward to refine
        return parent.reward_model_id, before
    manifest = lake.get(reward_id)
    if not any(file.name == "refinement.json" for file in manifest.files):
        return parent.reward_model_id, replace(before, duals=before.duals.rejected(settings))
    record = lake.json(manifest, "refinement")
    found = Refinement.from_dict(record["refinement"])
    if accepted:
        return record["on_rejection"], replace(found, duals=found.duals.accepted(settings))
    kept = replace(before, fitted_reward_id=found.fitted_reward_id, audits=found.audits)
    return record["on_rejection"], replace(kept, duals=before.duals.rejected(settings))


def _write(ctx: Context, state: State, inputs: tuple[str, ...], parameters: dict[str, Any]) -> Manifest:
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
            multipliers={name: round(value, 4) for name, value in state.refinement.duals.named().items()},
            refinement_step=state.refinement.duals.step,
        )
        if state.curriculum is not None:
            draft.summary.update(curriculum_stage=state.curriculum.name, curriculum=state.curriculum.reason)

    return ctx.lake.build(recipe, make)
