"""What is written down while a policy is trained: the learning curve, and a state to resume from."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from curation_pipeline.policy.environment import Episode, SelectionEnv
from curation_pipeline.policy.problem import ConstraintDuals
from curation_pipeline.policy.resume import load_training, save_training
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.progress import Progress


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """One point of the learning curve.

    Attributes:
        candidates: seen so far.
        mean_reward: of a candidate in this rollout.
        entropy: of the policy, in nats.
        approx_kl, clip_fraction, explained_variance, value_loss: of the update after this rollout.
        budget_use: drawn tokens over the budget of the last finished episode, None before the first.
        price, toxicity_dual, mean_harm: of the environment at the end of the rollout.
        actions: share of candidates given each weight.
    """

    candidates: int
    mean_reward: float
    entropy: float
    approx_kl: float
    clip_fraction: float
    explained_variance: float
    value_loss: float
    budget_use: float | None
    price: float
    toxicity_dual: float
    mean_harm: float | None
    actions: tuple[float, ...]


class Recorder(BaseCallback):
    """Writes the learning curve, and keeps the state to resume from."""

    def __init__(
        self,
        settings: PolicySettings,
        total: int,
        progress: Progress,
        environment: SelectionEnv,
        scratch: Path | None,
        save_seconds: float,
    ) -> None:
        super().__init__()
        self._environment = environment
        self._scratch = scratch
        self._save_seconds = save_seconds
        self._saved = time.monotonic()
        self.records: list[RolloutRecord] = []
        self._settings = settings
        self._total = total
        self._progress = progress
        self._pending: dict[str, Any] | None = None

    def resume(self, model: PPO) -> int:
        """Go on from the state in the scratch folder; the candidates seen before it was written, 0 where none is."""
        notes = None if self._scratch is None else load_training(self._scratch, model, self._environment)
        if notes is None:
            return 0
        self.records = [RolloutRecord(**{**raw, "actions": tuple(raw["actions"])}) for raw in notes["records"]]
        self._environment.episodes = [_episode(raw) for raw in notes["episodes"]]
        return model.num_timesteps

    def _save(self) -> None:
        """Between two rollouts, now and then: the state is then the network, the set and the random streams."""
        if self._scratch is None or not self.records or time.monotonic() - self._saved < self._save_seconds:
            return
        model = self.model
        assert isinstance(model, PPO)
        notes = {
            "records": [asdict(record) for record in self.records],
            "episodes": [asdict(episode) for episode in self._environment.episodes],
        }
        save_training(self._scratch, model, self._environment, notes)
        self._saved = time.monotonic()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        # PPO updates between rollouts, so the record of a rollout is complete when the next one starts.
        self._finish_record()
        self._save()

    def _on_rollout_end(self) -> None:
        model = self.model
        assert isinstance(model, PPO)
        environment = self.training_env
        assert isinstance(environment, SelectionEnv)
        last: Episode | None = environment.episodes[-1] if environment.episodes else None
        actions = model.rollout_buffer.actions.astype(np.int64).ravel()
        share = np.bincount(actions, minlength=len(self._settings.weights)) / len(actions)
        self._pending = {
            "candidates": self.num_timesteps,
            "mean_reward": float(model.rollout_buffer.rewards.mean(dtype=np.float64)),
            "budget_use": last.budget_use if last else None,
            "price": environment.market.price,
            "toxicity_dual": environment.market.duals.toxicity,
            "mean_harm": last.mean_harm if last else None,
            "actions": tuple(float(x) for x in share),
        }
        self._progress("training the policy", min(self.num_timesteps / self._total, 1.0))

    def _on_training_end(self) -> None:
        self._finish_record()

    def _finish_record(self) -> None:
        if self._pending is None:
            return
        logged = self.model.logger.name_to_value
        variance = float(logged["train/explained_variance"])
        self.records.append(
            RolloutRecord(
                entropy=-float(logged["train/entropy_loss"]),
                approx_kl=float(logged["train/approx_kl"]),
                clip_fraction=float(logged["train/clip_fraction"]),
                explained_variance=variance if np.isfinite(variance) else 0.0,
                value_loss=float(logged["train/value_loss"]),
                **self._pending,
            )
        )
        self._pending = None


def _episode(raw: dict[str, Any]) -> Episode:
    return Episode(**{**raw, "duals": ConstraintDuals(**raw["duals"]), "actions": tuple(raw["actions"])})
