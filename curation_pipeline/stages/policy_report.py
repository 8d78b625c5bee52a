"""What people see of a policy: its card and its control, written once with it and read back here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.policy.artefact import load_policy
from curation_pipeline.policy.card import Origin, policy_card
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import Pool
from curation_pipeline.policy.report import control_at, overlap
from curation_pipeline.policy.scoring import frozen_on, policy_rule, scores_at

if TYPE_CHECKING:
    from curation_pipeline.policy.ppo import TrainingSummary

CARD = "card.md"


def write_policy_report(
    draft: Draft,
    pool: Pool,
    objective: Objective,
    training: TrainingSummary,
    parent_id: str | None,
    parent: Path | None,
    seed: int,
) -> dict[str, Any]:
    """Write the card and its tables next to a trained policy.

    Tables: ``effects`` (feature, axis, name, documents, effect; axis "all" for the whole pool), ``selection_rates``,
    ``control`` and ``agreement``, as in ``PolicyCard`` and ``Control``.

    Args:
        draft: holds the policy's two files.
        pool: that the policy was trained on.
        objective: of the iteration.
        training: what the training says of itself.
        parent_id: id of the policy that it started from, None for a cold start.
        parent: folder of that policy.
        seed: of the resamples behind the control's intervals.

    Returns:
        The control's figures for the summary.
    """
    policy = load_policy(draft.folder)
    state = frozen_on(policy_rule(policy), pool, objective)
    control = control_at(state, policy, seed)
    shared = None
    if parent is not None:
        earlier = scores_at(frozen_on(policy_rule(load_policy(parent)), pool, objective))
        shared = overlap(state.problem.candidates, scores_at(state), earlier)
    origin = Origin(
        parent=parent_id,
        kl_to_parent=training.kl_to_parent,
        parent_overlap=shared,
        candidates=training.candidates,
        budget_use=training.budget_use,
    )
    card = policy_card(policy, pool, objective, objective.budget_tokens, state=state, control=control, origin=origin)
    (draft.folder / CARD).write_text(card.markdown, encoding="utf-8")
    everywhere = card.effects.select(
        "feature", axis=pl.lit("all"), name=pl.lit("all"), documents=pl.lit(len(pool), pl.Int64), effect="effect"
    )
    draft.frame(pl.concat([everywhere, card.group_effects]), "effects")
    draft.frame(card.rates, "selection_rates")
    draft.frame(control.table, "control")
    draft.frame(control.agreement, "agreement")
    return {
        "against_the_closed_form": control.sentence,
        "control_verdict": control.verdict,
        "control_overlap": round(control.overlap, 4),
        "control_correlation": None if control.correlation is None else round(control.correlation, 4),
        "control_share_of_gain": None if control.share_of_gain is None else round(control.share_of_gain, 4),
        "parent_overlap": None if shared is None else round(shared, 4),
    }


@dataclass(frozen=True, slots=True)
class PolicySection:
    """All that a page about an iteration's policy needs.

    Attributes:
        curve: one row a rollout, see ``RolloutRecord``.
        actions: the loss weight of each column ``action_<i>`` of the curve.
        effects: feature, axis, name, documents, effect.
        rates: who is selected, before and after, see ``PolicyCard``.
        control: policy, closed form, random and their difference, see ``Control``.
        agreement: policy_bin, control_bin, tokens.
        card: Markdown.
        summary: the artefact's figures.
    """

    curve: pl.DataFrame
    actions: tuple[float, ...]
    effects: pl.DataFrame
    rates: pl.DataFrame
    control: pl.DataFrame
    agreement: pl.DataFrame
    card: str
    summary: dict[str, Any]


def policy_section(lake: Lake, policy: Manifest) -> PolicySection | None:
    """Read what ``write_policy_report`` wrote.

    Args:
        lake: holds it.
        policy: an artefact of the table ``policies``.

    Returns:
        None for a policy that was made before there was a control.
    """
    if not any(file.name == "control.parquet" for file in policy.files):
        return None
    return PolicySection(
        curve=lake.frame(policy, "learning_curve"),
        actions=tuple(lake.json(policy, "policy")["architecture"]["actions"]),
        effects=lake.frame(policy, "effects"),
        rates=lake.frame(policy, "selection_rates"),
        control=lake.frame(policy, "control"),
        agreement=lake.frame(policy, "agreement"),
        card=lake.path(policy, CARD).read_text(encoding="utf-8"),
        summary=policy.summary,
    )
