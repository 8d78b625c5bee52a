"""From the pool to a weighted batch: policy training, and the draw for the policy and for every baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import polars as pl

from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import Pool
from curation_pipeline.reward.composite import RewardModel
from curation_pipeline.reward.credit import DownstreamCredit
from curation_pipeline.seeds import derive
from curation_pipeline.selection.baselines import baseline
from curation_pipeline.selection.draw import batch, decisions, draw
from curation_pipeline.selection.inputs import Inputs
from curation_pipeline.selection.policy_selector import PolicySelector
from curation_pipeline.selection.protocol import Selector
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.gate import gate_and_parent
from curation_pipeline.stages.pool import read_texts
from curation_pipeline.stages.state import State

POLICY_VERSION = "2"
BATCH_VERSION = "2"


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
    """Train the PPO policy on the pool, warm-started from the parent iteration's.

    Raises:
        LakeError: the pool or the credit has not been made.
    """
    from curation_pipeline.policy.card import policy_card
    from curation_pipeline.policy.ppo import train_policy
    from curation_pipeline.policy.scoring import load_policy

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
        scratch = ctx.lake.scratch(recipe)
        summary = train_policy(pool, objective, settings, seed, warm, draft.folder, ctx.progress, scratch)
        draft.frame(summary.frame(), "learning_curve")
        card = policy_card(load_policy(draft.folder), pool, objective, ctx.profile.loop.token_budget)
        (draft.folder / "card.md").write_text(card.markdown, encoding="utf-8")
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

    return ctx.lake.build(recipe, make)


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

    Baselines get no feedback: those that could use downstream credit go without it.
    """
    _, gate, parent = gate_and_parent(ctx.lake, chain, ordinal)
    settings = ctx.profile.baselines
    reward_manifest = ctx.lake.get(parent.reward_model_id)

    def selector() -> Selector:
        heldout = ctx.lake.frame(ctx.lake.get(gate.references["heldout_texts"]))
        clean = (pl.col("role") == "credit") & (pl.col("kind") == "benign") & (pl.col("domain") == "encyclopaedia")
        target = heldout.filter(clean)["text"]
        reward = RewardModel.load(ctx.lake.folder(reward_manifest))
        inputs = Inputs(
            texts=lambda ids: read_texts(ctx.lake, gate.corpus, ids, ctx.profile.removal.redact_pii),
            target=target if len(target) else None,
            objective=objective_of(ctx, parent, reward, None),
            policy=ctx.profile.policy,
        )
        return baseline(arm, settings, inputs)

    own = settings.model_dump(mode="json") | _composition(ctx)
    return _draw(ctx, chain, ordinal, arm, selector, (reward_manifest,), seed, own)


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
        frame = ctx.lake.frame(pool_manifest)
        pool = Pool.from_frame(frame)
        # The draw's seed carries the iteration, so that the same document is not lucky every night; arms of one
        # seed share it, so that they differ by what they choose and not by chance.
        seed = derive(ctx.profile.seed, "draw", arm_seed, ordinal)
        scores = selector().scores(pool, budget, seed)
        drawn = draw(frame["doc_id"], scores.probability, scores.weight, pool.n_tokens, budget, seed)
        chosen = batch(pool, drawn)
        draft.frame(chosen)
        draft.keyed(decisions(pool, scores, drawn), "decisions")
        draft.summary.update(batch_summary(frame, chosen, budget))
        draft.summary["threshold"] = float(drawn.threshold)

    return ctx.lake.build(recipe, make)


def batch_summary(pool: pl.DataFrame, chosen: pl.DataFrame, budget: int) -> dict[str, object]:
    """Figures of a batch for people: size, effective sample size, and token shares before and after the draw."""
    joined = chosen.select("doc_id", "weight").join(pool, on="doc_id", how="left")
    tokens = joined["n_tokens"].to_numpy().astype(np.float64)
    weight = joined["weight"].to_numpy().astype(np.float64)

    def shares(frame: pl.DataFrame, column: str) -> dict[str, float]:
        total = max(float(frame["n_tokens"].sum()), 1.0)
        grouped = frame.group_by(column).agg(pl.col("n_tokens").sum()).sort(column)
        return {str(name): round(n / total, 4) for name, n in grouped.iter_rows()}

    mean_harm = float(np.average(joined["p_harm"].to_numpy(), weights=tokens)) if chosen.height else 0.0
    return {
        "documents": chosen.height,
        "tokens": int(tokens.sum()),
        "token_budget": budget,
        "budget_use": round(float(tokens.sum()) / budget, 5),
        "effective_sample_size": round(float(weight.sum() ** 2 / max((weight**2).sum(), 1e-12)), 1),
        "mean_p_harm": round(mean_harm, 4),
        "pool_mean_p_harm": round(float(np.average(pool["p_harm"].to_numpy(), weights=pool["n_tokens"].to_numpy())), 4),
        "strata": joined["stratum"].n_unique(),
        "token_share_by_source": {"pool": shares(pool, "source"), "batch": shares(joined, "source")},
        "token_share_by_toxicity_bin": {"pool": shares(pool, "toxicity_bin"), "batch": shares(joined, "toxicity_bin")},
        "token_share_by_identity_group": {
            "pool": shares(pool, "identity_group"),
            "batch": shares(joined, "identity_group"),
        },
    }
