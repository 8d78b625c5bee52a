"""Probe fine-tunes of an iteration, and the downstream credit that they give.

Probes draw around what the policy in force would draw tonight, with its weights: P is not linear in the composition,
and what is learned far from the batch does not hold near it. Before there is a policy that is the best response to the
reward without feedback, which needs no training.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from curation_pipeline.credit.mixtures import INCLUSION, LOSS_WEIGHT, Mixture, composition, probe_mixtures
from curation_pipeline.credit.probes import (
    OUTCOMES_SCHEMA,
    ProbeOutcome,
    base_likelihood,
    outcomes_frame,
    run_probe,
    with_performance,
)
from curation_pipeline.credit.settings import CreditSettings
from curation_pipeline.credit.surrogate import comparable, fit_credit, moved
from curation_pipeline.engine.local import map_tasks
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.policy.closed_form import closed_form_scores
from curation_pipeline.policy.pool import Pool
from curation_pipeline.policy.scores import Scores
from curation_pipeline.policy.scoring import load_policy, score_pool
from curation_pipeline.policy.traits import trait_frame, trait_scale
from curation_pipeline.reward.composite import RewardModel
from curation_pipeline.reward.credit import DownstreamCredit
from curation_pipeline.reward.traits import TraitScale
from curation_pipeline.seeds import derive
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.gate import gate_and_parent
from curation_pipeline.stages.selection import objective_of
from curation_pipeline.stages.state import State
from curation_pipeline.stages.texts import read_texts
from curation_pipeline.training.settings import TrainingSettings
from curation_pipeline.training.tokenizer import Tokenised, tokenise

TABLE = "probes"
CODE_VERSION = "3"


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
    inputs = [pool_manifest.id, base.id, heldout.id, *parent.probes, parent.reward_model_id]
    if parent.policy_id is not None:
        inputs.append(parent.policy_id)
    parameters = {
        "credit": settings.model_dump(mode="json"),
        "training": ctx.profile.training.model_dump(mode="json"),
        "redact_pii": ctx.profile.removal.redact_pii,
        "token_budget": ctx.profile.loop.token_budget,
        "policy": ctx.profile.policy.model_dump(mode="json"),
        "targets": ctx.profile.reward.targets,
        "essential": ctx.profile.reward.essential,
        "last": asdict(parent.credit_metrics),
    }
    recipe = Recipe(TABLE, gate.partition, tuple(inputs), parameters, ctx.profile.seed, CODE_VERSION)

    def make(draft: Draft) -> None:
        frame = lake.frame(pool_manifest)
        pool = Pool.from_frame(frame)
        scale = trait_scale(pool) if settings.trait_spread > 0 else TraitScale()
        scores = _around(ctx, parent, pool, derive(ctx.profile.seed, "probes", chain, ordinal, "around"))
        table = _table(frame, pool, scale, scores)
        if parent.policy_id is None and settings.first_around == "pool":
            table = table.drop(INCLUSION, LOSS_WEIGHT)
        credit_texts = lake.frame(heldout).filter(pl.col("role") == "credit")
        seed = derive(ctx.profile.seed, "probes", chain, ordinal)
        count = settings.n_probes_first if not parent.probes else settings.n_probes
        mixtures = probe_mixtures(table, count, seed, None, settings, scale.names)
        done = {mixture.name: draft.scratch / f"{mixture.name}.parquet" for mixture in mixtures}
        waiting = [mixture for mixture in mixtures if not done[mixture.name].is_file()]
        base_dir = lake.folder(base)
        documents = tokenise(
            read_texts(lake, gate.corpus, pool.doc_id, ctx.profile.removal.redact_pii).to_list(), base_dir
        )
        tasks = [
            _Task(base_dir, base.id, documents, table, mixture, credit_texts, settings, ctx.profile.training, seed)
            for mixture in waiting
        ]
        for finished, (index, outcome) in enumerate(map_tasks(_run, tasks, ctx.profile.loop.workers), start=1):
            _save(outcome, done[waiting[index].name])
            ctx.progress("probe fine-tunes", (count - len(waiting) + finished) / max(count, 1))
        bits, _ = base_likelihood(base_dir, credit_texts, settings, ctx.profile.training.sequence_length)
        frames = [pl.read_parquet(done[mixture.name], glob=False) for mixture in mixtures]
        outcomes = with_performance(pl.concat(frames) if frames else pl.DataFrame(schema=OUTCOMES_SCHEMA), bits)
        draft.frame(outcomes)
        every, ages = comparable(*_with_earlier(ctx, parent, outcomes), scale.names)
        strata = tuple(sorted(table["stratum"].unique().to_list()))
        expected = scores.probability * scores.weight
        credit = fit_credit(
            every, strata, composition(table, strata, expected), ages, settings, composition(table, strata), scale,
            table.select(scale.names).to_numpy() if scale.names else None, expected * pool.n_tokens,
        )  # fmt: skip
        credit = moved(_last_credit(ctx, parent), credit, settings.step)
        draft.json(credit.to_json(), "credit")
        best = np.argsort(-credit.at())[:5]
        draft.summary.update(
            new_probes=outcomes.height,
            probes_in_fit=credit.n_probes,
            leave_one_out_r2=round(credit.r2, 4),
            strata=len(strata),
            around=parent.policy_id or settings.first_around.replace("_", " "),
            credit_of_traits={
                name.removeprefix("trait_"): round(float(slope), 3)
                for name, slope in zip(credit.traits.names, credit.unit().slope, strict=True)
            },
            probe_seconds=round(float(outcomes["seconds"].mean() or 0.0), 2),  # type: ignore[arg-type]
            highest_credit={strata[index]: round(float(credit.at()[index]), 3) for index in best},
        )

    return lake.build(recipe, make, resumes=True)


def _save(outcome: ProbeOutcome, path: Path) -> None:
    temporary = path.with_suffix(".part")
    outcomes_frame([outcome]).write_parquet(temporary)
    temporary.replace(path)


def _around(ctx: Context, parent: State, pool: Pool, seed: int) -> Scores:
    """What the policy in force, with the credit that it was trained for, would draw of this pool."""
    lake, budget = ctx.lake, ctx.profile.loop.token_budget
    reward = RewardModel.load(lake.folder(lake.get(parent.reward_model_id)))
    if parent.policy_id is None:
        return closed_form_scores(pool, objective_of(ctx, parent, reward, None), ctx.profile.policy, budget, seed)
    policy = lake.get(parent.policy_id)
    trained_for = next(lake.get(identity) for identity in policy.inputs if identity.startswith(f"{TABLE}-"))
    credit = DownstreamCredit.from_json(lake.json(trained_for, "credit"))
    return score_pool(load_policy(lake.folder(policy)), pool, objective_of(ctx, parent, reward, credit), budget)


def _table(frame: pl.DataFrame, pool: Pool, scale: TraitScale, scores: Scores) -> pl.DataFrame:
    """What probes draw from: strata, tokens, traits, and the policy's inclusion probabilities and weights."""
    columns = frame.select("doc_id", "stratum", "n_tokens").with_columns(
        pl.Series(INCLUSION, scores.probability), pl.Series(LOSS_WEIGHT, scores.weight)
    )
    return columns.hstack(trait_frame(pool, scale)) if scale.names else columns


def _last_credit(ctx: Context, parent: State) -> DownstreamCredit | None:
    if not parent.probes:
        return None
    return DownstreamCredit.from_json(ctx.lake.json(ctx.lake.get(parent.probes[-1]), "credit"))


def _with_earlier(ctx: Context, parent: State, outcomes: pl.DataFrame) -> tuple[pl.DataFrame, np.ndarray]:
    """All probes of the chain and the age of each in iterations."""
    frames, ages = [outcomes], [np.zeros(outcomes.height)]
    for age, identity in enumerate(reversed(parent.probes), start=1):
        frame = ctx.lake.frame(ctx.lake.get(identity))
        frames.append(frame)
        ages.append(np.full(frame.height, float(age)))
    return pl.concat(frames, how="diagonal_relaxed"), np.concatenate(ages)
