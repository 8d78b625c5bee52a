"""Which reader serves which file, told by the file's name."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from typing import BinaryIO

from curation_pipeline.corpus.arrow import read_arrow
from curation_pipeline.corpus.charsets import as_utf8
from curation_pipeline.corpus.delimited import read_delimited
from curation_pipeline.corpus.json_values import read_json
from curation_pipeline.corpus.jsonl import read_jsonl
from curation_pipeline.corpus.parquet import read_parquet
from curation_pipeline.corpus.plain import read_plain
from curation_pipeline.corpus.rows import Batch, ReadOptions, RowBuilder
from curation_pipeline.corpus.settings import TextSplit
from curation_pipeline.corpus.streams import Damage, packing_of, pieces
from curation_pipeline.corpus.warc import read_warc

Reader = Callable[[BinaryIO, str, ReadOptions], Iterator[Batch]]
"""Takes an open file, its name and the options; gives its rows and failures in order, whatever the file holds."""


def _jsonl(stream: BinaryIO, name: str, options: ReadOptions) -> Iterator[Batch]:
    return read_jsonl(as_utf8(pieces(stream, name, options)), options)


def _json(stream: BinaryIO, name: str, options: ReadOptions) -> Iterator[Batch]:
    return read_json(as_utf8(pieces(stream, name, options)), options)


def _delimited(stream: BinaryIO, name: str, options: ReadOptions) -> Iterator[Batch]:
    delimiter = "\t" if format_of(name) == ".tsv" else ","
    return read_delimited(as_utf8(pieces(stream, name, options)), delimiter, options)


def _plain(stream: BinaryIO, name: str, options: ReadOptions) -> Iterator[Batch]:
    return read_plain(as_utf8(pieces(stream, name, options)), options)


def _warc(stream: BinaryIO, name: str, options: ReadOptions) -> Iterator[Batch]:
    return read_warc(pieces(stream, name, options), options)


def _parquet(stream: BinaryIO, name: str, options: ReadOptions) -> Iterator[Batch]:
    return _read_whole(read_parquet, stream, name, options)


def _arrow(stream: BinaryIO, name: str, options: ReadOptions) -> Iterator[Batch]:
    return _read_whole(read_arrow, stream, name, options)


def _read_whole(
    read: Callable[[BinaryIO, ReadOptions], Iterator[Batch]], stream: BinaryIO, name: str, options: ReadOptions
) -> Iterator[Batch]:
    """A format that is read from several places: where it is packed, it is unpacked into a temporary file first."""
    if not packing_of(name) and options.meter is None:
        yield from read(stream, options)
        return
    damage = RowBuilder(options)
    with tempfile.TemporaryFile() as whole:
        for piece in pieces(stream, name, options):
            if isinstance(piece, Damage):
                # Behind a hole nothing lies where the format says it does.
                damage.fail(-1, whole.tell(), b"", f"the file breaks off here: {piece.reason}")
                break
            whole.write(piece)
        whole.seek(0)
        yield from read(whole, options)
    yield from damage.drain()


READERS: dict[str, Reader] = {
    ".json": _json,
    **dict.fromkeys((".jsonl", ".ndjson", ".jl"), _jsonl),
    **dict.fromkeys((".csv", ".tsv"), _delimited),
    ".txt": _plain,
    **dict.fromkeys((".parquet", ".pq"), _parquet),
    ".arrow": _arrow,
    **dict.fromkeys((".warc", ".wet"), _warc),
}
"""By what a file's name ends in, how it is compressed aside."""


def format_of(name: str) -> str:
    """The end of a file's name that says what it holds, in lower case; empty where there is none."""
    _, dot, last = name[: len(name) - len(packing_of(name))].rpartition("/")[2].rpartition(".")
    return (dot + last).lower() if dot else ""


def reader_for(name: str, text_split: TextSplit | None = None) -> Reader | None:
    """The reader for a file by its name, or None; plain text has one only where there is a rule to split it by."""
    found = READERS.get(format_of(name))
    return None if found is _plain and text_split is None else found
