"""Which reader serves which file, told by the file's name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

from curation_pipeline.corpus.arrow import read_arrow
from curation_pipeline.corpus.charsets import as_utf8
from curation_pipeline.corpus.delimited import read_delimited
from curation_pipeline.corpus.jsonl import read_jsonl
from curation_pipeline.corpus.parquet import read_parquet
from curation_pipeline.corpus.plain import read_plain
from curation_pipeline.corpus.rows import Batch, ReadOptions
from curation_pipeline.corpus.settings import TextSplit
from curation_pipeline.corpus.streams import pieces
from curation_pipeline.corpus.warc import read_warc

Reader = Callable[[BinaryIO, str, ReadOptions], Iterator[Batch]]
"""Takes an open file, its name and the options; gives its rows and failures in order, whatever the file holds."""


def _jsonl(stream: BinaryIO, name: str, options: ReadOptions) -> Iterator[Batch]:
    return read_jsonl(as_utf8(pieces(stream, name, options)), options)


def _delimited(stream: BinaryIO, name: str, options: ReadOptions) -> Iterator[Batch]:
    return read_delimited(as_utf8(pieces(stream, name, options)), "\t" if ".tsv" in name.lower() else ",", options)


def _plain(stream: BinaryIO, name: str, options: ReadOptions) -> Iterator[Batch]:
    return read_plain(as_utf8(pieces(stream, name, options)), options)


def _warc(stream: BinaryIO, name: str, options: ReadOptions) -> Iterator[Batch]:
    return read_warc(pieces(stream, name, options), options)


def _parquet(stream: BinaryIO, name: str, options: ReadOptions) -> Iterator[Batch]:
    return read_parquet(stream, options)


def _arrow(stream: BinaryIO, name: str, options: ReadOptions) -> Iterator[Batch]:
    return read_arrow(stream, options)


PACKED = ("", ".gz", ".zst")

READERS: tuple[tuple[tuple[str, ...], Reader], ...] = (
    ((".json.gz", ".json.zst", *(f"{stem}{packed}" for stem in (".jsonl", ".ndjson") for packed in PACKED)), _jsonl),
    (tuple(f"{stem}{packed}" for stem in (".csv", ".tsv") for packed in PACKED), _delimited),
    (tuple(f".txt{packed}" for packed in PACKED), _plain),
    ((".parquet", ".pq"), _parquet),
    ((".arrow",), _arrow),
    ((".warc", ".warc.gz", ".wet", ".wet.gz"), _warc),
)


def reader_for(name: str, text_split: TextSplit | None = None) -> Reader | None:
    """The reader for a file by its name, or None; plain text has one only where there is a rule to split it by."""
    lower = name.lower()
    found = next((reader for suffixes, reader in READERS if lower.endswith(suffixes)), None)
    return None if found is _plain and text_split is None else found
