"""Inputs of an artefact as tables with links to the pages of what made them."""

import dagster as dg

from assets.metadata import asset_link, markdown_table
from assets.partitions import window_of
from curation_pipeline.escaping import code, link
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.lineage import checkpoint_lineage
from curation_pipeline.stages.state import MAIN

ASSET_OF = {
    "gates": "iteration_gate",
    "pool": "candidate_pool",
    "policies": "selection_policy",
    "batches": "curated_batch",
    "checkpoints": "checkpoint",
    "metrics": "evaluation",
    "reward_models": "reward_model",
    "state": "committed_state",
}
"""The asset that makes each table whose name differs from its own."""


def corpus_links(lake: Lake, identities: dict[str, str]) -> dg.MetadataValue:
    """Raw partitions with rows and content hashes, each linked to its page."""
    rows = []
    for key, identity in sorted(identities.items()):
        manifest = lake.get(identity)
        rows.append(
            [link(key, asset_link("documents", key)), manifest.n_rows, code(manifest.content_hash[:16]), identity]
        )
    return markdown_table(["raw partition", "rows", "content hash", "manifest"], rows)


def used_partitions(ctx: Context, checkpoint: Manifest) -> dg.MetadataValue:
    """Every raw partition that a checkpoint was trained on, with counts, hashes and links."""
    lineage = checkpoint_lineage(ctx.lake, checkpoint)
    rows = [
        [
            link(row['partition'], asset_link('documents', row['partition'])), row["rows"], row["documents_used"],
            row["tokens_used"], code(row['content_hash'][:16]),
        ]
        for row in lineage.partitions.iter_rows(named=True)
    ]  # fmt: skip
    return markdown_table(["raw partition", "rows", "documents used", "tokens used", "content hash"], rows)


def input_links(lake: Lake, manifest: Manifest) -> dg.MetadataValue:
    """The direct inputs of an artefact with links to the assets that made them."""
    rows = []
    for identity in manifest.inputs:
        found = lake.get(identity)
        asset, partition = ASSET_OF.get(found.table, found.table), None
        if found.partition.get("chain") == MAIN and int(found.partition["iteration"]) >= 1:
            partition = window_of(int(found.partition["iteration"]))
        rows.append([link(asset, asset_link(asset, partition)), found.id, found.n_rows, code(found.content_hash[:16])])
    return markdown_table(["input", "manifest", "rows", "content hash"], rows)


def documents_of(lake: Lake, manifest: Manifest) -> dict[str, str]:
    """Ids of the documents that an artefact was made from, by raw partition."""
    return {m.partition_text: m.id for m in lake.ancestors(manifest.id) if m.table == "documents"}
