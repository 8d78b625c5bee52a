"""What every toxicity detector is to the rest of the project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import polars as pl

from curation_pipeline.progress import Progress

DECIMALS = 4
"""Scores are rounded so that batch shape, thread count or machine cannot change a decision made on them."""


class Detector(Protocol):
    """Scores texts on one or more heads; the first head is the headline.

    Attributes:
        name: the detector's name, which is also the name of its column among the teachers.
        version: of the packaged model and of this project's code around it; part of the annotation's recipe.
        heads: names of the columns of ``score``, the headline first.
    """

    @property
    def name(self) -> str:
        """The detector's name."""

    @property
    def version(self) -> str:
        """The model's version."""

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the score columns, the headline first."""

    def score(self, texts: Sequence[str], progress: Progress | None = None) -> pl.DataFrame:
        """Scores in [0, 1], higher is more toxic: one row a text in order, one Float32 column a head."""


def score_frame(scores: np.ndarray, heads: tuple[str, ...]) -> pl.DataFrame:
    """A detector's (n, heads) scores as the frame that the protocol asks for, clipped to [0, 1] and rounded."""
    rounded = np.round(np.clip(np.asarray(scores, dtype=np.float64), 0.0, 1.0), DECIMALS).astype(np.float32)
    return pl.DataFrame({head: rounded[:, i] for i, head in enumerate(heads)}, schema=dict.fromkeys(heads, pl.Float32))
