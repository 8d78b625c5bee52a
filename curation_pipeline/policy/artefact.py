"""A trained policy on disk: ``policy.safetensors`` (arrays) and ``policy.json`` (everything else). No pickles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save

from curation_pipeline.errors import ConfigError, MissingModelError
from curation_pipeline.policy.features import Normaliser
from curation_pipeline.policy.pool import F32
from curation_pipeline.policy.problem import ConstraintDuals
from curation_pipeline.policy.settings import PolicySettings

_WEIGHTS = "policy.safetensors"
_RECORD = "policy.json"
_NETWORK = "network."
VERSION = 3
"""Of the inputs and settings."""
_ROWS = 4096
"""Observations that go through the network at once: few enough that its layers stay in the cache."""


@dataclass(frozen=True, slots=True)
class ScoringPolicy:
    """A policy that can score a pool without any reinforcement learning library.

    Attributes:
        network: parameters named as in stable-baselines3's ``MlpPolicy``.
        normaliser: the frozen feature constants.
        settings: what it was trained with.
        observation_names: its inputs in order.
        price, duals: where training ended.
        record: the whole of ``policy.json``.
    """

    network: Mapping[str, F32]
    normaliser: Normaliser
    settings: PolicySettings
    observation_names: tuple[str, ...]
    price: float
    duals: ConstraintDuals
    record: Mapping[str, Any]

    def logits(self, observations: F32) -> F32:
        """Action logits (m, actions) of observations (m, f): a ReLU perceptron."""
        logits = np.empty((len(observations), len(self.settings.weights)), np.float32)
        for start in range(0, len(observations), _ROWS):
            rows = slice(start, start + _ROWS)
            hidden = observations[rows]
            for layer in range(len(self.settings.net_arch)):
                hidden = hidden @ self.network[f"mlp_extractor.policy_net.{2 * layer}.weight"].T
                hidden += self.network[f"mlp_extractor.policy_net.{2 * layer}.bias"]
                np.maximum(hidden, np.float32(0.0), out=hidden)
            logits[rows] = hidden @ self.network["action_net.weight"].T + self.network["action_net.bias"]
        return logits


def save_policy(
    folder: Path,
    network: Mapping[str, F32],
    normaliser: Normaliser,
    settings: PolicySettings,
    observation_names: tuple[str, ...],
    price: float,
    duals: ConstraintDuals,
    facts: Mapping[str, Any],
) -> None:
    """Write a policy; the same policy gives the same bytes.

    Args:
        folder: made if absent.
        network: parameters by name.
        normaliser: the feature constants.
        settings: what it was trained with.
        observation_names: the network's inputs in order.
        price: where the clearing price ended.
        duals: where the multipliers ended.
        facts: further JSON values (seed, objective, learning curve).
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {f"{_NETWORK}{name}": np.ascontiguousarray(value, np.float32) for name, value in network.items()}
    for name in ("mean", "scale", "omega", "phase"):
        arrays[f"normaliser.{name}"] = np.ascontiguousarray(getattr(normaliser, name), np.float32)
    (folder / _WEIGHTS).write_bytes(save(arrays))
    record = {
        "architecture": {
            "version": VERSION,
            "inputs": list(observation_names),
            "hidden": list(settings.net_arch),
            "activation": "relu",
            "actions": list(settings.weights),
        },
        "normaliser": {"names": list(normaliser.names)},
        "settings": settings.model_dump(mode="json"),
        "price": price,
        "duals": {"toxicity": duals.toxicity, "groups": dict(sorted(duals.groups.items()))},
        **facts,
    }
    (folder / _RECORD).write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def load_policy(folder: Path) -> ScoringPolicy:
    """Read a policy that ``save_policy`` wrote.

    Raises:
        MissingModelError: the folder lacks one of its two files.
        ConfigError: the two files do not belong together, or an earlier version of this package wrote them.
    """
    for name in (_WEIGHTS, _RECORD):
        if not (folder / name).is_file():
            raise MissingModelError(f"no {name} in {folder}; train a policy or name another parent")
    arrays = load_file(folder / _WEIGHTS)
    record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    if record["architecture"].get("version") != VERSION:
        raise ConfigError(
            f"{folder}: an earlier version trained this policy on other inputs or settings; start without a parent"
        )
    inputs = tuple(record["architecture"]["inputs"])
    network = {name.removeprefix(_NETWORK): value for name, value in arrays.items() if name.startswith(_NETWORK)}
    if network["mlp_extractor.policy_net.0.weight"].shape[1] != len(inputs):
        raise ConfigError(f"{folder}: {_RECORD} names {len(inputs)} inputs but {_WEIGHTS} was trained with others")
    return ScoringPolicy(
        network=network,
        normaliser=Normaliser(
            tuple(record["normaliser"]["names"]),
            *(arrays[f"normaliser.{name}"] for name in ("mean", "scale", "omega", "phase")),
        ),
        settings=PolicySettings.model_validate_json(json.dumps(record["settings"])),
        observation_names=inputs,
        price=float(record["price"]),
        duals=ConstraintDuals(float(record["duals"]["toxicity"]), dict(record["duals"]["groups"])),
        record=record,
    )
