"""Low-rank adapters of a model, through peft: put in before a fit, merged into the weights after it."""

from __future__ import annotations

import importlib
from typing import Any

from curation_pipeline.errors import ConfigError
from curation_pipeline.extras import extra
from curation_pipeline.training.settings import LoraSettings


def attach(model: Any, settings: LoraSettings) -> Any:
    """Freeze a model and give its layers adapters; the random part of an adapter comes from torch's stream.

    Args:
        model: a transformers causal language model; it is changed in place.
        settings: size, scale and place of the adapters.

    Returns:
        The model to train: the same weights, wrapped by peft.

    Raises:
        ConfigError: peft is not installed, or the model has none of the layers that are named.
    """
    with extra("lora", "training.lora"):
        peft: Any = importlib.import_module("peft")
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.targets) or "all-linear",
    )
    try:
        return peft.get_peft_model(model, config)
    except ValueError as error:
        raise ConfigError(f"training.lora.targets {list(settings.targets)}: {error}") from error


def merge(adapted: Any) -> Any:
    """The plain model with the adapters added to its weights: the object that `attach` was given."""
    return adapted.merge_and_unload()
