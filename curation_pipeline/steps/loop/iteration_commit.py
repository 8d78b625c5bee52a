"""The end of an iteration."""

from __future__ import annotations

from pydantic import BaseModel, Field

from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.commit import commit_iteration
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.state import CODE_VERSION, TABLE
from curation_pipeline.steps.figures import input_links
from curation_pipeline.steps.loop.checkpoint import STEP as CHECKPOINT
from curation_pipeline.steps.loop.curated_batch import STEP as CURATED_BATCH
from curation_pipeline.steps.loop.evaluation import STEP as EVALUATION
from curation_pipeline.steps.loop.reward_model import STEP as REWARD_MODEL
from curation_pipeline.steps.step import Partitioning, Place, Step
from curation_pipeline.steps.view import View


class Acceptance(BaseModel):
    """How an iteration is accepted; the profile's value where nothing is given."""

    max_performance_drop: float | None = Field(default=None, description="largest fall of P on credit data")


def run(ctx: Context, place: Place) -> Manifest:
    """Accepts or rejects the iteration's model and commits the state that the next iteration starts from.

    A rejected iteration keeps its parent's model, policy and reward in force, so the chain continues.
    """
    return commit_iteration(ctx, place.chain, place.ordinal, **place.options)


def view(ctx: Context, manifest: Manifest) -> View:
    """What the iteration made."""
    return View({"own_artefacts": input_links(ctx.lake, manifest)})


STEP = Step(
    module=__name__,
    table=TABLE,
    version=CODE_VERSION,
    run=run,
    partitioning=Partitioning.ITERATION,
    inputs=(CURATED_BATCH, CHECKPOINT, EVALUATION, REWARD_MODEL),
    kinds=frozenset({"json"}),
    view=view,
    options=Acceptance,
)
