"""The policy in plain words: what moves a document's chance, and who is selected how often."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from curation_pipeline.policy.artefact import ScoringPolicy
from curation_pipeline.policy.curated_set import GLOBAL_FEATURES
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import F64, Pool
from curation_pipeline.policy.scoring import policy_state, probabilities, state_observations

_SAMPLE = 4096
"""Documents behind an effect; more changes nothing in the digits shown."""


@dataclass(frozen=True, slots=True)
class PolicyCard:
    """What a policy does on a pool.

    Attributes:
        effects: feature, effect (mean change of the selection probability when the feature alone rises by one standard
            deviation, at the same state and shift), largest first.
        rates: axis, name, documents, tokens, selected (share of the name's tokens that is expected in the batch),
            mean_weight (of these tokens).
        markdown: both in words.
    """

    effects: pl.DataFrame
    rates: pl.DataFrame
    markdown: str


def policy_card(policy: ScoringPolicy, pool: Pool, objective: Objective, budget_tokens: int) -> PolicyCard:
    """Describe a policy by its decisions on a pool.

    Args:
        policy: from ``load_policy``.
        pool: with the policy's features.
        objective: of the iteration.
        budget_tokens: tokens of drawn documents.
    """
    state = policy_state(policy, pool, objective, budget_tokens)
    weights = policy.settings.weights
    probability, weight = probabilities(state.logits, state.shift, weights)
    weight *= (probability @ pool.n_tokens) / ((probability * weight) @ pool.n_tokens)
    step = max(len(pool) // _SAMPLE, 1)
    observations = state_observations(state)[::step]
    base = probability[::step]
    shift = np.broadcast_to(state.shift, len(pool))[::step]
    names, moved = [], []
    for column, name in enumerate(policy.observation_names):
        spread = float(observations[:, column].std())
        if name in GLOBAL_FEATURES or spread < 1e-6:
            continue
        raised = observations.copy()
        raised[:, column] += np.float32(spread)
        after, _ = probabilities(policy.logits(raised).astype(np.float64), shift, weights)
        names.append(name)
        moved.append(float((after - base).mean()))
    effects = pl.DataFrame({"feature": names, "effect": moved}).sort(pl.col("effect").abs(), descending=True)
    rates = _rates(pool, probability, weight)
    return PolicyCard(effects, rates, _markdown(effects, rates, budget_tokens / pool.total_tokens))


def _rates(pool: Pool, probability: F64, weight: F64) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "domain": [pool.domain.names[code] for code in pool.domain.code],
            "toxicity_bin": [str(value) for value in pool.toxicity_bin],
            "identity_group": [pool.group.names[code] for code in pool.group.code],
            "tokens": pool.n_tokens,
            "expected": probability * pool.n_tokens,
            "weighted": probability * weight * pool.n_tokens,
        }
    )
    parts = [
        frame.group_by(pl.lit(axis).alias("axis"), pl.col(axis).alias("name"))
        .agg(
            documents=pl.len().cast(pl.Int64),
            tokens=pl.col("tokens").sum(),
            selected=pl.col("expected").sum() / pl.col("tokens").sum(),
            mean_weight=pl.col("weighted").sum() / pl.col("expected").sum(),
        )
        .sort("name")
        for axis in ("domain", "toxicity_bin", "identity_group")
    ]
    return pl.concat(parts)


def _markdown(effects: pl.DataFrame, rates: pl.DataFrame, share: float) -> str:
    lines = [
        "## What the policy looks at",
        "",
        f"It was asked for {share:.1%} of the pool's tokens. One standard deviation more of a feature, all else equal, "
        "changes the chance of being selected by:",
        "",
        "| feature | change, percentage points |",
        "|---|---|",
        *(f"| {name} | {100 * effect:+.1f} |" for name, effect in effects.head(12).iter_rows()),
        "",
        "## Who is selected",
        "",
        "| axis | name | documents | tokens | selected | mean weight |",
        "|---|---|---|---|---|---|",
        *(
            f"| {axis} | {name} | {documents:,} | {tokens:,} | {selected:.1%} | {weight:.2f} |"
            for axis, name, documents, tokens, selected, weight in rates.iter_rows()
        ),
    ]
    return "\n".join(lines) + "\n"
