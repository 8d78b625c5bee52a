"""The items of the benchmarks that the evaluation uses."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from curation_pipeline.datasets.benchmarks import BenchmarkData, load_benchmarks
from curation_pipeline.datasets.safety_prompts import fingerprints
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.seeds import derive
from curation_pipeline.steps.step import Step, Work


def compute(work: Work, draft: Draft) -> None:
    """Items of the benchmarks, one Parquet file each; their texts are kept out of the pool."""
    data = load_benchmarks(work.ctx.cache, derive(work.profile.seed, "benchmarks"), work.profile.benchmarks)
    for field in fields(data):
        frame = getattr(data, field.name)
        draft.frame(frame, field.name)
        draft.summary[field.name] = frame.height


def read_benchmarks(lake: Lake, manifest: Manifest) -> BenchmarkData:
    """The benchmarks that a manifest holds."""
    return BenchmarkData(**{field.name: lake.frame(manifest, field.name) for field in fields(BenchmarkData)})


def _parameters(work: Work) -> dict[str, Any]:
    sizes = work.profile.benchmarks
    return {"sizes": sizes.model_dump(mode="json", exclude={"folder"}), "content": fingerprints(sizes)}


STEP = Step(
    module=__name__,
    table="benchmarks",
    version="3",
    compute=compute,
    parameters=_parameters,
    kinds=frozenset({"polars", "parquet"}),
)
