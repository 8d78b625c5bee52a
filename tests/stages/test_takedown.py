"""Requests to use a document, a page or a site no more."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from curation_pipeline.errors import DataError
from curation_pipeline.stages.takedown import SCHEMA, matches, read_takedown_requests

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
    found = dict(matches(DOCUMENTS, read_takedown_requests(path)).sort("doc_id").iter_rows())
    assert found == {
        "a": "licence (request r3)", "b": "licence (request r3)", "d": "no reason given", "e": "erasure (request r1)",
    }  # fmt: skip


SITE = (
    "https://www.a\u0308pfel.example.org/p%c3%a4/?q=1#top",
    "http://shop.xn--pfel-koa.example.org:8080/",
    "ÄPFEL.example.org./x",
)


@pytest.mark.parametrize(
    "domain",
    [
        "äpfel.example.org", "xn--pfel-koa.example.org", "*.äpfel.example.org", ".XN--PFEL-KOA.example.org",
        "\ufeff äpfel.example.org. ",
        "https://user:pw@äpfel.example.org:443/#x", "//%C3%A4pfel.example.org/*", "äpfel。example。org",
    ],
)  # fmt: skip
def test_one_site_in_any_spelling(tmp_path: Path, domain: str) -> None:
    documents = pl.DataFrame({"doc_id": ["a", "b", "c", "d"], "url": [*SITE, "https://example.org/äpfel.example.org"]})
    (tmp_path / "r.jsonl").write_text(json.dumps({"Domain": domain}) + "\n")
    requests = read_takedown_requests(tmp_path / "r.jsonl")
    assert sorted(matches(documents, requests)["doc_id"]) == ["a", "b", "c"]
    assert requests["line"].item() == 1
    assert requests["given"].item().removeprefix("domain ") in domain


def test_the_host_www_means_the_site_but_not_its_other_hosts(tmp_path: Path) -> None:
    urls = ["https://example.org/1", "https://www.example.org/2", "https://blog.example.org/3"]
    (tmp_path / "r.csv").write_text("domain\nwww.example.org\n")
    documents = pl.DataFrame({"doc_id": ["a", "b", "c"], "url": urls})
    assert sorted(matches(documents, read_takedown_requests(tmp_path / "r.csv"))["doc_id"]) == ["a", "b"]


@pytest.mark.parametrize(
    "url",
    [
        SITE[0], "http://äpfel.example.org/pä?q=1", "xn--pfel-koa.EXAMPLE.org/p%C3%A4/?q=1",
        "//www.äpfel.example.org:80/pä/?q=1#x",
    ],
)  # fmt: skip
def test_one_page_in_any_spelling(tmp_path: Path, url: str) -> None:
    others = [
        "https://äpfel.example.org/PÄ?q=1",
        "https://äpfel.example.org/pä?q=2",
        "https://äpfel.example.org:81/pä?q=1",
    ]
    documents = pl.DataFrame({"doc_id": ["a", "b", "c", "d", "e"], "url": [SITE[0], *others, None]})
    (tmp_path / "r.jsonl").write_text(json.dumps({"url": url}) + "\n")
    assert matches(documents, read_takedown_requests(tmp_path / "r.jsonl"))["doc_id"].to_list() == ["a"]


def test_hosts_that_are_none_and_addresses_without_one(tmp_path: Path) -> None:
    urls = [
        "https://-odd.tumblr.example:99999/1",
        "http://[2001:DB8::1]/x",
        "urn:isbn:1",
        "s3://bucket/key",
        "http://[bad/",
        "",
    ]
    documents = pl.DataFrame({"doc_id": [f"{i}" for i in range(6)], "url": urls})
    (tmp_path / "r.csv").write_text(
        "\ufeffDOMAIN,url,doc_id\ntumblr.example,,\n2001:db8:0::1,,\n,urn:isbn:1,\n,s3://bucket/key,\n,https://[2001:db8::1]/x,\n"
        f",,{'ABCDEF01' * 4}\n"
    )
    requests = read_takedown_requests(tmp_path / "r.csv")
    assert requests["line"].to_list() == [2, 3, 4, 5, 6, 7]
    assert requests["doc_id"][5] == "abcdef01" * 4
    assert sorted(matches(documents, requests)["doc_id"]) == ["0", "1", "2", "3"]


def test_no_request_buries_nothing() -> None:
    assert matches(DOCUMENTS, pl.DataFrame(schema=SCHEMA)).is_empty()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("reason\nx\n", "none of the columns"),
        ("doc_id,url\na,https://x.org\n", r"rows \[1\] must each name exactly one"),
        ("doc_id,url\n,\n", r"rows \[1\] must each name exactly one"),
        ("domain,reason\na.org,x\nb.org/p,x\n", r"requests.csv, line 3, column domain: 'b.org/p' names a page"),
        ("domain\nexa*mple.org\n", r"line 2, column domain: 'exa\*mple.org' is no name of a host"),
        ("domain\njo@example.org\n", "line 2, .* is an e-mail address"),
        ("domain\nhttps://example.org:x\n", "line 2, .* is no domain"),
        ("url\nhttps://example.org/*\n", "line 2, column url: .* has a wildcard"),
        ("url\n\nhttps://example.org/a,b\n", "line 3, .* has 2 fields, the header 1"),
        ('url\n"https://example.org\n', "line 2, cannot be read"),
        ("", "none of the columns"),
        ("domain,Domain\nexample.com,e.com\n", "'domain' more than once"),
    ],
)
def test_a_wrong_file_is_one_clear_message(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "requests.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_takedown_requests(path)
