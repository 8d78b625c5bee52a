"""The classifiers of how a text is written, and of damage."""

from __future__ import annotations

from typing import Any

import polars as pl

from curation_pipeline.annotate.quality_classifier import fit_quality
from curation_pipeline.annotate.register import declared_registers, fit_register
from curation_pipeline.lake.lake import Draft
from curation_pipeline.seeds import derive
from curation_pipeline.stages.sampling import sample
from curation_pipeline.steps.corpus.documents import STEP as DOCUMENTS
from curation_pipeline.steps.step import Step, Work


def compute(work: Work, draft: Draft) -> None:
    """Two linear classifiers over words and indicators of register.

    One says which register a document is written in, the other how little it looks damaged, as crawls damage text.

    Raises:
        DataError: the corpus is empty.
    """
    documents, annotate = work.every(DOCUMENTS), work.profile.annotate
    registers, quality = annotate.registers, annotate.quality_classifier
    seed = derive(work.profile.seed, "register_model")
    each = max(registers.max_documents, quality.max_documents) // len(documents)
    texts = pl.concat([sample(work.lake, manifest, each, seed) for manifest in documents])
    declared = declared_registers(texts)
    work.ctx.progress("fitting the register and quality classifiers", 0.2)
    fit_quality(texts, seed, quality).save(draft.folder / "quality")
    # A corpus of one register has nothing to learn one from: its documents then have no predicted register.
    if len(declared) > 1:
        fit_register(texts, seed, registers).save(draft.folder / "register")
    draft.summary.update(texts=texts.height, registers=declared)


def _parameters(work: Work) -> dict[str, Any]:
    annotate = work.profile.annotate
    return {
        "registers": annotate.registers.model_dump(mode="json"),
        "quality": annotate.quality_classifier.model_dump(mode="json"),
        "generation": annotate.generation,
    }


STEP = Step(
    module=__name__,
    table="register_model",
    version="1",
    compute=compute,
    inputs=(DOCUMENTS,),
    parameters=_parameters,
    kinds=frozenset({"scikitlearn"}),
    pinned=True,
)
