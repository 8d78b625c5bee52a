"""What is known only over all raw partitions together: duplicates, removal requests, the index, the profile."""

import dagster as dg

from assets.annotations import ANNOTATION_ASSETS, BY_NAME
from assets.corpus import documents, labels
from assets.metadata import OWNERS, markdown_table, result
from assets.models import detectors
from curation_pipeline.report.corpus_page import TABLES
from curation_pipeline.stages import corpus_profile as profiles
from curation_pipeline.stages.declared import standing
from curation_pipeline.stages.document_index import CODE_VERSION as INDEX_VERSION
from curation_pipeline.stages.document_index import document_index as build_index
from curation_pipeline.stages.duplicates import CODE_VERSION as DUPLICATES_VERSION
from curation_pipeline.stages.duplicates import duplicates as find_duplicates
from curation_pipeline.stages.tombstones import CODE_VERSION as TOMBSTONES_VERSION
from curation_pipeline.stages.tombstones import tombstones as read_tombstones
from resources.project import ProjectResource

GROUP = "corpus_wide"
PARITY = "removal_parity"
REQUESTS = "removal_requests_match"
EVERY = dg.AllPartitionMapping()
# These follow the corpus by themselves: a delivery that has been annotated makes them anew.
FOLLOW = dg.AutomationCondition.eager()


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"polars", "parquet"},
    code_version=DUPLICATES_VERSION,
    automation_condition=FOLLOW,
    deps=[
        dg.AssetDep(asset, partition_mapping=EVERY)
        for asset in (documents, BY_NAME["minhash"], BY_NAME["text_statistics"], BY_NAME["sentence_vectors"])
    ],
    description="Clusters of near duplicates (MinHash, locality-sensitive hashing, connected components, each drop "
    "verified against the kept document) and, where the profile asks, semantic duplicates: which one stays, and why.",
)
def duplicates(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Find the duplicates."""
    ctx = project.context(context.log)
    manifest = find_duplicates(ctx)
    table = ctx.lake.frame(manifest)
    largest = table.group_by("cluster_id").len().sort("len", "cluster_id", descending=[True, False]).head(10)
    return result(manifest, {"largest_clusters": markdown_table(["cluster", "documents"], largest.iter_rows())})


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"parquet"},
    code_version=TOMBSTONES_VERSION,
    description="Requests that a document, a page or a site be used no more, from the file that the profile names. The "
    "next iteration's pool leaves them out.",
)
def tombstones(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Read the requests."""
    return result(read_tombstones(project.context(context.log)))


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"duckdb", "parquet"},
    code_version=INDEX_VERSION,
    automation_condition=FOLLOW,
    deps=[dg.AssetDep(documents, partition_mapping=EVERY)],
    description="Where every document lies, sorted by doc_id: `curate why` and the pool's lookups find any of them "
    "without a scan.",
)
def document_index(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Build the index."""
    return result(build_index(project.context(context.log)))


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"polars", "matplotlib"},
    code_version=profiles.CODE_VERSION,
    automation_condition=FOLLOW,
    deps=[
        labels,
        detectors,
        duplicates,
        tombstones,
        *(dg.AssetDep(asset, partition_mapping=EVERY) for asset in (documents, *ANNOTATION_ASSETS)),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            PARITY,
            asset="corpus_profile",
            description="no rule or detector removes benign text that mentions an identity group, or is written in a "
            "dialect, more than 1.25 times as often as benign text on average (human labels)",
        ),
        dg.AssetCheckSpec(
            REQUESTS, asset="corpus_profile", description="every removal request names a document of the corpus"
        ),
    ],
    description="The corpus in figures: sizes, languages, registers, topics, scores, duplicates, what each rule and "
    "each cause removes, and whom removal meets. `curate profile` writes the same as an HTML page.",
)
def corpus_profile(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Profile the corpus."""
    ctx = project.context(context.log)
    manifest = profiles.corpus_profile(ctx)
    extra: dict[str, dg.MetadataValue] = {}
    for name, table in TABLES.items():
        frame = ctx.lake.frame(manifest, name)
        columns = [column for column in table.columns if column in frame.columns]
        rows = frame.select(columns).head(table.rows).iter_rows()
        shown = [[round(cell, 4) if isinstance(cell, float) else cell for cell in row] for row in rows]
        extra[name] = markdown_table(columns, shown)
    extra["standing_of_partitions"] = markdown_table(["raw partition", "standing"], standing(ctx)[0].items())
    flagged = ctx.lake.frame(manifest, "parity").filter("flagged")
    check = dg.AssetCheckResult(
        check_name=PARITY,
        passed=flagged.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "flagged": markdown_table(
                ["labels", "rule", "group", "removal rate", "average", "ratio"],
                flagged.select("dataset", "rule", "group", "rate", "average_rate", "ratio").iter_rows(),
            )
        },
    )
    unmatched = profiles.requests_without_documents(ctx.lake, manifest)
    matched = dg.AssetCheckResult(
        check_name=REQUESTS,
        passed=unmatched.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"without_documents": markdown_table(unmatched.columns, unmatched.iter_rows())},
    )
    return result(manifest, extra, [check, matched])
