"""Requests to use a document, a page or a site no more."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from curation_pipeline.errors import DataError
from curation_pipeline.stages.tombstones import SCHEMA, buried, read_tombstones

DOCUMENTS = pl.DataFrame(
    {
        "doc_id": ["a", "b", "c", "d", "e", "f"],
        "url": [
            "https://news.example.org/1", "http://user@Example.org:80/2?q", "https://notexample.org/3",
            "https://other.net/4", None, "https://other.net/5",
        ],
    }
)  # fmt: skip


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_ids_pages_and_sites_with_all_below_them(tmp_path: Path, suffix: str) -> None:
    requests = pl.DataFrame(
        {
            "doc_id": ["e", None, None],
            "url": [None, "https://other.net/4", None],
            "domain": [None, None, "Example.ORG"],
            "reason": ["erasure", None, "licence"],
            "request_id": ["r1", None, "r3"],
        }
    )
    path = tmp_path / f"requests.{suffix}"
    requests.write_csv(path) if suffix == "csv" else requests.write_ndjson(path)
    found = dict(buried(DOCUMENTS, read_tombstones(path)).sort("doc_id").iter_rows())
    assert found == {
        "a": "licence (request r3)", "b": "licence (request r3)", "d": "no reason given", "e": "erasure (request r1)",
    }  # fmt: skip


def test_no_request_buries_nothing() -> None:
    assert buried(DOCUMENTS, pl.DataFrame(schema=SCHEMA)).is_empty()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("reason\nx\n", "none of the columns"),
        ("doc_id,url\na,https://x.org\n", r"rows \[1\] must each name exactly one"),
        ("doc_id,url\n,\n", r"rows \[1\] must each name exactly one"),
    ],
)
def test_a_wrong_file_is_one_clear_message(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "requests.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_tombstones(path)
