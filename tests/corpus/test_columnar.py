"""Values of Parquet and Arrow columns that Python, or nobody, can hold: each costs its row or its field, no more."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation_pipeline.corpus import columnar
from curation_pipeline.corpus.rows import Batch
from tests.corpus.formats import read, settings

DATED = settings(created_at_column="when")


def write(columns: dict[str, pa.Array], suffix: str = ".arrow") -> bytes:
    target = io.BytesIO()
    table = pa.table(columns)
    if suffix == ".parquet":
        pq.write_table(table, target)
    else:
        with pa.ipc.new_file(target, table.schema) as writer:
            writer.write_table(table)
    return target.getvalue()


def dated(values: pa.Array, suffix: str) -> Batch:
    texts = [f"text {i}" for i in range(len(values))]
    return read(f"a{suffix}", write({"text": pa.array(texts), "when": values}, suffix), DATED)


@pytest.mark.parametrize("suffix", [".arrow", ".parquet"])
@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        (pa.timestamp("ms"), 253402300800000, "10000-01-01 00:00:00.000"),
        (pa.timestamp("us", "UTC"), 253402300800000000, "10000-01-01 00:00:00.000000+00:00"),
        (pa.timestamp("ms", "Mars/Base"), 0, "1970-01-01 00:00:00.000+00:00"),
        (pa.timestamp("ms", "Europe/Paris"), 0, "1970-01-01 01:00:00+01:00"),
        (pa.timestamp("ms"), -(2**63), None),
        (pa.timestamp("ns"), -(2**63), None),
        (pa.date32(), 2**31 - 1, "5881580-07-11"),
    ],
)
def test_a_time_that_python_cannot_hold_is_text_and_costs_nothing(
    kind: pa.DataType, value: int, shown: str | None, suffix: str
) -> None:
    stored = pa.int32() if kind == pa.date32() else pa.int64()
    found = dated(pa.array([0, value, None], stored).cast(kind), suffix)
    assert found.rows["created_at"].to_list()[1:] == [shown, None]
    assert found.rows["created_at"][0].startswith("1970-01-01")
    assert found.failures.is_empty()


def test_old_times_of_spark_do_not_wrap_around() -> None:
    target = io.BytesIO()
    ends = pa.array([253402214400000000, -62135596800000000], pa.timestamp("us"))
    pq.write_table(pa.table({"text": ["a", "b"], "when": ends}), target, use_deprecated_int96_timestamps=True)
    found = read("a.parquet", target.getvalue(), DATED)
    assert found.rows["created_at"].to_list() == ["9999-12-31 00:00:00", "0001-01-01 00:00:00"]


def test_values_that_are_none_cost_their_row() -> None:
    bad_text = pa.array([b"good", b"caf\xe9", b"also"], pa.binary())
    for kind, stored in ((pa.string(), pa.binary()), (pa.string_view(), pa.binary_view())):
        found = read("a.arrow", write({"text": bad_text.cast(stored).view(kind)}))
        assert found.rows["text"].to_list() == ["good", "also"]
        assert found.failures["reason"].to_list() == ["column 'text' is not valid UTF-8 at byte 3"]
    entries = pa.Array.from_buffers(pa.string(), 3, bad_text.buffers())
    coded = pa.DictionaryArray.from_arrays(pa.array([0, 1, 7, None, 2, -1], pa.int8()), entries, safe=False)
    found = read("a.arrow", write({"text": coded}))
    assert found.rows.select("position", "text").rows() == [(0, "good"), (4, "also")]
    assert found.failures.select("position", "reason").rows() == [
        (1, "column 'text' is not valid UTF-8 at byte 3"),
        (2, "column 'text' holds index 7, outside of its dictionary of 3 values"),
        (3, "no text in column 'text' (columns: text)"),
        (5, "column 'text' holds index -1, outside of its dictionary of 3 values"),
    ]
    found = dated(pa.array([0, -5, 1], pa.int32()).cast(pa.time32("s")), ".arrow")
    assert found.rows["created_at"].to_list() == ["00:00:00", "00:00:01"]
    assert found.failures["reason"].str.contains(r"column 'when' holds no readable time32\[s\]: .*-5").to_list() == [
        True
    ]


@pytest.mark.parametrize("suffix", [".arrow", ".parquet"])
def test_a_named_column_of_other_kinds(suffix: str) -> None:
    found = dated(pa.array([b"2024-01-01", b"\xff", None]), suffix)
    assert found.rows["created_at"].to_list() == ["2024-01-01", "\\xff", None]
    found = dated(pa.array([["2024"], [], None]), suffix)
    assert found.rows["created_at"].to_list() == [None] * 3
    assert "column 'when' holds list<" in found.failures["reason"][0]
    assert found.failures["reason"][0].endswith("no plain value: it is left empty")
    assert (found.declared, found.accounted) == (3, 3) or found.failures.height == 1


@pytest.mark.parametrize("suffix", [".arrow", ".parquet"])
def test_windows_of_rows_do_not_show(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{'long ' * (i % 7 * 50)}{i % 13}" for i in range(500)]
    columns = {
        "text": pa.array(texts),
        "coded": pa.array(texts).dictionary_encode(),
        "n": pa.array(np.arange(500) / 7, mask=np.arange(500) % 5 == 0),
    }
    raw = write(columns, suffix)
    options = settings(max_document_bytes=2_500)
    whole = read(f"a{suffix}", raw, options)
    assert 0 < whole.failures.height < 500
    assert whole.failures["reason"].str.contains("a row of .* bytes; max_document_bytes is 2500").all()
    monkeypatch.setattr(columnar, "WINDOW_BYTES", 3_000)
    monkeypatch.setattr(columnar, "SLICE_ROWS", 64)
    small = read(f"a{suffix}", raw, options)
    assert whole.rows.equals(small.rows)
    assert whole.failures.equals(small.failures)


def test_a_file_that_names_the_text_twice_gives_no_text() -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    target, stream = io.BytesIO(), io.BytesIO()
    pq.write_table(table, target)
    with pa.ipc.new_file(stream, table.schema) as writer:
        writer.write_table(table)
    for name, raw in (("a.parquet", target.getvalue()), ("a.arrow", stream.getvalue())):
        found = read(name, raw)
        assert found.rows.is_empty()
        assert "more than once" in found.failures["reason"][0]
