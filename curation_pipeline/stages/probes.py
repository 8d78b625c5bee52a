"""Probe fine-tunes of an iteration, and the downstream credit that they give."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from curation_pipeline.credit.mixtures import Mixture, composition, probe_mixtures
from curation_pipeline.credit.probes import (
    OUTCOMES_SCHEMA,
    ProbeOutcome,
    base_likelihood,
    outcomes_frame,
    run_probe,
    with_performance,
)
from curation_pipeline.credit.settings import CreditSettings
from curation_pipeline.credit.surrogate import fit_credit
from curation_pipeline.engine.local import map_tasks
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.seeds import derive
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.gate import gate_and_parent
from curation_pipeline.stages.pool import read_texts
from curation_pipeline.stages.state import State
from curation_pipeline.training.settings import TrainingSettings
from curation_pipeline.training.tokenizer import Tokenised, tokenise

TABLE = "probes"
CODE_VERSION = "1"


@dataclass(frozen=True, slots=True)
class _Task:
    """One probe as a worker process gets it."""

    base_dir: Path
    base: str
    documents: Tokenised
    pool: pl.DataFrame
    mixture: Mixture
    heldout: pl.DataFrame
    settings: CreditSettings
    training: TrainingSettings
    seed: int


def _run(task: _Task) -> ProbeOutcome:
    return run_probe(
        task.base_dir, task.documents, task.pool, task.mixture, task.heldout, task.settings, task.training, task.seed,
        task.base,
    )  # fmt: skip


def run_probes(ctx: Context, chain: str, ordinal: int) -> Manifest:
    """Run the iteration's probes and fit the credit on all probes so far.

    Probes are independent, run on several cores, and are kept one by one as they finish, so that interrupted work
    goes on where it stopped. They fine-tune the chain's uncurated base: outcomes of all iterations then compare.

    Raises:
        LakeError: the pool has not been built.
    """
    lake, settings = ctx.lake, ctx.profile.credit
    _, gate, parent = gate_and_parent(lake, chain, ordinal)
    pool_manifest = lake.require("pool", gate.partition)
    base, heldout = (lake.get(gate.references[table]) for table in ("base_checkpoint", "heldout_texts"))
    last_batch = parent.batches[-1] if parent.batches else None
    inputs = [pool_manifest.id, base.id, heldout.id, *parent.probes, *([last_batch] if last_batch else [])]
    parameters = {
        "credit": settings.model_dump(mode="json"),
        "training": ctx.profile.training.model_dump(mode="json"),
        "redact_pii": ctx.profile.removal.redact_pii,
    }
    recipe = Recipe(TABLE, gate.partition, tuple(inputs), parameters, ctx.profile.seed, CODE_VERSION)

    def make(draft: Draft) -> None:
        pool = lake.frame(pool_manifest, columns=["doc_id", "stratum", "n_tokens"])
        credit_texts = lake.frame(heldout).filter(pl.col("role") == "credit")
        seed = derive(ctx.profile.seed, "probes", chain, ordinal)
        around = None if last_batch is None else _probabilities(ctx, last_batch, pool)
        count = settings.n_probes_first if not parent.probes else settings.n_probes
        mixtures = probe_mixtures(pool, count, seed, around, settings)
        scratch = lake.scratch(recipe)
        done = {mixture.name: scratch / f"{mixture.name}.parquet" for mixture in mixtures}
        waiting = [mixture for mixture in mixtures if not done[mixture.name].is_file()]
        base_dir = lake.folder(base)
        documents = tokenise(
            read_texts(lake, gate.corpus, pool["doc_id"], ctx.profile.removal.redact_pii).to_list(), base_dir
        )
        tasks = [
            _Task(base_dir, base.id, documents, pool, mixture, credit_texts, settings, ctx.profile.training, seed)
            for mixture in waiting
        ]
        for finished, (index, outcome) in enumerate(map_tasks(_run, tasks, ctx.profile.loop.workers), start=1):
            _save(outcome, done[waiting[index].name])
            ctx.progress("probe fine-tunes", (count - len(waiting) + finished) / max(count, 1))
        bits, _ = base_likelihood(base_dir, credit_texts, settings, ctx.profile.training.sequence_length)
        frames = [pl.read_parquet(done[mixture.name]) for mixture in mixtures]
        outcomes = with_performance(pl.concat(frames) if frames else pl.DataFrame(schema=OUTCOMES_SCHEMA), bits)
        draft.frame(outcomes)
        every, ages = _with_earlier(ctx, parent, outcomes)
        strata = tuple(sorted(pool["stratum"].unique().to_list()))
        shares = composition(pool, strata)
        now = shares if around is None else composition(pool, strata, around)
        credit = fit_credit(every, strata, now, ages, settings, shares)
        draft.json(credit.to_json(), "credit")
        best = np.argsort(-credit.at())[:5]
        draft.summary.update(
            new_probes=outcomes.height,
            probes_in_fit=credit.n_probes,
            leave_one_out_r2=round(credit.r2, 4),
            strata=len(strata),
            probe_seconds=round(float(outcomes["seconds"].mean() or 0.0), 2),  # type: ignore[arg-type]
            highest_credit={strata[index]: round(float(credit.at()[index]), 3) for index in best},
        )

    return lake.build(recipe, make)


def _save(outcome: ProbeOutcome, path: Path) -> None:
    temporary = path.with_suffix(".part")
    outcomes_frame([outcome]).write_parquet(temporary)
    temporary.replace(path)


def _probabilities(ctx: Context, batch: str, pool: pl.DataFrame) -> np.ndarray:
    """The parent's inclusion probabilities in the order of this pool; a document that was not in it has their mean."""
    decisions = ctx.lake.frame(ctx.lake.get(batch), "decisions").select("doc_id", "probability")
    joined = pool.select("doc_id").join(decisions, on="doc_id", how="left", maintain_order="left")["probability"]
    return joined.fill_null(strategy="mean").to_numpy().astype(np.float64)


def _with_earlier(ctx: Context, parent: State, outcomes: pl.DataFrame) -> tuple[pl.DataFrame, np.ndarray]:
    """All probes of the chain and the age of each in iterations."""
    frames, ages = [outcomes], [np.zeros(outcomes.height)]
    for age, identity in enumerate(reversed(parent.probes), start=1):
        frame = ctx.lake.frame(ctx.lake.get(identity))
        frames.append(frame)
        ages.append(np.full(frame.height, float(age)))
    return pl.concat(frames), np.concatenate(ages)
