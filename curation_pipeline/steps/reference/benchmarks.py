"""The items of the benchmarks that the evaluation uses."""

from __future__ import annotations

from curation_pipeline.evaluation.items import item_parameters, load_items
from curation_pipeline.lake.lake import Draft
from curation_pipeline.seeds import derive
from curation_pipeline.steps.step import Step, Work


def compute(work: Work, draft: Draft) -> None:
    """Items of the benchmarks, one Parquet file each; their texts are kept out of the pool."""
    seed = derive(work.profile.seed, "benchmarks")
    for name, frame in load_items(work.ctx.cache, seed, work.profile.evaluation).items():
        draft.frame(frame, name)
        draft.summary[name] = frame.height


STEP = Step(
    module=__name__,
    table="benchmarks",
    version="4",
    compute=compute,
    parameters=lambda work: item_parameters(work.profile.evaluation),
    kinds=frozenset({"polars", "parquet"}),
)
