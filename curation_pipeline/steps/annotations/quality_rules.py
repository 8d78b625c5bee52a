"""Rules of quality that the field uses."""

from __future__ import annotations

from curation_pipeline.annotate import quality
from curation_pipeline.steps.annotator import Annotate, annotator
from curation_pipeline.steps.step import Work


def prepare(work: Work) -> Annotate:
    """The rules of Gopher (quality and repetition), C4 and FineWeb: a value and a pass flag for each.

    They mark; what removes a document is decided by the profile's [removal].
    """
    settings = work.profile.annotate.quality
    return lambda documents: quality.quality_rules(documents, settings)


STEP = annotator(
    __name__,
    prepare,
    version=quality.VERSION,
    parameters=lambda ctx: quality.recipe_parameters(ctx.profile.annotate.quality),
)
