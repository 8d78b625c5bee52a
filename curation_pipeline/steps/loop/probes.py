"""The probe fine-tunes of an iteration, and the downstream credit that they give.

Probes draw around what the policy in force would draw tonight, with its weights: P is not linear in the composition,
and what is learned far from the batch does not hold near it. Before there is a policy that is the best response to the
reward without feedback, which needs no training.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.credit.mixtures import INCLUSION, LOSS_WEIGHT, Mixture, composition, draw, probe_mixtures
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
from curation_pipeline.engine.mapping import map_tasks
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest
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
from curation_pipeline.stages.credit_report import credit_section
from curation_pipeline.stages.objective import objective_of
from curation_pipeline.stages.pool_sample import pool_sample
from curation_pipeline.stages.texts import read_texts
from curation_pipeline.steps import policy_plots
from curation_pipeline.steps.loop.candidate_pool import STEP as CANDIDATE_POOL
from curation_pipeline.steps.reference.base_checkpoint import STEP as BASE_CHECKPOINT
from curation_pipeline.steps.reference.heldout_texts import STEP as HELDOUT_TEXTS
from curation_pipeline.steps.step import Partitioning, Step, Work
from curation_pipeline.steps.view import Png, Table, View
from curation_pipeline.training.settings import TrainingSettings
from curation_pipeline.training.tokenizer import Tokenised, tokenise


@dataclass(frozen=True, slots=True)
class _Task:
    """One probe as a worker process gets it."""

    lake: Lake
    base: Manifest
    documents: Tokenised
    drawn: pl.DataFrame
    mixture: Mixture
    heldout: pl.DataFrame
    settings: CreditSettings
    training: TrainingSettings
    seed: int


def _run(task: _Task) -> ProbeOutcome:
    return run_probe(
        task.lake.folder(task.base), task.documents, task.drawn, task.mixture, task.heldout, task.settings,
        task.training, task.seed, task.base.id,
    )  # fmt: skip


def compute(work: Work, draft: Draft) -> None:
    """Small fine-tunes of the shared base on random mixtures of a sample of the pool, and the credit that they give.

    A mixture tilts what the policy in force would draw, or in the first iteration the pool, by strata and traits. A
    ridge regression of what they measured gives each stratum its downstream credit, scaled by its leave-one-out R2.
    Probes are independent, run on several cores, and are kept one by one as they finish, so that interrupted work
    resumes. They fine-tune the chain's uncurated base: outcomes of all iterations then compare.
    """
    lake, profile, settings, parent = work.lake, work.profile, work.profile.credit, work.parent
    sample = pool_sample(lake.path(work[CANDIDATE_POOL], "data.parquet"))
    pool = Pool.from_frame(sample.frame)
    scale = trait_scale(pool) if settings.trait_spread > 0 else TraitScale()
    around = derive(profile.seed, "probes", work.place.chain, work.place.ordinal, "around")
    scores = _around(work, pool, sample.budget(profile.loop.token_budget), around)
    table = _table(sample.frame, pool, scale, scores)
    if parent.policy_id is None and settings.first_around == "pool":
        table = table.drop(INCLUSION, LOSS_WEIGHT)
    credit_texts = lake.frame(work[HELDOUT_TEXTS]).filter(pl.col("role") == "credit")
    seed = derive(profile.seed, "probes", work.place.chain, work.place.ordinal)
    count = settings.n_probes_first if not parent.probes else settings.n_probes
    mixtures = probe_mixtures(table, count, seed, None, settings, scale.names)
    done = {mixture.name: draft.scratch / f"{mixture.name}.parquet" for mixture in mixtures}
    waiting = [mixture for mixture in mixtures if not done[mixture.name].is_file()]
    base = work[BASE_CHECKPOINT]
    base_dir = lake.folder(base)
    rows = [draw(table, mixture, settings.probe_tokens, seed) for mixture in waiting]
    # Most of the pool is in no probe: only what is drawn is tokenised, and a worker gets its own part.
    used = np.unique(np.concatenate(rows)) if rows else np.empty(0, dtype=np.int64)
    texts = read_texts(lake, work.gate.corpus, table["doc_id"][used], profile.removal.redact_pii)
    documents = tokenise(texts.to_list(), base_dir)
    tasks = [
        _Task(
            lake,
            base,
            documents.take(np.searchsorted(used, drawn)),
            table[drawn],
            mixture,
            credit_texts,
            settings,
            profile.training,
            seed,
        )
        for mixture, drawn in zip(waiting, rows, strict=True)
    ]
    for finished, (index, outcome) in enumerate(map_tasks(_run, tasks, profile.engine, STEP.name), start=1):
        _save(outcome, done[waiting[index].name])
        work.ctx.progress("probe fine-tunes", (count - len(waiting) + finished) / max(count, 1))
    bits, _ = base_likelihood(base_dir, credit_texts, settings, profile.training.sequence_length)
    frames = [pl.read_parquet(done[mixture.name], glob=False) for mixture in mixtures]
    outcomes = with_performance(pl.concat(frames) if frames else pl.DataFrame(schema=OUTCOMES_SCHEMA), bits)
    draft.frame(outcomes)
    every, ages = comparable(*_with_earlier(work, outcomes), scale.names)
    strata = tuple(sorted(table["stratum"].unique().to_list()))
    expected = scores.probability * scores.weight
    credit = fit_credit(
        every, strata, composition(table, strata, expected), ages, settings, composition(table, strata), scale,
        table.select(scale.names).to_numpy() if scale.names else None, expected * pool.n_tokens,
    )  # fmt: skip
    credit = moved(_last_credit(work), credit, settings.step)
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


def _save(outcome: ProbeOutcome, path: Path) -> None:
    temporary = path.with_suffix(".part")
    outcomes_frame([outcome]).write_parquet(temporary)
    temporary.replace(path)


def _around(work: Work, pool: Pool, budget: int, seed: int) -> Scores:
    """What the policy in force, with the credit that it was trained for, would draw of this pool."""
    lake, parent = work.lake, work.parent
    reward = RewardModel.load(lake.folder(lake.get(parent.reward_model_id)))
    if parent.policy_id is None:
        return closed_form_scores(pool, objective_of(work.ctx, parent, reward, None), work.profile.policy, budget, seed)
    policy = lake.get(parent.policy_id)
    trained_for = next(lake.get(identity) for identity in policy.inputs if identity.startswith(f"{STEP.table}-"))
    credit = DownstreamCredit.from_json(lake.json(trained_for, "credit"))
    return score_pool(load_policy(lake.folder(policy)), pool, objective_of(work.ctx, parent, reward, credit), budget)


def _table(frame: pl.DataFrame, pool: Pool, scale: TraitScale, scores: Scores) -> pl.DataFrame:
    """What probes draw from: strata, tokens, traits, and the policy's inclusion probabilities and weights."""
    columns = frame.select("doc_id", "stratum", "n_tokens").with_columns(
        pl.Series(INCLUSION, scores.probability), pl.Series(LOSS_WEIGHT, scores.weight)
    )
    return columns.hstack(trait_frame(pool, scale)) if scale.names else columns


def _last_credit(work: Work) -> DownstreamCredit | None:
    if not work.parent.probes:
        return None
    return DownstreamCredit.from_json(work.lake.json(work.lake.get(work.parent.probes[-1]), "credit"))


def _with_earlier(work: Work, outcomes: pl.DataFrame) -> tuple[pl.DataFrame, np.ndarray]:
    """All probes of the chain and the age of each in iterations."""
    frames, ages = [outcomes], [np.zeros(outcomes.height)]
    for age, identity in enumerate(reversed(work.parent.probes), start=1):
        frame = work.lake.frame(work.lake.get(identity))
        frames.append(frame)
        ages.append(np.full(frame.height, float(age)))
    return pl.concat(frames, how="diagonal_relaxed"), np.concatenate(ages)


def view(ctx: Context, manifest: Manifest) -> View:
    """The credit of each stratum."""
    section = credit_section(ctx.lake, manifest)
    shown = section.strata if section.strata.height <= 40 else pl.concat([section.strata[:20], section.strata[-20:]])
    rows = shown.with_columns(pl.col(pl.Float64).round(4))
    return View(
        {
            "credit": Png(policy_plots.credit(section)),
            "credit_by_stratum": Table(rows.columns, rows.rows()),
            "fit": ctx.lake.json(manifest, "credit"),
        }
    )


def _in_force(work: Work) -> list[str]:
    """What the probes so far measured, and the reward and policy that the new ones draw around."""
    policy = [] if work.parent.policy_id is None else [work.parent.policy_id]
    return [*work.parent.probes, work.parent.reward_model_id, *policy]


def _parameters(work: Work) -> dict[str, Any]:
    profile = work.profile
    return {
        "credit": profile.credit.model_dump(mode="json"),
        "training": profile.training.model_dump(mode="json"),
        "redact_pii": profile.removal.redact_pii,
        "token_budget": profile.loop.token_budget,
        "policy": profile.policy.model_dump(mode="json"),
        "targets": profile.reward.targets,
        "essential": profile.reward.essential,
        "last": asdict(work.parent.credit_metrics),
    }


STEP = Step(
    module=__name__,
    table="probes",
    version="4",
    compute=compute,
    partitioning=Partitioning.ITERATION,
    inputs=(CANDIDATE_POOL, BASE_CHECKPOINT, HELDOUT_TEXTS),
    also=_in_force,
    parameters=_parameters,
    kinds=frozenset({"pytorch"}),
    view=view,
    resumes=True,
)
