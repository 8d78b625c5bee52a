"""The policy in plain words: what moves a document's chance, for whom, and who is selected how often."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from curation_pipeline.policy.artefact import ScoringPolicy
from curation_pipeline.policy.card_words import card_markdown
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import F32, F64, Codes, Pool, Rows
from curation_pipeline.policy.report import Control
from curation_pipeline.policy.scores import Scores
from curation_pipeline.policy.scoring import (
    FrozenState,
    frozen_on,
    policy_rule,
    probabilities,
    scores_at,
    state_observations,
    with_budget,
)
from curation_pipeline.policy.selection_state import GlobalFeatures

_SAMPLE = 4096
"""Documents behind an effect; more changes nothing in the digits shown."""
_GROUP_SAMPLE = 256
"""Documents of each group that an effect inside the group looks at."""
_LEAST_GROUP = 20
_TOPICS = 12
"""Topics of the most tokens that are shown one by one."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a policy's training began and how it went.

    Attributes:
        parent: id of the policy that it started from, None for a cold start.
        kl_to_parent: mean KL(policy || parent) of a decision, in nats; None at a cold start.
        parent_overlap: share of the budget that policy and parent both draw from this pool, where known.
        candidates: seen in training.
        budget_use: drawn tokens over the budget in the last episode of training.
    """

    parent: str | None
    kl_to_parent: float | None
    parent_overlap: float | None
    candidates: int
    budget_use: float


@dataclass(frozen=True, slots=True)
class PolicyCard:
    """What a policy does on a pool.

    Attributes:
        effects: feature, effect (mean change of the selection probability when the feature alone rises by one standard
            deviation, at the same state and shift), largest first.
        group_effects: feature, axis, name, documents, effect: the same inside each group of strata, that is each
            toxicity bin, identity group, domain and larger topic.
        rates: axis, name, documents, tokens, share_before and share_after (of the pool's tokens and of the weighted
            tokens of the expected batch), selected (share of the name's tokens that is expected in the batch),
            mean_weight (of these tokens), control_selected (by the closed form, where there is a control).
        markdown: both in words.
    """

    effects: pl.DataFrame
    group_effects: pl.DataFrame
    rates: pl.DataFrame
    markdown: str


def policy_card(
    policy: ScoringPolicy,
    pool: Pool,
    objective: Objective,
    budget_tokens: int,
    *,
    state: FrozenState | None = None,
    control: Control | None = None,
    origin: Origin | None = None,
) -> PolicyCard:
    """Describe a policy by its decisions on a pool.

    Args:
        policy: from ``load_policy``.
        pool: with the policy's features.
        objective: of the iteration.
        budget_tokens: tokens of drawn documents.
        state: at which the policy decides, if it is at hand.
        control: the closed form of the same problem.
        origin: of the policy.
    """
    state = state or frozen_on(policy_rule(policy), pool, with_budget(objective, budget_tokens))
    groups = dict(_groups(pool))
    effects, group_effects = _effects(policy, state, groups)
    rates = _rates(pool, groups, scores_at(state), None if control is None else control.scores)
    markdown = card_markdown(effects, group_effects, rates, budget_tokens / pool.total_tokens, control, origin)
    return PolicyCard(effects, group_effects, rates, markdown)


def _groups(pool: Pool) -> Iterator[tuple[str, Codes]]:
    """The axes of strata, topics beyond the largest put together."""
    yield "domain", pool.domain
    yield "toxicity_bin", Codes.of(pl.Series(pool.toxicity_bin))
    yield "identity_group", pool.group
    tokens = np.bincount(pool.topic.code, weights=pool.n_tokens, minlength=len(pool.topic.names))
    shown = np.argsort(-tokens, kind="stable")[:_TOPICS]
    rest = np.setdiff1d(np.arange(len(tokens)), shown)
    names = np.array(pool.topic.names, dtype=object)
    if len(rest):
        names[rest] = "all others"
        labels, merged = np.unique(names.astype(np.str_), return_inverse=True)
        yield "topic", Codes(merged.astype(np.int32)[pool.topic.code], tuple(str(label) for label in labels))
    else:
        yield "topic", pool.topic


def _effects(policy: ScoringPolicy, state: FrozenState, groups: dict[str, Codes]) -> tuple[pl.DataFrame, pl.DataFrame]:
    everyone, rows, inside = _sample(len(state.problem.candidates), groups)
    weights = policy.settings.weights
    observations: F32 = state_observations(state)[rows]
    shift: F64 = np.broadcast_to(state.shift, len(state.logits))[rows]
    base, _ = probabilities(state.logits[rows], shift, weights)
    overall: list[tuple[str, float]] = []
    within: list[tuple[str, str, str, int, float]] = []
    for column, name in enumerate(policy.observation_names):
        spread = float(observations[everyone, column].std())
        if name in GlobalFeatures._fields or spread < 1e-6:
            continue
        raised = observations.copy()
        raised[:, column] += np.float32(spread)
        after, _ = probabilities(policy.logits(raised).astype(np.float64), shift, weights)
        moved = after - base
        overall.append((name, float(moved[everyone].mean())))
        within += [(name, axis, group, len(at), float(moved[at].mean())) for (axis, group), at in inside.items()]
    effects = pl.DataFrame(overall, schema={"feature": pl.Utf8, "effect": pl.Float64}, orient="row")
    schema = {"feature": pl.Utf8, "axis": pl.Utf8, "name": pl.Utf8, "documents": pl.Int64, "effect": pl.Float64}
    return effects.sort(pl.col("effect").abs(), descending=True), pl.DataFrame(within, schema=schema, orient="row")


def _sample(n: int, groups: dict[str, Codes]) -> tuple[Rows, Rows, dict[tuple[str, str], Rows]]:
    """Places of an even sample among the rows looked at, these rows, and places of each group among them."""
    step = max(n // _SAMPLE, 1)
    even = np.arange(0, n, step)
    members: dict[tuple[str, str], Rows] = {}
    for axis, codes in groups.items():
        order = np.argsort(codes.code, kind="stable")
        ends = np.cumsum(np.bincount(codes.code, minlength=len(codes.names)))
        for name, own in zip(codes.names, np.split(order, ends[:-1]), strict=True):
            if len(own) >= _LEAST_GROUP:
                members[axis, name] = own[:: max(len(own) // _GROUP_SAMPLE, 1)]
    rows = np.unique(np.concatenate([even, *members.values()]))
    return (
        np.searchsorted(rows, even),
        rows,
        {key: np.searchsorted(rows, np.sort(own)) for key, own in members.items()},
    )


def _rates(pool: Pool, groups: dict[str, Codes], scores: Scores, control: Scores | None) -> pl.DataFrame:
    tokens = pool.n_tokens.astype(np.float64)
    expected = scores.probability * tokens
    other = np.full(len(pool), np.nan) if control is None else control.probability * tokens
    frame = pl.DataFrame(
        {"tokens": pool.n_tokens, "expected": expected, "weighted": expected * scores.weight, "other": other}
    )
    parts = [
        frame.group_by(pl.Series("code", codes.code))
        .agg(pl.len().cast(pl.Int64).alias("documents"), pl.all().sum())
        .sort("code")
        .select(
            pl.lit(axis).alias("axis"),
            pl.col("code").replace_strict(dict(enumerate(codes.names)), return_dtype=pl.Utf8).alias("name"),
            "documents",
            "tokens",
            share_before=pl.col("tokens") / pl.col("tokens").sum(),
            share_after=pl.col("weighted") / pl.col("weighted").sum(),
            selected=pl.col("expected") / pl.col("tokens"),
            mean_weight=pl.col("weighted") / pl.col("expected"),
            control_selected=(pl.col("other") / pl.col("tokens")).fill_nan(None),
        )
        for axis, codes in groups.items()
    ]
    return pl.concat(parts)
