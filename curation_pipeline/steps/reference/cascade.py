"""The calibration of a cascade of detectors."""

from __future__ import annotations

from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.detectors import CASCADE_VERSION, make_cascade
from curation_pipeline.steps.corpus.documents import STEP as DOCUMENTS
from curation_pipeline.steps.reference.detectors import STEP as DETECTORS
from curation_pipeline.steps.step import Place, Step


def run(ctx: Context, place: Place) -> Manifest:
    """The cascade that the profile's teachers name, if any: its cheap side and its two thresholds.

    The cheap side is fitted on the expensive detector's scores of a sample of the corpus; between the thresholds the
    expensive one is asked.
    """
    return make_cascade(ctx)


STEP = Step(
    module=__name__, table="cascade", version=CASCADE_VERSION, run=run, inputs=(DETECTORS, DOCUMENTS),
    kinds=frozenset({"scikitlearn"}),
)  # fmt: skip
