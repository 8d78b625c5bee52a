"""One optimiser step: the weighted loss of its rows, its gradient over micro-batches and processes, and the update."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from curation_pipeline.training.packing import Packed
from curation_pipeline.training.runtime import block_causal, resolve_precision
from curation_pipeline.training.settings import TrainingSettings
from curation_pipeline.training.world import World

if TYPE_CHECKING:
    import torch


class Stepper:
    """AdamW on a weighted cross entropy.

    The loss of a step is the sum of weight x cross entropy over the number of tokens that the step predicts, so a
    heavier document moves the model more and the learning rate keeps its meaning; `normalise_over = "step"` divides by
    the step's sum of weights instead.

    Attributes:
        optimiser: torch's AdamW over the model's trainable parameters.
        scaler: the loss scale of fp16; idle otherwise.
    """

    def __init__(self, model: Any, packed: Packed, settings: TrainingSettings, world: World) -> None:
        """Make the optimiser; the model stays the caller's.

        Args:
            model: a transformers causal language model, or peft's wrapper of one, on its device.
            packed: rows to train on.
            settings: the optimiser, precision and size of a micro-batch.
            world: the processes that share each step.
        """
        import torch

        self._model, self._packed, self._settings, self._world = model, packed, settings, world
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._device: str = next(model.parameters()).device.type
        precision = resolve_precision(settings.precision, self._device)
        self._autocast = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
        self.scaler = torch.amp.GradScaler(self._device, enabled=precision == "fp16")
        # Norms and biases are not decayed (as in GPT-2's and Llama's training).
        matrices = [p for p in self._parameters if p.dim() >= 2]
        vectors = [p for p in self._parameters if p.dim() < 2]
        self.optimiser = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
            lr=settings.learning_rate,
            betas=(settings.beta1, settings.beta2),
            fused=True,
        )

    @property
    def may_overflow(self) -> bool:
        """Whether a gradient that is not finite only says that the loss scale of fp16 is still too large."""
        return bool(self.scaler.is_enabled() and self.scaler.get_scale() > 1.0)

    def gradient(self, rows: np.ndarray) -> tuple[float, float]:
        """Leave the clipped gradient of some rows in the parameters.

        Args:
            rows: rows of the whole step, of all processes.

        Returns:
            The weighted mean cross entropy in nats per token, and the Euclidean norm before clipping: the same in
            every process.
        """
        import torch

        weights = torch.from_numpy(self._packed.loss_weight[rows, 1:]).to(self._device).flatten()
        weight_sum = weights.sum()
        over_step = self._settings.normalise_over == "step"
        denominator = weight_sum if over_step else (weights > 0).sum().clamp(min=1)
        self.optimiser.zero_grad(set_to_none=True)
        summed = torch.zeros_like(weight_sum)
        for part in self._parts(rows):
            total = self._loss_sum(part)
            torch.autograd.backward(self.scaler.scale(total / denominator))
            summed += total.detach()
        if self._world.size > 1:
            for parameter in self._parameters:
                if parameter.grad is None:  # in a short last step a process may have no rows
                    parameter.grad = torch.zeros_like(parameter)
            self._world.add([summed, *(p.grad for p in self._parameters if p.grad is not None)])
        self.scaler.unscale_(self.optimiser)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._settings.grad_clip)
        return float(summed / weight_sum), float(norm)

    def update(self, rate: float) -> None:
        """Move the parameters against their gradient; under fp16 a gradient that overflowed is skipped."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.scaler.step(self.optimiser)
        self.scaler.update()

    def _parts(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        mine = self._world.share(rows)
        size = self._settings.micro_batch_size or max(1, mine.size)
        for start in range(0, mine.size, size):
            yield mine[start : start + size]

    def _loss_sum(self, rows: np.ndarray) -> torch.Tensor:
        """Sum of weight x cross entropy over the tokens of some rows."""
        import torch

        from curation_pipeline.training.loss import weighted_cross_entropy

        packed, device = self._packed, self._device
        tokens = torch.from_numpy(packed.tokens[rows].astype(np.int64)).to(device)
        segment = torch.from_numpy(packed.segment[rows, :-1]).to(device)
        position = torch.from_numpy(packed.position[rows, :-1].astype(np.int64)).to(device)
        weights = torch.from_numpy(packed.loss_weight[rows, 1:]).to(device)
        mask = block_causal(segment)
        if self._model.config._attn_implementation == "eager":  # it adds its mask
            kind = self._autocast or torch.float32
            mask = torch.zeros(mask.shape, dtype=kind, device=device).masked_fill_(~mask, torch.finfo(kind).min)
        with torch.autocast(device, self._autocast, enabled=self._autocast is not None):
            logits = self._model(
                input_ids=tokens[:, :-1], attention_mask=mask, position_ids=position, use_cache=False
            ).logits
        return weighted_cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), weights.flatten())
