from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curation_pipeline.corpus import streams
from curation_pipeline.corpus.ingest import Ingested, ingest
from curation_pipeline.corpus.readers import read_csv, read_jsonl, read_parquet, reader_for
from curation_pipeline.corpus.settings import FolderSource
from curation_pipeline.corpus.streams import Failure

TEXTS = ["plain words", 'quotes " and, commas', "two\nlines", "caf\u00e9 \u4e2d\u6587", "x" * 5000, "\U0001f600"]


def records(texts: list[str]) -> list[dict[str, str]]:
    return [{"text": text, "label": str(i)} for i, text in enumerate(texts)]


def jsonl(rows: list[dict[str, str]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=i % 2 == 0) + "\n" for i, row in enumerate(rows)).encode()


def comma(rows: list[dict[str, str]], dialect: str = "excel") -> bytes:
    target = io.StringIO(newline="")
    writer = csv.DictWriter(target, ["text", "label"], dialect=dialect)
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue().encode()


def ingest_file(folder: Path, name: str, raw: bytes) -> Ingested:
    for old in folder.iterdir():
        old.unlink()
    (folder / name).write_bytes(raw)
    done = ingest(FolderSource(name="s", path=folder), "all", folder)
    counts = done.counts
    assert counts.read == counts.kept + counts.duplicate + counts.quarantined + counts.excluded
    assert counts.quarantined == done.quarantine.height
    assert counts.kept + counts.duplicate == done.documents.height
    return done


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("a.jsonl", jsonl(records(TEXTS))),
        ("a.ndjson", b"\xef\xbb\xbf" + jsonl(records(TEXTS)).rstrip()),
        ("a.jsonl.gz", gzip.compress(jsonl(records(TEXTS)))),
        ("a.jsonl.gz", gzip.compress(jsonl(records(TEXTS[:3]))) + gzip.compress(jsonl(records(TEXTS)[3:])) + b"\0" * 9),
        ("a.jsonl.zst", zstandard.compress(jsonl(records(TEXTS)))),
        ("a.jsonl.zst", zstandard.compress(jsonl(records(TEXTS[:3]))) + zstandard.compress(jsonl(records(TEXTS)[3:]))),
        ("a.csv", comma(records(TEXTS))),
        ("a.csv", b"\xef\xbb\xbf" + comma(records(TEXTS), "unix")),
        ("a.csv.gz", gzip.compress(comma(records(TEXTS)))),
        ("a.tsv", comma(records(TEXTS), "excel-tab")),
    ],
)
def test_round_trip(tmp_path: Path, name: str, raw: bytes) -> None:
    done = ingest_file(tmp_path, name, raw)
    assert done.documents["text"].to_list() == TEXTS
    assert done.documents["position"].to_list() == list(range(len(TEXTS)))
    assert [json.loads(value)["label"] for value in done.documents["metadata"]] == [str(i) for i in range(len(TEXTS))]


def test_round_trip_with_the_command_line_tools(tmp_path: Path) -> None:
    plain = tmp_path / "in.txt"
    plain.write_bytes(jsonl(records(TEXTS)))
    packed = subprocess.run(["gzip", "-c", str(plain)], capture_output=True, check=True).stdout
    plain.unlink()
    assert ingest_file(tmp_path, "a.jsonl.gz", packed).documents["text"].to_list() == TEXTS


@pytest.mark.parametrize("writer", ["pyarrow", "polars"])
def test_round_trip_parquet(tmp_path: Path, writer: str) -> None:
    rows = records(TEXTS)
    if writer == "pyarrow":
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=2)
    else:
        pl.DataFrame(rows).write_parquet(tmp_path / "a.parquet")
    assert [record for _, _, record in read_parquet(tmp_path / "a.parquet")] == rows
    done = ingest(FolderSource(name="s", path=tmp_path), "all", tmp_path)
    assert done.documents["text"].to_list() == TEXTS


def test_damaged_row_group_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"text": [f"row {i} " + "y" * 50 for i in range(30)]})
    pq.write_table(table, path, row_group_size=10, compression="gzip", use_dictionary=False)
    raw = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    raw[start : start + 40] = b"\xff" * 40
    path.write_bytes(raw)
    rows = [record for _, _, record in read_parquet(path)]
    failures = [row for row in rows if isinstance(row, Failure)]
    assert len(failures) == 1
    assert "row group 1 (10 rows)" in failures[0].reason
    assert len(rows) == 21


def test_damaged_lines_are_quarantined_with_their_place(tmp_path: Path) -> None:
    lines = [
        b'{"text": "good one"}',
        b'{"text": "broken',
        b'{"text": "caf\xe9"}',
        b"",
        b'["text"]',
        b'{"text": 5}',
        b'{"text": " "}',
        b'{"body": "elsewhere"}',
        b'{"text": "\\ud800"}',
        b"[" * 100_000,
        b'{"text": "good two", "score": NaN, "note": "\\ud800"}',
    ]
    done = ingest_file(tmp_path, "a.jsonl", b"\n".join(lines))
    assert done.documents["text"].to_list() == ["good one", "good two"]
    assert done.documents["position"].to_list() == [0, 10]
    bad = done.quarantine
    assert bad["position"].to_list() == [1, 2, 4, 5, 6, 7, 8, 9]
    assert bad["offset"].to_list() == [sum(len(line) + 1 for line in lines[:i]) for i in bad["position"].to_list()]
    for reason, part in zip(
        bad["reason"].to_list(),
        ["JSON", "UTF-8", "list", "int", "empty", "columns: body", "surrogate", "JSON"],
        strict=True,
    ):
        assert part in reason
    assert bad["excerpt"].str.len_chars().max() == 200


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_truncated_stream_keeps_the_rows_before_the_break(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    texts = [f"row {i} {i * 7919 % 104729}" for i in range(20_000)]
    raw = pack(jsonl(records(texts)))
    name = "a.jsonl.gz" if pack is gzip.compress else "a.jsonl.zst"
    done = ingest_file(tmp_path, name, raw[: len(raw) * 2 // 3])
    assert done.documents.height > 3_000
    assert done.documents["text"].to_list() == texts[: done.documents.height]
    assert done.quarantine["reason"].str.contains("breaks off here: truncated").to_list() == [True]


def test_damaged_gzip_keeps_what_stands_before_the_damage(tmp_path: Path) -> None:
    texts = [f"row {i} {i * 7919 % 104729}" for i in range(5_000)]
    raw = bytearray(gzip.compress(jsonl(records(texts))))
    raw[-8] ^= 1  # the checksum: all rows can be read, and are, but the damage is told
    done = ingest_file(tmp_path, "a.jsonl.gz", bytes(raw))
    assert done.documents.height == 5_000
    assert done.quarantine["reason"].str.contains("damaged gzip").to_list() == [True]


def test_overlong_line_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_LINE_BYTES", 1_000)
    monkeypatch.setattr(streams, "CHUNK_BYTES", 300)
    raw = jsonl(records(["before", "z" * 5_000, "after"]))
    (tmp_path / "a.jsonl").write_bytes(raw)
    rows = list(read_jsonl(tmp_path / "a.jsonl"))
    assert [position for position, _, _ in rows] == [0, 1, 2]
    assert isinstance(rows[1][2], Failure)
    assert rows[2][1] == raw.index(b'{"text": "after"')
    assert rows[2][2] == {"text": "after", "label": "2"}


def test_stray_quotation_mark_costs_only_its_row(tmp_path: Path) -> None:
    raw = b'text,label\nfirst,0\n"second,1\nthird,2\n"two\nlines",3\nfifth,4\n'
    done = ingest_file(tmp_path, "a.csv", raw)
    assert done.documents["text"].to_list() == ["first", "third", "two\nlines", "fifth"]
    assert done.quarantine["excerpt"].to_list() == ['"second,1\n']
    assert done.quarantine["offset"].to_list() == [raw.index(b'"second')]


def test_csv_rows_that_do_not_fit_the_header(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text,label\none\ntwo,1,extra\ncaf\xe9,2\nfine,3\n\n")
    rows = [record for _, _, record in read_csv(tmp_path / "a.csv")]
    assert [isinstance(row, Failure) for row in rows] == [True, True, True, False]
    assert rows[3] == {"text": "fine", "label": "3"}


FILES = {
    "a.jsonl": jsonl(records(TEXTS[:4] * 3)),
    "a.jsonl.gz": gzip.compress(jsonl(records(TEXTS[:4] * 3)), mtime=0),
    "a.jsonl.zst": zstandard.compress(jsonl(records(TEXTS[:4] * 3))),
    "a.csv": comma(records(TEXTS[:4] * 3)),
    "a.csv.gz": gzip.compress(comma(records(TEXTS[:4] * 3)), mtime=0),
}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(FILES)),
    cuts=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=4), st.integers(0, 3)), max_size=4),
    keep=st.floats(0, 1),
)
def test_no_corruption_raises_and_counts_add_up(
    tmp_path: Path, name: str, cuts: list[tuple[float, bytes, int]], keep: float
) -> None:
    raw = bytearray(FILES[name])
    for place, new, removed in cuts:
        at = int(place * len(raw))
        raw[at : at + removed] = new
    if len(cuts) % 2:
        raw = raw[: int(keep * len(raw))]
    done = ingest_file(tmp_path, name, bytes(raw))
    if not cuts:
        assert done.counts.read == 12


def test_reader_is_chosen_by_name() -> None:
    assert reader_for(Path("A.JSONL.GZ")) is read_jsonl
    assert reader_for(Path("a.pq")) is read_parquet
    assert reader_for(Path("notes.txt")) is None
