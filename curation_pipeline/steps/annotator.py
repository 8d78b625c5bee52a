"""What all annotators share: one table for each raw partition, computed a chunk of documents at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import polars as pl
from pydantic import ValidationError

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
"""Loads what an annotator needs once and gives the function that annotates a chunk."""


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
        _annotate(work, draft, name, prepare(work), same_partition_inputs)

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


def _annotate(work: Work, draft: Draft, table: str, annotate: Annotate, same_partition: tuple[Step, ...]) -> None:
    lake, documents = work.lake, work[DOCUMENTS]
    extra = [lake.frame(work[step]).drop("doc_id") for step in same_partition]
    sums: dict[str, float] = {}
    rows = 0

    def annotated(frame: pl.DataFrame) -> pl.DataFrame:
        own = frame.filter(~pl.col("duplicate")).drop("duplicate")
        given = pl.concat([own, *(other.slice(rows, own.height) for other in extra)], how="horizontal")
        found = annotate(given)
        # Tables of a partition are joined row by row.
        if "doc_id" not in found.columns or not found["doc_id"].equals(given["doc_id"]):
            raise DataError(
                f"the annotator {table!r} must give one row for each document in the same order, with the column doc_id"
            )
        return found

    columns = [*COLUMNS, "duplicate"]
    schema = pl.scan_parquet(lake.path(documents, "data.parquet"), glob=False).collect_schema()
    empty = annotated(pl.DataFrame(schema={name: schema[name] for name in columns}))
    numeric = empty.select(pl.selectors.numeric(), pl.selectors.boolean()).columns
    with draft.writer(dict(empty.schema)) as write:
        for frame in chunks(lake, documents, columns, CHUNK):
            part = annotated(frame)
            write(part)
            rows += part.height
            for name in numeric:
                sums[name] = sums.get(name, 0.0) + float(part[name].cast(pl.Float64).sum())
            work.ctx.progress(table, min(rows / max(documents.n_rows, 1), 1.0))
    draft.summary.update({f"mean_{name}": round(total / rows, 4) for name, total in sums.items() if rows})


def chunks(lake: Lake, manifest: Manifest, columns: list[str], size: int) -> Iterator[pl.DataFrame]:
    """The rows of an artefact's table, ``size`` at a time or fewer; none are read ahead."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(lake.path(manifest, "data.parquet")) as file:
        for batch in file.iter_batches(batch_size=size, columns=columns):
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            yield frame
