"""The learned policy and its closed-form control as selectors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curation_pipeline.lake.keyed import shards_of
from curation_pipeline.policy.closed_form import closed_form_scores
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import Pool
from curation_pipeline.policy.scores import Scores
from curation_pipeline.policy.scoring import load_policy, policy_rule, score_pool, with_budget
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.selection.choosing import BY_CHANCE
from curation_pipeline.selection.protocol import Decisions, PoolFile
from curation_pipeline.selection.stream import decide_pool
from curation_pipeline.selection.stream_tables import COLUMNS


@dataclass(frozen=True, slots=True)
class PolicySelector:
    """A trained policy.

    Attributes:
        folder: holds ``policy.safetensors`` and ``policy.json``.
        objective: of the iteration; its budget is replaced by that of the call.
    """

    folder: Path
    objective: Objective
    name: str = "policy"

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """Scores at the frozen, consistent state; nothing here is random, so the seed is not used."""
        return score_pool(load_policy(self.folder), pool, self.objective, budget_tokens)

    def decisions(self, file: PoolFile, budget_tokens: int, seed: int) -> Iterator[Decisions]:
        """The decisions about every document of a pool on disk, a shard at a time."""
        rule, objective = policy_rule(load_policy(self.folder)), with_budget(self.objective, budget_tokens)
        shards = shards_of([file.path])
        decided = decide_pool(shards, rule, objective, seed, file.scratch, file.engine, file.progress)
        yield from decided.parts(COLUMNS)


@dataclass(frozen=True, slots=True)
class ClosedFormSelector:
    """The best response to the same reward, the mandatory control of the policy.

    Attributes:
        objective: of the iteration; its budget is replaced by that of the call.
        settings: of the decision process.
    """

    objective: Objective
    settings: PolicySettings
    name: str = "closed_form"

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """Scores of the softened argmax; the seed is that of the random features."""
        found = closed_form_scores(pool, self.objective, self.settings, budget_tokens, seed)
        reason = np.where(found.probability < 0.5, "worth less than its price", BY_CHANCE).tolist()
        return Scores(found.probability, found.weight, reason)
