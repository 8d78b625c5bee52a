"""Samples of the raw corpus that models are fitted on."""

from __future__ import annotations

import numpy as np
import polars as pl

from curation_pipeline.errors import DataError
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.seeds import unit_hash


def corpus_documents(lake: Lake) -> list[Manifest]:
    """The current documents of every corpus partition, in order of key.

    Raises:
        DataError: there is none.
    """
    found = sorted(lake.heads("documents"), key=lambda manifest: manifest.partition_text)
    if not found:
        raise DataError("the raw corpus is empty: materialise the partitions of `documents` first")
    return found


def sample(lake: Lake, documents: Manifest, n: int, seed: int) -> pl.DataFrame:
    """Text and domain of the documents with the smallest hashes of a partition: the same whatever the order of rows."""
    frame = lake.frame(documents, columns=["doc_id", "text", "domain", "duplicate"]).filter(~pl.col("duplicate"))
    order = np.argsort(unit_hash(frame["doc_id"], seed))[:n]
    return frame[order].select("text", "domain")


def sample_texts(lake: Lake, documents: list[Manifest], per_partition: int, seed: int) -> list[str]:
    """Texts of a sample of each partition, in order of partition."""
    samples = [sample(lake, manifest, per_partition, seed)["text"] for manifest in documents]
    return pl.concat(samples).to_list()
