"""The fine-tune of an iteration."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.seeds import derive
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.model_card import model_card, training_facts
from curation_pipeline.stages.texts import read_texts
from curation_pipeline.steps.figures import input_links, loss_plot, used_partitions
from curation_pipeline.steps.fits import figures_of, losses_of
from curation_pipeline.steps.loop.curated_batch import STEP as CURATED_BATCH
from curation_pipeline.steps.reference.base_checkpoint import STEP as BASE_CHECKPOINT
from curation_pipeline.steps.step import Partitioning, Step, Work
from curation_pipeline.steps.view import Check, View
from curation_pipeline.training.launch import run_fit
from curation_pipeline.training.packing import pack

FINITE = Check("loss_is_finite", "every loss of the fit is finite", blocking=True)


def compute(work: Work, draft: Draft) -> None:
    """The language model fine-tuned on the weighted batch; a folder that `from_pretrained` opens.

    It continues from the parent's checkpoint, or starts again from the base where the profile says so. An experiment's
    arm trains here, too, with a seed of its own.

    Raises:
        TrainingDivergedError: the loss is not finite; the parent stays in force.
    """
    lake, profile, settings, place = work.lake, work.profile, work.profile.training, work.place
    batch, start = work[CURATED_BATCH], lake.get(_start(work))
    drawn = lake.frame(batch)
    texts = read_texts(lake, work.gate.corpus, drawn["doc_id"], profile.removal.redact_pii)
    # Chains share the order of rows and the rates, so that arms differ by their data alone.
    seed = derive(profile.seed, "train", place.arm_seed, place.ordinal)
    weights = drawn["weight"].to_numpy().astype(np.float64)
    folder = lake.folder(start)
    packed = pack(texts.to_list(), weights, folder, settings.sequence_length, seed, settings.weighting)
    facts = training_facts(
        work.ctx, work.manifest_id, work.gate.corpus, batch, arm=place.chain, iteration=place.ordinal,
        arm_seed=place.arm_seed,
    )  # fmt: skip
    from_base = settings.start_from == "base"
    card = replace(
        facts,
        started_from=start.id,
        start="the uncurated base, anew" if from_base else "the checkpoint in force before it",
        known={} if from_base else asdict(work.parent.performance),
    )
    scratch = draft.scratch / "fit"
    result = run_fit(folder, packed, settings, draft.folder, seed, scratch, work.ctx.progress, model_card(card))
    draft.frame(losses_of(result), "losses")
    draft.summary.update(
        **figures_of(result),
        parent=start.id,
        start_from=settings.start_from,
        weighting=settings.weighting,
        batch=batch.id,
        documents=drawn.height,
    )


def view(ctx: Context, manifest: Manifest) -> View:
    """The loss, the inputs and the raw partitions behind the model."""
    losses = ctx.lake.frame(manifest, "losses")["loss"]
    return View(
        {
            "inputs": input_links(ctx.lake, manifest),
            "raw_partitions": used_partitions(ctx, manifest),
            "loss": loss_plot(ctx.lake, manifest),
            "folder": ctx.lake.folder(manifest),
        },
        [FINITE.answer(bool(losses.is_finite().all()), first=float(losses[0]), last=float(losses[-1]))],
    )


def _start(work: Work) -> str:
    """Id of the model that the fit starts from."""
    from_base = work.profile.training.start_from == "base"
    return work.reference(BASE_CHECKPOINT).id if from_base else work.parent.checkpoint_id


def _parameters(work: Work) -> dict[str, Any]:
    return {
        "training": work.profile.training.model_dump(mode="json"),
        "arm_seed": work.place.arm_seed,
        "redact_pii": work.profile.removal.redact_pii,
    }


STEP = Step(
    module=__name__,
    table="checkpoints",
    version="3",
    compute=compute,
    partitioning=Partitioning.ITERATION,
    inputs=(CURATED_BATCH,),
    reads=(BASE_CHECKPOINT,),
    also=lambda work: [_start(work)],
    parameters=_parameters,
    kinds=frozenset({"pytorch", "huggingface"}),
    view=view,
    checks=(FINITE,),
    resumes=True,
)
