"""Personal data."""

from __future__ import annotations

from curation_pipeline.annotate import pii
from curation_pipeline.steps.annotator import Annotate, annotator, sections
from curation_pipeline.steps.step import Work


def prepare(work: Work) -> Annotate:
    """The places of e-mail addresses, phone numbers, IP addresses and card numbers.

    They are replaced by placeholders before a model reads the text.
    """
    settings = work.profile.annotate.pii
    return lambda documents: pii.pii(documents, settings)


STEP = annotator(__name__, prepare, version=pii.VERSION, parameters=sections("pii"))
