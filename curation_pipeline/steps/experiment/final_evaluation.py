"""The evaluation of the chosen model on unseen items."""

from __future__ import annotations

from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.final_evaluation import CODE_VERSION, final_evaluation
from curation_pipeline.steps.experiment.experiment_cell import STEP as EXPERIMENT_CELL
from curation_pipeline.steps.figures import metrics_table
from curation_pipeline.steps.loop.iteration_commit import STEP as ITERATION_COMMIT
from curation_pipeline.steps.step import Place, Step
from curation_pipeline.steps.view import View


def run(ctx: Context, place: Place) -> Manifest:
    """The model that is chosen among all iterations and arms, evaluated on items that none of them was.

    The choice is made on the front of safety against capability. Made by hand: each model that is looked at so is
    counted, and the report shows how many there were.
    """
    return final_evaluation(ctx)


def view(ctx: Context, manifest: Manifest) -> View:
    """All metrics."""
    return View({"metrics": metrics_table(ctx.lake, manifest)})


STEP = Step(
    module=__name__, table="final_evaluation", version=CODE_VERSION, run=run,
    inputs=(ITERATION_COMMIT, EXPERIMENT_CELL), kinds=frozenset({"pytorch"}), view=view,
)  # fmt: skip
