"""What has been made of each step, and what a change of version makes stale."""

from __future__ import annotations

import polars as pl

from curation_pipeline.lake.lake import Lake
from curation_pipeline.steps.registry import read_by, steps
from curation_pipeline.steps.step import Partitioning

NOT_MADE, MADE = "not made", "made"


def step_status(lake: Lake) -> pl.DataFrame:
    """One row for each step, each after those that it reads.

    An artefact is stale where the version of its step, or of a step that it reads, has changed since it was made. What
    an iteration has committed stays as it was made, and is never called stale.

    Returns:
        Columns group, step, one for each (what there is one artefact for), version, artefacts, state, reads.
    """
    rows = []
    stale: set[str] = set()
    for step in steps().values():
        heads = lake.heads(step.table)
        old = sorted({manifest.code_version for manifest in heads} - {step.version})
        reads = [read.name for read in read_by(step)]
        behind = [name for name in reads if name in stale]
        state = MADE if heads else NOT_MADE
        if heads and step.partitioning in (Partitioning.WHOLE, Partitioning.CORPUS):
            if old:
                state = f"stale: made by version {', '.join(old)}"
            elif behind:
                state = f"stale: {', '.join(behind)} changed"
        if state not in (MADE, NOT_MADE):
            stale.add(step.name)
        rows.append((step.group, step.name, step.partitioning.value, step.version, len(heads), state, ", ".join(reads)))
    columns = ["group", "step", "one for each", "version", "artefacts", "state", "reads"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def stale_steps(status: pl.DataFrame) -> list[str]:
    """Names of the stale steps of `step_status`."""
    return status.filter(~pl.col("state").is_in([NOT_MADE, MADE]))["step"].to_list()
