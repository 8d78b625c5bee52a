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

from curation_pipeline.policy.curated_set import CuratedSet, Duals, Prepared, clearing_price, utility
from curation_pipeline.policy.pool import F32, F64, Rows
from curation_pipeline.policy.terminal import Tally, Terminal, lost_without, value_of, won_with

_SLACK = 2.0
"""A row of candidates is asked for at most this factor more, or less, than the budget's share."""
_CORRECTION = 2.0
"""A network follows the price less than a best response does, so the market answers to what is left over with this
power of it. With 1 the budget use of an episode spread by .06, with 2 by .04 (six trainings)."""
_MOST_PRESSURE = 5.0
"""Bound on what best responses are asked for over what is wanted, both ways."""
_MOST_WANTED = 0.9
"""Best responses are asked for no more than this share of a row, unless the budget is larger. The price that sells the
last document of a row too is that of an outlier: it paid for everything tenfold, and spoiled what the value network had
learned."""
_TIGHTENING = 0.7
"""What the market wants of an untrained policy falls to the budget at this rate an episode, while rows pay at least
nothing. By the clock alone, or from a share at which random choices lose, the policy was punished for nearly everything
at once, spent nothing in the second or third episode, and one training of ten on a small pool never came back."""
_AIM_RATE, _MISSED, _MOST_AIM = 0.3, 0.05, 1.25
"""Integral control over episodes: its rate, the most that one episode may count, and the bound on the aim."""


@dataclass(frozen=True, slots=True)
class Episode:
    """What one finished episode did.

    Attributes:
        budget_use: drawn tokens over the episode's budget.
        reward: mean reward of a candidate.
        price, duals: at its end.
        mean_harm: weighted mean P(harm) of the curated set.
        actions: share of candidates given each weight.
        gain: mean gain of what was kept, by its utility; the reward falls as the market tightens, this does not.
        terminal: P of the whole set, None without a terminal reward.
    """

    budget_use: float
    reward: float
    price: float
    duals: Duals
    mean_harm: float
    actions: tuple[float, ...]
    gain: float = 0.0
    terminal: float | None = None


class CandidateLanes(VecEnv):
    """Shared-state candidate lanes.

    Args:
        prepared: pool and objective.
        rng: shuffles the pool.
        duals: where the slow duals start (a parent's end).
        keep: the share of candidates that the policy keeps at the start, if it is more than the budget's: the market
            then begins there and tightens, as fast as the policy learns to gain, until the budget is met. An untrained
            policy that meets the final price at once loses more than it gains with any document and learns to select
            nothing.
        terminal: P of the whole set, paid with ``terminal_weight``. With gamma above 0 each lane is paid at the end of
            the episode what its documents added to P. With gamma = 0 that would reach the last action only, so each
            candidate is paid at once what it would add to the set that the last episode ended with.
    """

    render_mode: str | None = None

    def __init__(
        self,
        prepared: Prepared,
        rng: np.random.Generator,
        duals: Duals | None = None,
        keep: float = 0.0,
        terminal: Terminal | None = None,
    ) -> None:
        settings = prepared.settings
        self.prepared = prepared
        self.rng = rng
        self.duals = duals or Duals()
        self.weights = np.asarray(settings.weights)
        self._utility = utility(settings.weights)
        self._terminal = terminal if settings.terminal_weight > 0.0 else None
        self._held = Tally.empty(settings.n_lanes, 0)
        self._forecast = Tally.empty(1, 0)
        if self._terminal is not None:
            self._held = Tally.empty(settings.n_lanes, self._terminal.statistics.shape[1])
            self._forecast = self._random_set(self._terminal)
        self.episodes: list[Episode] = []
        super().__init__(
            settings.n_lanes,
            spaces.Box(-np.inf, np.inf, (len(prepared.observation_names),), np.float32),
            spaces.Discrete(len(settings.weights)),
        )
        self._steps = settings.episode_candidates // settings.n_lanes
        # There is nothing to say per lane. stable-baselines3 looks for one at the end of an episode only; in between
        # it would ask each of a thousand empty ones for what is not there.
        self._infos: list[dict[str, Any]] = [{}] * settings.n_lanes
        self._queue: Rows = np.empty(0, np.int64)
        self._actions = np.zeros(settings.n_lanes, np.int64)
        self.curated = CuratedSet(prepared, 1.0)
        # What best responses are asked for over what is wanted: above 1 while the policy spends less than they would.
        self.pressure = 1.0
        # What is wanted over the budget. It falls to 1 from where the untrained policy is, and what episodes miss then
        # adds up in it.
        self.aim = max(keep / (prepared.budget / float(prepared.length.sum())), 1.0)
        self._tight = self.aim == 1.0
        self.price = self._first_price()
        self._start_episode()

    def _random_set(self, terminal: Terminal) -> Tally:
        """An episode's budget at the pool's composition: the forecast before the first episode."""
        length = self.prepared.length
        drawn = self.prepared.budget * self.prepared.settings.episode_candidates / len(length)
        return Tally((drawn / length.sum() * length @ terminal.statistics)[None, :], np.array([drawn]))

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
        self._tokens = self._tokens_left = float(self.prepared.length[self._candidates].sum())
        fraction = self.prepared.budget / float(self.prepared.length.sum())
        self.curated = CuratedSet(self.prepared, fraction * self._tokens_left)
        self._step = 0
        self._reward = 0.0
        self._gain = np.zeros(2)
        self._counts = np.zeros(len(self.weights))
        self._look()

    def _look(self) -> None:
        """Move to the next row of candidates and clear the market for it."""
        lanes = self.num_envs
        self._rows = self._candidates[self._step * lanes : (self._step + 1) * lanes]
        self._worth = self.curated.worth(self._rows, self.duals)
        length = self.prepared.length[self._rows]
        # This row should take its share of what is left of the budget. The share is bounded: near the end of an episode
        # a small excess would otherwise throw the price far outside of what the policy has learned.
        nominal = self.prepared.budget / float(self.prepared.length.sum())
        left = (self.aim - self.curated.drawn / self.curated.budget) / (self._tokens_left / self._tokens) / self.aim
        share = float(np.clip(left, 1.0 / _SLACK, _SLACK))
        wanted = self.aim * nominal * float(length.sum())
        self._asked = share * wanted
        most = max(_MOST_WANTED * float(length.sum()), wanted)
        target = min(share**_CORRECTION * wanted * self.pressure, most)
        cleared = clearing_price(self.curated.critical_price(self._rows, self._worth), length, target)
        # The price of a full set says nothing about an empty one, so an episode starts at its own.
        rate = self.prepared.settings.price_rate
        self.price += (float(rate > 0.0) if self._step == 0 else rate) * (cleared - self.price)
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
        paid = values[np.arange(self.num_envs), self._actions]
        weighted = self.weights[self._actions]
        useful = self.prepared.gain_scale[self._rows] * self._utility[self._actions]
        self._gain += (useful @ self._worth.gain + self.prepared.reference * useful.sum(), useful.sum())
        self.curated.add(self._rows, (weighted > 0).astype(np.float64), weighted)
        self.duals = self.curated.update_duals(self.duals)
        length = self.prepared.length[self._rows]
        taken = float(length[weighted > 0].sum())
        pressure = self.pressure * np.exp(self.prepared.settings.pressure_rate * (1.0 - min(taken / self._asked, 2.0)))
        # What the market cannot ask for is not added up either, or it would have to be unlearned.
        most = max(_MOST_WANTED * float(length.sum()) / self._asked, 1.0)
        self.pressure = float(np.clip(pressure, 1.0 / _MOST_PRESSURE, min(most, _MOST_PRESSURE)))
        self._tokens_left -= float(length.sum())
        if not self._tight and paid.mean() >= 0.0:
            self.aim = max(self.aim * float(np.exp(-_TIGHTENING / self._steps)), 1.0)
            self._tight = self.aim == 1.0
        self._counts += np.bincount(self._actions, minlength=len(self.weights))
        self._step += 1
        done = self._step == self._steps
        if self._terminal is not None:
            paid = paid + self._pay(self._terminal, length, weighted, done)
        rewards = (paid / self.prepared.reward_unit).astype(np.float32)
        self._reward += float(rewards.mean())
        if done:
            self.episodes.append(self._summary())
            if self._tight:
                missed = float(np.clip(self.episodes[-1].budget_use - 1.0, -_MISSED, _MISSED))
                self.aim = float(np.clip(self.aim - _AIM_RATE * missed, 1.0 / _MOST_AIM, _MOST_AIM))
            if self._terminal is not None:
                # An empty set forecasts nothing.
                self._forecast = self._held.total() if self.curated.drawn > 0 else self._forecast
                self._held = Tally.empty(self.num_envs, self._terminal.statistics.shape[1])
            self._start_episode()
        else:
            self._look()
        return self._observation.copy(), rewards, np.full(self.num_envs, done), self._infos if done else []

    def _pay(self, terminal: Terminal, length: F64, weighted: F64, done: bool) -> F64:
        """The terminal reward (n_lanes,) of this step, in units of the gain: P of a whole budget is P a token."""
        settings = self.prepared.settings
        sums = (weighted * length)[:, None] * terminal.statistics[self._rows]
        drawn = length * (weighted > 0)
        self._held.add(sums, drawn)
        scale = settings.terminal_weight * self.curated.budget
        if settings.gamma == 0.0:
            return scale * won_with(terminal, self._forecast, Tally(sums, drawn))
        return scale * lost_without(terminal, self._held) if done else np.zeros(self.num_envs)

    def _summary(self) -> Episode:
        return Episode(
            budget_use=self.curated.drawn / self.curated.budget,
            reward=self._reward / self._steps,
            price=self.price,
            duals=self.duals,
            mean_harm=float(self.curated.totals[2] / self.curated.mass) if self.curated.mass > 0 else 0.0,
            actions=tuple(float(share) for share in self._counts / self._counts.sum()),
            gain=float(self._gain[0] / self._gain[1]) if self._gain[1] > 0 else 0.0,
            terminal=value_of(self._terminal, self._held) if self._terminal is not None else None,
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
                    *self._gain,
                    self._asked,
                    self._tokens_left,
                    self.curated.budget,
                    self.price,
                    self.pressure,
                    self.aim,
                    float(self._tight),
                    self.duals.toxicity,
                ]
            ),
            "held": self._held.sums.copy(),
            "held_drawn": self._held.drawn.copy(),
            "forecast": self._forecast.sums.copy(),
            "forecast_drawn": self._forecast.drawn.copy(),
            "observation": self._observation.copy(),
            "groups": np.array([self.duals.groups[name] for name in names]),
            "group_names": np.frombuffer(json.dumps(names).encode(), np.uint8),
            "rng": np.frombuffer(rng, np.uint8),
        }

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Continue from a state of an environment with the same pool, objective and settings."""
        step, self._reward, gained, useful, self._asked, self._tokens_left, budget, *prices = (
            float(x) for x in state["scalars"]
        )
        self._gain = np.array([gained, useful])
        self.price, self.pressure, self.aim, tight, toxicity = prices
        self._tight = bool(tight)
        self._held = Tally(state["held"].copy(), state["held_drawn"].copy())
        self._forecast = Tally(state["forecast"].copy(), state["forecast_drawn"].copy())
        names = json.loads(state["group_names"].tobytes())
        self.duals = Duals(toxicity, dict(zip(names, state["groups"].tolist(), strict=True)))
        self.rng.bit_generator.state = json.loads(state["rng"].tobytes())
        self.curated = CuratedSet(self.prepared, budget)
        for name in CuratedSet.SUMS:
            getattr(self.curated, name)[:] = state[f"sum_{name}"]
        self._step = int(step)
        self._queue, self._candidates = state["queue"].copy(), state["candidates"].copy()
        self._counts, self._observation = state["counts"].copy(), state["observation"].copy()
        self._tokens = float(self.prepared.length[self._candidates].sum())
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
