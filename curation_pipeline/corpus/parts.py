"""A delivery cut into parts of bounded size, so that 5,000 small files or one of 50 GB are read on all workers alike.

The parts depend on the files alone, and what is read of them comes back in their order: neither ids nor bytes of a
table depend on the engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import polars as pl

from curation_pipeline.corpus.charsets import UTF8, marked
from curation_pipeline.corpus.files import SourceFile
from curation_pipeline.corpus.listing import Listing
from curation_pipeline.corpus.readers import reader_for
from curation_pipeline.corpus.rows import Batch
from curation_pipeline.corpus.source import FileSettings, SourceSettings
from curation_pipeline.corpus.streams import packing_of
from curation_pipeline.engine.mapping import in_order
from curation_pipeline.engine.settings import EngineSettings

PART_BYTES = 32 * 1024 * 1024
"""Stored bytes of a part. Larger files of lines are cut, other larger ones are read by the process that asks."""
PART_FILES = 500
READ_BYTES = 64 * 1024
STEP = "documents"

Found = Iterator[tuple[str, Batch]]


@dataclass(frozen=True, slots=True)
class _FilePart:
    """Files that follow one another, or a span of one, as a worker is told of them."""

    source: SourceSettings
    snapshot: str
    found: Listing
    cache: Path


@dataclass(frozen=True, slots=True)
class _Read:
    """What a part holds, and its lines where it is a span of a file."""

    batches: list[tuple[str, Batch]]
    lines: int


def batches(source: SourceSettings, snapshot: str, found: Listing, cache: Path, engine: EngineSettings) -> Found:
    """File names and batches of a delivery, as `SourceSettings.batches` gives them, read on the workers of an engine.

    Args:
        source: of the delivery.
        snapshot: its name.
        found: what lies in it; sources that are not made of files are read by this process.
        cache: folder of downloaded archives.
        engine: what the parts are read on.
    """
    if not found.files:
        yield from source.batches(snapshot, found, cache)
        return
    assert isinstance(source, FileSettings)
    parts = [(part, small) for part, small in _parts(found.files, source)]
    for small, run in groupby(parts, key=lambda part: part[1]):
        tasks = [_FilePart(source, snapshot, Listing(files, ()), cache) for files, _ in run]
        if small:
            yield from _in_their_place(tasks, engine)
        else:
            for task in tasks:
                yield from source.batches(snapshot, task.found, cache)


def _in_their_place(tasks: list[_FilePart], engine: EngineSettings) -> Found:
    """Batches of parts; rows of a later span of a file are numbered on from those of the span before."""
    line, of = 0, ""
    for task, read in zip(tasks, in_order(_read, tasks, engine, STEP), strict=True):
        span, name = task.found.files[0].span, task.found.files[0].name
        if span is None:
            yield from read.batches
            continue
        line = line if name == of else 0
        for file, batch in read.batches:
            here = pl.col("position") + line
            offset = pl.when(pl.col("offset") < 0).then(pl.col("offset")).otherwise(pl.col("offset") + span[0])
            failures = batch.failures.with_columns(here, offset)
            yield file, replace(batch, rows=batch.rows.with_columns(here), failures=failures)
        line, of = line + read.lines, name


def _read(part: _FilePart) -> _Read:
    """Everything in a part: it is small."""
    first = part.found.files[0]
    lines = 0
    if first.span is not None:
        with first.open() as stream:
            while data := stream.read(READ_BYTES):
                lines += data.count(b"\n")
    return _Read(list(part.source.batches(part.snapshot, part.found, part.cache)), lines)


def _parts(files: tuple[SourceFile, ...], settings: FileSettings) -> Iterator[tuple[tuple[SourceFile, ...], bool]]:
    """Files in their order, and whether they are small enough to be held whole."""
    held: list[SourceFile] = []
    size = 0
    for _, same in groupby(files, key=lambda file: file.place):  # the members of an archive have one limit
        members = tuple(same)
        n_bytes = members[0].n_bytes
        if held and (size + n_bytes > PART_BYTES or len(held) + len(members) > PART_FILES):
            yield tuple(held), True
            held, size = [], 0
        if n_bytes <= PART_BYTES:
            held += members
            size += n_bytes
        elif _is_cut(members[0], settings):
            yield from (((replace(members[0], span=span),), True) for span in _spans(members[0]))
        else:
            yield members, False
    if held:
        yield tuple(held), True


def _is_cut(file: SourceFile, settings: FileSettings) -> bool:
    """Whether the lines of a file can be read from any of them on: it is not packed, and no mark says UTF-16."""
    reader = reader_for(file.name)
    if reader is None or not reader.by_lines or file.archive or packing_of(file.name):
        return False
    if file.n_bytes > settings.max_unpacked_bytes:
        return False
    try:
        with file.open() as stream:
            return marked(stream.read(4))[1] in (None, UTF8)
    except OSError:
        return False


def _spans(file: SourceFile) -> Iterator[tuple[int, int]]:
    """The file in spans that end behind a line feed."""
    begin, end = 0, file.n_bytes
    with file.open() as stream:
        while begin < end:
            place = begin + PART_BYTES
            stream.seek(place)
            while place < end and (data := stream.read(READ_BYTES)):
                if (feed := data.find(b"\n")) >= 0:
                    place += feed + 1
                    break
                place += len(data)
            yield begin, min(place, end)
            begin = place
