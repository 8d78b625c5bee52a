"""The policy that selects."""

from __future__ import annotations

from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.policy_report import policy_section
from curation_pipeline.stages.selection import POLICY_VERSION, train_selection_policy
from curation_pipeline.steps import policy_plots
from curation_pipeline.steps.figures import input_links
from curation_pipeline.steps.loop.candidate_pool import STEP as CANDIDATE_POOL
from curation_pipeline.steps.loop.probes import STEP as PROBES
from curation_pipeline.steps.step import Partitioning, Place, Step
from curation_pipeline.steps.view import Markdown, Png, View


def run(ctx: Context, place: Place) -> Manifest:
    """The PPO policy that decides which documents to draw and how much they weigh.

    It is trained on the pool against the composite reward and the downstream credit, warm-started from the parent
    iteration's, and compared with the closed form of the same objective.
    """
    return train_selection_policy(ctx, place.chain, place.ordinal)


def view(ctx: Context, manifest: Manifest) -> View:
    """The policy beside its closed form: plots and card."""
    section = policy_section(ctx.lake, manifest)
    if section is None:
        return View()
    return View(
        {
            "against_the_closed_form": Markdown(section.summary["against_the_closed_form"]),
            "inputs": input_links(ctx.lake, manifest),
            **{name: Png(png) for name, png in policy_plots.policy_pictures(section).items()},
            "card": Markdown(section.card),
        }
    )


STEP = Step(
    module=__name__,
    table="policies",
    version=POLICY_VERSION,
    run=run,
    partitioning=Partitioning.ITERATION,
    inputs=(CANDIDATE_POOL, PROBES),
    kinds=frozenset({"pytorch"}),
    view=view,
)
