"""The resumable state of a training run: one safetensors file, replaced atomically."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation_pipeline.errors import DataError
from curation_pipeline.training.packing import Packed
from curation_pipeline.training.settings import TrainingSettings
from curation_pipeline.training.step import Stepper

if TYPE_CHECKING:
    import torch

STATE_FILE = "training_state.safetensors"
_NOT_THE_RESULT = {"save_every_seconds", "base_tokens", "base_learning_rate", "divergence_nats", "start_from"}
"""Settings that do not change what a fit gives, so that a state survives a change of them."""


@dataclass(frozen=True, slots=True)
class LoopState:
    """Where the loop is.

    Attributes:
        step: the step to do next.
        losses: of the steps before it.
        seconds: spent so far.
        scaler: the loss scale of fp16; empty otherwise.
    """

    step: int
    losses: list[float]
    seconds: float
    scaler: dict[str, float] = field(default_factory=dict)


def fingerprint(parent_dir: Path, packed: Packed, settings: TrainingSettings, seed: int) -> str:
    """Hash of all that decides the result of a fit, so that a run never resumes the state of another."""
    digest = hashlib.sha256()
    for path in sorted(parent_dir.glob("*.safetensors")):
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
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

    def save(self, model: torch.nn.Module, stepper: Stepper, state: LoopState) -> None:
        """Write trained weights, moments and the loop's position; the old file stays until the new one is whole.

        Args:
            model: the model in training; weights that are frozen are not written.
            stepper: its optimiser and loss scale.
            state: the loop's position; its ``scaler`` is filled in here.

        Raises:
            DataError: the file cannot be written, for example because the disk is full. The old one is as it was.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        tensors: dict[str, torch.Tensor] = {}
        for name, parameter in _trained(model):
            tensors[f"model.{name}"] = parameter.detach().contiguous()
            for key, value in stepper.optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser.{key}.{name}"] = value.detach().contiguous()
        temporary = self.path.with_suffix(f".{os.getpid()}.tmp")
        loop = json.dumps({**asdict(state), "scaler": stepper.scaler.state_dict()})
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(tensors, str(temporary), metadata={"run": self.run, "loop": loop})
            with temporary.open("rb+") as handle:
                os.fsync(handle.fileno())
            temporary.replace(self.path)
        except (OSError, SafetensorError) as error:
            temporary.unlink(missing_ok=True)
            raise DataError(
                f"the training state of step {state.step} cannot be written to {self.folder} ({error}); make room on "
                "the disk and start again: training resumes from the state that was saved before it"
            ) from error

    def load(self, model: torch.nn.Module, stepper: Stepper | None = None) -> LoopState | None:
        """Put a saved state back into a model and, for training, into its optimiser.

        Args:
            model: the model as it was made for the run that saved the state.
            stepper: its optimiser and loss scale; None where only the weights are wanted.

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
        state = LoopState(**json.loads(metadata["loop"]))
        with torch.no_grad():
            for name, parameter in _trained(model):
                parameter.copy_(tensors[f"model.{name}"])
        if stepper is not None:
            _load_moments(model, stepper, tensors)
            stepper.scaler.load_state_dict(state.scaler)
        return state


def _trained(model: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def _load_moments(model: torch.nn.Module, stepper: Stepper, tensors: dict[str, torch.Tensor]) -> None:
    moments: dict[str, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimiser."):
            _, moment, name = key.split(".", 2)
            moments.setdefault(name, {})[moment] = tensor
    # The optimiser numbers parameters by their place in its groups, which is not the model's order.
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = stepper.optimiser.param_groups
    ordered = [names[id(parameter)] for group in groups for parameter in group["params"]]
    stepper.optimiser.load_state_dict(
        {
            "state": {index: moments[name] for index, name in enumerate(ordered) if name in moments},
            "param_groups": stepper.optimiser.state_dict()["param_groups"],
        }
    )
