"""What assets of the loop log to MLflow, from the lake's records."""

from __future__ import annotations

import dagster as dg

from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.lineage import checkpoint_lineage
from curation_pipeline.stages.policy_report import PolicySection
from resources.tracking import TrackingResource


def track_checkpoint(
    context: dg.AssetExecutionContext, ctx: Context, tracking: TrackingResource, ordinal: int, metrics: Manifest
) -> None:
    """Log the checkpoint as a model of MLflow, with the raw partitions that it was trained on and its metrics."""
    model = next(ctx.lake.get(identity) for identity in metrics.inputs if identity.startswith("checkpoints-"))
    tracking.log_checkpoint(
        partition=context.partition_key,
        dagster_run_id=context.run_id,
        checkpoint=model,
        metrics=ctx.lake.frame(metrics),
        ordinal=ordinal,
        partitions=checkpoint_lineage(ctx.lake, model).partitions,
        attempt=_attempt(ctx, model),
    )


def track_policy(
    context: dg.AssetExecutionContext,
    ctx: Context,
    tracking: TrackingResource,
    policy: Manifest,
    section: PolicySection,
    pictures: dict[str, bytes],
) -> str:
    """Log the policy's training, control, pictures and card; the id of the MLflow run."""
    return tracking.log_policy(
        partition=context.partition_key,
        dagster_run_id=context.run_id,
        policy=policy,
        objective=ctx.lake.json(policy, "policy")["objective"],
        curve=section.curve,
        control=section.control,
        files={**{f"{name}.png": png for name, png in pictures.items()}, "card.md": section.card.encode()},
        attempt=_attempt(ctx, policy),
    )


def _attempt(ctx: Context, manifest: Manifest) -> int:
    head = ctx.lake.head_record(manifest.table, manifest.partition)
    return 0 if head is None else head.attempt
