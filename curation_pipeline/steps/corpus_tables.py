"""The corpus as tables: the ids of each raw partition's documents and annotations."""

from __future__ import annotations

from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.declared import Declared, declared
from curation_pipeline.steps.registry import annotation_steps


def annotated(lake: Lake, documents: Manifest) -> dict[str, str] | None:
    """Ids of a partition's documents and of their current annotations, by table; None where one is missing."""
    ids = {"documents": documents.id}
    for step in annotation_steps():
        manifest = lake.head(step.table, documents.partition)
        if manifest is None or documents.id not in manifest.inputs:
            return None
        ids[step.table] = manifest.id
    return ids


def complete_corpus(ctx: Context, corpus: Declared | None = None) -> dict[str, dict[str, str]]:
    """The documents and annotations of every partition that the profile declares and that has all of them, by key.

    A partition that is still being annotated waits for the next iteration.

    Args:
        ctx: the surroundings.
        corpus: what `declared` says, where it has been asked already.
    """
    documents = (corpus or declared(ctx)).documents
    found = {key: annotated(ctx.lake, manifest) for key, manifest in documents.items()}
    return {key: ids for key, ids in found.items() if ids is not None}
