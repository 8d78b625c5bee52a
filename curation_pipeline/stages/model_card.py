"""A checkpoint's model card: README.md in the format that model hubs read, from the lake's records.

It is written when a checkpoint is trained, and again with the checkpoint's own metrics when it is exported.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import polars as pl
from huggingface_hub import EvalResult, ModelCardData

from curation_pipeline.escaping import code, markdown, markdown_table
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.evaluation import performances
from curation_pipeline.stages.lineage import checkpoint_lineage

LIMITS = (
    "It was trained to measure data curation, not to be used by people.",
    "It has read toxic text and can repeat it; nothing filters what it writes.",
    "It is small, mostly English, and states falsehoods as fluently as facts.",
    "Its figures are measured on sampled benchmark items; read them with their intervals.",
)
_BATCH_FIGURES = (
    "documents", "tokens", "token_budget", "effective_token_share", "effective_documents", "mean_p_harm",
    "pool_mean_p_harm", "strata",
)  # fmt: skip
_SETTINGS = (
    "weighting", "normalise_over", "start_from", "sequence_length", "learning_rate", "batch_size", "passes",
    "weight_decay", "grad_clip", "precision", "processes", "lora",
)  # fmt: skip
_PREFIX = "token_share_by_"


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card states.

    Attributes:
        identity: id of the checkpoint in the lake.
        profile: name of the profile.
        start: in words, what it started from.
        pretrained: hub id or name of the pretrained model at the root; None for random weights.
        partitions: raw corpus partitions that it was made from: partition, artefact, documents, and, once they are
            counted, "trained on" and "tokens trained on", through all parents.
        training: settings and figures of the training, by name.
        arm: the arm or chain, for example ``main`` or ``random/demo-0``; ``base`` for the uncurated base.
        iteration: its number; 0 for the base.
        arm_seed: seed of an experiment's arm.
        started_from: id of the checkpoint whose weights it started from; None for random weights.
        batch: id of the curated batch; None for the base.
        data: figures of the batch, by name.
        composition: name of a grouping -> group -> share of the batch's tokens.
        known: summary figures of the model it started from, by name (S, A, C, P), as known when it was trained.
        metrics: its own metrics, as in the table ``metrics``; None where it has not been evaluated.
        performance: its own summary figures.
        metrics_artefact: id of the artefact with its own metrics.
    """

    identity: str
    profile: str
    start: str
    pretrained: str | None
    partitions: pl.DataFrame
    training: Mapping[str, object]
    arm: str = "base"
    iteration: int = 0
    arm_seed: int = 0
    started_from: str | None = None
    batch: str | None = None
    data: Mapping[str, object] = field(default_factory=dict)
    composition: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    known: Mapping[str, float] = field(default_factory=dict)
    metrics: pl.DataFrame | None = None
    performance: Mapping[str, float] = field(default_factory=dict)
    metrics_artefact: str | None = None

    def with_batch(self, batch: Manifest | None) -> CardFacts:
        """The same with the figures and the composition of a batch."""
        if batch is None:
            return self
        summary = batch.summary
        composition = {
            name.removeprefix(_PREFIX).replace("_", " "): shares["batch"]
            for name, shares in summary.items()
            if name.startswith(_PREFIX)
        }
        data = {name: summary[name] for name in _BATCH_FIGURES if name in summary}
        return replace(self, batch=batch.id, data=data, composition=composition)


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
    documents = [(key, ctx.lake.get(ids["documents"])) for key, ids in sorted(corpus.items())]
    return CardFacts(
        identity=identity,
        profile=ctx.profile.name,
        start=_root(settings.model_id),
        pretrained=settings.model_id,
        partitions=pl.DataFrame(
            [{"partition": key, "artefact": manifest.id, "documents": manifest.n_rows} for key, manifest in documents]
        ),
        training=_settings(settings.model_dump(mode="json")),
        arm=arm,
        iteration=iteration,
        arm_seed=arm_seed,
    ).with_batch(batch)


def checkpoint_card(ctx: Context, checkpoint: Manifest) -> str:
    """The card of a finished checkpoint, with its own metrics where it has been evaluated.

    Args:
        ctx: the surroundings; the profile gives the card its name alone.
        checkpoint: an artefact of the table ``checkpoints`` or ``base_checkpoint``.
    """
    lake, settings = ctx.lake, checkpoint.parameters["training"]
    inputs = [lake.get(identity) for identity in checkpoint.inputs]
    batch = next((found for found in inputs if found.table == "batches"), None)
    start = next((found for found in inputs if found.table in ("checkpoints", "base_checkpoint")), None)
    words = _root(settings.get("model_id"))
    if start is not None:
        words = "the uncurated base" if start.table == "base_checkpoint" else "its parent's checkpoint"
    before = None if start is None else _metrics_of(lake, start)
    figures = {name: value for name, value in checkpoint.summary.items() if isinstance(value, int | float | str)}
    facts = CardFacts(
        identity=checkpoint.id,
        profile=ctx.profile.name,
        start=words,
        pretrained=settings.get("model_id"),
        partitions=checkpoint_lineage(lake, checkpoint).partitions.select(
            "partition",
            artefact="documents_manifest",
            documents="rows",
            **{"trained on": "documents_used", "tokens trained on": "tokens_used"},
        ),
        training={**_settings(settings), **figures},
        arm=checkpoint.partition.get("chain", "base"),
        iteration=int(checkpoint.partition.get("iteration", 0)),
        arm_seed=int(checkpoint.parameters.get("arm_seed", 0)),
        started_from=None if start is None else start.id,
        known={} if before is None else asdict(performances(lake, before)[0]),
    ).with_batch(batch)
    metrics = _metrics_of(lake, checkpoint)
    if metrics is not None:
        own = asdict(performances(lake, metrics)[0])
        facts = replace(facts, metrics=lake.frame(metrics), performance=own, metrics_artefact=metrics.id)
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


def _root(pretrained: str | None) -> str:
    return "random weights" if pretrained is None else f"the pretrained model {pretrained}"


def _settings(training: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in training.items() if name in _SETTINGS}


def _metrics_of(lake: Lake, checkpoint: Manifest) -> Manifest | None:
    """The current evaluation of a checkpoint, or None."""
    table = "base_metrics" if checkpoint.table == "base_checkpoint" else "metrics"
    found = lake.head(table, checkpoint.partition)
    return found if found is not None and checkpoint.id in found.inputs else None


def model_card(facts: CardFacts) -> str:
    """The card as Markdown with the YAML head that the Hugging Face hub reads."""
    started = f" (`{facts.started_from}`)" if facts.started_from else ""
    trained_on = f"the batch `{facts.batch}`" if facts.batch else "a random draw of the raw corpus"
    partitions = facts.partitions.with_columns(pl.col("artefact").map_elements(code, return_dtype=pl.Object))
    blocks = [
        f"---\n{_head(facts).to_yaml()}\n---",
        f"# {facts.identity}",
        f"A language model made by the data curation loop, profile {code(facts.profile)}: arm {code(facts.arm)}, "
        f"iteration {facts.iteration}, seed {facts.arm_seed}. It started from {markdown(facts.start)}{started}.",
        "## Data",
        f"Trained on {trained_on}.",
        _table(("figure", "value"), facts.data.items()),
        *(
            f"Share of the batch's tokens by {markdown(name)}:\n\n{markdown_table((name, 'share'), shares.items())}"
            for name, shares in facts.composition.items()
            if shares
        ),
        "Raw partitions that it was made from, directly or through its parents. "
        f"`curate lineage {facts.identity}` walks the same way.",
        _table(partitions.columns, partitions.iter_rows()),
        "## Training",
        _table(("setting or figure", "value"), facts.training.items()),
        "## Metrics",
    ]
    if facts.known:
        blocks.append("Of the model that it started from, as known when it was trained:")
        blocks.append(_table(("figure", "value"), facts.known.items()))
    if facts.metrics is None:
        blocks.append(
            "Its own evaluation comes after its training, and artefacts never change: it is the artefact of the table "
            "`metrics` (for the base `base_metrics`) with the same chain and iteration."
        )
    else:
        rows = facts.metrics.select("benchmark", "metric", "value", "ci_low", "ci_high", "n").iter_rows()
        blocks.append(f"Its own (`{facts.metrics_artefact}`):")
        blocks.append(_table(("figure", "value"), facts.performance.items()))
        blocks.append(_table(("benchmark", "metric", "value", "from", "to", "items"), rows))
    blocks += ["## Limits", "\n".join(f"- {limit}" for limit in LIMITS)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _head(facts: CardFacts) -> ModelCardData:
    name = facts.pretrained
    on_a_hub = name is not None and ":" not in name and not name.startswith(("/", "."))
    # Hubs show these figures; rows of one group or source are left to the table of the card.
    whole = [] if facts.metrics is None else facts.metrics.filter(~pl.col("metric").str.contains("/")).to_dicts()
    return ModelCardData(
        library_name="transformers",
        pipeline_tag="text-generation",
        language="en",
        tags=["data-curation", f"arm:{facts.arm}"],
        base_model=name if on_a_hub else None,
        model_name=facts.identity if whole else None,
        eval_results=[
            EvalResult(
                task_type="text-generation",
                dataset_type=row["benchmark"],
                dataset_name=row["benchmark"],
                metric_type=row["metric"],
                metric_value=float(f"{row['value']:.6g}"),
            )
            for row in whole
        ]
        or None,
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    listed = list(rows)
    return markdown_table(header, listed) if listed else ""
