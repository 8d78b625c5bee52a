"""Damaged Arrow files: every batch that is lost has a failure, and the footer's count is met."""

from __future__ import annotations

import io
import re

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_pipeline.corpus.readers import reader_for
from tests.corpus.formats import settings as options

ROWS = [f"batch {i // 3} row {i}" for i in range(9)]


def arrow(kind: str, coded: bool = False, **options: object) -> bytes:
    target = io.BytesIO()
    texts = pa.array(ROWS)
    table = pa.table({"text": texts.dictionary_encode() if coded else texts})
    make = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
    with make(target, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in table.to_batches(max_chunksize=3):
            writer.write_batch(batch)
    return target.getvalue()


def outcome(raw: bytes) -> tuple[list[str], list[str]]:
    """Texts and reasons; the rows that the file says it has are all accounted for."""
    reader = reader_for("a.arrow")
    assert reader is not None
    batches = list(reader.batches(io.BytesIO(raw), "a.arrow", options()))
    assert sum(batch.declared for batch in batches) == sum(batch.accounted for batch in batches)
    return (
        [text for batch in batches for text in batch.rows["text"]],
        [reason for batch in batches for reason in batch.failures["reason"]],
    )


@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("kind", ["file", "stream"])
def test_a_hole_is_told_wherever_it_lies(kind: str, coded: bool) -> None:
    raw = arrow(kind, coded)
    assert outcome(raw) == (ROWS, [])
    places = [found.start() for found in re.finditer(re.escape(b"\xff" * 4), raw)]
    last, end = places[-2], places[-1]
    for at, stop in (
        (places[1], places[2]),
        (places[2], places[3]),
        (last, end),
        (last, len(raw)),
        (last + 4, last + 60),
    ):
        for fill in (b"\0", b"\xff"):
            texts, reasons = outcome(raw[:at] + fill * (stop - at) + raw[stop:])
            assert set(texts) < set(ROWS)
            assert any(re.search(r"bytes from byte \d+ on are skipped", reason) for reason in reasons)
    if not coded:
        texts, reasons = outcome(raw[: places[2]] + bytes(216) + raw[places[2] + 216 :])
        assert texts == ROWS[:3] + ROWS[6:]
        assert [f"bytes from byte {places[2]} on" in reason for reason in reasons] == [True]
    # Cut between two messages: only the footer, or the mark of the end that is missing, tells.
    for cut in (raw[:last], raw[:last] + raw[end:] if kind == "file" else raw[:last]):
        texts, reasons = outcome(cut)
        assert texts == ROWS[:6]
        assert re.search("without the mark of its end|lists 3 record batches, 2 were met", reasons[0])


@settings(max_examples=150)
@given(
    kind=st.sampled_from(["file", "stream"]),
    coded=st.booleans(),
    place=st.floats(0, 1, exclude_max=True),
    size=st.integers(1, 400),
    fill=st.sampled_from([b"\0", b"\xff", b"\x10"]),
)
def test_nothing_is_lost_in_silence(kind: str, coded: bool, place: float, size: int, fill: bytes) -> None:
    raw = arrow(kind, coded)
    at = int(place * len(raw))
    damaged = (raw[:at] + fill * size)[: len(raw)] + raw[at + size :]
    texts, reasons = outcome(damaged)
    assert len(texts) == len(ROWS) or reasons


@pytest.mark.parametrize("coded", [False, True])
def test_files_of_other_writers(coded: bool) -> None:
    for kind in ("file", "stream"):
        assert outcome(arrow(kind, coded, use_legacy_format=True)) == (ROWS, [])
    frame = pl.DataFrame({"text": pl.Series(ROWS, dtype=pl.Categorical if coded else pl.Utf8)})
    # Polars puts the dictionaries of a file behind its batches, which is not read.
    for write in (frame.write_ipc_stream,) if coded else (frame.write_ipc_stream, frame.write_ipc):
        target = io.BytesIO()
        write(target)
        assert outcome(target.getvalue()) == (ROWS, [])
    inner = pa.array(["a", "b", "a"]).dictionary_encode()
    nested = pa.table({"text": ROWS[:3], "list": pa.ListArray.from_arrays([0, 1, 1, 3], inner)})
    target = io.BytesIO()
    with pa.ipc.new_stream(target, nested.schema) as writer:
        writer.write_table(nested)
    assert outcome(target.getvalue()) == (ROWS[:3], [])
    raw = arrow("stream", coded, use_legacy_format=True)
    texts, reasons = outcome(raw[:-120] + bytes([16] * 100) + raw[-20:])
    assert texts == ROWS[:6]
    assert "bytes from byte" in reasons[0]
