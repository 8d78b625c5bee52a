"""The Markov decision process as a vectorised environment: many parallel candidates, one selected set.

Each environment of the vector sees one candidate and picks its weight; all share the state of the selected set. Every
candidate is its own row for PPO, so ratio, clip and advantage are per candidate, and the parameters do not depend on
the pool's size.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from curation_pipeline.policy.candidates import EVERY
from curation_pipeline.policy.market import Market, clearing_price
from curation_pipeline.policy.pool import F32, Rows
from curation_pipeline.policy.problem import ConstraintDuals, SelectionProblem, weight_utility
from curation_pipeline.policy.selection_state import SelectionState


@dataclass(frozen=True, slots=True)
class Episode:
    """What one finished episode did.

    Attributes:
        budget_use: drawn tokens over the episode's budget.
        reward: mean reward of a candidate.
        price, duals: at its end.
        mean_harm: weighted mean P(harm) of the selected set.
        actions: share of candidates given each weight.
        gain: mean gain of what was kept, weighted by u(w); the reward falls as the market tightens, this does not.
    """

    budget_use: float
    reward: float
    price: float
    duals: ConstraintDuals
    mean_harm: float
    actions: tuple[float, ...]
    gain: float = 0.0


@dataclass(slots=True)
class _Progress:
    """How far an episode is.

    Attributes:
        step: rows decided.
        tokens_left: normalised tokens of the rows that are not decided.
        reward: sum over rows of the mean reward.
        gained, useful: sums of l u(w) times the gain, and of l u(w).
        actions: how often each weight was given.
    """

    step: int
    tokens_left: float
    reward: float
    gained: float
    useful: float
    actions: list[int]


class SelectionEnv(VecEnv):
    """Parallel candidates with a shared state.

    Args:
        problem: pool and objective.
        rng: shuffles the pool.
        duals: where the multipliers start (a parent's end).
        initial_keep_rate: the share of candidates that the policy keeps at the start, if it is more than the budget's:
            the market then begins there and tightens, as fast as the policy learns to gain, until the budget is met. An
            untrained policy that meets the final price at once loses more than it gains with any document and learns to
            select nothing.
    """

    render_mode: str | None = None

    def __init__(
        self,
        problem: SelectionProblem,
        rng: np.random.Generator,
        duals: ConstraintDuals | None = None,
        initial_keep_rate: float = 0.0,
    ) -> None:
        candidates = problem.candidates
        self.problem, self.rng = problem, rng
        self.statistics, self.settings = candidates.statistics, candidates.statistics.settings
        self.weights = np.asarray(self.settings.weights)
        self._utility = weight_utility(self.settings.weights)
        self.episodes: list[Episode] = []
        super().__init__(
            self.settings.n_parallel_candidates,
            spaces.Box(-np.inf, np.inf, (len(problem.observation_names),), np.float32),
            spaces.Discrete(len(self.weights)),
        )
        self._steps = self.settings.episode_candidates // self.num_envs
        # There is nothing to say per candidate. stable-baselines3 looks for one at the end of an episode only; in
        # between it would ask each of a thousand empty ones for what is not there.
        self._infos: list[dict[str, Any]] = [{}] * self.num_envs
        self._queue: Rows = np.empty(0, np.int64)
        self._actions = np.zeros(self.num_envs, np.int64)
        share = self.statistics.budget / candidates.tokens
        ratio, duals = max(initial_keep_rate / share, 1.0), duals or ConstraintDuals()
        self.market = Market(share, self._first_price(duals), duals, ratio, tightened=ratio == 1.0)
        self._start_episode()

    def _first_price(self, duals: ConstraintDuals) -> float:
        """The price that clears the whole pool while the selected set looks like the pool."""
        if self.settings.initial_price is not None:
            return self.settings.initial_price
        marginal = self.problem.marginal_gain(SelectionState(self.statistics, 1.0), EVERY, duals)
        critical = self.problem.critical_price(marginal)
        return clearing_price(critical, self.problem.candidates.length, self.statistics.budget)

    def _draw_candidates(self, n: int) -> Rows:
        """The next n candidates of the endless stream of reshuffled pools."""
        parts = [self._queue]
        have = len(self._queue)
        while have < n:
            parts.append(self.rng.permutation(len(self.problem.candidates)))
            have += len(parts[-1])
        stream = np.concatenate(parts)
        self._queue = stream[n:]
        return stream[:n]

    def _start_episode(self) -> None:
        self._candidates = self._draw_candidates(self.settings.episode_candidates)
        self._tokens = float(self.problem.candidates.length[self._candidates].sum())
        self.selected = SelectionState(self.statistics, self.market.share * self._tokens)
        self._progress = _Progress(0, self._tokens, 0.0, 0.0, 0.0, [0] * len(self.weights))
        self._look()

    def _look(self) -> None:
        """Move to the next row of candidates, clear the market for it, and observe."""
        problem, market, step = self.problem, self.market, self._progress.step
        self._locate()
        market.clear(
            problem.critical_price(self._marginal),
            problem.candidates.length[self._rows],
            self.selected.drawn / self.selected.budget,
            self._progress.tokens_left / self._tokens,
            step == 0,
            self.settings,
        )
        self._observation = problem.observe(
            self.selected, self._rows, self._marginal, market.price, market.duals, step / self._steps
        )

    def _locate(self) -> None:
        """The present row of candidates, and what each adds to the set."""
        first = self._progress.step * self.num_envs
        self._rows = self._candidates[first : first + self.num_envs]
        self._marginal = self.problem.marginal_gain(self.selected, self._rows, self.market.duals)

    def reset(self) -> F32:
        """Start a new episode and return the observations (n_parallel_candidates, f) of its first candidates."""
        if self._progress.step:
            self._start_episode()
        return self._observation.copy()

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions (n_parallel_candidates,) until ``step_wait``."""
        self._actions = np.asarray(actions, dtype=np.int64).reshape(-1)

    def step_wait(self) -> VecEnvStepReturn:
        """Pay every candidate at the shared state, then add what was kept to the state."""
        candidates, progress, market, scale = self.problem.candidates, self._progress, self.market, self.problem.scale
        length, weighted = candidates.length[self._rows], self.weights[self._actions]
        values = self.problem.action_rewards(self._rows, self._marginal, market.price)
        paid = values[np.arange(self.num_envs), self._actions]
        rewards = (paid / scale.unit).astype(np.float32)
        useful = length * self._utility[self._actions]
        progress.gained += float(useful @ self._marginal.gain + scale.reference * useful.sum())
        progress.useful += float(useful.sum())
        progress.reward += float(rewards.mean())
        counts = np.bincount(self._actions, minlength=len(self.weights))
        progress.actions = [before + int(now) for before, now in zip(progress.actions, counts, strict=True)]
        self.selected.add(candidates, self._rows, (weighted > 0).astype(np.float64), weighted)
        market.duals = market.duals.ascend(self.selected)
        tokens = float(length.sum())
        market.follow(float(length[weighted > 0].sum()), tokens, float(paid.mean()), self._steps, self.settings)
        progress.tokens_left -= tokens
        progress.step += 1
        done = progress.step == self._steps
        if done:
            self.episodes.append(self._summary())
            market.end_episode(self.episodes[-1].budget_use)
            self._start_episode()
        else:
            self._look()
        return self._observation.copy(), rewards, np.full(self.num_envs, done), self._infos if done else []

    def _summary(self) -> Episode:
        selected, progress = self.selected, self._progress
        return Episode(
            budget_use=selected.drawn / selected.budget,
            reward=progress.reward / self._steps,
            price=self.market.price,
            duals=self.market.duals,
            mean_harm=float(selected.totals[2] / selected.mass) if selected.mass > 0 else 0.0,
            actions=tuple(count / sum(progress.actions) for count in progress.actions),
            gain=progress.gained / progress.useful if progress.useful > 0 else 0.0,
        )

    def get_state(self) -> dict[str, np.ndarray]:
        """The whole state as arrays (fit for a safetensors file): the same actions then give the same."""
        facts = {
            "progress": asdict(self._progress),
            "market": asdict(self.market),
            "budget": self.selected.budget,
            "rng": self.rng.bit_generator.state,
        }
        return {
            **{f"sum_{name}": getattr(self.selected, name).copy() for name in SelectionState.SUMS},
            "queue": self._queue.copy(),
            "candidates": self._candidates.copy(),
            "observation": self._observation.copy(),
            # JSON writes a float with all of its digits.
            "facts": np.frombuffer(json.dumps(facts).encode(), np.uint8),
        }

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Continue from a state of an environment with the same problem."""
        facts = json.loads(state["facts"].tobytes())
        self.rng.bit_generator.state = facts["rng"]
        self._progress = _Progress(**facts["progress"])
        self.market = Market(**{**facts["market"], "duals": ConstraintDuals(**facts["market"]["duals"])})
        self.selected = SelectionState(self.statistics, facts["budget"])
        for name in SelectionState.SUMS:
            getattr(self.selected, name)[:] = state[f"sum_{name}"]
        self._queue, self._candidates = state["queue"].copy(), state["candidates"].copy()
        self._observation = state["observation"].copy()
        self._tokens = float(self.problem.candidates.length[self._candidates].sum())
        self._locate()

    def close(self) -> None:
        """Nothing to release."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The attribute, once for each candidate asked about: all share one state."""
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set it for all."""
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        """Call a method once; its answer for each candidate asked about."""
        return [getattr(self, method_name)(*args, **kwargs)] * len(list(self._get_indices(indices)))

    def env_is_wrapped(self, wrapper_class: type, indices: VecEnvIndices = None) -> list[bool]:
        """Nothing is wrapped."""
        return [False] * len(list(self._get_indices(indices)))
