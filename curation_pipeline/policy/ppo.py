"""Training of the selection policy by stock PPO (Schulman et al., 2017) from stable-baselines3.

stable-baselines3 minimises ``-L_clip + vf_coef * L_vf - ent_coef * S``: c1 = vf_coef and c2 = ent_coef.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv
from torch.distributions import Distribution

from curation_pipeline.errors import ConfigError, TrainingDivergedError
from curation_pipeline.policy.artefact import load_policy, save_policy
from curation_pipeline.policy.environment import Episode, SelectionEnv
from curation_pipeline.policy.features import Normaliser
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import F32, Pool
from curation_pipeline.policy.problem import prepare
from curation_pipeline.policy.recorder import Recorder, RolloutRecord
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.progress import Progress, silent
from curation_pipeline.seeds import derive, generator

_INITIAL_KEEP_RATE = 0.7
"""Share of candidates that an untrained policy keeps, unless the budget asks for more: at the price that clears the
market there, choices at random neither gain nor lose."""

_COLLAPSED = 0.1
"""A policy that uses less than this share of its budget in training has learned to select nothing."""


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """What a training did.

    Attributes:
        folder: holds ``policy.safetensors`` and ``policy.json``.
        candidates: seen in all.
        seconds: wall time of the training alone (never written to the policy, which stays bit-identical).
        kl_to_parent: mean KL(policy || parent) on the last rollout's observations, None at a cold start.
        budget_use, mean_harm: of the last finished episode.
        price: at the end.
        curve: one record a rollout.
        episodes: one record a finished episode.
    """

    folder: Path
    candidates: int
    seconds: float
    kl_to_parent: float | None
    budget_use: float
    mean_harm: float
    price: float
    curve: tuple[RolloutRecord, ...]
    episodes: tuple[Episode, ...] = ()

    def frame(self) -> pl.DataFrame:
        """The learning curve, one row a rollout, the actions as columns ``action_0`` and so on."""
        rows = []
        for record in self.curve:
            row = asdict(record)
            row.update({f"action_{i}": share for i, share in enumerate(row.pop("actions"))})
            rows.append(row)
        return pl.DataFrame(rows, infer_schema_length=None)


def train_policy(
    pool: Pool,
    objective: Objective,
    settings: PolicySettings,
    seed: int,
    parent: Path | None,
    out_dir: Path,
    progress: Progress | None = None,
    scratch: Path | None = None,
    save_seconds: float = 20.0,
    make_environment: Callable[..., SelectionEnv] = SelectionEnv,
) -> TrainingSummary:
    """Train a policy on a pool and write it.

    The same arguments give the same bytes on one machine; global random states and the number of torch threads are left
    as they were found.

    Args:
        pool: the candidates.
        objective: what to maximise.
        settings: of the process and of PPO.
        seed: of everything random here.
        parent: folder of the policy to start from, with its feature constants and duals; None starts cold.
        out_dir: receives ``policy.safetensors`` and ``policy.json``.
        progress: called after each rollout.
        scratch: folder in which the training keeps its state while it lasts; an interrupted one found there is gone on
            with, and ends in the same bytes. None keeps nothing.
        save_seconds: least time between two such states.
        make_environment: called like ``SelectionEnv``; a research question may pay or show something else.

    Raises:
        ConfigError: the pool's features or the network differ from the parent's.
        TrainingDivergedError: a parameter is not finite at the end, or the policy selects nothing.
    """
    started = time.perf_counter()
    earlier = load_policy(parent) if parent is not None else None
    fixed = ("net_arch", "value_arch", "weights")
    changed = [name for name in fixed if earlier and getattr(earlier.settings, name) != getattr(settings, name)]
    if changed:
        raise ConfigError(f"{', '.join(changed)} differ from the parent's ({parent}); start cold to change them")
    normaliser = (
        earlier.normaliser
        if earlier is not None
        else Normaliser.fit(pool, settings.random_features, settings.novelty_bandwidth, derive(seed, "normaliser"))
    )
    problem = prepare(pool, objective, normaliser, settings)
    keep_rate = min(max(problem.candidates.statistics.budget / problem.candidates.tokens, _INITIAL_KEEP_RATE), 0.99)
    environment = make_environment(
        problem, generator(seed, "environment"), earlier.duals if earlier else None, 0.0 if earlier else keep_rate
    )
    total = settings.warm_start_candidates if earlier is not None else settings.cold_start_candidates
    with own_surroundings():
        model = _model(environment, settings, derive(seed, "ppo") % 2**32)
        model.set_logger(Logger(folder=None, output_formats=[]))
        if earlier is not None:
            _load(model, earlier.network)
        else:
            _set_keep_rate(model, keep_rate)
        recorder = Recorder(settings, total, progress or silent, environment, scratch, save_seconds)
        done = recorder.resume(model)
        model.learn(total_timesteps=total - done, callback=recorder, log_interval=2**31, reset_num_timesteps=not done)
        kl = _kl(model, earlier.network) if earlier is not None else None
    network = {name: value.detach().numpy().copy() for name, value in model.policy.state_dict().items()}
    if not all(bool(np.isfinite(value).all()) for value in network.values()):
        raise TrainingDivergedError("a parameter of the policy is not finite; lower learning_rate or check the reward")
    last = environment.episodes[-1] if environment.episodes else None
    if last is not None and last.budget_use < _COLLAPSED:
        raise TrainingDivergedError(
            f"the policy ended by selecting nothing: its last episode used {last.budget_use:.1%} of the budget; raise "
            "demand_gain_rate or ent_coef, or lower learning_rate"
        )
    save_policy(
        out_dir,
        network,
        normaliser,
        settings,
        problem.observation_names,
        environment.market.price,
        environment.market.duals,
        {
            "seed": seed,
            "parent_seed": earlier.record["seed"] if earlier is not None else None,
            "kl_to_parent": kl,
            "candidates": model.num_timesteps,
            "objective": _describe(objective),
            "learning_curve": [asdict(record) for record in recorder.records],
        },
    )
    return TrainingSummary(
        folder=out_dir,
        candidates=model.num_timesteps,
        seconds=time.perf_counter() - started,
        kl_to_parent=kl,
        budget_use=last.budget_use if last else 0.0,
        mean_harm=last.mean_harm if last else 0.0,
        price=environment.market.price,
        curve=tuple(recorder.records),
        episodes=tuple(environment.episodes),
    )


def _model(environment: VecEnv, settings: PolicySettings, seed: int) -> PPO:
    return PPO(
        "MlpPolicy",
        environment,
        learning_rate=settings.learning_rate,
        n_steps=settings.rollout_steps,
        batch_size=min(settings.batch_size, settings.rollout_steps * settings.n_parallel_candidates),
        n_epochs=settings.n_epochs,
        gamma=settings.gamma,
        gae_lambda=settings.gae_lambda,
        clip_range=settings.clip_range,
        ent_coef=settings.ent_coef,
        vf_coef=settings.vf_coef,
        max_grad_norm=settings.max_grad_norm,
        policy_kwargs={
            "activation_fn": torch.nn.ReLU,
            "net_arch": {"pi": list(settings.net_arch), "vf": list(settings.value_arch)},
            # One kernel for the whole step instead of ten a parameter; a tenth of the training's time.
            "optimizer_kwargs": {"fused": True},
        },
        seed=seed,
        device="cpu",
    )


def _set_keep_rate(model: PPO, keep_rate: float) -> None:
    """Set the bias of "skip" so that an untrained policy keeps this share of candidates, where the market begins."""
    layer = model.policy.action_net
    assert isinstance(layer, torch.nn.Linear)
    with torch.no_grad():
        layer.bias[0] = float(np.log((1.0 - keep_rate) / keep_rate * (layer.out_features - 1)))


def _load(model: PPO, network: Any) -> None:
    model.policy.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in network.items()})


def _kl(model: PPO, parent: Any) -> float:
    """Mean KL(policy || parent) on the observations of the last rollout."""
    buffer = model.rollout_buffer
    observations: F32 = buffer.observations.reshape(-1, buffer.observations.shape[-1])
    own = {name: value.clone() for name, value in model.policy.state_dict().items()}
    with torch.no_grad():
        inputs = torch.from_numpy(observations)
        new = _log_probabilities(model, inputs)
        _load(model, parent)
        old = _log_probabilities(model, inputs)
    model.policy.load_state_dict(own)
    return float((new.exp() * (new - old)).sum(dim=1).mean())


def _log_probabilities(model: PPO, inputs: torch.Tensor) -> torch.Tensor:
    distribution = model.policy.get_distribution(inputs).distribution
    assert isinstance(distribution, torch.distributions.Categorical)
    # The class normalises its logits, so they are logarithms of probabilities.
    logits: torch.Tensor = distribution.logits
    return logits


def _describe(objective: Objective) -> dict[str, Any]:
    names = ("alpha", "beta", "gamma", "eta", "budget_tokens", "last_safety", "last_capability", "curriculum_stage")
    credited = len(objective.credit.strata) if objective.credit is not None else 0
    return {**{name: getattr(objective, name) for name in names}, "credited_strata": credited}


@contextmanager
def own_surroundings() -> Iterator[None]:
    """Seeds that the library sets globally, and the one thread it needs, end with the training.

    So does doing without torch's check of each distribution, a tenth of the time: parameters are checked at the end.
    """
    kept = random.getstate(), np.random.get_state(), torch.random.get_rng_state(), torch.get_num_threads()
    checks = Distribution._validate_args
    torch.set_num_threads(1)
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(checks)
        random.setstate(kept[0])
        np.random.set_state(kept[1])
        torch.random.set_rng_state(kept[2])
        torch.set_num_threads(kept[3])
