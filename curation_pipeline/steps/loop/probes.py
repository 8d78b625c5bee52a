"""The probe fine-tunes of an iteration, and the downstream credit that they give."""

from __future__ import annotations

import polars as pl

from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.credit_report import credit_section
from curation_pipeline.stages.probes import CODE_VERSION, run_probes
from curation_pipeline.steps import policy_plots
from curation_pipeline.steps.loop.candidate_pool import STEP as CANDIDATE_POOL
from curation_pipeline.steps.reference.base_checkpoint import STEP as BASE_CHECKPOINT
from curation_pipeline.steps.reference.heldout_texts import STEP as HELDOUT_TEXTS
from curation_pipeline.steps.step import Partitioning, Place, Step
from curation_pipeline.steps.view import Png, Table, View


def run(ctx: Context, place: Place) -> Manifest:
    """Small fine-tunes of the shared base on random mixtures of the pool, and the credit that they give.

    A mixture tilts what the policy in force would draw, or in the first iteration the pool, by strata and traits. A
    ridge regression of what they measured gives each stratum its downstream credit, scaled by its leave-one-out R2.
    """
    return run_probes(ctx, place.chain, place.ordinal)


def view(ctx: Context, manifest: Manifest) -> View:
    """The credit of each stratum."""
    section = credit_section(ctx.lake, manifest)
    shown = section.strata if section.strata.height <= 40 else pl.concat([section.strata[:20], section.strata[-20:]])
    rows = shown.with_columns(pl.col(pl.Float64).round(4))
    return View(
        {
            "credit": Png(policy_plots.credit(section)),
            "credit_by_stratum": Table(rows.columns, rows.rows()),
            "fit": ctx.lake.json(manifest, "credit"),
        }
    )


STEP = Step(
    module=__name__,
    table="probes",
    version=CODE_VERSION,
    run=run,
    partitioning=Partitioning.ITERATION,
    inputs=(CANDIDATE_POOL, BASE_CHECKPOINT, HELDOUT_TEXTS),
    kinds=frozenset({"pytorch"}),
    view=view,
)
