"""The state of a policy training in the making: what an interrupted one resumes from, bit for bit, without pickle."""

from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from stable_baselines3 import PPO

from curation_pipeline.policy.environment import SelectionEnv

FILE = "training.safetensors"
VERSION = 3


def save_training(folder: Path, model: PPO, environment: SelectionEnv, notes: dict[str, Any]) -> None:
    """Write network, optimiser, environment and random streams between two rollouts; the file is replaced whole.

    Args:
        folder: of the interrupted work; made if absent.
        model: in training, right before it collects a rollout.
        environment: its environment.
        notes: JSON-serialisable facts that `load_training` gives back.
    """
    arrays = {f"network.{name}": value.detach().numpy() for name, value in model.policy.state_dict().items()}
    for index, moments in model.policy.optimizer.state_dict()["state"].items():
        arrays |= {f"optimiser.{index}.{name}": np.asarray(value) for name, value in moments.items()}
    arrays |= {f"environment.{name}": value for name, value in environment.get_state().items()}
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    assert model._last_obs is not None
    assert model._last_episode_starts is not None
    arrays |= {
        "torch": torch.random.get_rng_state().numpy(),
        "numpy": np.asarray(keys),
        "python": np.array(words, dtype=np.int64),
        "observations": np.asarray(model._last_obs),
        "episode_starts": np.asarray(model._last_episode_starts).astype(np.uint8),
    }
    arrays = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    meta = {
        "version": VERSION,
        "digest": _digest(arrays),
        "timesteps": model.num_timesteps,
        "updates": model._n_updates,
        "random": [version, gauss, str(kind), int(position), int(has_gauss), float(cached)],
        "notes": notes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{FILE}.part"
    save_file(arrays, part, metadata={"training": json.dumps(meta)})
    os.replace(part, folder / FILE)


def load_training(folder: Path, model: PPO, environment: SelectionEnv) -> dict[str, Any] | None:
    """Bring a fresh model and environment to the state that `save_training` wrote.

    Args:
        folder: of the interrupted work.
        model: built with the same settings.
        environment: built with the same pool, objective and settings.

    Returns:
        The notes; None, with nothing changed, where there is no state or it is damaged.
    """
    found = _read(folder / FILE)
    if found is None:
        return None
    arrays, meta = found

    def part(prefix: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}

    model.policy.load_state_dict({name: torch.from_numpy(value) for name, value in part("network.").items()})
    optimiser = model.policy.optimizer.state_dict()
    for name, value in part("optimiser.").items():
        index, _, moment = name.partition(".")
        optimiser["state"].setdefault(int(index), {})[moment] = torch.from_numpy(value)
    model.policy.optimizer.load_state_dict(optimiser)
    environment.set_state(part("environment."))
    version, gauss, kind, position, has_gauss, cached = meta["random"]
    random.setstate((version, tuple(arrays["python"].tolist()), gauss))
    np.random.set_state((kind, arrays["numpy"], position, has_gauss, cached))
    torch.random.set_rng_state(torch.from_numpy(arrays["torch"]))
    model.num_timesteps, model._n_updates = int(meta["timesteps"]), int(meta["updates"])
    model._last_obs = arrays["observations"]
    model._last_episode_starts = arrays["episode_starts"].astype(bool)
    notes: dict[str, Any] = meta["notes"]
    return notes


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name).copy() for name in file.keys()}  # noqa: SIM118, not a dictionary
            meta = json.loads((file.metadata() or {})["training"])
    except (FileNotFoundError, SafetensorError, KeyError, ValueError):
        return None
    if meta.get("version") != VERSION or meta.get("digest") != _digest(arrays):
        return None
    return arrays, meta


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()
