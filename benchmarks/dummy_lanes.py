"""The selection task the usual way, for comparison: one candidate in one ``gymnasium.Env``, many under ``DummyVecEnv``.

Observation, reward and candidates are those of ``policy/environment.py``. The lanes share one curated set and a price,
but each adds to the set when it is stepped, so that a lane sees its next candidate after the decisions before it.
"""

from __future__ import annotations

import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv

from curation_pipeline.policy.curated_set import CuratedSet, Duals, Prepared, clearing_price
from curation_pipeline.policy.ppo import _model
from curation_pipeline.seeds import derive


class Market:
    """What the lanes share: the stream of candidates, the curated set, the price and the multipliers."""

    def __init__(self, prepared: Prepared, rng: np.random.Generator) -> None:
        self.prepared, self.rng = prepared, rng
        self.lanes = prepared.settings.n_lanes
        self.steps = prepared.settings.episode_candidates // self.lanes
        self.share = prepared.budget / float(prepared.length.sum())
        self.duals, self.pressure = Duals(), max(0.7 / self.share, 1.0)
        self.start()

    def start(self) -> None:
        """A new episode."""
        # With put-back where the pool is smaller than an episode; the speed does not depend on it.
        n = self.prepared.settings.episode_candidates
        self.candidates = np.resize(self.rng.permutation(len(self.prepared.pool)), n)
        self.tokens_left = float(self.prepared.length[self.candidates].sum())
        self.curated = CuratedSet(self.prepared, self.share * self.tokens_left)
        self.step = 0
        self.clear()

    def clear(self) -> None:
        """The price at which best responses to the next row of candidates take what is asked."""
        self.rows = self.candidates[self.step * self.lanes : (self.step + 1) * self.lanes]
        length = self.prepared.length[self.rows]
        left = (self.curated.budget - self.curated.drawn) / self.tokens_left
        self.asked = float(np.clip(left, self.share / 2.0, self.share * 2.0)) * float(length.sum())
        critical = self.curated.critical_price(self.rows, self.curated.worth(self.rows, self.duals))
        self.price = clearing_price(critical, length, self.asked * self.pressure)
        self.before = self.curated.drawn

    def end_row(self) -> bool:
        """All lanes have acted; whether the episode is over."""
        rate = self.prepared.settings.pressure_rate
        use = min((self.curated.drawn - self.before) / self.asked, 2.0)
        self.pressure = float(np.clip(self.pressure * np.exp(rate * (1.0 - use)), 0.2, 5.0))
        self.duals = self.curated.update_duals(self.duals)
        self.tokens_left -= float(self.prepared.length[self.rows].sum())
        self.step += 1
        if self.step == self.steps:
            return True
        self.clear()
        return False


class Lane(gymnasium.Env[np.ndarray, np.int64]):
    """One lane: one candidate at a time."""

    def __init__(self, market: Market, index: int) -> None:
        self.market, self.index = market, index
        prepared = market.prepared
        self.weights = np.asarray(prepared.settings.weights)
        self.observation_space = spaces.Box(-np.inf, np.inf, (len(prepared.observation_names),), np.float32)
        self.action_space = spaces.Discrete(len(self.weights))

    def _look(self) -> np.ndarray:
        market = self.market
        self.row = market.rows[self.index : self.index + 1]
        self.worth = market.curated.worth(self.row, market.duals)
        return market.curated.observe(self.row, self.worth, market.price, market.duals, market.step / market.steps)[0]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """The lane's first candidate of an episode."""
        if self.index == 0 and self.market.step == self.market.steps:
            self.market.start()
        return self._look(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Decide on the candidate and see the next."""
        market = self.market
        values = market.curated.values(self.row, self.worth, market.price)
        reward = float(values[0, action]) / market.prepared.reward_unit
        weighted = self.weights[action : action + 1]
        market.curated.add(self.row, (weighted > 0).astype(np.float64), weighted)
        done = market.step == market.steps - 1
        if self.index == market.lanes - 1:
            done = market.end_row()
        return (np.zeros(self.observation_space.shape, np.float32) if done else self._look()), reward, done, False, {}


def candidates_per_second(prepared: Prepared, candidates: int, seed: int) -> float:
    """Candidates a CPU second in training by the same PPO, environment and updates together."""
    market = Market(prepared, np.random.default_rng(seed))
    lanes = [Lane(market, i) for i in range(market.lanes)]
    # Each function has to hold its own lane.
    environment = DummyVecEnv([lambda lane=lane: lane for lane in lanes])  # type: ignore[misc]
    model = _model(environment, prepared.settings, derive(seed, "ppo") % 2**32)
    start = time.process_time()
    model.set_logger(Logger(folder=None, output_formats=[]))
    model.learn(total_timesteps=candidates, log_interval=2**31)
    return model.num_timesteps / (time.process_time() - start)
