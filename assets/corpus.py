"""Raw corpus partitions, and the human labels and benchmarks that are kept out of them."""

import dagster as dg
import polars as pl

from assets.metadata import OWNERS, markdown_table, result
from assets.partitions import corpus_partitions
from curation_pipeline.stages import references
from curation_pipeline.stages.corpus import CODE_VERSION, ingest_partition
from resources.project import ProjectResource

COUNTS_ADD_UP = "counts_add_up"


@dg.asset(
    group_name="reference",
    owners=OWNERS,
    kinds={"polars", "parquet"},
    code_version=references.LABELS_VERSION,
    description="Human-labelled sets out of package archives, each split with exactly one role: fit, calibrate, "
    "credit, report or final. They never enter the pool.",
)
def labels(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Materialise the labelled sets."""
    return result(references.labels(project.context(context.log)))


@dg.asset(
    group_name="reference",
    owners=OWNERS,
    kinds={"polars", "parquet"},
    code_version=references.BENCHMARKS_VERSION,
    description="Items of the benchmarks: continuation prompts, CrowS-Pairs, preference pairs, multiple choice. "
    "Their texts are kept out of the pool.",
)
def benchmarks(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Materialise the benchmarks."""
    return result(references.benchmarks(project.context(context.log)))


@dg.asset(
    partitions_def=corpus_partitions,
    group_name="corpus",
    owners=OWNERS,
    kinds={"polars", "parquet"},
    code_version=CODE_VERSION,
    deps=[labels, benchmarks],
    check_specs=[
        dg.AssetCheckSpec(
            COUNTS_ADD_UP,
            asset="documents",
            blocking=True,
            description="rows read = kept + duplicate + quarantined + excluded as labelled or benchmark text",
        )
    ],
    description="Raw documents of one delivery (source|snapshot), written once: content-hash ids, exact duplicates "
    "marked, rows that cannot be read in quarantine with file, offset and reason.",
)
def documents(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Ingest one corpus partition."""
    ctx = project.context(context.log)
    manifest = ingest_partition(ctx, context.partition_key)
    figures = manifest.summary
    parts = ("kept", "duplicates", "quarantined", "excluded_labelled_or_benchmark")
    check = dg.AssetCheckResult(
        check_name=COUNTS_ADD_UP,
        passed=figures["read"] == sum(figures[part] for part in parts),
        metadata={name: figures[name] for name in ("read", *parts)},
    )
    # Reasons name bytes, lines and status codes; without their numbers there are few kinds.
    kind = (
        pl.when(pl.col("reason").str.starts_with("HTTP status"))
        .then("reason")
        .otherwise(pl.col("reason").str.replace_all(r"\d+", "#"))
    )
    quarantine = ctx.lake.frame(manifest, "quarantine", columns=["reason"])
    reasons = quarantine.group_by(kind.alias("reason")).len().sort("len", "reason", descending=[True, False]).head(10)
    registers = (
        ctx.lake.frame(manifest, columns=["domain", "n_bytes"])
        .group_by("domain")
        .agg(pl.len().alias("documents"), pl.col("n_bytes").sum())
    )
    files = manifest.parameters["files"].items()
    extra = {
        "registers": markdown_table(["register", "documents", "bytes"], registers.sort("domain").iter_rows()),
        "quarantine_reasons": markdown_table(["reason", "rows"], reasons.iter_rows()),
        "input_files": markdown_table(["file", "sha256"], [[name, f"`{digest}`"] for name, digest in files][:100]),
    }
    return result(manifest, extra, [check])
