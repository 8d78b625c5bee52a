"""The detectors of harm."""

from __future__ import annotations

from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.detectors import DETECTORS_VERSION, make_detectors
from curation_pipeline.steps.reference.labels import STEP as LABELS
from curation_pipeline.steps.step import Place, Step
from curation_pipeline.steps.view import Table, View


def run(ctx: Context, place: Place) -> Manifest:
    """The detectors that the profile names. Teachers make the reward; the judge never does.

    Those carried by packages are converted once, after their sha256 is checked, to safetensors and JSON by an
    allow-list reader; heads of our own are fitted on human labels of role `fit`.
    """
    return make_detectors(ctx)


def view(ctx: Context, manifest: Manifest) -> View:
    """What each was made from."""
    return View({"made_from": Table(["detector", "made from"], list(manifest.summary["sources"].items()))})


STEP = Step(
    module=__name__, table="detectors", version=DETECTORS_VERSION, run=run, inputs=(LABELS,),
    kinds=frozenset({"pytorch", "scikitlearn"}), view=view,
)  # fmt: skip
