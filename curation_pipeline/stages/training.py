"""Models: the uncurated base that every chain starts from, and the fine-tune of an iteration."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import polars as pl

from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.seeds import derive, unit_hash
from curation_pipeline.stages.annotations import ANNOTATIONS
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.foundation import PARAMETERS, found
from curation_pipeline.stages.gate import complete_corpus, gate_and_parent
from curation_pipeline.stages.model_card import model_card, training_facts
from curation_pipeline.stages.pool import read_corpus, read_texts
from curation_pipeline.stages.references import is_held_out
from curation_pipeline.training.initial import init_model
from curation_pipeline.training.launch import run_fit
from curation_pipeline.training.packing import pack
from curation_pipeline.training.smollm2 import resolve_model
from curation_pipeline.training.trainer import TrainingResult

CODE_VERSION = "2"


def _losses(result: TrainingResult) -> pl.DataFrame:
    return pl.DataFrame({"step": np.arange(len(result.losses)), "loss": np.asarray(result.losses, dtype=np.float64)})


def _figures(result: TrainingResult) -> dict[str, float | int]:
    tail = result.losses[-max(1, len(result.losses) // 10) :]
    return {
        "steps": result.steps,
        "trained_tokens": result.tokens,
        "tokens_per_second": round(result.tokens / max(result.seconds, 1e-9)),
        "first_loss": round(float(result.losses[0]), 4),
        "final_loss": round(float(np.mean(tail)), 4),
        "resumed_from_step": result.resumed_from,
    }


def base_checkpoint(ctx: Context) -> Manifest:
    """The base model M_0: fitted on an uncurated random draw of the corpus, as raw pretraining would be.

    Raises:
        LakeError: the corpus or the tokenizer has not been made.
    """
    lake, settings = ctx.lake, ctx.profile.training
    corpus = complete_corpus(ctx)
    tokenizer = lake.require("tokenizer")
    inputs = [tokenizer.id]
    for ids in corpus.values():
        inputs += [ids[table] for table in ("documents", *ANNOTATIONS)]
    parameters = PARAMETERS["base_checkpoint"](ctx.profile)
    recipe = Recipe("base_checkpoint", {}, tuple(inputs), parameters, ctx.profile.seed, CODE_VERSION)

    def make(draft: Draft) -> None:
        seed = derive(ctx.profile.seed, "base")
        folder = lake.folder(tokenizer)
        frame = read_corpus(lake, corpus).select("doc_id", "n_tokens")
        facts = training_facts(ctx, recipe.manifest_id, corpus, None)
        if settings.model_id is not None:  # a pretrained model is the base as it is
            known = settings.model_copy(update={"model_id": resolve_model(settings.model_id, ctx.cache)})
            init_model(known, folder, draft.folder, seed)
            (draft.folder / "README.md").write_text(model_card(replace(facts, training={})), encoding="utf-8")
            draft.frame(frame.clear(), "draw")
            draft.frame(pl.DataFrame({"step": [0], "loss": [0.0]}).clear(), "losses")
            draft.summary.update(model_id=settings.model_id, documents=0)
            return
        frame = frame.filter(
            ~pl.Series(is_held_out(frame["doc_id"], ctx.profile.corpus.holdout_share, ctx.profile.seed))
        )
        frame = frame[np.argsort(unit_hash(frame["doc_id"], seed))]
        drawn = frame.filter(pl.col("n_tokens").cum_sum() <= settings.base_tokens)
        texts = read_texts(lake, corpus, drawn["doc_id"], ctx.profile.removal.redact_pii)
        packed = pack(
            texts.to_list(), np.ones(drawn.height), folder, settings.sequence_length, seed,
        )  # fmt: skip
        start = init_model(settings, folder, draft.scratch / "random", seed)
        facts = replace(facts, data={"documents": packed.n_documents, "tokens": packed.n_tokens})
        result = run_fit(start, packed, settings.for_base(), draft.folder, seed, draft.scratch / "fit",
                         ctx.progress, model_card(facts))  # fmt: skip
        draft.frame(drawn, "draw")
        draft.frame(_losses(result), "losses")
        draft.summary.update(**_figures(result), documents=drawn.height)

    return found(ctx, recipe, make, resumes=True)


def train_checkpoint(ctx: Context, chain: str, ordinal: int, arm_seed: int = 0) -> Manifest:
    """Fine-tune the parent's checkpoint, or the base anew where the profile says so, on the weighted batch.

    Args:
        ctx: the surroundings.
        chain: the chain.
        ordinal: the iteration, from 1.
        arm_seed: the seed of an experiment's arm; the loop itself has 0.

    Raises:
        LakeError: the batch has not been drawn.
        TrainingDivergedError: the loss is not finite; the parent stays in force.
    """
    lake, settings = ctx.lake, ctx.profile.training
    _, gate, parent = gate_and_parent(lake, chain, ordinal)
    batch = lake.require("batches", gate.partition)
    anew = settings.start_from == "base"
    start = lake.get(gate.references["base_checkpoint"] if anew else parent.checkpoint_id)
    recipe = Recipe(
        "checkpoints",
        gate.partition,
        (batch.id, start.id),
        {
            "training": settings.model_dump(mode="json"),
            "arm_seed": arm_seed,
            "redact_pii": ctx.profile.removal.redact_pii,
        },
        ctx.profile.seed,
        CODE_VERSION,
    )

    def make(draft: Draft) -> None:
        drawn = lake.frame(batch)
        texts = read_texts(lake, gate.corpus, drawn["doc_id"], ctx.profile.removal.redact_pii)
        # Chains share the order of rows and the rates, so that arms differ by their data alone.
        seed = derive(ctx.profile.seed, "train", arm_seed, ordinal)
        folder = lake.folder(start)
        weights = drawn["weight"].to_numpy().astype(np.float64)
        packed = pack(texts.to_list(), weights, folder, settings.sequence_length, seed, settings.weighting)
        facts = training_facts(
            ctx, recipe.manifest_id, gate.corpus, batch, arm=chain, iteration=ordinal, arm_seed=arm_seed
        )
        card = replace(
            facts,
            started_from=start.id,
            start="the uncurated base, anew" if anew else "the checkpoint in force before it",
            known={} if anew else asdict(parent.performance),
        )
        scratch = draft.scratch / "fit"
        result = run_fit(folder, packed, settings, draft.folder, seed, scratch, ctx.progress, model_card(card))
        draft.frame(_losses(result), "losses")
        draft.summary.update(
            **_figures(result),
            parent=start.id,
            start_from=settings.start_from,
            weighting=settings.weighting,
            batch=batch.id,
            documents=drawn.height,
        )

    return lake.build(recipe, make, resumes=True)
