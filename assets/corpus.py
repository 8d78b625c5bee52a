"""Raw corpus partitions, and the human labels and benchmarks that are kept out of them."""

import dagster as dg
import polars as pl

from assets.metadata import OWNERS, markdown_table, result
from assets.partitions import corpus_partitions
from curation_pipeline.escaping import code
from curation_pipeline.stages import references
from curation_pipeline.stages.corpus import (
    ACCOUNTED,
    CODE_VERSION,
    DECLARED,
    PARTS,
    adds_up,
    ingest_partition,
    left_alone,
)
from curation_pipeline.stages.quarantine import quarantine_line, quarantine_reasons, unreadable
from resources.project import ProjectResource

COUNTS_ADD_UP, READABLE = "counts_add_up", "something_could_be_read"
NAMED_FILES = 100
"""Most files that a table of metadata names."""


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
            description="rows read = kept + duplicate + quarantined + excluded as labelled or benchmark text, and the "
            "rows that Parquet and Arrow files declare = those that became a row or stand behind a quarantined one",
        ),
        dg.AssetCheckSpec(READABLE, asset="documents", description="not all rows of the delivery are in quarantine"),
    ],
    description="Raw documents of one delivery (source|snapshot), written once: content-hash ids, exact duplicates "
    "marked, rows that cannot be read in quarantine with file, offset and reason.",
)
def documents(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Ingest one corpus partition."""
    ctx = project.context(context.log)
    manifest = ingest_partition(ctx, context.partition_key)
    figures = manifest.summary
    check = dg.AssetCheckResult(
        check_name=COUNTS_ADD_UP,
        passed=adds_up(figures),
        metadata={name: figures[name] for name in ("read", *PARTS, DECLARED, ACCOUNTED)},
    )
    reasons = quarantine_reasons(ctx.lake, manifest)
    told = quarantine_line(ctx.lake, manifest)
    readable = dg.AssetCheckResult(
        check_name=READABLE,
        passed=not unreadable(manifest),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={} if told is None else {"quarantine": told},
    )
    registers = (
        ctx.lake.frame(manifest, columns=["domain", "n_bytes"])
        .group_by("domain")
        .agg(pl.len().alias("documents"), pl.col("n_bytes").sum())
    )
    files = list(manifest.parameters["files"].items())[:NAMED_FILES]
    left = left_alone(ctx, context.partition_key)
    if left:
        context.log.warning(f"{len(left)} files are left alone; the metadata of the asset names them with the reason")
    extra = {
        "left_alone": markdown_table(["file", "reason"], [[entry.name, entry.reason] for entry in left][:NAMED_FILES]),
        "registers": markdown_table(["register", "documents", "bytes"], registers.sort("domain").iter_rows()),
        "quarantine_reasons": markdown_table(["reason", "rows"], reasons.head(10).iter_rows()),
        "input_files": markdown_table(["file", "sha256"], ([name, code(digest)] for name, digest in files)),
    }
    return result(manifest, extra, [check, readable])
