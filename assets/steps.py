"""Dagster's assets: one for each step of `curation_pipeline.steps`, and the state that chains iterations.

What an asset is called, reads, computes and shows is in its step's module; here it only becomes Dagster's. The edge
from an iteration to the one before goes through `committed_state`, an external asset without computation: the gate
reads the parent's committed state from the lake and fails where there is none.
"""

from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
from pydantic import create_model

from assets.partitions import cell_partitions, corpus_partitions, iteration_partitions, lake_partition
from assets.tracked import TRACKED
from assets.views import data_version, describe, result
from curation_pipeline.engine.workers import dashboard
from curation_pipeline.errors import GateClosedError
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.state import State, read_state
from curation_pipeline.steps.loop import iteration_commit, iteration_gate
from curation_pipeline.steps.registry import read_by, steps
from curation_pipeline.steps.step import Partitioning, Place, Step
from curation_pipeline.steps.view import Figure, Markdown
from resources.project import ProjectResource
from resources.tracking import TrackingResource

OWNERS = ["team:data-safety"]
POOLS = {"loop": "curation_loop", "experiment": "curation_experiment"}
"""Group to the pool that limits how many of its steps run at a time."""
PARTITIONS = {
    Partitioning.WHOLE: None,
    Partitioning.CORPUS: corpus_partitions,
    Partitioning.ITERATION: iteration_partitions(),
    Partitioning.RUN: cell_partitions,
}

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
    """The event that tells Dagster of a commit that is in the lake already."""
    return dg.AssetMaterialization(
        committed_state.key,
        partition=window,
        metadata={**describe(manifest), "reason": dg.MetadataValue.text(state.reason)},
        tags={"dagster/data_version": data_version(manifest).value},
    )


def _deps(step: Step) -> Iterator[dg.AssetDep]:
    """What an asset depends on: an iteration's steps read the corpus through its gate, which alone has edges to it."""
    if step is iteration_gate.STEP:
        yield dg.AssetDep(committed_state, partition_mapping=PREVIOUS)
    for read in read_by(step):
        same = read.partitioning is step.partitioning
        through_gate = step.partitioning is Partitioning.ITERATION and step is not iteration_gate.STEP
        if through_gate and not same:
            continue
        every = read.partitioning is not Partitioning.WHOLE and not same
        yield dg.AssetDep(read.name, partition_mapping=dg.AllPartitionMapping() if every else None)


def _execute(
    step: Step,
    context: dg.AssetExecutionContext,
    project: ProjectResource,
    tracking: TrackingResource,
    options: dict[str, Any],
) -> dg.MaterializeResult:
    """Make the artefact of a run's partition."""
    ctx = project.context(context.log)
    partition = lake_partition(step.partitioning, context.partition_key) if context.has_partition_key else {}
    try:
        manifest = step.make(ctx, Place(partition, options=options))
        view = step.view(ctx, manifest)
    except GateClosedError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    extra: dict[str, Figure] = {}
    if address := dashboard(ctx.profile.engine):
        context.log.info(f"Ray's dashboard: {address}")
        extra["ray_dashboard"] = Markdown(f"[{address}]({address})")
    if step.name in TRACKED:
        extra["mlflow"] = TRACKED[step.name](ctx, tracking, manifest, context.run_id)
    if step is iteration_commit.STEP:  # storage first, then the event
        context.log_event(iteration_state(manifest, read_state(ctx.lake, manifest), context.partition_key))
    return result(manifest, view, extra)


def _computation(step: Step) -> Callable[..., dg.MaterializeResult]:
    """What Dagster calls; only where a step has options is there something to configure."""
    if step.options is None:

        def plain(
            context: dg.AssetExecutionContext, project: ProjectResource, tracking: TrackingResource
        ) -> dg.MaterializeResult:
            return _execute(step, context, project, tracking, {})

        return plain
    fields: dict[str, Any] = {name: (field.annotation, field) for name, field in step.options.model_fields.items()}
    options = create_model(f"{step.name}_options", __base__=dg.Config, **fields)

    def configured(
        context: dg.AssetExecutionContext,
        config: options,  # type: ignore[valid-type]
        project: ProjectResource,
        tracking: TrackingResource,
    ) -> dg.MaterializeResult:
        given = {name: value for name in fields if (value := getattr(config, name)) is not None}
        return _execute(step, context, project, tracking, given)

    return configured


def _asset(step: Step) -> dg.AssetsDefinition:
    """The asset of a step."""
    return dg.asset(
        name=step.name,
        partitions_def=PARTITIONS[step.partitioning],
        group_name=step.group,
        owners=OWNERS,
        pool=POOLS.get(step.group),
        code_version=step.version,
        kinds=set(step.kinds),
        deps=list(_deps(step)),
        description=step.description,
        automation_condition=dg.AutomationCondition.eager() if step.follows_corpus else None,
        check_specs=[
            dg.AssetCheckSpec(check.name, asset=step.name, description=check.description, blocking=check.blocking)
            for check in step.checks
        ],
    )(_computation(step))


ASSETS = {step.name: _asset(step) for step in steps().values()}
"""Every asset of the lake, by its name in the graph."""
