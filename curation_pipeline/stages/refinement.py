"""The reward model after an evaluation: what this iteration showed moves the reward of the next one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import polars as pl

from curation_pipeline.annotate.detectors.protocol import Detector
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.reward.composite import RewardModel
from curation_pipeline.reward.corrections import Corrections
from curation_pipeline.reward.evidence import Evidence, Move
from curation_pipeline.reward.label_version import adopted, label_version_moves
from curation_pipeline.reward.recalibrate import StratumShift, as_corrections, recalibrate
from curation_pipeline.reward.refine import Refined, refine
from curation_pipeline.stages.audit import ask_about_audit, audit_batch, labelled_audits, people_labels
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.gate import Gate, gate_and_parent
from curation_pipeline.stages.refinement_evidence import gather_evidence
from curation_pipeline.stages.state import Refinement, State

CODE_VERSION = "3"
AWAITING = "awaiting labels"


def refine_reward(ctx: Context, chain: str, ordinal: int, expert: Detector | None = None) -> Manifest:
    """The reward model of the next iteration, moved by what this one's evaluation on credit data and its audit showed.

    Besides the model, the artefact holds ``moves`` (every change with its reason), ``refinement`` (what the commit
    takes over) and ``evidence``.

    Args:
        ctx: the surroundings.
        chain: the chain.
        ordinal: the iteration, from 1.
        expert: the hosted judge that labels the audit batch; people do where there is none.

    Raises:
        LakeError: the evaluation has not been done.
        DetectorError: the expert failed.
    """
    lake, reward_settings = ctx.lake, ctx.profile.reward
    _, gate, parent = gate_and_parent(lake, chain, ordinal)
    metrics, pool = lake.require("metrics", gate.partition), lake.require("pool", gate.partition)
    before = lake.get(parent.reward_model_id)
    fitted = lake.get(gate.references.get("initial_reward", parent.refinement.fitted_reward_id or before.id))
    audit = audit_batch(ctx, chain, ordinal)
    answers = [] if expert is None or audit.summary["documents"] == 0 else [ask_about_audit(ctx, audit, expert)]
    people, people_hash = people_labels(ctx)
    new_labels = parent.refinement.fitted_reward_id not in (None, fitted.id)
    # Labels given of an earlier version say nothing about the new one.
    audits = (audit.id,) if new_labels else (*parent.refinement.audits, audit.id)
    evidence, read = gather_evidence(ctx, gate, parent, metrics)
    on_rejection = _with_new_labels(ctx, gate, before, fitted) if new_labels else before
    inputs = {before.id, fitted.id, metrics.id, pool.id, gate.parent_state_id, on_rejection.id, *audits, *read}
    parameters = {
        "reward": reward_settings.model_dump(mode="json", exclude={"refinement", "audit", "divergence"}),
        "refinement": ctx.profile.reward.refinement.model_dump(mode="json"),
        "audit": ctx.profile.reward.audit.model_dump(mode="json", include={"min_labels", "prior_sd"}),
        "audit_labels": people_hash,
        "target_safety": ctx.profile.loop.target_safety,
    }
    recipe = Recipe(
        "reward_models",
        gate.partition,
        tuple(sorted(inputs | {manifest.id for manifest in answers})),
        parameters,
        ctx.profile.seed,
        CODE_VERSION,
    )

    def make(draft: Draft) -> None:
        model = RewardModel.load(lake.folder(on_rejection))
        moves: list[Move] = []
        if new_labels:
            frame = lake.frame(pool)
            running = RewardModel.load(lake.folder(before))
            moves += label_version_moves(running, model, frame, frame["vector"].to_numpy())
        labels = labelled_audits(lake, audits, people)
        found = _recalibrated(ctx, model, labels)
        shifts = parent.refinement.audit_shifts if labels.is_empty() else as_corrections(found).shifts
        refined = _refine(ctx, gate, parent, model, evidence, shifts, found)
        moves += refined.moves
        after = replace(model, weights=refined.weights, corrections=Corrections(refined.shifts))
        after.save(draft.folder)
        carried = Refinement(refined.duals, {c: dict(v) for c, v in shifts.items()}, fitted.id, audits)
        state = f"{labels.height} labels" if labels.height else AWAITING
        draft.json([asdict(move) for move in moves], "moves")
        draft.json({"refinement": asdict(carried), "on_rejection": on_rejection.id}, "refinement")
        draft.json(
            {
                "evidence": asdict(evidence),
                "audit": {"state": state, "drawn": audit.summary["documents"], "labelled": labels.height,
                          "shifts": [asdict(entry) | {"reason": entry.reason} for entry in found]},
            },
            "evidence",
        )  # fmt: skip
        draft.summary.update(_summary(after, refined, moves, state))

    return lake.build(recipe, make)


def _with_new_labels(ctx: Context, gate: Gate, before: Manifest, fitted: Manifest) -> Manifest:
    """The running reward with the newly fitted parts: what the refinement starts from, and what a rejection keeps."""
    recipe = Recipe(
        "reward_models",
        gate.partition,
        (before.id, fitted.id),
        {"adopts": "label_version"},
        ctx.profile.seed,
        CODE_VERSION,
    )

    def make(draft: Draft) -> None:
        running, refitted = (RewardModel.load(ctx.lake.folder(manifest)) for manifest in (before, fitted))
        model = adopted(running, refitted)
        model.save(draft.folder)
        draft.summary.update(identity=model.identity, fitted=fitted.id, weights_of=before.id)

    return ctx.lake.build(recipe, make, set_head=False)


def _recalibrated(ctx: Context, model: RewardModel, labels: pl.DataFrame) -> list[StratumShift]:
    """What the labels ask for, over P(harm) without any correction."""
    if labels.is_empty():
        return []
    plain = replace(model, corrections=Corrections()).annotate(labels, labels["vector"].to_numpy())
    return recalibrate(labels.with_columns(plain["p_harm"]), ctx.profile.reward.audit)


def _refine(
    ctx: Context,
    gate: Gate,
    parent: State,
    model: RewardModel,
    evidence: Evidence,
    audit: Mapping[str, Mapping[str, float]],
    found: list[StratumShift],
) -> Refined:
    reasons = {(entry.column, entry.value): entry.reason for entry in found}
    settings = ctx.profile.reward.refinement
    return refine(
        model.weights, parent.refinement.duals, model.corrections.shifts, evidence, ctx.profile.reward, settings,
        audit, reasons,
    )  # fmt: skip


def _summary(model: RewardModel, refined: Refined, moves: list[Move], audit: str) -> dict[str, Any]:
    weights = model.weights
    return {
        "identity": model.identity,
        "alpha": round(weights.alpha, 4),
        "beta": round(weights.beta, 4),
        "gamma": round(weights.gamma, 4),
        "multipliers": {name: round(value, 4) for name, value in refined.duals.named().items()},
        "step": refined.duals.step,
        "corrections": {c: {k: round(v, 4) for k, v in values.items()} for c, values in refined.shifts.items()},
        "audit": audit,
        "moves": "; ".join(f"{m.name} {m.before:.3f} to {m.after:.3f}: {m.reason}" for m in moves) or "none was needed",
    }


def read_moves(lake: Lake, manifest: Manifest) -> list[Move]:
    """The moves of a refined reward model; none for a fitted one."""
    if not any(file.name == "moves.json" for file in manifest.files):
        return []
    return [Move(**move) for move in lake.json(manifest, "moves")]
