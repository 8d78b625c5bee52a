"""The Markov decision process as a vectorised environment: many candidate lanes, one curated set.

Each lane sees one candidate and picks its weight; all lanes share the state of the curated set. Every lane is its own
row for PPO, so ratio, clip and advantage are per candidate, and the parameters do not depend on the pool's size.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from curation_pipeline.policy.curated_set import CuratedSet, Duals, Prepared, clearing_price
from curation_pipeline.policy.pool import F32, Rows

_SLACK = 2.0
"""A row of candidates is asked for at most this factor more, or less, than the budget's share."""


@dataclass(frozen=True, slots=True)
class Episode:
    """What one finished episode did.

    Attributes:
        budget_use: drawn tokens over the episode's budget.
        reward: mean reward of a candidate.
        price, duals: at its end.
        mean_harm: weighted mean P(harm) of the curated set.
        actions: share of candidates given each weight.
    """

    budget_use: float
    reward: float
    price: float
    duals: Duals
    mean_harm: float
    actions: tuple[float, ...]


class CandidateLanes(VecEnv):
    """Shared-state candidate lanes.

    Args:
        prepared: pool and objective.
        rng: shuffles the pool.
        duals: where the slow duals start (a parent's end).
        keep: the share of candidates that the policy keeps at the start, if it is more than the budget's: the market
            then begins there and tightens at ``pressure_rate`` until the budget is met. An untrained policy that meets
            the final price at once loses more than it gains with any document and learns to select nothing.
    """

    render_mode: str | None = None

    def __init__(
        self, prepared: Prepared, rng: np.random.Generator, duals: Duals | None = None, keep: float = 0.0
    ) -> None:
        settings = prepared.settings
        self.prepared = prepared
        self.rng = rng
        self.duals = duals or Duals()
        self.weights = np.asarray(settings.weights)
        self.episodes: list[Episode] = []
        super().__init__(
            settings.n_lanes,
            spaces.Box(-np.inf, np.inf, (len(prepared.observation_names),), np.float32),
            spaces.Discrete(len(settings.weights)),
        )
        self._steps = settings.episode_candidates // settings.n_lanes
        # One empty info for all lanes: stable-baselines3 only reads it, and there is nothing to say per lane.
        self._infos: list[dict[str, Any]] = [{}] * settings.n_lanes
        self._queue: Rows = np.empty(0, np.int64)
        self._actions = np.zeros(settings.n_lanes, np.int64)
        self.curated = CuratedSet(prepared, 1.0)
        # What is asked of best responses, over the budget: above 1 while the policy itself spends less than they would.
        self.pressure = max(keep / (prepared.budget / float(prepared.length.sum())), 1.0)
        self._most_pressure = max(self.pressure, 5.0)
        self.price = self._first_price()
        self._start_episode()

    def _first_price(self) -> float:
        """The price that clears the whole pool while the curated set looks like the pool."""
        if self.prepared.settings.initial_price is not None:
            return self.prepared.settings.initial_price
        everything = np.arange(len(self.prepared.pool))
        worth = self.curated.worth(everything, self.duals)
        return clearing_price(
            self.curated.critical_price(everything, worth), self.prepared.length, self.prepared.budget
        )

    def _draw_candidates(self, n: int) -> Rows:
        """The next n candidates of the endless stream of reshuffled pools."""
        parts = [self._queue]
        have = len(self._queue)
        while have < n:
            parts.append(self.rng.permutation(len(self.prepared.pool)))
            have += len(parts[-1])
        stream = np.concatenate(parts)
        self._queue = stream[n:]
        return stream[:n]

    def _start_episode(self) -> None:
        self._candidates = self._draw_candidates(self.prepared.settings.episode_candidates)
        self._tokens_left = float(self.prepared.length[self._candidates].sum())
        fraction = self.prepared.budget / float(self.prepared.length.sum())
        self.curated = CuratedSet(self.prepared, fraction * self._tokens_left)
        self._step = 0
        self._reward = 0.0
        self._counts = np.zeros(len(self.weights))
        self._look()

    def _look(self) -> None:
        """Move to the next row of candidates and clear the market for it."""
        lanes = self.num_envs
        self._rows = self._candidates[self._step * lanes : (self._step + 1) * lanes]
        self._worth = self.curated.worth(self._rows, self.duals)
        length = self.prepared.length[self._rows]
        # Best responses in this row should keep its share of what is left of the budget. The share is bounded: near the
        # end of an episode a small excess would otherwise throw the price far outside of what the policy has learned.
        nominal = self.prepared.budget / float(self.prepared.length.sum())
        left = (self.curated.budget - self.curated.drawn) / self._tokens_left
        target = float(np.clip(left, nominal / _SLACK, nominal * _SLACK)) * self.pressure * float(length.sum())
        cleared = clearing_price(self.curated.critical_price(self._rows, self._worth), length, target)
        rate = self.prepared.settings.price_rate
        self.price += rate * (cleared - self.price)
        self._observation = self.curated.observe(
            self._rows, self._worth, self.price, self.duals, self._step / self._steps
        )

    def reset(self) -> F32:
        """Start a new episode and return the observations (n_lanes, f) of its first candidates."""
        if self._step:
            self._start_episode()
        return self._observation.copy()

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions (n_lanes,) until ``step_wait``."""
        self._actions = np.asarray(actions, dtype=np.int64).reshape(-1)

    def step_wait(self) -> VecEnvStepReturn:
        """Pay every lane for its candidate at the shared state, then add what was kept to the state."""
        values = self.curated.values(self._rows, self._worth, self.price)
        paid = values[np.arange(self.num_envs), self._actions] / self.prepared.reward_unit
        rewards = paid.astype(np.float32)
        weighted = self.weights[self._actions]
        self.curated.add(self._rows, (weighted > 0).astype(np.float64), weighted)
        self.duals = self.curated.update_duals(self.duals)
        length = self.prepared.length[self._rows]
        wanted = self.prepared.budget / float(self.prepared.length.sum()) * float(length.sum())
        taken = float(length[weighted > 0].sum())
        pressure = self.pressure * np.exp(self.prepared.settings.pressure_rate * (1.0 - min(taken / wanted, 2.0)))
        self.pressure = float(np.clip(pressure, 0.2, self._most_pressure))
        self._tokens_left -= float(length.sum())
        self._reward += float(rewards.mean())
        self._counts += np.bincount(self._actions, minlength=len(self.weights))
        self._step += 1
        done = self._step == self._steps
        if done:
            self.episodes.append(self._summary())
            self._start_episode()
        else:
            self._look()
        return self._observation.copy(), rewards, np.full(self.num_envs, done), self._infos

    def _summary(self) -> Episode:
        return Episode(
            budget_use=self.curated.drawn / self.curated.budget,
            reward=self._reward / self._steps,
            price=self.price,
            duals=self.duals,
            mean_harm=float(self.curated.totals[2] / self.curated.mass) if self.curated.mass > 0 else 0.0,
            actions=tuple(float(share) for share in self._counts / self._counts.sum()),
        )

    def get_state(self) -> dict[str, np.ndarray]:
        """The whole state as arrays (fit for one .npz or safetensors file): the same actions then give the same."""
        rng = json.dumps(self.rng.bit_generator.state).encode()
        names = sorted(self.duals.groups)
        return {
            **{f"sum_{name}": getattr(self.curated, name).copy() for name in CuratedSet.SUMS},
            "queue": self._queue.copy(),
            "candidates": self._candidates.copy(),
            "counts": self._counts.copy(),
            "scalars": np.array(
                [
                    self._step,
                    self._reward,
                    self._tokens_left,
                    self.curated.budget,
                    self.price,
                    self.pressure,
                    self.duals.toxicity,
                ]
            ),
            "observation": self._observation.copy(),
            "groups": np.array([self.duals.groups[name] for name in names]),
            "group_names": np.frombuffer(json.dumps(names).encode(), np.uint8),
            "rng": np.frombuffer(rng, np.uint8),
        }

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Continue from a state of an environment with the same pool, objective and settings."""
        step, self._reward, self._tokens_left, budget, self.price, self.pressure, toxicity = (
            float(x) for x in state["scalars"]
        )
        names = json.loads(state["group_names"].tobytes())
        self.duals = Duals(toxicity, dict(zip(names, state["groups"].tolist(), strict=True)))
        self.rng.bit_generator.state = json.loads(state["rng"].tobytes())
        self.curated = CuratedSet(self.prepared, budget)
        for name in CuratedSet.SUMS:
            getattr(self.curated, name)[:] = state[f"sum_{name}"]
        self._step = int(step)
        self._queue, self._candidates = state["queue"].copy(), state["candidates"].copy()
        self._counts, self._observation = state["counts"].copy(), state["observation"].copy()
        self._rows = self._candidates[self._step * self.num_envs : (self._step + 1) * self.num_envs]
        self._worth = self.curated.worth(self._rows, self.duals)

    def close(self) -> None:
        """Nothing to release."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The attribute, once for each lane asked about."""
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Lanes share one state, so this sets it for all."""
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        """Call a method once; its answer for each lane asked about."""
        return [getattr(self, method_name)(*args, **kwargs)] * len(list(self._get_indices(indices)))

    def env_is_wrapped(self, wrapper_class: type, indices: VecEnvIndices = None) -> list[bool]:
        """Lanes are never wrapped."""
        return [False] * len(list(self._get_indices(indices)))

    def get_images(self) -> Sequence[np.ndarray | None]:
        """There is nothing to draw."""
        return [None] * self.num_envs
