"""Language identification."""

from __future__ import annotations

from curation_pipeline.annotate import language
from curation_pipeline.steps.annotator import Annotate, annotator, sections
from curation_pipeline.steps.step import Work


def prepare(work: Work) -> Annotate:
    """The language of each document, and how sure that is."""
    settings = work.profile.annotate.language
    return lambda documents: language.languages(documents, settings)


STEP = annotator(__name__, prepare, version=language.VERSION, parameters=sections("language"), counts="language")
