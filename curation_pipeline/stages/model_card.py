"""Facts of a checkpoint's model card, read from the lake: when it is trained, and again when it has been evaluated."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.evaluation import performances
from curation_pipeline.stages.lineage import checkpoint_lineage
from curation_pipeline.training.card import CardFacts, Measured, RawPartition, model_card

_BATCH_FIGURES = (
    "documents", "tokens", "token_budget", "effective_token_share", "effective_documents", "mean_p_harm",
    "pool_mean_p_harm", "strata",
)  # fmt: skip
_SETTINGS = (
    "weighting", "normalise_over", "start_from", "sequence_length", "learning_rate", "batch_size", "passes",
    "weight_decay", "grad_clip", "precision", "processes", "lora",
)  # fmt: skip
_PREFIX = "token_share_by_"


def training_facts(
    ctx: Context,
    identity: str,
    corpus: dict[str, dict[str, str]],
    batch: Manifest | None,
    *,
    arm: str = "base",
    iteration: int = 0,
    arm_seed: int = 0,
) -> CardFacts:
    """What is known of a checkpoint before it is trained.

    Args:
        ctx: the surroundings.
        identity: the id that it will have.
        corpus: ids of documents and annotations by raw partition, as the gate froze them.
        batch: the curated batch; None for the base.
        arm: the chain.
        iteration: its number.
        arm_seed: the seed of an experiment's arm.
    """
    settings = ctx.profile.training
    documents = {key: ctx.lake.get(ids["documents"]) for key, ids in corpus.items()}
    return CardFacts(
        identity=identity,
        profile=ctx.profile.name,
        arm=arm,
        iteration=iteration,
        arm_seed=arm_seed,
        started_from=None,
        start="random weights" if settings.model_id is None else f"the pretrained model {settings.model_id}",
        pretrained=settings.model_id,
        batch=None if batch is None else batch.id,
        data={} if batch is None else {name: batch.summary[name] for name in _BATCH_FIGURES if name in batch.summary},
        composition={} if batch is None else _composition(batch),
        partitions=[RawPartition(key, manifest.id, manifest.n_rows) for key, manifest in sorted(documents.items())],
        training={name: value for name, value in settings.model_dump(mode="json").items() if name in _SETTINGS},
    )


def checkpoint_card(ctx: Context, checkpoint: Manifest) -> str:
    """The card of a finished checkpoint, with its own metrics where it has been evaluated.

    Args:
        ctx: the surroundings; the profile gives the card its name alone.
        checkpoint: an artefact of the table ``checkpoints`` or ``base_checkpoint``.
    """
    lake = ctx.lake
    summary, parameters = checkpoint.summary, checkpoint.parameters
    settings: dict[str, Any] = parameters["training"]
    inputs = [lake.get(identity) for identity in checkpoint.inputs]
    batch = next((found for found in inputs if found.table == "batches"), None)
    start = next((found for found in inputs if found.table in ("checkpoints", "base_checkpoint")), None)
    lineage = checkpoint_lineage(lake, checkpoint)
    pretrained = settings.get("model_id")
    words = "random weights" if pretrained is None else f"the pretrained model {pretrained}"
    if start is not None:
        words = "the uncurated base" if start.table == "base_checkpoint" else "its parent's checkpoint"
    figures = {name: value for name, value in summary.items() if isinstance(value, int | float | str)}
    facts = CardFacts(
        identity=checkpoint.id,
        profile=ctx.profile.name,
        arm=checkpoint.partition.get("chain", "base"),
        iteration=int(checkpoint.partition.get("iteration", 0)),
        arm_seed=int(parameters.get("arm_seed", 0)),
        started_from=None if start is None else start.id,
        start=words,
        pretrained=pretrained,
        batch=None if batch is None else batch.id,
        data={} if batch is None else {name: batch.summary[name] for name in _BATCH_FIGURES if name in batch.summary},
        composition={} if batch is None else _composition(batch),
        partitions=[
            RawPartition(
                row["partition"], row["documents_manifest"], row["rows"], row["documents_used"], row["tokens_used"]
            )
            for row in lineage.partitions.iter_rows(named=True)
        ],
        training={**{name: value for name, value in settings.items() if name in _SETTINGS}, **figures},
    )
    before = None if start is None else _metrics_of(lake, start)
    if before is not None:
        facts = replace(facts, known=asdict(performances(lake, before)[0]))
    metrics = _metrics_of(lake, checkpoint)
    if metrics is not None:
        rows = lake.frame(metrics).select("benchmark", "metric", "value", "ci_low", "ci_high", "n").iter_rows()
        measured = [Measured(*row) for row in rows]
        own = asdict(performances(lake, metrics)[0])
        facts = replace(facts, measured=measured, performance=own, metrics_artefact=metrics.id)
    return model_card(facts)


def export_checkpoint(ctx: Context, checkpoint: Manifest, out_dir: Path) -> Path:
    """Copy a checkpoint out of the lake as a folder that ``from_pretrained`` opens, with its present card.

    Args:
        ctx: the surroundings.
        checkpoint: as in `checkpoint_card`.
        out_dir: folder to write to; made if absent.

    Returns:
        ``out_dir``.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    for entry in checkpoint.files:
        if not entry.name.endswith(".parquet"):
            shutil.copyfile(ctx.lake.path(checkpoint, entry.name), out_dir / entry.name)
    (out_dir / "README.md").write_text(checkpoint_card(ctx, checkpoint), encoding="utf-8")
    return out_dir


def _composition(batch: Manifest) -> dict[str, dict[str, float]]:
    return {
        name.removeprefix(_PREFIX).replace("_", " "): shares["batch"]
        for name, shares in batch.summary.items()
        if name.startswith(_PREFIX)
    }


def _metrics_of(lake: Lake, checkpoint: Manifest) -> Manifest | None:
    """The current evaluation of a checkpoint, or None."""
    table = "base_metrics" if checkpoint.table == "base_checkpoint" else "metrics"
    found = lake.head(table, checkpoint.partition)
    return found if found is not None and checkpoint.id in found.inputs else None
