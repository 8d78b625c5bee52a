"""The items of the benchmarks, read from the lake."""

from __future__ import annotations

from curation_pipeline.evaluation.items import ItemFrames, with_items
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest


def read_benchmarks(lake: Lake, manifest: Manifest) -> ItemFrames:
    """The items that a manifest holds, by benchmark."""
    return {benchmark.name: lake.frame(manifest, benchmark.name) for benchmark, _ in with_items()}
