"""Rewards of the whole set: zeta P, where P is no sum over documents, on top of the environment's own reward.

P is a function of sums over the set: per document k statistics, added up with the document's weighted tokens. What one
document changes in P is then a difference of two values (a difference reward: Wolpert and Tumer, 2001), which is exact,
costs one evaluation, and keeps a signal for each candidate.

With gamma above 0 each row of parallel candidates is paid at the end of the episode what its documents added to P. With
gamma = 0 that would reach the last action only, so each candidate is paid at once what it would add to the set that the
last episode ended with. Results: docs/results.md; with the simulator's own P it helps, with a surrogate of it it hurts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from curation_pipeline.policy.environment import SelectionEnv
from curation_pipeline.policy.pool import F64
from curation_pipeline.policy.problem import ConstraintDuals, SelectionProblem


@dataclass(frozen=True, slots=True)
class Terminal:
    """P of a set.

    Attributes:
        statistics: (n, k) what a unit of the weighted tokens of each document adds to the sums.
        value: P (j,) of j sets, from the sums (j, k) and the drawn normalised tokens (j,); it is asked about small
            changes of one set, so it has to be smooth.
    """

    statistics: F64
    value: Callable[[F64, F64], F64]


@dataclass(slots=True)
class Tally:
    """The sums of one set.

    Attributes:
        sums: (j, k) the statistics times weighted tokens, of each of j parts.
        drawn: (j,) drawn tokens of each part.
    """

    sums: F64
    drawn: F64

    @classmethod
    def empty(cls, parts: int, statistics: int) -> Tally:
        """A tally of nothing."""
        return cls(np.zeros((parts, statistics)), np.zeros(parts))

    def total(self) -> Tally:
        """All parts as one."""
        return Tally(self.sums.sum(axis=0, keepdims=True), np.array([self.drawn.sum()]))


def value_of(terminal: Terminal, tally: Tally) -> float:
    """P of all parts together."""
    whole = tally.total()
    return float(terminal.value(whole.sums, whole.drawn)[0])


def leave_one_out(terminal: Terminal, tally: Tally) -> F64:
    """P of the whole set less P without each part, (j,)."""
    whole = tally.total()
    rest: F64 = terminal.value(whole.sums - tally.sums, np.maximum(whole.drawn - tally.drawn, 0.0))
    return value_of(terminal, tally) - rest


def marginal(terminal: Terminal, base: Tally, added: Tally) -> F64:
    """P of a set with each part added to it alone, less P of the set, (j,)."""
    whole = base.total()
    more: F64 = terminal.value(whole.sums + added.sums, whole.drawn + added.drawn)
    return more - value_of(terminal, base)


class TerminalEnv(SelectionEnv):
    """Parallel candidates that are paid with P of the whole set too.

    Args:
        problem: pool and objective.
        rng: shuffles the pool.
        duals: where the multipliers start.
        initial_keep_rate: see ``SelectionEnv``.
        terminal: P of the whole set.
        zeta: its weight, on the scale of alpha, beta and gamma.
    """

    def __init__(
        self,
        problem: SelectionProblem,
        rng: np.random.Generator,
        duals: ConstraintDuals | None = None,
        initial_keep_rate: float = 0.0,
        *,
        terminal: Terminal,
        zeta: float,
    ) -> None:
        super().__init__(problem, rng, duals, initial_keep_rate)
        self.terminal, self.zeta = terminal, zeta
        self.held = Tally.empty(self.num_envs, terminal.statistics.shape[1])
        # Before the first episode the forecast is an episode's budget at the pool's composition.
        length = problem.candidates.length
        drawn = self.statistics.budget * self.settings.episode_candidates / len(length)
        self.forecast = Tally((drawn / length.sum() * length @ terminal.statistics)[None, :], np.array([drawn]))

    def step_wait(self) -> VecEnvStepReturn:
        """Pay the environment's reward, and what the documents of this step change in P."""
        length, weighted = self.problem.candidates.length[self._rows], self.weights[self._actions]
        added = Tally((weighted * length)[:, None] * self.terminal.statistics[self._rows], length * (weighted > 0))
        # P of a whole budget is P a token: the unit of the gain.
        scale = self.zeta * self.selected.budget / self.problem.scale.unit
        observations, rewards, done, infos = super().step_wait()
        self.held.sums += added.sums
        self.held.drawn += added.drawn
        if self.settings.gamma == 0.0:
            rewards = rewards + (scale * marginal(self.terminal, self.forecast, added)).astype(np.float32)
        elif done.all():
            rewards = rewards + (scale * leave_one_out(self.terminal, self.held)).astype(np.float32)
        if done.all():
            # An empty set forecasts nothing.
            self.forecast = self.held.total() if self.held.drawn.sum() > 0 else self.forecast
            self.held = Tally.empty(self.num_envs, self.terminal.statistics.shape[1])
        return observations, rewards, done, infos
