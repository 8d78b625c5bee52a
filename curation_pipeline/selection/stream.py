"""The draw of a policy's batch from a pool of any size, a shard of a Parquet file at a time.

The first pass reads the pool, surveys it, takes the sample on which the state is frozen, and leaves the arrays in a
scratch folder; the second decides every document and keeps 20 bytes of it there instead. What joins the shards
(composition, histograms of log-odds and of ranks) is made of whole numbers, so that the order of the shards and the
number of workers change no byte of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
from safetensors.numpy import load_file, save_file

from curation_pipeline.engine.mapping import sharing, worker_pool
from curation_pipeline.engine.settings import ONE_PROCESS, EngineSettings
from curation_pipeline.errors import DataError
from curation_pipeline.lake.keyed import Shard
from curation_pipeline.policy.keep_logits import BudgetShift, KeepHistogram, KeepLogits
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import F64, I32, Pool, Tables
from curation_pipeline.policy.pool_statistics import axes_of
from curation_pipeline.policy.scores import Scores
from curation_pipeline.policy.scoring import DecisionRule, FrozenRule
from curation_pipeline.policy.stream_sample import SAMPLE, Survey, key_frame, sample_candidates, sample_rows, thinned
from curation_pipeline.policy.stream_shard import StoredPart
from curation_pipeline.progress import Progress, silent
from curation_pipeline.selection.draw import I64, Drawn, apply, limit_of, ranks_of

_T = TypeVar("_T")
_R = TypeVar("_R")

_MOST_HELD = 2 * SAMPLE
"""Candidates of the sample that are held before those that cannot be in it are dropped."""


@dataclass(frozen=True, slots=True)
class _Surveyed:
    stored: StoredPart
    survey: Survey
    candidates: pl.DataFrame


@dataclass(frozen=True, slots=True)
class _SurveyTask:
    shard: Shard
    documents: int
    dims: int
    seed: int
    path: Path


def _survey(task: _SurveyTask) -> _Surveyed:
    frame = task.shard.frame()
    pool = Pool.from_frame(frame, task.dims)
    stored = StoredPart.save(pool, task.seed, task.path)
    return _Surveyed(stored, Survey.of(pool), frame[sample_candidates(pool, task.documents)])


@dataclass(frozen=True, slots=True)
class _Record:
    """What the second pass keeps of the n documents of a shard."""

    kept: KeepLogits
    unit: F64
    n_tokens: I32

    def save(self, path: Path) -> None:
        arrays: dict[str, np.ndarray] = {
            "odds": self.kept.odds, "weight": self.kept.weight, "unit": self.unit, "n_tokens": self.n_tokens
        }  # fmt: skip
        save_file(arrays, path)

    @classmethod
    def load(cls, path: Path) -> _Record:
        arrays = load_file(path)
        return cls(KeepLogits(arrays["odds"], arrays["weight"]), arrays["unit"], arrays["n_tokens"])


@dataclass(frozen=True, slots=True)
class _ScoreTask:
    stored: StoredPart
    frozen: FrozenRule
    tables: Tables
    path: Path


def _score(task: _ScoreTask) -> KeepHistogram:
    pool, unit = task.stored.load(task.tables)
    kept = task.frozen.keep(pool)
    _Record(kept, unit, pool.n_tokens.astype(np.int32)).save(task.path)
    task.stored.path.unlink()
    return kept.histogram(pool.n_tokens)


@dataclass(frozen=True, slots=True)
class _RankedPart:
    """Ranks and tokens of a shard, see ``draw.Part``."""

    path: Path
    budget_shift: BudgetShift

    def __call__(self) -> tuple[F64, I64]:
        record = _Record.load(self.path)
        return ranks_of(record.unit, self.budget_shift.probability(record.kept)), record.n_tokens.astype(np.int64)


@dataclass(frozen=True, slots=True)
class Decided:
    """A pool that has been decided.

    Attributes:
        shards, paths: of the pool, and their records on disk.
        budget_shift: probabilities and weights from log-odds.
        limit: the largest rank that is drawn.
    """

    shards: tuple[Shard, ...]
    paths: tuple[Path, ...]
    budget_shift: BudgetShift
    limit: float

    def parts(self, columns: Sequence[str]) -> Iterator[tuple[pl.DataFrame, Scores, Drawn]]:
        """The decisions, shard by shard, with these columns of the pool."""
        for shard, path in zip(self.shards, self.paths, strict=True):
            record = _Record.load(path)
            scores = Scores(self.budget_shift.probability(record.kept), self.budget_shift.weight(record.kept))
            drawn = apply(ranks_of(record.unit, scores.probability), self.limit)
            weight = np.where(drawn, scores.weight, np.float32(0.0))
            yield shard.frame(columns), scores, Drawn(drawn, weight, self.limit)


def decide_pool(
    shards: Sequence[Shard],
    rule: DecisionRule,
    objective: Objective,
    seed: int,
    scratch: Path,
    engine: EngineSettings = ONE_PROCESS,
    progress: Progress = silent,
) -> Decided:
    """Decide every document of a pool, and who is drawn.

    Args:
        shards: of the pool; their order changes nothing but the order of the decisions.
        rule: how to decide.
        objective: of the iteration, with the budget of the draw.
        seed: of the draw.
        scratch: an existing folder that receives about 130 bytes for each document while it works, 20 in the end.
        engine: what the shards are decided on.
        progress: told what is done.

    Raises:
        DataError: the pool has no shard, or a row of it is broken.
        ConfigError: the pool's features differ from the rule's.
    """
    if not shards:
        raise DataError("the pool has no shard; check the files that it was built as")
    documents = sum(shard.rows for shard in shards)
    dims = rule.normaliser.omega.shape[0]
    if len(shards) > 1:
        engine = sharing(engine, scratch, sorted({shard.path for shard in shards}))
    with worker_pool(engine, "curated_batch", len(shards)) as run:

        def each(
            what: str, first: float, function: Callable[[_T], _R], tasks: Sequence[_T]
        ) -> Iterator[tuple[int, _R]]:
            for done, found in enumerate(run(function, tasks), start=1):
                progress(what, first + 0.45 * done / len(tasks))
                yield found

        # What comes back is merged at once: memory then does not grow with the number of shards.
        stored: dict[int, StoredPart] = {}
        survey = Survey.nothing()
        candidates = pl.DataFrame()
        surveys = [
            _SurveyTask(shard, documents, dims, seed, scratch / f"part-{number:05d}.safetensors")
            for number, shard in enumerate(shards)
        ]
        for number, part in each("survey of the pool", 0.0, _survey, surveys):
            stored[number] = part.stored
            survey = Survey.merge((survey, part.survey))
            candidates = pl.concat([candidates, part.candidates]) if candidates.height else part.candidates
            if candidates.height > _MOST_HELD:
                candidates = thinned(candidates, axes_of(survey.composition), documents)
        tables = survey.tables
        rows, multiplicity = sample_rows(key_frame(candidates, axes_of(survey.composition)), survey.composition)
        sample = Pool.from_frame(candidates[rows], dims, tables)
        del candidates
        frozen = rule.freeze(sample, multiplicity, survey.composition, objective)
        paths = tuple(scratch / f"decided-{number:05d}.safetensors" for number in range(len(shards)))
        tasks = [_ScoreTask(stored[number], frozen, tables, path) for number, path in enumerate(paths)]
        histogram = KeepHistogram.nothing()
        for _, found in each("decisions", 0.45, _score, tasks):
            histogram = KeepHistogram.merge((histogram, found))
        budget_shift = BudgetShift.of(histogram, objective.budget_tokens, rule.settings.min_effective_share)
        limit = limit_of([_RankedPart(path, budget_shift) for path in paths], objective.budget_tokens, run)
    return Decided(tuple(shards), paths, budget_shift, limit)
