"""The selection task the usual way, for comparison: one candidate in one ``gymnasium.Env``, many under ``DummyVecEnv``.

Observation, reward and candidates are those of ``policy/environment.py``. They share one selected set and a price,
but each adds to the set when it is stepped, so that it sees its next candidate after the decisions before it.
"""

from __future__ import annotations

import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv

from curation_pipeline.policy.market import clearing_price
from curation_pipeline.policy.ppo import _model
from curation_pipeline.policy.problem import ConstraintDuals, SelectionProblem
from curation_pipeline.policy.selection_state import SelectionState
from curation_pipeline.seeds import derive


class SharedMarket:
    """What the environments share: the stream of candidates, the selected set, the price and the multipliers."""

    def __init__(self, problem: SelectionProblem, rng: np.random.Generator) -> None:
        self.problem, self.rng, self.candidates = problem, rng, problem.candidates
        self.settings = problem.candidates.statistics.settings
        self.parallel = self.settings.n_parallel_candidates
        self.steps = self.settings.episode_candidates // self.parallel
        self.share = self.candidates.statistics.budget / self.candidates.tokens
        self.duals, self.demand_gain = ConstraintDuals(), max(0.7 / self.share, 1.0)
        self.start()

    def start(self) -> None:
        """A new episode."""
        # With put-back where the pool is smaller than an episode; the speed does not depend on it.
        self.order = np.resize(self.rng.permutation(len(self.candidates)), self.settings.episode_candidates)
        self.tokens_left = float(self.candidates.length[self.order].sum())
        self.selected = SelectionState(self.candidates.statistics, self.share * self.tokens_left)
        self.step = 0
        self.clear()

    def clear(self) -> None:
        """The price at which best responses to the next row of candidates take what is asked."""
        self.rows = self.order[self.step * self.parallel : (self.step + 1) * self.parallel]
        length = self.candidates.length[self.rows]
        left = (self.selected.budget - self.selected.drawn) / self.tokens_left
        self.asked = float(np.clip(left, self.share / 2.0, self.share * 2.0)) * float(length.sum())
        marginal = self.problem.marginal_gain(self.selected, self.rows, self.duals)
        critical = self.problem.critical_price(self.rows, marginal)
        self.price = clearing_price(critical, length, self.asked * self.demand_gain)
        self.before = self.selected.drawn

    def end_row(self) -> bool:
        """All environments have acted; whether the episode is over."""
        use = min((self.selected.drawn - self.before) / self.asked, 2.0)
        gain = self.demand_gain * np.exp(self.settings.demand_gain_rate * (1.0 - use))
        self.demand_gain = float(np.clip(gain, 0.2, 5.0))
        self.duals = self.duals.ascend(self.selected)
        self.tokens_left -= float(self.candidates.length[self.rows].sum())
        self.step += 1
        if self.step == self.steps:
            return True
        self.clear()
        return False


class SingleCandidate(gymnasium.Env[np.ndarray, np.int64]):
    """One candidate at a time."""

    def __init__(self, market: SharedMarket, index: int) -> None:
        self.market, self.index = market, index
        self.weights = np.asarray(market.settings.weights)
        self.observation_space = spaces.Box(-np.inf, np.inf, (len(market.problem.observation_names),), np.float32)
        self.action_space = spaces.Discrete(len(self.weights))

    def _look(self) -> np.ndarray:
        market, progress = self.market, self.market.step / self.market.steps
        self.row = market.rows[self.index : self.index + 1]
        self.marginal = market.problem.marginal_gain(market.selected, self.row, market.duals)
        return market.problem.observe(market.selected, self.row, self.marginal, market.price, market.duals, progress)[0]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """The first candidate of an episode."""
        if self.index == 0 and self.market.step == self.market.steps:
            self.market.start()
        return self._look(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Decide on the candidate and see the next."""
        market = self.market
        values = market.problem.action_rewards(self.row, self.marginal, market.price)
        reward = float(values[0, action]) / market.problem.scale.unit
        weighted = self.weights[action : action + 1]
        market.selected.add(market.candidates, self.row, (weighted > 0).astype(np.float64), weighted)
        done = market.step == market.steps - 1
        if self.index == market.parallel - 1:
            done = market.end_row()
        return (np.zeros(self.observation_space.shape, np.float32) if done else self._look()), reward, done, False, {}


def candidates_per_second(problem: SelectionProblem, candidates: int, seed: int) -> float:
    """Candidates a CPU second in training by the same PPO, environment and updates together."""
    market = SharedMarket(problem, np.random.default_rng(seed))
    singles = [SingleCandidate(market, i) for i in range(market.parallel)]
    # Each function has to hold its own environment.
    environment = DummyVecEnv([lambda single=single: single for single in singles])  # type: ignore[misc]
    model = _model(environment, market.settings, derive(seed, "ppo") % 2**32)
    start = time.process_time()
    model.set_logger(Logger(folder=None, output_formats=[]))
    model.learn(total_timesteps=candidates, log_interval=2**31)
    return model.num_timesteps / (time.process_time() - start)
