"""JSON Lines: one object a line."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from curation_pipeline.corpus.lines import Block, Gap, blocks
from curation_pipeline.corpus.readers import FileReader
from curation_pipeline.corpus.rows import Batch, RowBuilder, excerpt
from curation_pipeline.corpus.source import FileSettings
from curation_pipeline.corpus.streams import Piece

LARGE = 2.0**63
"""orjson reads whole numbers beyond 64 bits as floating point: from here on ``json`` must look."""


MAX_VALUES = 2_000_000
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def read_jsonl(stream: Iterable[Piece], settings: FileSettings) -> Iterator[Batch]:
    """Batches of a JSONL stream; blank lines are skipped, ``NaN`` and lone surrogates outside the text are accepted."""
    rows = RowBuilder(settings)
    for block in blocks(stream, settings.max_document_bytes):
        if isinstance(block, Gap):
            rows.fail(block.position, block.offset, block.excerpt, block.reason)
        else:
            _read_block(block, rows)
        if rows.full:
            yield rows.take()
    yield from rows.drain()


def _read_block(block: Block, rows: RowBuilder) -> None:
    loads, add = orjson.loads, rows.record
    shown = [name for name in (rows.settings.url_column, rows.settings.created_at_column) if name]
    for index, line in enumerate(block.lines):
        if len(line) > MAX_VALUES and (count := _values(line)) > MAX_VALUES:
            problem = f"a record of {count} values; more than {MAX_VALUES} are not taken apart"
            rows.fail(block.position + index, block.offset_of(index), line, problem)
            continue
        try:
            record = loads(line)
        except ValueError:
            record = None
        if type(record) is not dict or _imprecise(record, shown):
            _read_line(line, block, index, rows)
        elif problem := add(block.position + index, record):
            rows.fail(block.position + index, block.offset_of(index), line, problem)


def _values(line: bytes) -> int:
    """About how many values a line holds; those of a short text that is all brackets take a gigabyte of memory."""
    count = sum(map(line.count, b"[{,"))
    return count if count <= MAX_VALUES else sum(map(_STRING.sub(b"", line).count, b"[{,"))


def _imprecise(record: dict[str, Any], shown: list[str]) -> bool:
    """Whether orjson may have changed a number that is kept: a field's own, or one inside a field that becomes text."""
    for value in record.values():
        if type(value) is float and not -LARGE < value < LARGE:
            return True
    todo = [record[name] for name in shown if type(record.get(name)) in (list, dict)]
    while todo:
        value = todo.pop()
        if isinstance(value, float) and not -LARGE < value < LARGE:
            return True
        todo += value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    return False


def _read_line(line: bytes, block: Block, index: int, rows: RowBuilder) -> None:
    position = block.position + index
    line = (line.removeprefix(codecs.BOM_UTF8) if position == 0 else line).strip()
    if not line:
        return
    record, problem = parse_object(line)
    if problem := problem or rows.record(position, record):
        rows.fail(position, block.offset_of(index), line, problem)


def parse_object(raw: bytes) -> tuple[dict[str, Any], str]:
    """An object by the standard library, which accepts more than orjson and says what is wrong with the rest.

    Returns:
        The object, and why there is none; empty where there is one.
    """
    try:
        record = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        return {}, f"not valid UTF-8 at byte {error.start} of the value"
    except (ValueError, RecursionError) as error:
        return {}, f"not valid JSON: {excerpt(str(error))}"
    return (record, "") if isinstance(record, dict) else ({}, f"a JSON {type(record).__name__}, not an object")


READERS = (FileReader((".jsonl", ".ndjson", ".jl"), read_jsonl),)
