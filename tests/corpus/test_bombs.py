"""Files of a few bytes that claim gigabytes: refused before they are unpacked, with a reason and every row told."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.parquet_by_hand import (
    BYTE_ARRAY,
    DELTA_LENGTHS,
    DELTA_PREFIXES,
    INT64,
    Column,
    deltas,
    page,
    parquet,
    plain,
    same_code,
    varint,
    zigzag,
)

MANY = 10**9
LONG = b"w" * 2**20


def dictionary(rows: int, entry: bytes = LONG, name: bytes = b"text") -> Column:
    return Column([page(plain(entry), 1, dictionary=True), same_code(rows)], name)


def prefixes(rows: int) -> bytes:
    """Each value repeats the whole of the one before."""
    return page(deltas(0, len(LONG), rows) + deltas(len(LONG), 0, rows) + LONG, rows, DELTA_PREFIXES)


def arrow(columns: dict[str, pa.Array], compression: str | None = "zstd") -> bytes:
    target = io.BytesIO()
    batch = pa.record_batch(columns)
    with pa.ipc.new_stream(target, batch.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_batch(batch)
    return target.getvalue()


def zeros(size: int) -> pa.Array:
    ends = np.array([0, size], np.int64).tobytes()
    return pa.Array.from_buffers(pa.large_string(), 1, [None, pa.py_buffer(ends), pa.py_buffer(bytes(size))])


def views(rows: int) -> pa.Array:
    """Every value is a view of the same megabyte."""
    each = np.array([len(LONG), int.from_bytes(LONG[:4], "little"), 0, 0], np.int32)
    return pa.Array.from_buffers(pa.string_view(), rows, [None, pa.py_buffer(np.tile(each, rows)), pa.py_buffer(LONG)])


def codes(rows: int, values: pa.Array) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), values)


def false_length() -> bytes:
    raw = arrow({"text": pa.array(["hello world " * 20] * 50)})
    at = raw.index(b"\x28\xb5\x2f\xfd")
    return raw[: at - 8] + (2**33).to_bytes(8, "little") + raw[at:]


BOMB = "a decompression bomb by max_expansion = 250"
CLAIMS = "it claims more lengths than values"
BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    # One page of run lengths stands for a billion rows.
    "runs.parquet": (lambda: parquet([dictionary(MANY, b"w" * 186)], MANY), BOMB),
    "entry.parquet": (lambda: parquet([dictionary(10**6)], 10**6), BOMB),
    "metadata.parquet": (lambda: parquet([dictionary(10**6, name=b"c%d" % i) for i in range(100)], 10**6), BOMB),
    "page.parquet": (lambda: parquet([Column([page(plain(bytes(2**29)), 1)], coded=False)], 1), BOMB),
    "dictionary.parquet": (lambda: parquet([dictionary(10, bytes(2**29))], 10), BOMB),
    "entries.parquet": (
        lambda: parquet([Column([page(bytes(2**26), 2**24, dictionary=True), same_code(10)])], 10),
        BOMB,
    ),
    "prefixes.parquet": (lambda: parquet([Column([prefixes(8_192)], coded=False)], 8_192), BOMB),
    "lengths.parquet": (
        lambda: parquet(
            [
                Column(
                    [
                        page(
                            varint(2**30) + varint(1) + varint(2**31 - 129) + bytes(1) + (zigzag(0) + bytes(1)) * 2,
                            10,
                            DELTA_LENGTHS,
                        )
                    ],
                    coded=False,
                )
            ],
            10,
        ),
        CLAIMS,
    ),
    "wide.parquet": (
        lambda: parquet(
            [dictionary(10**6, b"w")]
            + [Column([page(bytes(8), 1, dictionary=True), same_code(10**6)], b"c%d" % i, INT64) for i in range(2_000)],
            10**6,
        ),
        BOMB,
    ),
    "groups.parquet": (lambda: parquet([dictionary(10, b"w" * 2**25)], 10, groups=500), BOMB),
    "page.arrow": (lambda: arrow({"text": zeros(2**29)}), BOMB),
    "numbers.arrow": (lambda: arrow({"n": pa.array(np.zeros(2**26, np.int64))}), BOMB),
    "dictionary.arrow": (lambda: arrow({"text": codes(10, zeros(2**29))}), BOMB),
    "codes.arrow": (lambda: arrow({"text": codes(100_000, pa.array([LONG.decode()]))}), BOMB),
    "views.arrow": (lambda: arrow({"text": views(100_000)}), BOMB),
    "nulls.arrow": (lambda: arrow({"text": pa.nulls(MANY)}), BOMB),
    "runs.arrow": (
        lambda: arrow({"text": pa.RunEndEncodedArray.from_arrays(pa.array([MANY], pa.int32()), pa.array(["w"]))}),
        BOMB,
    ),
    "length.arrow": (false_length, BOMB),
}
READ = """
import json, sys, pyarrow.parquet, pyarrow.compute
from pathlib import Path
from curation_pipeline.corpus.readers import reader_for
from curation_pipeline.corpus.sources.folder import FolderSource

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) // 1024

before = peak()
for name in sys.argv[1:]:
    with open(name, "rb") as stream:
        batches = list(reader_for(name).batches(stream, name, FolderSource(name="s", path="")))
    reasons = [reason for batch in batches for reason in batch.failures["reason"]]
    counts = [sum(getattr(batch, field) for batch in batches) for field in ("declared", "accounted")]
    print(json.dumps([Path(name).name, reasons[:1] + reasons[-1:], counts, peak() - before]))
    del batches
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux's /proc")
def test_bombs_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    for name, (make, _) in BOMBS.items():
        (tmp_path / name).write_bytes(make())
        assert (tmp_path / name).stat().st_size < 300_000, name
    files = [str(tmp_path / name) for name in BOMBS]
    said = subprocess.run([sys.executable, "-c", READ, *files], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    results = [json.loads(line) for line in said.stdout.splitlines()]
    assert [name for name, *_ in results] == list(BOMBS)
    for name, reasons, (declared, accounted), peak in results:
        assert all(BOMBS[name][1] in reason for reason in reasons), (name, reasons)
        assert reasons, name
        assert declared == accounted, name
        # The free allowance of 64 MiB, packed, decoded and as rows, and what the allocator keeps of earlier files; the
        # bombs are of gigabytes.
        assert peak < 1_000, (name, peak)


def test_a_deep_schema_is_refused_where_pyarrow_would_end_the_process() -> None:
    from tests.corpus.formats import read
    from tests.parquet_by_hand import STRUCT, Struct

    group = Struct().i32((3, 1)).texts(4, b"g").i32((5, 1)).end()
    schema = [group] * 50_000 + [Struct().i32((1, BYTE_ARRAY), (3, 0)).texts(4, b"x").end()]
    footer = Struct().i32((1, 1)).many(2, STRUCT, schema).i64(3, 0).many(4, STRUCT, []).end()
    found = read("a.parquet", b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    assert "nests deeper than 100" in found.failures["reason"][0]
