"""The resumable state of a training run: one safetensors file, replaced atomically."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation_pipeline.errors import DataError
from curation_pipeline.training.packing import Packed
from curation_pipeline.training.settings import TrainingSettings

if TYPE_CHECKING:
    import torch

STATE_FILE = "training_state.safetensors"
_NOT_THE_RESULT = {"save_every_seconds", "base_tokens", "base_learning_rate"}
"""Settings that do not change what a fit gives, so that a state survives a change of them."""


@dataclass(frozen=True, slots=True)
class LoopState:
    """Where the loop stands: the step to do next, the losses so far and the seconds spent."""

    step: int
    losses: list[float]
    seconds: float


def fingerprint(parent_dir: Path, packed: Packed, settings: TrainingSettings, seed: int) -> str:
    """Hash of all that decides the result of a fit, so that a run never resumes the state of another."""
    digest = hashlib.sha256()
    for path in sorted(parent_dir.glob("*.safetensors")):
        digest.update(path.read_bytes())
    for array in (packed.tokens, packed.loss_weight, packed.segment):
        digest.update(array.tobytes())
    digest.update(json.dumps(settings.model_dump(exclude=_NOT_THE_RESULT), sort_keys=True).encode())
    digest.update(str(seed).encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class StateFile:
    """The state of one run, known by its `fingerprint`, in a folder that other runs may have used."""

    folder: Path
    run: str

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / STATE_FILE

    def save(self, model: torch.nn.Module, optimiser: torch.optim.Optimizer, state: LoopState) -> None:
        """Write weights, moments, torch's random state and the loop's position; the old file stays until this is whole.

        Args:
            model: the model in training.
            optimiser: its optimiser.
            state: the loop's position.
        """
        import torch
        from safetensors.torch import save_file

        tensors = {"rng.cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            tensors["rng.cuda"] = torch.cuda.get_rng_state()
        for name, parameter in model.named_parameters():
            tensors[f"model.{name}"] = parameter.detach().contiguous()
            for key, value in optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser.{key}.{name}"] = value.detach().contiguous()
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(f".{os.getpid()}.tmp")
        loop = json.dumps({"step": state.step, "losses": state.losses, "seconds": state.seconds})
        save_file(tensors, str(temporary), metadata={"run": self.run, "loop": loop})
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(self.path)

    def load(self, model: torch.nn.Module, optimiser: torch.optim.Optimizer) -> LoopState | None:
        """Put a saved state back into model, optimiser and torch's random stream.

        Returns:
            The loop's position, or None when the folder holds no state of this run.

        Raises:
            DataError: when there is a file that cannot be read.
        """
        import torch
        from safetensors import SafetensorError, safe_open

        if not self.path.exists():
            return None
        try:
            with safe_open(str(self.path), framework="pt") as file:
                metadata: dict[str, str] = file.metadata()
                if metadata.get("run") != self.run:
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        except SafetensorError as error:
            raise DataError(f"the training state {self.path} cannot be read ({error}); delete it") from error
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        moments: dict[str, dict[str, Any]] = {}
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(tensors[f"model.{name}"])
        for key, tensor in tensors.items():
            if key.startswith("optimiser."):
                _, moment, name = key.split(".", 2)
                moments.setdefault(name, {})[moment] = tensor
        # The optimiser numbers parameters by their place in its groups, which is not the model's order.
        ordered = [names[id(parameter)] for group in optimiser.param_groups for parameter in group["params"]]
        optimiser.load_state_dict(
            {
                "state": {index: moments[name] for index, name in enumerate(ordered) if name in moments},
                "param_groups": optimiser.state_dict()["param_groups"],
            }
        )
        torch.set_rng_state(tensors["rng.cpu"])
        if "rng.cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["rng.cuda"])
        return LoopState(**json.loads(metadata["loop"]))
