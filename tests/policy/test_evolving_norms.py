"""A norm that changes in mid-run: how many iterations until the selection is what the new norm alone would give.

Counter-speech quotes what it answers, so people may label it harmful or benign. The labels of that topic are turned
from harmful to benign between two iterations, and back later. The loop goes on as it does in production: the pool is
built with the reward in force from stored scores and vectors, the policy is trained on it from its parent's weights,
and the refinement of that iteration takes over the reward that was fitted on the new labels, with the running weights,
multipliers and corrections. So the first iteration after a change still works under the old norm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from curation_pipeline.policy.closed_form import closed_form_scores
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import Pool
from curation_pipeline.policy.ppo import train_policy
from curation_pipeline.policy.scores import Scores
from curation_pipeline.policy.scoring import load_policy, score_pool
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.reward.calibration import safe_logit
from curation_pipeline.reward.composite import RewardWeights
from curation_pipeline.reward.corrections import Corrections
from curation_pipeline.reward.duals import Duals
from curation_pipeline.reward.evidence import Evidence
from curation_pipeline.reward.refine import refine
from curation_pipeline.reward.refinement_settings import RefinementSettings
from curation_pipeline.reward.settings import RewardSettings
from research.synthetic_pool import COUNTER, SyntheticPool, synthetic_pool

REWARD = RewardSettings(alpha=0.4, beta=0.1, gamma=0.5, eta=0.0)
REFINEMENT = RefinementSettings()
HARMFUL, BENIGN = True, False
NIGHTS = [HARMFUL] * 2 + [BENIGN] * 4 + [HARMFUL] * 3
Select = Callable[[Pool, Objective, str, str | None], Scores]


@dataclass(frozen=True)
class Norms:
    """A synthetic pool whose P(harm) is fitted on labels under either norm; scores and vectors are never redone."""

    made: SyntheticPool
    fitted: dict[bool, np.ndarray]

    @staticmethod
    def make(seed: int, n: int) -> Norms:
        from sklearn.linear_model import LogisticRegression

        made = synthetic_pool(seed, n)
        frame, counter = made.frame, made.topic == COUNTER
        scores = [safe_logit(frame[name].to_numpy()) for name in ("lexical", "neural")]
        inputs = np.column_stack([*scores, frame["vector"].to_numpy()[:, :16]])
        labelled = np.union1d(np.random.default_rng(0).choice(n, n // 4, replace=False), np.flatnonzero(counter)[:200])
        fitted = {}
        for norm in (HARMFUL, BENIGN):
            labels = made.harmful | (counter & norm)
            model = LogisticRegression(C=10.0, max_iter=1_000).fit(inputs[labelled], labels[labelled])
            fitted[norm] = model.predict_proba(inputs)[:, 1]
        return Norms(made, fitted)

    def pool(self, norm: bool, corrections: Corrections) -> Pool:
        """The pool as the stage builds it under the reward in force."""
        p = corrections.apply(self.fitted[norm], self.made.frame)
        bins = np.digitize(p, [0.05, 0.2, 0.5]).astype(np.int8)
        frame = self.made.frame.with_columns(pl.Series("p_harm", p, dtype=pl.Float32), pl.Series("toxicity_bin", bins))
        return Pool.from_frame(
            frame.with_columns(stratum=pl.format("t{}|b{}|{}", "topic", "toxicity_bin", "identity_group"))
        )

    def selected(self, scores: Scores) -> float:
        """Share of the counter-speech tokens that is selected."""
        tokens = self.made.pool.n_tokens * (self.made.topic == COUNTER)
        return float(scores.probability @ tokens) / float(tokens.sum())

    def performance(self, scores: Scores, norm: bool) -> dict[str, float]:
        """What an evaluation under a norm says of the model that the selection would make."""
        harmful = self.made.harmful | ((self.made.topic == COUNTER) & norm)
        safety, capability, _ = replace(self.made, harmful=harmful).truth(scores.probability * scores.weight)
        return {"safety": safety, "capability": capability}


def goal(norms: Norms, weights: RewardWeights) -> Objective:
    return Objective(weights.alpha, weights.beta, weights.gamma, 0.0, None, norms.made.budget_tokens)


def follow(norms: Norms, select: Select) -> list[float]:
    """The loop over the nights; the share of counter-speech that each of them selects."""
    weights, duals = RewardWeights.of(REWARD), Duals()
    shifts: dict[str, dict[str, float]] = {}
    in_force, parent, shares = NIGHTS[0], None, []
    for ordinal, norm in enumerate(NIGHTS):
        scores = select(norms.pool(in_force, Corrections(shifts)), goal(norms, weights), f"night-{ordinal}", parent)
        shares.append(norms.selected(scores))
        seen = norms.performance(scores, norm)
        refined = refine(weights, duals, shifts, Evidence(seen, {}, {"safety": 0.5}), REWARD, REFINEMENT)
        weights, duals = refined.weights, refined.duals
        in_force, parent = norm, f"night-{ordinal}"  # the new fit takes over, the rest goes on
    return shares


def iterations_to_adapt(shares: list[float], reference: dict[bool, float]) -> dict[str, int]:
    """Iterations from each change until the share is within 10% of the way between the two norms' references."""
    found = {}
    span = reference[BENIGN] - reference[HARMFUL]
    for name, start, norm in (("to benign", 2, BENIGN), ("to harmful", 6, HARMFUL)):
        end = 6 if norm == BENIGN else len(shares)
        sign = 1 if norm == BENIGN else -1
        reached = [i for i in range(start, end) if sign * (shares[i] - reference[norm]) >= -0.1 * span]
        found[name] = reached[0] - start + 1 if reached else len(shares)
    return found


def report(name: str, shares: list[float], reference: dict[bool, float]) -> dict[str, int]:
    found = iterations_to_adapt(shares, reference)
    path = " ".join(f"{share:.3f}" for share in shares)
    print(
        f"\n{name}: share of counter-speech {path}; trained from the start under benign {reference[BENIGN]:.3f}, "
        f"harmful {reference[HARMFUL]:.3f}; iterations to adapt {found}"
    )
    return found


def test_the_closed_form_follows_a_changed_norm() -> None:
    norms = Norms.make(1, 2_500)
    settings = PolicySettings(random_features=16, mean_field_rounds=8)

    def select(pool: Pool, objective: Objective, name: str, parent: str | None) -> Scores:
        return closed_form_scores(pool, objective, settings, norms.made.budget_tokens, 0)

    start = RewardWeights.of(REWARD)
    reference = {
        norm: norms.selected(select(norms.pool(norm, Corrections()), goal(norms, start), "", None))
        for norm in (HARMFUL, BENIGN)
    }
    assert reference[BENIGN] > 3 * reference[HARMFUL]
    found = report("closed form", follow(norms, select), reference)
    assert max(found.values()) <= 2, "one iteration under the old norm, and the next follows the new one"


@pytest.mark.slow
def test_the_policy_follows_a_changed_norm(tmp_path: Path) -> None:
    norms = Norms.make(1, 8_000)
    settings = PolicySettings(cold_start_candidates=98_304, warm_start_candidates=32_768)

    def select(pool: Pool, objective: Objective, name: str, parent: str | None) -> Scores:
        warm = None if parent is None else tmp_path / parent
        train_policy(pool, objective, settings, seed_of(name), warm, tmp_path / name)
        return score_pool(load_policy(tmp_path / name), pool, objective, norms.made.budget_tokens)

    start = RewardWeights.of(REWARD)
    reference = {
        norm: norms.selected(select(norms.pool(norm, Corrections()), goal(norms, start), f"from {norm}", None))
        for norm in (HARMFUL, BENIGN)
    }
    assert reference[BENIGN] > 3 * reference[HARMFUL]
    found = report("PPO", follow(norms, select), reference)
    assert max(found.values()) <= 3, "the policy adapts within three iterations of a change"


def seed_of(name: str) -> int:
    """A small seed from a name."""
    return sum(ord(letter) * (place + 1) for place, letter in enumerate(name)) % 997
