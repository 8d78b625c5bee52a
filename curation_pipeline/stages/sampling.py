"""Samples of the raw corpus that models are fitted on."""

from __future__ import annotations

import numpy as np
import polars as pl

from curation_pipeline.errors import DataError
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.seeds import derive, unit_hash
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.declared import declared
from curation_pipeline.stages.quarantine import quarantine_line, unreadable


def corpus_documents(ctx: Context) -> list[Manifest]:
    """The current documents of every partition that the profile declares, in order of key.

    Raises:
        DataError: there is none, or all rows of a source are in quarantine.
        CurationError: a source cannot be listed.
    """
    found = list(declared(ctx).documents.values())
    if not found:
        raise DataError("the raw corpus is empty: materialise the partitions of `documents` first")
    for source in ctx.profile.corpus.sources:
        own = [manifest for manifest in found if manifest.partition["source"] == source.name]
        if own and all(unreadable(manifest) for manifest in own):
            told = quarantine_line(ctx.lake, own[0])
            raise DataError(
                f"source {source.name!r}: nothing of it could be read; correct its settings in the profile, or take it "
                f"out. {told}"
            )
    return found


def sample(lake: Lake, documents: Manifest, n: int, seed: int) -> pl.DataFrame:
    """Text and domain of the documents with the smallest hashes of a partition: the same whatever the order of rows."""
    own = pl.scan_parquet(lake.path(documents, "data.parquet"), glob=False).filter(~pl.col("duplicate"))
    ids = own.select("doc_id").collect()
    chosen = ids[np.argsort(unit_hash(ids["doc_id"], seed))[:n]]
    texts = own.filter(pl.col("doc_id").is_in(chosen["doc_id"].implode())).select("doc_id", "text", "domain").collect()
    return chosen.join(texts, on="doc_id", how="left", maintain_order="left").drop("doc_id")


def sample_texts(lake: Lake, documents: list[Manifest], per_partition: int, seed: int) -> list[str]:
    """Texts of a sample of each partition, in order of partition."""
    samples = [sample(lake, manifest, per_partition, seed)["text"] for manifest in documents]
    return pl.concat(samples).to_list()


def is_held_out(doc_ids: pl.Series, share: float, seed: int) -> np.ndarray:
    """Whether each document is held out of every pool: a function of its id alone, bool (n,)."""
    return unit_hash(doc_ids, derive(seed, "holdout")) < share
