"""The tokenizer of the language model."""

from __future__ import annotations

from typing import Any

from curation_pipeline.lake.lake import Draft
from curation_pipeline.seeds import derive
from curation_pipeline.stages.foundation import PARAMETERS
from curation_pipeline.stages.sampling import sample_texts
from curation_pipeline.steps.corpus.documents import STEP as DOCUMENTS
from curation_pipeline.steps.step import Step, Work
from curation_pipeline.training.smollm2 import resolve_model
from curation_pipeline.training.tokenizer import load_tokenizer, train_tokenizer

SAMPLE = 20_000
"""Documents that the tokenizer is fitted on, as many from each partition."""


def compute(work: Work, draft: Draft) -> None:
    """The byte-level BPE tokenizer of the language model.

    It is fixed for the life of the chain, so that budgets and likelihoods compare.
    """
    settings, documents = work.profile.training, work.every(DOCUMENTS)
    if settings.model_id is None:
        seed = derive(work.profile.seed, "tokenizer")
        texts = sample_texts(work.lake, list(documents), SAMPLE // len(documents), seed)
        train_tokenizer(texts, settings.scratch.vocab_size, draft.folder)
    else:
        load_tokenizer(resolve_model(settings.model_id, work.ctx.cache)).save_pretrained(draft.folder)
    draft.summary.update(_parameters(work))


def _parameters(work: Work) -> dict[str, Any]:
    return PARAMETERS["tokenizer"](work.profile)


STEP = Step(
    module=__name__,
    table="tokenizer",
    version="1",
    compute=compute,
    inputs=(DOCUMENTS,),
    parameters=_parameters,
    kinds=frozenset({"huggingface"}),
    foundation=True,
)
