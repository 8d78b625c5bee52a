"""The loss of a step; imports torch, so that it is imported where training begins."""

from __future__ import annotations

from typing import Any

import torch


def weighted_cross_entropy(logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Sum of weight x cross entropy in nats, differentiable once by the logits (N, V); target and weight are (N,)."""
    apply: Any = _WeightedCrossEntropy.apply  # not typed
    loss: torch.Tensor = apply(logits, target, weight)
    return loss


class _WeightedCrossEntropy(torch.autograd.Function):
    """The same, computed in fp32.

    One array of the logits' size serves both passes: log-probabilities, which become probabilities, which become the
    gradient. torch's own loss writes several, and in a small model with a vocabulary of thousands that takes a fifth
    of a step.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """The loss of N predictions.

        Args:
            ctx: keeps what the backward pass reads.
            logits: (N, V), of any precision.
            target: int64 (N,), the right tokens.
            weight: float32 (N,).

        Returns:
            A scalar.
        """
        log_probability = torch.log_softmax(logits, dim=1, dtype=torch.float32)
        chosen = log_probability.gather(1, target[:, None])
        error = log_probability.exp_().scatter_add_(1, target[:, None], torch.full_like(chosen, -1.0))
        ctx.save_for_backward(error, weight)
        ctx.precision = logits.dtype
        return -torch.dot(chosen.squeeze(1), weight)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """The gradient by the logits: weight x (probability - 1 where the token is right)."""
        error, weight = ctx.saved_tensors
        return error.mul_((weight * gradients[0])[:, None]).to(ctx.precision), None, None
