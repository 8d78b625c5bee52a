"""What all annotators share: one table for each raw partition, computed a chunk of documents at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import polars as pl
from pydantic import ValidationError

from curation_pipeline.engine.mapping import in_order
from curation_pipeline.engine.settings import ONE_PROCESS
from curation_pipeline.errors import ConfigError, DataError
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.settings import Settings
from curation_pipeline.stages.context import Context
from curation_pipeline.steps.corpus.documents import STEP as DOCUMENTS
from curation_pipeline.steps.figures import histogram as draw_histogram
from curation_pipeline.steps.step import Partitioning, Step, Work, no_seed
from curation_pipeline.steps.view import Figure, Table, View

Options = TypeVar("Options", bound=Settings)
CHUNK = 20_000
"""Documents annotated at a time: memory does not grow with the partition."""
COLUMNS = ("doc_id", "text", "n_bytes", "domain")
"""What an annotator is given of each document, besides the columns of ``same_partition_inputs``."""

Annotate = Callable[[pl.DataFrame], pl.DataFrame]
"""From rows of documents (`COLUMNS`) to as many rows of a table with the column doc_id, in the same order."""
Prepare = Callable[[Work], Annotate]
"""Loads what an annotator needs and gives the function that annotates a chunk; called in each process that does."""


def annotator(
    module: str,
    prepare: Prepare,
    *,
    version: int,
    references: tuple[Step, ...] = (),
    same_partition_inputs: tuple[Step, ...] = (),
    parameters: Callable[[Context], dict[str, Any]] | None = None,
    kinds: frozenset[str] = frozenset({"parquet"}),
    histogram: tuple[str, str] | None = None,
    counts: str | None = None,
) -> Step:
    """The declaration of an annotator.

    Args:
        module: the module's ``__name__``; its last part is the name of the annotator and of its table. An annotator of
            another package writes ``annotations.NAME``.
        prepare: loads what is needed and gives the function that annotates; its docstring is what the graph says.
        version: raised by hand when the numbers change.
        references: steps of the whole project that are read.
        same_partition_inputs: annotations of the same partition that are read; their columns are joined to each chunk.
        parameters: settings that are part of the recipe.
        kinds: badges.
        histogram: column whose values are drawn as a histogram, with its label; the first score for an empty name.
        counts: column whose values are counted in a table.
    """

    def compute(work: Work, draft: Draft) -> None:
        _annotate(work, draft, name, prepare, same_partition_inputs)

    def view(ctx: Context, manifest: Manifest) -> View:
        figures: dict[str, Figure] = {}
        if histogram is not None and manifest.n_rows:
            column, label = histogram
            values = ctx.lake.frame(manifest).drop("doc_id")
            shown = values[column] if column else values.to_series()
            figures["distribution"] = draw_histogram(shown, label, log=not column)
        if counts is not None:
            values = ctx.lake.frame(manifest, columns=[counts])[counts].value_counts(sort=True).head(30)
            figures[counts] = Table([counts, "documents"], values.rows())
        return View(figures)

    compute.__doc__ = prepare.__doc__
    name = module.rpartition(".")[2]
    return Step(
        module=module, table=name, version=str(version), compute=compute, partitioning=Partitioning.CORPUS,
        inputs=(DOCUMENTS, *references, *same_partition_inputs), seed=no_seed, kinds=kinds, view=view,
        parameters=(lambda work: parameters(work.ctx)) if parameters is not None else (lambda work: {}),
    )  # fmt: skip


def options_of(ctx: Context, name: str, settings: type[Options]) -> Options:
    """The settings of an annotator of another package: ``[annotate.annotator_options.NAME]`` of the profile.

    Raises:
        ConfigError: a value is wrong; all are named.
    """
    given = ctx.profile.annotate.annotator_options.get(name, {})
    try:
        return settings.model_validate(given)
    except ValidationError as error:
        where = f"annotate.annotator_options.{name}"
        problems = (f"{where}.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError("; ".join(problems)) from None


def sections(*names: str) -> Callable[[Context], dict[str, Any]]:
    """The parameters of an annotator that depends on these sections of the profile's ``annotate``."""
    return lambda ctx: {name: getattr(ctx.profile.annotate, name).model_dump(mode="json") for name in names}


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Rows of a partition, as a process that annotates them is told of them.

    Attributes:
        table: the annotator's name.
        work: the annotator's.
        prepare: the annotator's.
        joined: annotations of the partition whose columns the rows get.
        offset: first row of the documents.
        kept: rows before it that are no duplicates: so many rows the other annotations have before.
        rows: rows of the documents, duplicates too.
    """

    table: str
    work: Work
    prepare: Prepare
    joined: tuple[Manifest, ...]
    offset: int
    kept: int
    rows: int


def _annotate(work: Work, draft: Draft, table: str, prepare: Prepare, same_partition: tuple[Step, ...]) -> None:
    global _last
    # A function that is not importable by name cannot be told to another process.
    engine = work.profile.engine if "<" not in prepare.__qualname__ else ONE_PROCESS
    documents = work[DOCUMENTS]
    duplicate = work.lake.frame(documents, columns=["duplicate"])["duplicate"]
    joined = tuple(work[step] for step in same_partition)
    tasks: list[_Chunk] = []
    kept = 0
    for offset in range(0, len(duplicate), CHUNK):
        rows = duplicate.slice(offset, CHUNK)
        tasks.append(_Chunk(table, work, prepare, joined, offset, kept, len(rows)))
        kept += len(rows) - int(rows.sum())
    empty = _annotated(_Chunk(table, work, prepare, joined, 0, 0, 0))
    numeric = empty.select(pl.selectors.numeric(), pl.selectors.boolean()).columns
    sums = dict.fromkeys(numeric, 0.0)
    with draft.writer(dict(empty.schema)) as write:
        for task, part in zip(tasks, in_order(_annotated, tasks, engine, table), strict=True):
            write(part)
            for name in numeric:
                sums[name] += float(part[name].cast(pl.Float64).sum())
            work.ctx.progress(table, (task.offset + task.rows) / len(duplicate))
    _last = None
    draft.summary.update({f"mean_{name}": round(total / kept, 4) for name, total in sums.items() if kept})


def _annotated(chunk: _Chunk) -> pl.DataFrame:
    """The annotator's table of a chunk."""
    lake = chunk.work.lake
    frame = _rows(lake, chunk.work[DOCUMENTS], chunk.offset, chunk.rows).select(*COLUMNS, "duplicate").collect()
    own = frame.filter(~pl.col("duplicate")).drop("duplicate")
    others = [_rows(lake, other, chunk.kept, own.height).drop("doc_id").collect() for other in chunk.joined]
    given = pl.concat([own, *others], how="horizontal")
    found = _opened(chunk)(given)
    # Tables of a partition are joined row by row.
    if "doc_id" not in found.columns or not found["doc_id"].equals(given["doc_id"]):
        raise DataError(
            f"the annotator {chunk.table!r} must give one row for each document in the same order, with the column "
            "doc_id"
        )
    return found


def _rows(lake: Lake, manifest: Manifest, offset: int, rows: int) -> pl.LazyFrame:
    return pl.scan_parquet(lake.path(manifest, "data.parquet"), glob=False).slice(offset, rows)


def _opened(chunk: _Chunk) -> Annotate:
    """What `prepare` loads, once for all chunks of a partition that come one after the other."""
    global _last
    if _last is None or _last[0] != chunk.work.manifest_id:
        _last = None  # or both would be in memory
        _last = chunk.work.manifest_id, chunk.prepare(chunk.work)
    return _last[1]


_last: tuple[str, Annotate] | None = None
"""The artefact that this process has last annotated for, and with what."""
