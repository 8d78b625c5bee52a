"""Signatures for near duplicates."""

from __future__ import annotations

from curation_pipeline.annotate import minhash
from curation_pipeline.steps.annotator import Annotate, annotator
from curation_pipeline.steps.step import Work


def prepare(work: Work) -> Annotate:
    """MinHash signatures over word 5-grams, for near duplicates over all partitions."""
    settings = work.profile.annotate.duplicates
    return lambda documents: minhash.minhash_signatures(documents, settings)


STEP = annotator(
    __name__,
    prepare,
    version=minhash.VERSION,
    parameters=lambda ctx: {"minhash": ctx.profile.annotate.duplicates.signature_parameters()},
)
