"""A language model of a few thousand parameters over invented text, for the tests of training and what follows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from curation_pipeline.training.initial import init_model
from curation_pipeline.training.settings import ScratchModel, TrainingSettings
from curation_pipeline.training.tokenizer import train_tokenizer

SETTINGS = TrainingSettings(
    scratch=ScratchModel(vocab_size=320, hidden_size=32, n_layers=2, n_heads=2, mlp_size=48),
    sequence_length=32,
    batch_size=4,
    device="cpu",
    precision="fp32",
)
_TEXT = "the river bridge town mill old stone by near under two boats went slowly past a quiet idiot shouted"
WORDS = _TEXT.split()


def sentences(n: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(3, 14))) + "." for _ in range(n)]


def build(folder: Path) -> Path:
    """A checkpoint with random weights in ``folder / "model"``."""
    tokenizer = train_tokenizer(sentences(300), 320, folder / "tokenizer")
    return init_model(SETTINGS, tokenizer, folder / "model", seed=3)
