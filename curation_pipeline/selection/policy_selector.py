"""The learned policy and its closed-form control as selectors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curation_pipeline.policy.closed_form import closed_form_scores
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import Pool
from curation_pipeline.policy.scores import Scores
from curation_pipeline.policy.scoring import load_policy, score_pool
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.selection.choosing import BY_CHANCE


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


@dataclass(frozen=True, slots=True)
class ClosedFormSelector:
    """The best response to the same reward, the mandatory control of the policy.

    Attributes:
        objective: of the iteration; its budget is replaced by that of the call.
        settings: of the decision process.
        folder: a policy whose constants and duals to use, so that only the decision differs; None for none.
    """

    objective: Objective
    settings: PolicySettings
    folder: Path | None = None
    name: str = "closed_form"

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """Scores of the softened argmax; the seed is that of the random features when there is no policy."""
        policy = load_policy(self.folder) if self.folder is not None else None
        found = closed_form_scores(pool, self.objective, self.settings, budget_tokens, seed, policy)
        reason = np.where(found.probability < 0.5, "worth less than its price", BY_CHANCE).tolist()
        return Scores(found.probability, found.weight, reason)
