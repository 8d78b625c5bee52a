"""What every way of choosing data has in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl

from curation_pipeline.engine.settings import ONE_PROCESS, EngineSettings
from curation_pipeline.policy.pool import Pool
from curation_pipeline.policy.scores import Scores
from curation_pipeline.progress import Progress, silent
from curation_pipeline.selection.draw import Drawn

__all__ = ["Decisions", "Drawer", "PoolFile", "Scores", "Selector"]

Decisions = tuple[pl.DataFrame, Scores, Drawn]
"""Rows of the pool, in its order, with what was decided about them."""


class Selector(Protocol):
    """A way of choosing data: the policy, its closed-form control, or a baseline."""

    @property
    def name(self) -> str:
        """The arm's name in experiments."""

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """Inclusion probabilities and weights under a budget of ``budget_tokens`` tokens of drawn documents."""


@dataclass(frozen=True, slots=True)
class PoolFile:
    """A pool on disk, and what may be used to decide it.

    Attributes:
        path: of the Parquet file.
        scratch: an existing folder.
        engine: what it may be decided on.
        progress: told what is done.
    """

    path: Path
    scratch: Path
    engine: EngineSettings = ONE_PROCESS
    progress: Progress = silent


class Drawer(Protocol):
    """Draws a batch from a pool on disk, in whatever parts suit it."""

    def decisions(self, file: PoolFile, budget_tokens: int, seed: int) -> Iterator[Decisions]:
        """The decisions about every document, part by part in the file's order."""
