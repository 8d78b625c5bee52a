"""JSON files of any layout: every value is read or a failure, and no part of a value becomes a document."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.corpus import streams
from curation_pipeline.corpus.readers.json import read_json
from tests.corpus.formats import read, settings

RECORDS: list[dict[str, Any]] = [
    {"text": f'{i} }},{{ \\ "q" caf\u00e9 {{"text": 1}}\n[', "more": [{"text": "inner"}], "n": i} for i in range(20)
]
TEXTS = [record["text"] for record in RECORDS]
ROWS = [json.dumps(record, ensure_ascii=False) for record in RECORDS]
LAYOUTS = {
    "one line": json.dumps(RECORDS),
    "indented": json.dumps(RECORDS, indent=2, ensure_ascii=False),
    "at the margin": json.dumps(RECORDS, indent=0),
    "carriage returns": json.dumps(RECORDS, indent="\t").replace("\n", "\r\n"),
    "a line each": "[\n" + ",\n".join(ROWS) + "\n]\n",
    "comma first": "[" + "\n,".join(ROWS) + "]",
    "lines": "\n".join(ROWS),
    "one after the other": "\n".join(json.dumps(record, indent=1) for record in RECORDS),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("chunk", [1, 7, 300, 1 << 18])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_layouts_give_the_same_rows(monkeypatch: pytest.MonkeyPatch, layout: str, chunk: int, mark: bytes) -> None:
    monkeypatch.setattr(streams, "CHUNK_BYTES", chunk)
    found = read("a.JSON", mark + LAYOUTS[layout].encode())
    assert found.failures.is_empty()
    assert found.rows["text"].to_list() == TEXTS
    assert found.rows["position"].to_list() == list(range(len(TEXTS)))


def test_a_single_object_is_a_document_and_other_values_are_failures() -> None:
    assert read("a.json", json.dumps({"text": "one"}, indent=2).encode()).rows["text"].to_list() == ["one"]
    found = read("a.json", b'[1, "two", {"text": "three"}, null, ["four"], {"x": {"text": "inner"}}]')
    assert found.rows["text"].to_list() == ["three"]
    assert found.failures["position"].to_list() == [0, 1, 3, 4, 5]
    assert found.failures["reason"][1] == "a JSON str, not an object"
    assert "no text in column 'text' (columns: x)" in found.failures["reason"][4]
    assert list(read_json([b"[", b"]\n"], settings())) == []


@pytest.mark.parametrize("layout", ["indented", "a line each", "carriage returns", "one line"])
@pytest.mark.parametrize("broken", ['"n": 9', '"more"', '[{"text": "inner"}]'])
def test_a_value_that_is_not_valid_costs_itself(layout: str, broken: str) -> None:
    rows = [json.dumps(record, indent=2 if layout == "indented" else None) for record in RECORDS]
    at = rows[9].find(broken)
    if at < 0:
        pytest.skip("this layout parts it")
    rows[9] = rows[9][:at] + "'" + rows[9][at:]
    joined = {"one line": "[" + ", ".join(rows) + "]"}.get(layout, "[\n  " + ",\n  ".join(rows) + "\n]")
    found = read("a.json", joined.encode())
    assert found.rows["text"].to_list() == TEXTS[:9] + TEXTS[10:]
    assert found.failures["position"].to_list() == [9]


def test_a_lost_quotation_mark_costs_its_value_where_lines_tell_the_next() -> None:
    for layout in ("indented", "a line each", "carriage returns"):
        raw = LAYOUTS[layout].replace('"n": 9', 'n": 9')
        found = read("a.json", raw.encode())
        assert found.rows["text"].to_list() == TEXTS[:9] + TEXTS[10:], layout
    # On one line nothing tells: what follows is a failure as far as the brackets go, and nothing of it is guessed.
    found = read("a.json", LAYOUTS["one line"].replace('"n": 9', 'n": 9').encode())
    assert found.rows["text"].to_list()[:9] == TEXTS[:9]
    assert set(found.rows["text"].to_list()) <= set(TEXTS)
    assert found.failures.height


@pytest.mark.parametrize("chunk", [300, 1 << 18])
def test_a_value_too_long_to_hold_costs_itself(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(streams, "CHUNK_BYTES", chunk)
    for indent in (None, 1):
        raw = json.dumps([{"text": "before"}, {"text": "x" * 50_000}, {"text": "after"}], indent=indent).encode()
        found = read("a.json", raw, settings(max_document_bytes=1_000))
        assert found.rows["text"].to_list() == ["before", "after"]
        assert found.failures["reason"].str.contains("max_document_bytes (=|is) 1000").to_list() == [True]


def test_what_lies_behind_damage_is_counted() -> None:
    first, second = LAYOUTS["one line"].encode()[:900], LAYOUTS["one line"].encode()[900:]
    packed = bytearray(gzip.compress(first) + gzip.compress(second))
    packed[100:110] = bytes(10)
    found = read("a.json.gz", bytes(packed))
    assert "inner" not in found.rows["text"].to_list()
    reasons = found.failures["reason"].to_list()
    assert any("damaged gzip stream" in reason for reason in reasons)
    assert any(f"{len(second)} bytes behind damage" in reason for reason in reasons)


@given(
    st.lists(st.fixed_dictionaries({"text": st.text(min_size=1).map(lambda text: f"x{text}")}), max_size=6),
    st.sampled_from([None, 0, 2]),
    st.integers(0, 400),
)
def test_a_cut_off_array_keeps_what_stands_before(rows: list[dict[str, str]], indent: int | None, cut: int) -> None:
    raw = json.dumps(rows, indent=indent).encode()
    found = read("a.json", raw[:cut])
    texts = [row["text"] for row in rows]
    count = found.rows.height
    assert found.rows["text"].to_list() == texts[:count]
    assert (count == len(rows) and cut >= len(raw)) or found.failures.height == 1 or not raw[:cut].strip()
