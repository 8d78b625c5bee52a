from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import subprocess
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from curation_pipeline.corpus import streams
from curation_pipeline.corpus.lines import Block
from curation_pipeline.corpus.readers import delimited, plain, reader_for
from curation_pipeline.corpus.readers import json as json_reader
from curation_pipeline.corpus.rows import RowBuilder
from curation_pipeline.corpus.settings import FolderSource
from curation_pipeline.errors import DataError
from tests.corpus.formats import Ingested, ingest, read, settings

TEXTS = ["plain words", 'quotes " and, commas', "two\nlines", "caf\u00e9 \u4e2d\u6587", "x" * 5000, "\U0001f600"]


def records(texts: list[str]) -> list[dict[str, str]]:
    return [{"text": text, "label": str(i)} for i, text in enumerate(texts)]


def lines(rows: list[dict[str, str]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=i % 2 == 0) + "\n" for i, row in enumerate(rows)).encode()


def comma(rows: list[dict[str, str]], dialect: str = "excel") -> bytes:
    target = io.StringIO(newline="")
    writer = csv.DictWriter(target, ["text", "label"], dialect=dialect)
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue().encode()


def columns(rows: list[dict[str, str]]) -> bytes:
    target = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), target)
    return target.getvalue()


def ingest_file(folder: Path, name: str, raw: bytes, **settings: object) -> Ingested:
    for old in folder.iterdir():
        old.unlink()
    (folder / name).write_bytes(raw)
    done = ingest(FolderSource.model_validate({"name": "s", "path": folder, **settings}), "all", folder)
    counts = done.counts
    assert counts.read == counts.kept + counts.duplicate + counts.quarantined + counts.excluded
    assert counts.quarantined == done.quarantine.height
    assert counts.kept + counts.duplicate == done.documents.height
    return done


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("a.jsonl", lines(records(TEXTS))),
        ("a.ndjson", b"\xef\xbb\xbf" + lines(records(TEXTS)).rstrip()),
        ("a.jsonl.gz", gzip.compress(lines(records(TEXTS)))),
        ("a.jsonl.gz", gzip.compress(lines(records(TEXTS[:3]))) + gzip.compress(lines(records(TEXTS)[3:])) + b"\0" * 9),
        ("a.jsonl.zst", zstandard.compress(lines(records(TEXTS)))),
        ("a.jsonl.zst", zstandard.compress(lines(records(TEXTS[:3]))) + zstandard.compress(lines(records(TEXTS)[3:]))),
        ("a.jl", lines(records(TEXTS))),
        ("a.NDJSON.BZ2", bz2.compress(lines(records(TEXTS[:3]))) + bz2.compress(lines(records(TEXTS)[3:]))),
        ("a.jsonl.xz", lzma.compress(lines(records(TEXTS[:3]))) + b"\0" * 4 + lzma.compress(lines(records(TEXTS)[3:]))),
        ("a.csv.xz", lzma.compress(comma(records(TEXTS)))),
        ("a.csv", comma(records(TEXTS))),
        ("a.csv", b"\xef\xbb\xbf" + comma(records(TEXTS), "unix")),
        ("a.csv.gz", gzip.compress(comma(records(TEXTS)))),
        ("a.tsv", comma(records(TEXTS), "excel-tab")),
        ("a.parquet.gz", gzip.compress(columns(records(TEXTS)))),
        ("a.PARQUET.zst", zstandard.compress(columns(records(TEXTS)))),
    ],
)
def test_round_trip(tmp_path: Path, name: str, raw: bytes) -> None:
    done = ingest_file(tmp_path, name, raw)
    assert done.documents["text"].to_list() == TEXTS
    assert done.documents["position"].to_list() == list(range(len(TEXTS)))
    assert [json.loads(value)["label"] for value in done.documents["metadata"]] == [str(i) for i in range(len(TEXTS))]


def test_round_trip_with_the_command_line_tools(tmp_path: Path) -> None:
    plain = tmp_path / "in.txt"
    plain.write_bytes(lines(records(TEXTS)))
    packed = subprocess.run(["gzip", "-c", str(plain)], capture_output=True, check=True).stdout
    plain.unlink()
    assert ingest_file(tmp_path, "a.jsonl.gz", packed).documents["text"].to_list() == TEXTS


@pytest.mark.parametrize("writer", ["pyarrow", "polars", "dictionary", "large", "v2"])
def test_round_trip_parquet(tmp_path: Path, writer: str) -> None:
    path, table = tmp_path / "a.parquet", pa.Table.from_pylist(records(TEXTS))
    match writer:
        case "polars":
            pl.DataFrame(records(TEXTS)).write_parquet(path)
        case "dictionary":
            pq.write_table(table.set_column(0, "text", table["text"].dictionary_encode()), path)
        case "large":
            pq.write_table(table.cast(pa.schema({"text": pa.large_string(), "label": pa.large_string()})), path)
        case "v2":
            encodings = {"text": "DELTA_BYTE_ARRAY", "label": "DELTA_LENGTH_BYTE_ARRAY"}
            pq.write_table(table, path, use_dictionary=False, column_encoding=encodings, data_page_version="2.0")
        case _:
            pq.write_table(table, path, row_group_size=2)
    done = ingest(FolderSource(name="s", path=tmp_path), "all", tmp_path)
    assert done.documents["text"].to_list() == TEXTS
    assert [json.loads(value)["label"] for value in done.documents["metadata"]] == [str(i) for i in range(len(TEXTS))]


def test_parquet_of_other_types(tmp_path: Path) -> None:
    table = pa.table(
        {"text": ["a text", None], "n": [1, 2], "list": [[1], [2]], "when": pa.array([0, 1], pa.timestamp("s"))}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    done = ingest(FolderSource(name="s", path=tmp_path, created_at_column="when"), "all", tmp_path)
    assert done.documents.select("text", "created_at", "metadata").row(0) == (
        "a text",
        "1970-01-01 00:00:00",
        '{"n":1}',
    )
    assert done.quarantine["reason"].to_list() == ["no text in column 'text' (columns: text, n, when)"]
    pq.write_table(pa.table({"text": [[1], [2]]}), tmp_path / "a.parquet")
    done = ingest(FolderSource(name="s", path=tmp_path), "all", tmp_path)
    assert done.quarantine["reason"].to_list() == ["column 'text' holds list<element: int64>, not text"] * 2


def test_invalid_utf8_in_a_column_costs_its_rows(tmp_path: Path) -> None:
    raw = pa.array([b"good", b"caf\xe9", b"also good"])
    text = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    with (
        pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, pa.schema({"text": pa.string()})) as out,
    ):
        out.write_batch(pa.record_batch([text], names=["text"]))
    done = ingest(FolderSource(name="s", path=tmp_path), "all", tmp_path)
    assert done.documents["text"].to_list() == ["good", "also good"]
    assert done.quarantine.select("position", "reason").rows() == [(1, "column 'text' is not valid UTF-8 at byte 3")]


def test_damaged_row_group_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"text": [f"row {i} " + "y" * 50 for i in range(30)]})
    pq.write_table(table, path, row_group_size=10, compression="gzip", use_dictionary=False)
    raw = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    raw[start : start + 40] = b"\xff" * 40
    found = read("a.parquet", bytes(raw))
    assert found.rows["position"].to_list() == [*range(10), *range(20, 30)]
    assert found.failures["reason"].str.contains("row group 1 (10 rows)", literal=True).to_list() == [True]


def test_damaged_lines_are_quarantined_with_their_place(tmp_path: Path) -> None:
    raw = [
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
    done = ingest_file(tmp_path, "a.jsonl", b"\n".join(raw))
    assert done.documents["text"].to_list() == ["good one", "good two"]
    assert done.documents["position"].to_list() == [0, 10]
    bad = done.quarantine
    assert bad["position"].to_list() == [1, 2, 4, 5, 6, 7, 8, 9]
    assert bad["offset"].to_list() == [sum(len(line) + 1 for line in raw[:i]) for i in bad["position"].to_list()]
    wanted = ["JSON", "UTF-8", "list", "int", "empty", "columns: body", "surrogate", "JSON"]
    for reason, part in zip(bad["reason"].to_list(), wanted, strict=True):
        assert part in reason
    assert bad["excerpt"].str.len_chars().max() == 200


def test_a_record_of_brackets_is_not_taken_apart(tmp_path: Path) -> None:
    bracket = b'{"text": "all brackets", "x": [' + b"[]," * 2_100_000 + b"1]}"
    words = b'{"text": "' + b"[]," * 2_100_000 + b'"}'
    tracemalloc.start()
    done = ingest_file(tmp_path, "a.jsonl.zst", zstandard.compress(b"\n".join([bracket, words, b'{"text": "after"}'])))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert done.documents["position"].to_list() == [1, 2]
    assert done.quarantine["reason"].str.contains("a record of 42.* values").to_list() == [True]
    assert peak < 130e6  # not a list for each pair


def test_a_named_field_that_nests_too_deep_costs_its_row() -> None:
    raw = [b'{"text": "deep", "url": ' + b"[" * 1_000 + b"]" * 1_000 + b"}", b'{"text": "flat", "url": ["a"]}']
    found = read("a.jsonl", b"\n".join(raw), settings(url_column="url"))
    assert found.rows.select("text", "url").rows() == [("flat", "['a']")]
    assert found.failures["reason"].str.contains("'url'.* nests too deep").to_list() == [True]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(2**62, 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["text", "url", "a", "b", "\u00e9"]), JSON_VALUES, max_size=5).map(json.dumps)
        | st.text(st.characters(exclude_characters="\n"), max_size=12),
        max_size=8,
    )
)
@example(['{"text":"0","url":[-9223372036854775809]}'])
def test_the_fast_parser_and_the_strict_one_agree(rows: list[str]) -> None:
    raw = [row.encode("utf-8", "surrogatepass") for row in rows]
    fast, slow = RowBuilder(settings(url_column="url")), RowBuilder(settings(url_column="url"))
    json_reader._read_block(Block(0, 0, raw), fast)
    for index, line in enumerate(raw):
        json_reader._read_line(line, Block(0, 0, raw), index, slow)
    first, second = fast.take(), slow.take()
    assert first.rows.equals(second.rows)
    assert first.failures.equals(second.failures)


def blocks_of_bzip2(raw: bytes) -> bytes:
    return bz2.compress(raw, 1)  # blocks of 100 kB, each of which is read whole or not at all


@pytest.mark.parametrize(
    ("pack", "suffix"),
    [(gzip.compress, "gz"), (zstandard.compress, "zst"), (blocks_of_bzip2, "bz2"), (lzma.compress, "xz")],
)
def test_truncated_stream_keeps_the_rows_before_the_break(
    tmp_path: Path, pack: Callable[[bytes], bytes], suffix: str
) -> None:
    texts = [f"row {i} {i * 7919 % 104729}" for i in range(20_000)]
    raw = pack(lines(records(texts)))
    done = ingest_file(tmp_path, f"a.jsonl.{suffix}", raw[: len(raw) * 2 // 3])
    assert done.documents.height > 3_000
    assert done.documents["text"].to_list() == texts[: done.documents.height]
    assert done.quarantine["reason"].str.contains("breaks off here: truncated").to_list() == [True]


def test_damage_inside_a_frame_keeps_every_block_before_it(tmp_path: Path) -> None:
    texts = [f"row {i} {zlib.crc32(str(i).encode())}" for i in range(20_000)]
    raw = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(lines(records(texts))))
    raw[len(raw) // 2 : len(raw) // 2 + 200] = bytes(200)
    done = ingest_file(tmp_path, "a.jsonl.zst", bytes(raw))
    # A frame's blocks hold 128 KiB: all but the damaged one stand, or the damage shows at the frame's checksum only.
    assert done.documents.height > 20_000 // 2 - 2 * 128 * 1024 // 40
    assert done.quarantine["reason"].str.contains("damaged Zstandard stream").any()


def test_damaged_gzip_keeps_what_stands_before_the_damage(tmp_path: Path) -> None:
    texts = [f"row {i} {i * 7919 % 104729}" for i in range(5_000)]
    raw = bytearray(gzip.compress(lines(records(texts))))
    raw[-8] ^= 1  # the checksum: all rows can be read, and are, but the damage is told
    done = ingest_file(tmp_path, "a.jsonl.gz", bytes(raw))
    assert done.documents.height == 5_000
    assert done.quarantine["reason"].str.contains("damaged gzip").to_list() == [True]


def test_zeros_in_the_place_of_a_member_are_told_and_those_at_the_end_are_not() -> None:
    members = [gzip.compress(lines(records([text]))) for text in ("before", "lost", "after")]
    whole = b"".join(members) + bytes(512)
    assert read("a.jsonl.gz", whole).failures.is_empty()
    members[1] = bytes(len(members[1]))
    found = read("a.jsonl.gz", b"".join(members))
    assert found.rows["text"].to_list() == ["before", "after"]
    assert f"{len(members[1])} zero bytes" in found.failures["reason"][0]


def zeros(size: int) -> Iterator[bytes]:
    for _ in range(size // 2**20):
        yield bytes(2**20)


@pytest.mark.parametrize("name", ["a.txt.gz", "a.csv.zst", "a.txt.bz2", "a.txt.xz"])
def test_decompression_bomb_is_left_and_its_neighbours_kept(tmp_path: Path, name: str) -> None:
    before = b"text\nhello there\n" if ".csv" in name else b'{"text": "hello there"}\n'
    if not name.endswith(".zst"):
        machine: Any = {
            "gz": lambda: zlib.compressobj(9, wbits=31),
            "bz2": bz2.BZ2Compressor,
            "xz": lzma.LZMACompressor,
        }[name.rpartition(".")[2]]()
        raw = machine.compress(before) + b"".join(map(machine.compress, zeros(2**28))) + machine.flush()
    else:
        coder = zstandard.ZstdCompressor().compressobj()
        raw = coder.compress(before) + b"".join(map(coder.compress, zeros(2**30))) + coder.flush()
    assert len(raw) < 2**19
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / name).write_bytes(raw)
    (folder / "b.jsonl").write_bytes(b'{"text": "a sound neighbour"}\n')
    source = FolderSource(name="s", path=folder, max_document_bytes=2**20, text_split="lines")
    tracemalloc.start()
    done = ingest(source, "all", folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    texts = done.documents["text"].to_list()
    assert "a sound neighbour" in texts
    assert any("hello there" in text for text in texts)
    assert done.quarantine["reason"].str.contains("decompression bomb by max_expansion = 250").sum() == 1
    assert done.quarantine["file"].unique().to_list() == [name]
    assert peak < 100e6  # not the gigabyte


def test_a_document_of_200_mb_is_never_held(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("wb") as stream:
        stream.write(b'{"text": "before"}\n{"text": "')
        for _ in range(200):
            stream.write(b"z" * 1_000_000)
        stream.write(b'"}\n{"text": "after"}\n')
    tracemalloc.start()
    done = ingest(FolderSource(name="s", path=tmp_path), "all", tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert done.documents["text"].to_list() == ["before", "after"]
    assert done.quarantine.select("position", "offset").rows() == [(1, 19)]
    assert "max_document_bytes" in done.quarantine["reason"][0]
    assert peak < 120e6


def test_one_long_value_many_times_is_not_unpacked_whole(tmp_path: Path) -> None:
    coded = pa.DictionaryArray.from_arrays(pa.array([0] * 2_000, pa.int32()), pa.array(["w " * 500_000]))
    pq.write_table(pa.table({"text": coded}), tmp_path / "a.parquet")
    source = FolderSource(name="s", path=tmp_path, max_document_bytes=100_000)
    tracemalloc.start()
    done = ingest(source, "all", tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert done.counts.quarantined == 2_000
    assert peak < 100e6
    assert pa.default_memory_pool().max_memory() < 1e9


@pytest.mark.parametrize("chunk", [1, 7, 300])
def test_overlong_line_costs_only_itself(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(streams, "CHUNK_BYTES", chunk)
    raw = lines(records(["before", "z" * 5_000, "after", "y" * 990]))
    found = read("a.jsonl", raw, settings(max_document_bytes=1_000))
    assert found.rows["text"].to_list() == ["before", "after"]
    assert found.rows["position"].to_list() == [0, 2]
    assert found.failures["position"].to_list() == [1, 3]
    assert found.failures["offset"].to_list() == [raw.index(b'{"text": "zz'), raw.index(b'{"text": "yy')]


def test_stray_quotation_mark_costs_only_its_row(tmp_path: Path) -> None:
    raw = b'text,label\nfirst,0\n"second,1\nthird,2\n"two\nlines",3\nfifth,4\n'
    done = ingest_file(tmp_path, "a.csv", raw)
    assert done.documents["text"].to_list() == ["first", "third", "two\nlines", "fifth"]
    assert done.quarantine["excerpt"].to_list() == ['"second,1\n']
    assert done.quarantine["offset"].to_list() == [raw.index(b'"second')]


def test_many_stray_quotation_marks_cost_neither_rows_nor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "FREE_REREAD", 100_000)
    rows = [f'"stray {i},{i}' if i % 2 else f"sound {i},{i}" for i in range(3_000)]
    found = read("a.csv", ("text,label\n" + "\n".join(rows) + "\n").encode())
    assert found.rows["text"].to_list() == [f"sound {i}" for i in range(0, 3_000, 2)]
    assert found.failures.height == 1_500


def test_csv_rows_that_do_not_fit_the_header() -> None:
    found = read("a.csv", b'text,label\none\ntwo,1,extra\ncaf\xe9,2\nfine,3\n\n"loose" quotes,4\n')
    assert found.rows["text"].to_list() == ["fine"]
    assert found.rows["position"].to_list() == [3]
    assert found.failures["position"].to_list() == [0, 1, 2, 4]


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ({"text_split": "file"}, ["a b\nc\n\nd\n---\ne"]),
        ({"text_split": "lines"}, ["a b", "c", "d", "---", "e"]),
        ({"text_split": "paragraphs"}, ["a b\nc", "d\n---\ne"]),
        ({"text_split": "regex", "text_separator": r"\n-+\n"}, ["a b\nc\n\nd", "e"]),
    ],
)
@pytest.mark.parametrize("pack", ["", ".gz", ".zst"])
def test_plain_text_is_parted_by_rule(tmp_path: Path, rule: dict[str, str], wanted: list[str], pack: str) -> None:
    raw = b"\xef\xbb\xbfa b\nc\n\nd\n---\ne\n"
    packed = {"": raw, ".gz": gzip.compress(raw), ".zst": zstandard.compress(raw)}[pack]
    done = ingest_file(tmp_path, f"a.txt{pack}", packed, **rule)
    assert done.documents["text"].to_list() == wanted
    assert done.quarantine.is_empty()


def test_a_separator_that_tries_every_way_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "MATCH_SECONDS", 0.2)
    (tmp_path / "a.txt").write_text("a" * 5_000 + "c b")
    for separator in (r"(a+)+b", r"(?:a|a)*b", r"(a|aa)+b"):
        source = FolderSource(name="s", path=tmp_path, text_split="regex", text_separator=separator)
        with pytest.raises(DataError, match=r"source 's', file 'a.txt': text_separator takes more than") as failed:
            ingest(source, "all", tmp_path)
        assert separator in str(failed.value)


def test_an_xz_stream_that_needs_more_memory_than_there_may_be_is_left(tmp_path: Path) -> None:
    raw = bytearray(lzma.compress(b"text", check=lzma.CHECK_NONE))
    raw[16] = 40  # a dictionary of 4 GiB
    raw[20:24] = zlib.crc32(raw[12:20]).to_bytes(4, "little")
    done = ingest_file(tmp_path, "a.txt.xz", bytes(raw), text_split="file")
    assert done.quarantine["reason"].str.contains("Memory usage limit").to_list() == [True]


@given(
    st.lists(st.text("ab\u00e9 \n", max_size=30), max_size=20),
    st.sampled_from([3, 10, 1_000]),
    st.sampled_from([20, 100, 10_000]),
)
def test_pieces_of_a_text_do_not_depend_on_the_size_of_reads(parts: list[str], chunk: int, most: int) -> None:
    raw = "==\n".join(parts).encode()
    options = settings(text_split="regex", text_separator="==\n", max_document_bytes=most)
    found = read("a.txt", raw, options)
    wanted = [part.strip() for part in parts if part.strip() and len(part.strip().encode()) <= most]
    short = [text for text in found.rows["text"].to_list() if len(text.encode()) <= most]
    assert short == wanted
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "CHUNK_BYTES", chunk)
        again = read("a.txt", raw, options)
    assert again.rows["text"].to_list() == short


def test_reader_is_chosen_by_name() -> None:
    assert reader_for("A.JSONL.GZ") is reader_for("b.ndjson") is not None
    assert reader_for("a.pq") is reader_for("a.parquet") is not None
    assert reader_for("CC-MAIN.warc.wet.gz") is reader_for("x.warc") is not None
    assert reader_for("a.tsv/b.json.Bz2") is reader_for("c.json") is not None
    assert reader_for("x.warc.ZST") is reader_for("x.wet.xz") is reader_for("x.warc")
    assert reader_for("a.jsonl.gz.gz") is reader_for("jsonl") is reader_for("a.jsonl/b") is None
    assert reader_for("notes.txt.gz") is not None
