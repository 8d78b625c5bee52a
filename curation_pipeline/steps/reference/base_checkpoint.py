"""The uncurated base."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.seeds import derive, unit_hash
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.foundation import PARAMETERS
from curation_pipeline.stages.model_card import model_card, training_facts
from curation_pipeline.stages.sampling import is_held_out
from curation_pipeline.stages.texts import read_texts
from curation_pipeline.steps.annotations.pii import STEP as PII
from curation_pipeline.steps.annotations.token_counts import STEP as TOKEN_COUNTS
from curation_pipeline.steps.corpus.documents import STEP as DOCUMENTS
from curation_pipeline.steps.figures import loss_plot
from curation_pipeline.steps.fits import figures_of, losses_of
from curation_pipeline.steps.reference.tokenizer import STEP as TOKENIZER
from curation_pipeline.steps.step import Step, Work
from curation_pipeline.steps.view import View
from curation_pipeline.training.initial import init_model
from curation_pipeline.training.launch import run_fit
from curation_pipeline.training.packing import pack
from curation_pipeline.training.smollm2 import resolve_model

TABLE = "base_checkpoint"


def compute(work: Work, draft: Draft) -> None:
    """The uncurated base M_0, which every chain and every probe starts from.

    A small language model fitted on a random draw of the raw corpus, as pretraining on raw text would make it; or a
    pretrained model as it is, where the profile names one.
    """
    lake, profile, settings = work.lake, work.profile, work.profile.training
    corpus: dict[str, dict[str, str]] = {}
    for step in (DOCUMENTS, PII, TOKEN_COUNTS):
        for manifest in work.every(step):
            corpus.setdefault(manifest.partition_text, {})[step.table] = manifest.id
    seed = derive(profile.seed, "base")
    folder = lake.folder(work[TOKENIZER])
    counts = [lake.frame(manifest, columns=["doc_id", "n_tokens"]) for manifest in work.every(TOKEN_COUNTS)]
    frame = pl.concat(counts).unique("doc_id", keep="first", maintain_order=True)
    facts = training_facts(work.ctx, work.manifest_id, corpus, None)
    if settings.model_id is not None:
        known = settings.model_copy(update={"model_id": resolve_model(settings.model_id, work.ctx.cache)})
        init_model(known, folder, draft.folder, seed)
        (draft.folder / "README.md").write_text(model_card(replace(facts, training={})), encoding="utf-8")
        draft.frame(frame.clear(), "draw")
        draft.frame(pl.DataFrame({"step": [0], "loss": [0.0]}).clear(), "losses")
        draft.summary.update(model_id=settings.model_id, documents=0)
        return
    frame = frame.filter(~pl.Series(is_held_out(frame["doc_id"], profile.corpus.holdout_share, profile.seed)))
    frame = frame[np.argsort(unit_hash(frame["doc_id"], seed))]
    drawn = frame.filter(pl.col("n_tokens").cum_sum() <= settings.base_tokens)
    texts = read_texts(lake, corpus, drawn["doc_id"], profile.removal.redact_pii)
    packed = pack(texts.to_list(), np.ones(drawn.height), folder, settings.sequence_length, seed)
    start = init_model(settings, folder, draft.scratch / "random", seed)
    facts = replace(facts, data={"documents": packed.n_documents, "tokens": packed.n_tokens})
    result = run_fit(start, packed, settings.for_base(), draft.folder, seed, draft.scratch / "fit",
                     work.ctx.progress, model_card(facts))  # fmt: skip
    draft.frame(drawn, "draw")
    draft.frame(losses_of(result), "losses")
    draft.summary.update(**figures_of(result), documents=drawn.height)


def view(ctx: Context, manifest: Manifest) -> View:
    """The loss."""
    return View({"loss": loss_plot(ctx.lake, manifest)})


def _parameters(work: Work) -> dict[str, Any]:
    return PARAMETERS[TABLE](work.profile)


STEP = Step(
    module=__name__,
    table=TABLE,
    version="3",
    compute=compute,
    inputs=(TOKENIZER, DOCUMENTS, PII, TOKEN_COUNTS),
    parameters=_parameters,
    kinds=frozenset({"pytorch", "huggingface"}),
    view=view,
    foundation=True,
    resumes=True,
)
