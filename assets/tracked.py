"""What assets of the loop log to MLflow, from the lake's records: at once, or later where that failed.

The lake is the truth and MLflow a view of it, so a tracker that fails stops nothing.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable

from assets.partitions import window_of
from curation_pipeline.config import state_folder
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.lake.store import LocalStore
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.lineage import checkpoint_lineage
from curation_pipeline.stages.policy_report import policy_section
from curation_pipeline.stages.state import MAIN, history
from curation_pipeline.steps import policy_plots
from resources.registry import promote
from resources.tracking import TrackingResource

logger = logging.getLogger(__name__)
MARKER = "tracked"
"""File of the state folder that says which artefacts MLflow is known to have."""


def track_checkpoint(ctx: Context, tracking: TrackingResource, metrics: Manifest, run_id: str = "") -> None:
    """Log the checkpoint as a model of MLflow, with the raw partitions that it was trained on and its metrics."""
    model = _evaluated(ctx, metrics)
    ordinal = int(metrics.partition["iteration"])
    partitions = checkpoint_lineage(ctx.lake, model).partitions
    with tracking.run("checkpoint", window_of(ordinal), attempt=_attempt(ctx, model), dagster_run_id=run_id) as run:
        run.log_checkpoint(model, ctx.lake.frame(metrics), ordinal, partitions)


def track_policy(ctx: Context, tracking: TrackingResource, policy: Manifest, run_id: str = "") -> str:
    """Log the policy's training, control, pictures and card; the id of the MLflow run, nothing without a report."""
    section = policy_section(ctx.lake, policy)
    if section is None:
        return ""
    window = window_of(int(policy.partition["iteration"]))
    pictures = policy_plots.policy_pictures(section)
    files = {**{f"{name}.png": png for name, png in pictures.items()}, "card.md": section.card.encode()}
    objective = ctx.lake.json(policy, "policy")["objective"]
    with tracking.run("selection_policy", window, attempt=_attempt(ctx, policy), dagster_run_id=run_id) as run:
        run.log_policy(policy, objective, section.curve, section.control, files)
    return run.run_id


def track_commit(ctx: Context, tracking: TrackingResource, committed: Manifest, run_id: str = "") -> str:
    """Make the checkpoint in force the champion of the registered model; what came of it, in words."""
    name = f"{tracking.experiment}-{ctx.profile.name}"
    version = promote(tracking, name, history(ctx.lake, MAIN)[-1].checkpoint_id)
    return f"{name} version {version} is the champion" if version else "the base is in force"


def attempt(what: str, log: Callable[[], object]) -> str:
    """Log to MLflow; what came of it, in words."""
    try:
        return str(log() or "logged")
    except Exception as error:  # whatever a database, a disk, a network or a library of the tracker's comes up with
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        logger.warning("MLflow does not have %s yet (%s); a later run logs it", what, reason)
        return f"to be logged later: {reason}"


def catch_up(ctx: Context, tracking: TrackingResource) -> list[str]:
    """Log policies and checkpoints of the loop that MLflow lacks; their ids."""
    policies, metrics, states = (ctx.lake.heads(table, {"chain": MAIN}) for table in ("policies", "metrics", "state"))
    database = state_folder() / "mlflow.db"

    def fingerprint() -> bytes:
        ids = [manifest.id for manifest in (*policies, *metrics, *states)]
        return hashlib.sha256(repr((ids, database.exists() and database.stat().st_ino)).encode()).hexdigest().encode()

    logged: list[str] = []
    store = LocalStore(state_folder())
    if store.read(MARKER) == fingerprint():
        return logged
    known = tracking.finished() if policies or metrics else set()
    for manifest in policies:
        if manifest.id not in known and track_policy(ctx, tracking, manifest):
            logged.append(manifest.id)
    for manifest in metrics:
        if (model := _evaluated(ctx, manifest)).id not in known:
            track_checkpoint(ctx, tracking, manifest)
            logged.append(model.id)
    if metrics:
        track_commit(ctx, tracking, states[-1])
    store.replace(MARKER, fingerprint())
    return logged


def _evaluated(ctx: Context, metrics: Manifest) -> Manifest:
    return next(ctx.lake.get(identity) for identity in metrics.inputs if identity.startswith("checkpoints-"))


def _attempt(ctx: Context, manifest: Manifest) -> int:
    head = ctx.lake.head_record(manifest.table, manifest.partition)
    return 0 if head is None else head.attempt


def _tried(track: Callable[[Context, TrackingResource, Manifest, str], object]) -> Track:
    def tried(ctx: Context, tracking: TrackingResource, manifest: Manifest, run_id: str) -> str:
        return attempt(manifest.id, lambda: track(ctx, tracking, manifest, run_id))

    return tried


Track = Callable[[Context, TrackingResource, Manifest, str], str]
TRACKED: dict[str, Track] = {
    "selection_policy": _tried(track_policy),
    "evaluation": _tried(track_checkpoint),
    "iteration_commit": _tried(track_commit),
}
"""Step to what logs its artefact to MLflow, and says in words what came of it."""
