"""Small files of every format, with the bytes that each of their rows depends on."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from fastwarc.warc import ArchiveIterator

from curation_pipeline.corpus.ingest import Counts, ingest_into
from curation_pipeline.corpus.readers import reader_for
from curation_pipeline.corpus.rows import Batch
from curation_pipeline.corpus.schema import DOCUMENTS_SCHEMA, QUARANTINE_SCHEMA
from curation_pipeline.corpus.source import SourceSettings
from curation_pipeline.corpus.sources.folder import FolderSource
from curation_pipeline.engine.settings import ONE_PROCESS, EngineSettings

TEXTS = [
    f"{start} {'lorem ipsum dolor ' * (i % 4)}caf\u00e9 {i * 7919}"
    for i, start in enumerate(["plain", 'quote " and,', "tab\tand", "a; b", "\u4e2d\u6587", "\U0001f600"] * 4)
]


def settings(**values: object) -> FolderSource:
    """Of a source whose files are read here; limits may be smaller than a profile allows."""
    return FolderSource(name="s", path="").model_copy(update=values)


@dataclass(frozen=True, slots=True)
class Sample:
    """A file and what its rows depend on.

    Attributes:
        name: the file's name, by which its reader is found.
        raw: its bytes.
        rows: text of each row, in order.
        spans: for each row the ranges [start, end) of bytes it depends on: its own, and those of its format's unit
            (gzip member, row group, record batch, header).
        options: how it is read.
        moves: whether inserted or removed bytes damage everything behind them too.
        quoted: whether a quotation mark connects a row to those up to the next quotation mark.
    """

    name: str
    raw: bytes
    rows: list[str]
    spans: list[list[tuple[int, int]]]
    options: FolderSource = field(default_factory=settings)
    moves: bool = False
    quoted: bool = False


def read(name: str, raw: bytes, options: FolderSource | None = None) -> Batch:
    """All rows and failures of a file in memory."""
    reader = reader_for(name)
    assert reader is not None
    batches = list(reader.batches(io.BytesIO(raw), name, options or settings()))
    if not batches:
        return next(iter(reader_for("a.jsonl").batches(io.BytesIO(b"\n\x00"), "a.jsonl", settings())))
    return Batch(pl.concat([b.rows for b in batches]), pl.concat([b.failures for b in batches]))


@dataclass(frozen=True, slots=True)
class Ingested:
    """One partition: ``DOCUMENTS_SCHEMA`` and ``QUARANTINE_SCHEMA`` rows in reading order, and the counts."""

    documents: pl.DataFrame
    quarantine: pl.DataFrame
    counts: Counts


def ingest(
    source: SourceSettings,
    snapshot: str,
    cache: Path,
    exclude_keys: frozenset[str] = frozenset(),
    engine: EngineSettings = ONE_PROCESS,
) -> Ingested:
    """Reads one partition into memory."""
    documents: list[pl.DataFrame] = [pl.DataFrame(schema=DOCUMENTS_SCHEMA)]
    quarantine: list[pl.DataFrame] = [pl.DataFrame(schema=QUARANTINE_SCHEMA)]
    counts = ingest_into(source, snapshot, cache, exclude_keys, documents.append, quarantine.append, engine)
    return Ingested(pl.concat(documents), pl.concat(quarantine), counts)


def by_lines(rows: list[bytes], before: bytes = b"") -> tuple[bytes, list[list[tuple[int, int]]]]:
    """Rows that follow one another; each depends on itself and on the byte before it."""
    raw, spans = before, []
    for row in rows:
        own = [(max(0, len(raw) - 1), len(raw) + len(row))]
        spans.append([(0, len(before)), *own] if before else own)
        raw += row
    return raw, spans


def jsonl_rows(texts: list[str]) -> list[bytes]:
    return [
        json.dumps({"text": text, "label": i, "x": 1.5}, ensure_ascii=i % 2 == 0).encode() + b"\n"
        for i, text in enumerate(texts)
    ]


def json_array(texts: list[str]) -> tuple[bytes, list[list[tuple[int, int]]]]:
    """An indented array; a row depends on itself, what parts it from its neighbours, and how the first line begins."""
    rows = [json.dumps({"text": text, "more": {"text": "inner"}, "label": i}, indent=2) for i, text in enumerate(texts)]
    raw, spans = b"[\n  ", []
    for row in rows:
        own = row.replace("\n", "\n  ").encode()
        spans.append([(0, 6), (len(raw) - 5, len(raw) + len(own) + 2)])
        raw += own + b",\n  "
    return raw[:-4] + b"\n]\n", spans


def warc_frames(texts: list[str]) -> tuple[bytes, list[list[tuple[int, int]]]]:
    """Records in frames of one dictionary, behind the frame that brings it, as crawlers write ``.warc.zst``."""
    dictionary = zstandard.train_dictionary(4_096, warc_rows([f"{text} {i}" for i in range(40) for text in TEXTS]))
    content = zstandard.compress(dictionary.as_bytes())
    head = b"\x5d\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content
    frames = zstandard.ZstdCompressor(dict_data=dictionary, write_checksum=True)
    raw, spans = packed(texts, warc_rows, frames.compress, 1)
    moved = [[(start + len(head), end + len(head)) for start, end in own] for own in spans]
    return head + raw, [[(0, len(head)), *own] for own in moved]


def packed(
    texts: list[str], rows: Callable[[list[str]], list[bytes]], pack: Callable[[bytes], bytes], size: int
) -> tuple[bytes, list[list[tuple[int, int]]]]:
    """Rows in compressed members of ``size`` rows; each depends on its member."""
    raw, spans = b"", []
    for start in range(0, len(texts), size):
        member = pack(b"".join(rows(texts[start : start + size])))
        spans += [[(len(raw), len(raw) + len(member))]] * len(texts[start : start + size])
        raw += member
    return raw, spans


def csv_rows(texts: list[str], dialect: str = "excel") -> list[bytes]:
    rows = []
    for i, text in enumerate(texts):
        target = io.StringIO(newline="")
        csv.writer(target, dialect).writerow([text, i])
        rows.append(target.getvalue().encode())
    return rows


def warc_rows(texts: list[str], wet: bool = False) -> list[bytes]:
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    rows = []
    for i, text in enumerate(texts):
        target = io.BytesIO()
        writer = WARCWriter(target, gzip=False)
        uri = f"http://example.org/{i}"
        if wet:
            body, kind = io.BytesIO(text.encode()), "text/plain"
            record = writer.create_warc_record(uri, "conversion", body, warc_content_type=kind)
        else:
            page = f"<html><head><meta charset='utf-8'></head><body><main><p>{text}</p></main></body></html>".encode()
            headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1")
            record = writer.create_warc_record(uri, "response", io.BytesIO(page), http_headers=headers)
        writer.write_record(record)
        rows.append(target.getvalue())
    return rows


def parquet_file(texts: list[str], compression: str, dictionary: bool) -> tuple[bytes, list[list[tuple[int, int]]]]:
    target = io.BytesIO()
    table = pa.table({"text": texts, "label": list(range(len(texts)))})
    pq.write_table(
        table, target, row_group_size=6, compression=compression, use_dictionary=dictionary, write_page_checksum=True
    )
    raw = target.getvalue()
    meta = pq.ParquetFile(io.BytesIO(raw)).metadata
    spans = []
    end = 4
    for i in range(meta.num_row_groups):
        group = meta.row_group(i)
        start = end
        end = start + sum(group.column(j).total_compressed_size for j in range(group.num_columns))
        spans += [[(start, end)]] * group.num_rows
    # The footer tells where everything lies, and is found from the end; the magic word at the start is checked too.
    return raw, [[(0, 4), *own, (end, len(raw))] for own in spans]


def arrow_file(texts: list[str], stream: bool) -> tuple[bytes, list[list[tuple[int, int]]]]:
    target = io.BytesIO()
    table = pa.table({"text": texts, "label": list(range(len(texts)))})
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    ends = []
    with make(target, table.schema) as writer:
        for batch in table.to_batches(max_chunksize=6):
            ends.append(target.tell())
            writer.write_batch(batch)
        ends.append(target.tell())
    schema = ends[0] or next(_messages(target.getvalue(), 0 if stream else 8))
    starts = [schema, *ends[1:]] if ends[0] == 0 else ends
    spans = []
    for i, batch in enumerate(table.to_batches(max_chunksize=6)):
        # A record batch is found from the end of the one before, or by its first bytes.
        spans += [[(0, starts[0]), (starts[i], starts[i + 1])]] * batch.num_rows
    return target.getvalue(), spans


def _messages(raw: bytes, at: int) -> Iterator[int]:
    stream = pa.BufferReader(raw)
    stream.seek(at)
    while True:
        pa.ipc.read_message(stream)
        yield stream.tell()


def read_back_with_fastwarc(raw: bytes) -> int:
    """How many records fastwarc counts in a whole file."""
    return sum(1 for _ in ArchiveIterator(io.BytesIO(raw)))


def samples() -> dict[str, Sample]:
    """One file of each format and packing."""
    found = {}

    def add(kind: str, name: str, made: tuple[bytes, list[list[tuple[int, int]]]], **other: object) -> None:
        # Extraction turns runs of white space into one blank.
        rows = [" ".join(text.split()) if "warc" in kind else text for text in TEXTS[: len(made[1])]]
        found[kind] = Sample(name, made[0], rows, made[1], **other)  # type: ignore[arg-type]

    frames = zstandard.ZstdCompressor(write_checksum=True)
    add("jsonl", "a.jsonl", by_lines(jsonl_rows(TEXTS)))
    add("jsonl.gz", "a.jsonl.gz", packed(TEXTS, jsonl_rows, lambda raw: gzip.compress(raw, mtime=0), 6))
    add("jsonl.zst", "a.jsonl.zst", packed(TEXTS, jsonl_rows, frames.compress, 6))
    add("jsonl.bz2", "a.jsonl.bz2", packed(TEXTS, jsonl_rows, bz2.compress, 6))
    add("jsonl.xz", "a.jsonl.xz", packed(TEXTS, jsonl_rows, lzma.compress, 6))
    add("json", "a.json", json_array(TEXTS))
    add("csv", "a.csv", by_lines(csv_rows(TEXTS), b"text,label\r\n"), quoted=True)
    add("tsv", "a.tsv", by_lines(csv_rows(TEXTS, "excel-tab"), b"text\tlabel\r\n"), quoted=True)
    add("text lines", "a.txt", by_lines([f"{t}\n".encode() for t in TEXTS]), options=settings(text_split="lines"))
    paragraphs = b"".join(f"{t}\n\n".encode() for t in TEXTS)
    spans, at = [], 0
    for text in TEXTS:
        end = at + len(text.encode()) + 2
        spans.append([(max(0, at - 2), end)])
        at = end
    add("text paragraphs", "a.txt", (paragraphs, spans), options=settings(text_split="paragraphs"))
    regex = settings(text_split="regex", text_separator=r"\n---\n")
    pieces = b"".join(f"{t}\n---\n".encode() for t in TEXTS)
    spans, at = [], 0
    for text in TEXTS:
        end = at + len(text.encode()) + 5
        spans.append([(max(0, at - 6), end)])  # a separator next to its own can overlap it
        at = end
    add("text regex", "a.txt", (pieces, spans), options=regex)
    add("parquet", "a.parquet", parquet_file(TEXTS, "snappy", True), moves=True)
    add("parquet plain", "a.parquet", parquet_file(TEXTS, "none", False), moves=True)
    add("arrow stream", "a.arrow", arrow_file(TEXTS, True))
    add("arrow file", "a.arrow", arrow_file(TEXTS, False))
    # Nothing connects their rows to single bytes: what is looked for is a crash.
    target = io.BytesIO()
    coded = pa.table({"text": pa.array(TEXTS).dictionary_encode()})
    with pa.ipc.new_stream(target, coded.schema) as writer:
        writer.write_table(coded, max_chunksize=6)
    add("arrow coded", "a.arrow", (target.getvalue(), [[(0, len(target.getvalue()))]] * len(TEXTS)))
    target = io.BytesIO()
    pq.write_table(pa.table({"text": TEXTS}), target, row_group_size=6, compression="zstd")
    add("parquet unchecked", "a.parquet", (target.getvalue(), [[(0, len(target.getvalue()))]] * len(TEXTS)))
    add("warc", "a.warc", by_lines(warc_rows(TEXTS[:5])))
    add("warc.gz", "a.warc.gz", packed(TEXTS[:5], warc_rows, lambda raw: gzip.compress(raw, mtime=0), 1))
    add("warc.zst", "a.warc.zst", warc_frames(TEXTS[:5]))
    add("wet", "a.wet", by_lines(warc_rows(TEXTS[:5], wet=True)))
    return found
