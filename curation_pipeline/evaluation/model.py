"""A checkpoint in memory, ready to be asked for likelihoods and continuations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation_pipeline.training.runtime import load_model, resolve_device
from curation_pipeline.training.tokenizer import load_tokenizer


@dataclass(frozen=True, slots=True, eq=False)
class LanguageModel:
    """A causal language model and its tokenizer.

    Attributes:
        model: the transformers model, in evaluation mode.
        tokenizer: its fast tokenizer.
        bos_id: the token every text begins with: what opened documents in training.
        eos_id: the token that ends a continuation.
        window: most input tokens that are read at once.
    """

    model: Any
    tokenizer: Any
    bos_id: int
    eos_id: int
    window: int

    @property
    def takes_any_mask(self) -> bool:
        """Whether attention is all that joins places, under any mask: no recurrence, no bias by distance (ALiBi)."""
        return bool(self.model._supports_attention_backend and not self.model._is_stateful)

    @staticmethod
    def load(checkpoint: Path | str, window: int = 128) -> LanguageModel:
        """Read a checkpoint folder (or hub id), onto the GPU where there is one.

        Args:
            checkpoint: folder in transformers' format.
            window: input tokens read at once; the training's sequence length is the honest choice for a model that
                was trained from scratch.

        Raises:
            MissingModelError: when the model or its tokenizer is not there.
        """
        return LanguageModel.wrap(load_model(checkpoint, resolve_device("auto")), load_tokenizer(checkpoint), window)

    @staticmethod
    def wrap(model: Any, tokenizer: Any, window: int = 128) -> LanguageModel:
        """The same from objects in memory."""
        eos = int(tokenizer.eos_token_id)
        bos = eos if tokenizer.bos_token_id is None else int(tokenizer.bos_token_id)
        limit = getattr(model.config, "max_position_embeddings", None) or window
        return LanguageModel(model, tokenizer, bos, eos, min(window, limit))
