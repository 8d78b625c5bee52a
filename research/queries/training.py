"""Training of a policy that asks before the closed form decides: stock PPO on documents with known scores."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger

from curation_pipeline.errors import DataError, TrainingDivergedError
from curation_pipeline.policy.artefact import save_policy
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.ppo import own_surroundings
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.seeds import derive, generator
from research.queries.environment import QueryEnv, QueryEpisode, observed_names
from research.queries.settings import QuerySettings
from research.queries.views import training_views

_FIRST_ASK = 0.2
"""Share of candidates that an untrained policy asks about."""
_LEAST_KNOWN = 200
"""Fewer known documents say too little about what hidden scores look like."""


@dataclass(frozen=True, slots=True)
class QueryTraining:
    """What a training did.

    Attributes:
        folder: holds ``policy.safetensors`` and ``policy.json``, see ``artefact``.
        observations: seen in training, those after an answer included.
        episodes: one record for each finished episode.
        query_price: where it ended, in units of reward a unit of cost.
    """

    folder: Path
    observations: int
    episodes: tuple[QueryEpisode, ...]
    query_price: float


def train_query_policy(
    known: pl.DataFrame,
    documents: int,
    pool_tokens: int,
    objective: Objective,
    settings: PolicySettings,
    queries: QuerySettings,
    seed: int,
    out_dir: Path,
) -> QueryTraining:
    """Train a policy on masked copies of known documents and write it.

    Args:
        known: the documents of the pool whose scores are all known; nothing else of the pool is seen.
        documents: of the whole pool.
        pool_tokens: of the whole pool.
        objective: what to maximise, its budget for the whole pool.
        settings: of the decision process and of PPO; gamma is 1 here, within one candidate, and the network is that
            of ``queries``.
        queries: the questions.
        seed: of everything random here.
        out_dir: receives the policy; its actions are to decide and then the questions.

    Raises:
        DataError: too few documents are known.
        TrainingDivergedError: a parameter is not finite at the end.
    """
    if known.height < _LEAST_KNOWN:
        raise DataError(f"{known.height} documents with known scores; at least {_LEAST_KNOWN} are needed to learn from")
    views = training_views(known, objective, pool_tokens, settings, queries, derive(seed, "views"))
    environment = QueryEnv(views, generator(seed, "lanes"), known.height / documents)
    units = list(queries.net_arch)
    with own_surroundings():
        model = PPO(
            "MlpPolicy",
            environment,
            learning_rate=settings.learning_rate,
            n_steps=queries.rollout_steps,
            batch_size=min(queries.batch_size, queries.rollout_steps * settings.n_parallel_candidates),
            n_epochs=settings.n_epochs,
            gamma=1.0,
            gae_lambda=settings.gae_lambda,
            clip_range=settings.clip_range,
            ent_coef=settings.ent_coef,
            vf_coef=settings.vf_coef,
            max_grad_norm=settings.max_grad_norm,
            policy_kwargs={"activation_fn": torch.nn.ReLU, "net_arch": {"pi": units, "vf": units}},
            seed=derive(seed, "ppo") % 2**32,
            device="cpu",
        )
        model.set_logger(Logger(folder=None, output_formats=[]))
        _expect(model)
        model.learn(total_timesteps=queries.candidates, log_interval=2**31)
    network = {name: value.detach().numpy().copy() for name, value in model.policy.state_dict().items()}
    if not all(bool(np.isfinite(value).all()) for value in network.values()):
        raise TrainingDivergedError("a parameter of the policy is not finite; lower learning_rate or check the reward")
    save_policy(
        out_dir,
        network,
        views.normaliser,
        settings.model_copy(update={"net_arch": queries.net_arch}),
        observed_names(views.problem),
        environment.price,
        environment.duals,
        {
            "seed": seed,
            "queries": queries.model_dump(mode="json"),
            "query_price": environment.query_price,
            "observations": model.num_timesteps,
            "episodes": [asdict(episode) for episode in environment.finished],
        },
    )
    return QueryTraining(out_dir, model.num_timesteps, tuple(environment.finished), environment.query_price)


def _expect(model: PPO) -> None:
    """Set the bias of deciding at once so that an untrained policy asks about a share of what it sees."""
    layer = model.policy.action_net
    assert isinstance(layer, torch.nn.Linear)
    with torch.no_grad():
        layer.bias[0] = float(np.log((1.0 - _FIRST_ASK) / _FIRST_ASK * (layer.out_features - 1)))
