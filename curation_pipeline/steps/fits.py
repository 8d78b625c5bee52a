"""What is kept of a fit: its losses and its figures."""

from __future__ import annotations

import numpy as np
import polars as pl

from curation_pipeline.training.trainer import TrainingResult


def losses_of(result: TrainingResult) -> pl.DataFrame:
    """The loss of each optimiser step: columns step and loss."""
    return pl.DataFrame({"step": np.arange(len(result.losses)), "loss": np.asarray(result.losses, dtype=np.float64)})


def figures_of(result: TrainingResult) -> dict[str, float | int]:
    """Steps, tokens, speed, and the first and the last tenth's mean loss."""
    tail = result.losses[-max(1, len(result.losses) // 10) :]
    return {
        "steps": result.steps,
        "trained_tokens": result.tokens,
        "tokens_per_second": round(result.tokens / max(result.seconds, 1e-9)),
        "first_loss": round(float(result.losses[0]), 4),
        "final_loss": round(float(np.mean(tail)), 4),
        "resumed_from_step": result.resumed_from,
    }
