"""Columns of a CSV, TSV, JSONL or Parquet file as text, with errors that name the file, the row and the remedy."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import polars as pl

from curation_pipeline.datasets.bounds import BombError, Meter
from curation_pipeline.datasets.dialect import HEAD_CHARS, CsvDialect, column_names, find_dialect
from curation_pipeline.datasets.parquet import ParquetFile
from curation_pipeline.errors import ConfigError, DataError

PIECE_BYTES = 1024 * 1024

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


def read_text(path: Path) -> str:
    """A UTF-8 file, plain or ``.gz``, without its byte-order mark.

    Raises:
        ConfigError: there is no such file.
        DataError: it cannot be unpacked, or is not UTF-8; names the line.
    """
    raw = _read_bytes(path)
    try:
        if path.suffix == ".gz":
            raw = _unpacked(raw)
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: not UTF-8 (byte 0x{raw[error.start]:02x}); save the file as UTF-8"
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error, BombError) as error:
        raise DataError(f"{path} is not a whole gzip file ({error}); get it again") from error


def _unpacked(raw: bytes) -> bytes:
    meter = Meter(taken=len(raw))
    with gzip.GzipFile(fileobj=io.BytesIO(raw)) as stream:
        return b"".join(meter.give(piece) for piece in iter(partial(stream.read, PIECE_BYTES), b""))


def parse_json(text: str, where: str) -> Any:
    """What a JSON text holds.

    Raises:
        DataError: it cannot be parsed; names ``where`` it is from.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f", line {error.lineno}" if error.lineno > 1 else ""
        raise DataError(f"{where}{line}: not JSON ({error.msg}); correct it, or get the file again") from error
    except (ValueError, RecursionError) as error:  # A number of thousands of digits, or thousands of brackets.
        raise DataError(f"{where}: not JSON that can be read ({error}); correct it, or get the file again") from error


def whole_text(text: str, where: str) -> str:
    """The text itself.

    Raises:
        DataError: it has half of a surrogate pair, which JSON can write and no encoding can hold.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where} has half of a surrogate pair at character {error.start} ({text[error.start]!a}), "
            "which no encoding can hold: correct the row"
        ) from None
    return text


def read_columns(
    path: Path, columns: Sequence[str], optional: Sequence[str] = (), dialect: CsvDialect | None = None
) -> pl.DataFrame:
    """Some columns of a file as text; a value that is missing is null.

    Args:
        path: ``.csv``, ``.tsv``, ``.jsonl`` or ``.ndjson``, each plain or with ``.gz``, or ``.parquet``.
        columns: the columns that must be there.
        optional: columns that are taken where they are there.
        dialect: of a CSV or TSV file, as far as its owner says it.

    Returns:
        Utf8 columns, in the order asked for; row i is the i-th row of the file, its header not counted.

    Raises:
        ConfigError: there is no such file, its suffix is unknown, or a column is missing.
        DataError: the file cannot be parsed.
    """
    kind = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if kind == ".parquet":
        frame = _parquet(path, columns, optional)
    elif kind in (".csv", ".tsv"):
        frame = _csv_frame(path, columns, dialect)
    elif kind in (".jsonl", ".ndjson"):
        return _json_lines(path, (*columns, *optional), frozenset(columns))
    else:
        raise ConfigError(f"{path}: a table ends in {', '.join(SUFFIXES)} (text with or without .gz)")
    return select(frame, path, columns, optional)


def select(frame: pl.DataFrame, path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> pl.DataFrame:
    """The named columns of a frame as text; a missing one is an error that lists those there are."""
    wanted = _present(frame.columns, path, columns, optional)
    try:
        return frame.select(pl.col(column).cast(pl.Utf8) for column in wanted)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path}: columns {', '.join(wanted)} do not hold plain values ({error})") from error


def _present(there: Sequence[str], path: Path, columns: Sequence[str], optional: Sequence[str]) -> list[str]:
    missing = [column for column in columns if column not in there]
    if missing:
        raise ConfigError(
            f"{path} has no column {', '.join(map(repr, missing))}; its columns are "
            f"{', '.join(map(repr, there))}: correct the profile's column name or the format"
        )
    return [*columns, *(column for column in optional if column in there)]


def read_csv(
    path: Path, columns: Sequence[str], given: CsvDialect | None = None
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The records of a CSV or TSV file, each read in the one way that its writer can have meant.

    Args:
        path: the file, plain or with ``.gz``.
        columns: names that the header should hold, by which the file's delimiter is found.
        given: the file's dialect as far as its owner says it.

    Returns:
        The names of the columns; and for each record the number of its last line, from 1, and its fields.

    Raises:
        ConfigError: there is no such file.
        DataError: the file cannot be read, or one of its records cannot; names the line.
    """
    lines = [line + "\n" for line in read_text(path).split("\n")]
    lines[-1] = lines[-1].removesuffix("\n")
    sizes = accumulate(map(len, lines))
    head = [line for line, size in zip(lines, sizes, strict=True) if size <= HEAD_CHARS] or lines[:1]
    dialect = find_dialect(head, given or CsvDialect(), "\t" if ".tsv" in path.suffixes else ",", columns)
    names: list[str] | None = None
    records = []
    begin = end = 0
    # A process-wide setting of the csv module: a text may be longer than the 131,072 characters it takes by default.
    csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))

    def counted() -> Iterator[str]:
        nonlocal end
        for end, line in enumerate(lines, start=1):  # noqa: B007
            yield line

    def damaged(reason: str) -> DataError:
        return DataError(
            f"{path}, line {end}: {reason}; quote fields that hold separators or line ends and double the quotes "
            "inside them, or correct the file's csv dialect in the profile"
        )

    try:
        for fields in dialect.reader(counted()):
            if names is None:
                names = column_names(fields)
            elif fields and len(fields) != len(names):
                raise damaged(f"{len(fields)} fields where the header has {len(names)}")
            elif dialect.escape and dialect.is_ambiguous("".join(lines[begin:end])):
                raise damaged(f"a {dialect.escape} in a field without quotes can mean two things")
            elif fields:
                records.append((end, fields))
            begin = end
    except csv.Error as error:
        raise damaged(f"not valid CSV: {error}") from error
    return names or [], records


def _csv_frame(path: Path, columns: Sequence[str], given: CsvDialect | None) -> pl.DataFrame:
    # Everything is text at first: an id, a flag or a score is what its reader says, not what it looks like.
    names, records = read_csv(path, columns, given)
    if twice := sorted({name for name in names if names.count(name) > 1} & set(columns)):
        raise DataError(f"{path} has the column {', '.join(map(repr, twice))} more than once; rename one")
    values = {name: [fields[index] or None for _, fields in records] for index, name in enumerate(names)}
    return pl.DataFrame(values, dict.fromkeys(values, pl.Utf8))


def _parquet(path: Path, columns: Sequence[str], optional: Sequence[str]) -> pl.DataFrame:
    import pyarrow as pa
    import pyarrow.types as types

    require_file(path)
    pages, values = Meter(), Meter()
    batches: list[pa.RecordBatch] = []
    try:
        with path.open("rb") as stream:
            file = ParquetFile(stream)
            wanted = _present(file.schema.names, path, columns, optional)
            kinds = {name: file.schema.field(name).type for name in wanted}
            for name, kind in kinds.items():
                if types.is_nested(kind) or types.is_temporal(kind):
                    raise DataError(f"{path}: column {name} does not hold plain values, but {kind}")
            plain = pa.schema([(n, k.value_type if types.is_dictionary(k) else k) for n, k in kinds.items()])
            for index in range(len(file.footer.groups)):
                for batch in file.batches(index, wanted, pages, coded=False):
                    batch.validate(full=True)
                    batches.append(batch.select(wanted).cast(plain))
                    values.taken = pages.taken
                    values.spend(batches[-1].nbytes)
        if (met := sum(batch.num_rows for batch in batches)) != file.footer.rows:
            raise ValueError(f"its footer counts {file.footer.rows} rows, {met} were met")
        return pl.DataFrame(pa.Table.from_batches(batches, plain))
    except (pl.exceptions.PolarsError, pa.ArrowException, OSError, ValueError, LookupError, BombError) as error:
        raise DataError(f"{path} is no readable Parquet file ({error}); write it again") from error


def _json_lines(path: Path, wanted: Sequence[str], required: frozenset[str]) -> pl.DataFrame:
    columns: dict[str, list[str | None]] = {name: [] for name in wanted}
    seen: set[str] = set()
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        record = parse_json(line, f"{path}, line {number}")
        if not isinstance(record, dict):
            raise DataError(f"{path}, line {number}: an object is needed, not a {type(record).__name__}")
        seen.update(record)
        for name, values in columns.items():
            value = record.get(name)
            if isinstance(value, list | dict):
                raise DataError(f"{path}, line {number}: {name} is a {type(value).__name__}; one plain value is needed")
            text = value if value is None or isinstance(value, str) else json.dumps(value)
            values.append(None if text is None else whole_text(text, f"{path}, line {number}: {name}"))
    frame = pl.DataFrame({name: columns[name] for name in wanted if name in seen}, schema_overrides=None)
    frame = frame.select(pl.all().cast(pl.Utf8))
    missing = [name for name in wanted if name in required and name not in seen]
    if missing:
        raise ConfigError(
            f"{path} has no key {', '.join(map(repr, missing))}; its keys are {', '.join(map(repr, sorted(seen)))}: "
            "correct the profile's column name or the format"
        )
    return frame


def _read_bytes(path: Path) -> bytes:
    require_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check its permissions") from error


def require_file(path: Path) -> None:
    """Raises ConfigError where there is no such file."""
    if not path.is_file():
        raise ConfigError(
            f"{path} is no file; give the path of the labelled file (relative to the profile), or take its entry out"
        )
