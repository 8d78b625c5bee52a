"""The closed loop on synthetic pools: the pipeline's own steps, with a known truth in the place of trained models.

An iteration draws probes around the policy it has, asks the truth about each, fits the credit, lets a learner make a
new policy, draws its batch and keeps the policy where the truth of the batch rose. Pools may differ from iteration to
iteration (drift). The truth of a probe stands for a probe training and that of a batch for an iteration's evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl

from curation_pipeline.credit.mixtures import INCLUSION, composition, probe_mixtures, trait_means
from curation_pipeline.credit.mixtures import draw as draw_mixture
from curation_pipeline.credit.settings import CreditSettings
from curation_pipeline.credit.surrogate import fit_credit, moved
from curation_pipeline.policy.closed_form import closed_form_scores
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import F64, Pool
from curation_pipeline.policy.scores import Scores
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.policy.traits import trait_frame, trait_scale
from curation_pipeline.reward.credit import DownstreamCredit
from curation_pipeline.seeds import derive
from curation_pipeline.selection.draw import draw
from research.synthetic_pool import SyntheticPool


@dataclass(frozen=True, slots=True)
class SimulationSettings:
    """The loop's settings; tuned on pools with seeds below 9,000 alone.

    Attributes:
        alpha, beta, gamma, eta: weights of the reward.
        first, later: probes before the first policy with feedback, and before each later one.
        traits: whether credit sees traits of documents beside their strata.
        local: whether probes draw around the policy's own probabilities and weights, or tilt the whole pool.
        credit: spreads, decay and step.
        policy: of the decision process and of PPO.
    """

    alpha: float = 0.3
    beta: float = 0.1
    gamma: float = 0.6
    eta: float = 0.15
    first: int = 36
    later: int = 12
    traits: bool = True
    local: bool = True
    credit: CreditSettings = field(default_factory=lambda: CreditSettings(local_spread=0.5))
    policy: PolicySettings = field(default_factory=lambda: PolicySettings(novelty_share=0.3))

    def objective(self, budget_tokens: int, credit: DownstreamCredit | None, last: tuple[float, float]) -> Objective:
        """The reward with a credit, or without any feedback."""
        eta = 0.0 if credit is None else self.eta
        return Objective(self.alpha, self.beta, self.gamma, eta, credit, budget_tokens, *last)


class Learner(Protocol):
    """Makes policies and lets them score pools."""

    def learn(self, pool: Pool, objective: Objective, seed: int, parent: object | None, name: str) -> object:
        """A policy for this pool and objective, from its parent where there is one."""
        ...

    def scores(self, policy: object, pool: Pool, objective: Objective, seed: int) -> Scores:
        """What a policy makes of a pool."""
        ...


@dataclass(frozen=True, slots=True)
class ClosedFormLearner:
    """The control: nothing is learned, every pool is answered by the best response to the objective of the policy.

    Attributes:
        settings: of the decision process.
    """

    settings: PolicySettings

    def learn(self, pool: Pool, objective: Objective, seed: int, parent: object | None, name: str) -> object:
        """The objective itself is the policy."""
        return objective

    def scores(self, policy: object, pool: Pool, objective: Objective, seed: int) -> Scores:
        """Scores of the best response."""
        return closed_form_scores(pool, objective, self.settings, objective.budget_tokens, seed)


@dataclass(frozen=True, slots=True)
class PpoLearner:
    """PPO, warm-started from the parent's network.

    Attributes:
        settings: of the decision process and of PPO.
        folder: receives one folder for each policy.
    """

    settings: PolicySettings
    folder: Path

    def learn(self, pool: Pool, objective: Objective, seed: int, parent: object | None, name: str) -> object:
        """Train; the policy is its folder."""
        from curation_pipeline.policy.ppo import train_policy

        assert parent is None or isinstance(parent, Path)
        return train_policy(pool, objective, self.settings, seed, parent, self.folder / name).folder

    def scores(self, policy: object, pool: Pool, objective: Objective, seed: int) -> Scores:
        """Scores of the trained network."""
        from curation_pipeline.policy.scoring import load_policy, score_pool

        assert isinstance(policy, Path)
        return score_pool(load_policy(policy), pool, objective, objective.budget_tokens)


@dataclass(frozen=True, slots=True)
class Iteration:
    """What one iteration came to.

    Attributes:
        safety, capability, performance: of the policy kept; an iteration that is rejected keeps its parent's.
        outcome: (S, C, P) of the new policy, kept or not.
        accepted: whether it was kept.
        r2: leave-one-out R2 of the credit, 0 before any.
        evaluations: truths asked so far.
        policy, objective: kept.
    """

    safety: float
    capability: float
    performance: float
    outcome: tuple[float, float, float]
    accepted: bool
    r2: float
    evaluations: int
    policy: object
    objective: Objective

    @property
    def tried(self) -> float:
        """P of the new policy, kept or not."""
        return self.outcome[2]


@dataclass(frozen=True, slots=True)
class _Probes:
    """Outcomes of all probes so far, with the iteration of each."""

    rows: list[dict[str, object]]
    born: list[int]


def run_loop(
    pools: Sequence[SyntheticPool],
    learner: Learner,
    settings: SimulationSettings,
    seed: int,
    start: Iteration | None = None,
) -> list[Iteration]:
    """One iteration a pool: the first without feedback, the others with it.

    Args:
        pools: of the iterations in order; the same pool again and again where nothing drifts.
        learner: PPO or its control.
        settings: of the loop.
        seed: of everything random.
        start: the first iteration of an earlier call with the same arguments, so that it is not made again.

    Returns:
        What each iteration came to.
    """
    first = pools[0]
    if start is None:
        objective = settings.objective(first.budget_tokens, None, (0.5, 0.5))
        policy = learner.learn(first.pool, objective, derive(seed, "policy", 0), None, "iteration-0")
    else:
        objective, policy = start.objective, start.policy
    scores = learner.scores(policy, first.pool, objective, seed)
    outcome = batch_truth(first, scores, seed)
    done = [Iteration(*outcome, outcome, True, 0.0, 1, policy, objective)]
    probes, credit, night = _Probes([], []), None, 0
    parent: object | None = None
    for number, pool in enumerate(pools[1:], start=1):
        if pool is not pools[number - 1]:
            scores = learner.scores(policy, pool.pool, objective, seed)
            outcome = batch_truth(pool, scores, seed)
            night = number
        _probe(pool, scores, settings, seed, number, probes, f"pool {night}")
        credit = moved(credit, _fit(pool, scores, settings, number, probes), settings.credit.step)
        goal = settings.objective(pool.budget_tokens, credit, outcome[:2])
        new = learner.learn(pool.pool, goal, derive(seed, "policy", number), parent, f"iteration-{number}")
        new_scores = learner.scores(new, pool.pool, goal, seed)
        tried = batch_truth(pool, new_scores, seed)
        accepted = tried[2] > outcome[2]
        if accepted:
            policy, objective, scores, outcome = new, goal, new_scores, tried
            # The first policy was trained without credit and would read it in another unit: nobody starts from it.
            parent = new
        count = len(probes.rows) + number + 1
        done.append(Iteration(*outcome, tried, accepted, credit.r2, count, policy, objective))
    return done


def batch_truth(pool: SyntheticPool, scores: Scores, seed: int) -> tuple[float, float, float]:
    """(S, C, P) of the batch that is drawn from scores."""
    drawn = draw(pool.pool.doc_id, scores.probability, scores.weight, pool.pool.n_tokens, pool.budget_tokens, seed)
    return pool.truth(drawn.weight)


def _probe(
    pool: SyntheticPool,
    scores: Scores,
    settings: SimulationSettings,
    seed: int,
    number: int,
    probes: _Probes,
    base: str,
) -> None:
    """Draw and ask about the probes of one iteration; those of one pool compare (``base``)."""
    traits = trait_frame(pool.pool, trait_scale(pool.pool)) if settings.traits else None
    frame = pool.frame.select("doc_id", "stratum", "n_tokens")
    if traits is not None:
        frame = frame.hstack(traits)
    if settings.local:
        frame = frame.with_columns(pl.Series(INCLUSION, scores.probability))
    names = () if traits is None else tuple(traits.columns)
    count = settings.first if number == 1 else settings.later
    mixtures = probe_mixtures(frame, count, derive(seed, "probes", number), None, settings.credit, names)
    weight = scores.weight.astype(np.float64) if settings.local else np.ones(len(pool.pool))
    for mixture in mixtures:
        loss = np.zeros(len(pool.pool))
        rows = draw_mixture(frame, mixture, pool.budget_tokens, seed)
        loss[rows] = weight[rows]
        row: dict[str, object] = {
            "base": base,
            "strata": list(mixture.strata),
            "shares": composition(pool.frame, mixture.strata, loss).tolist(),
            "performance": pool.truth(loss)[2],
        }
        if traits is not None:
            row |= {"traits": list(names), "trait_means": trait_means(frame, names, loss).tolist()}
        probes.rows.append(row)
        probes.born.append(number)


def _fit(
    pool: SyntheticPool, scores: Scores, settings: SimulationSettings, number: int, probes: _Probes
) -> DownstreamCredit:
    strata = tuple(sorted(pool.frame["stratum"].unique().to_list()))
    there = composition(pool.frame, strata)
    batch: F64 = scores.probability * scores.weight if settings.local else np.ones(len(pool.pool))
    scale = trait_scale(pool.pool) if settings.traits else None
    ages = number - np.array(probes.born, dtype=np.float64)
    return fit_credit(
        pl.DataFrame(probes.rows),
        strata,
        composition(pool.frame, strata, batch),
        ages,
        settings.credit,
        there,
        scale,
        None if scale is None else trait_frame(pool.pool, scale).to_numpy(),
        batch * pool.pool.n_tokens,
    )
