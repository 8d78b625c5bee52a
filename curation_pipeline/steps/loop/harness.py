"""Benchmarks as everyone else runs them."""

from __future__ import annotations

from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.harness import CODE_VERSION, evaluate_with_harness
from curation_pipeline.steps.figures import metrics_table
from curation_pipeline.steps.loop.checkpoint import STEP as CHECKPOINT
from curation_pipeline.steps.step import Partitioning, Place, Step
from curation_pipeline.steps.view import View


def run(ctx: Context, place: Place) -> Manifest:
    """Benchmarks of the lm-evaluation-harness on the checkpoint, run by the harness itself.

    The profile names the tasks (`evaluation.harness.tasks`; none by default). They are for people: nothing of them
    drives the loop.
    """
    return evaluate_with_harness(ctx, place.chain, place.ordinal)


def view(ctx: Context, manifest: Manifest) -> View:
    """All metrics."""
    return View({"metrics": metrics_table(ctx.lake, manifest)})


STEP = Step(
    module=__name__, table="harness", version=CODE_VERSION, run=run, partitioning=Partitioning.ITERATION,
    inputs=(CHECKPOINT,), kinds=frozenset({"huggingface"}), view=view,
)  # fmt: skip
