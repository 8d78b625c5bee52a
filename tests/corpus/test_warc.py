"""Records of a crawl: every response, resource and conversion is a document or a failure with its place and reason."""

from __future__ import annotations

import base64
import hashlib
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from curation_pipeline.corpus.rows import Batch
from tests.corpus.formats import read

PAGE = "<html><head><title>x</title></head><body><article><p>Page {}: “naïve” café.</p></article></body></html>"


def http(body: bytes, *fields: str, feed: str = "\r\n") -> bytes:
    lines = ["HTTP/1.1 200 OK", *(fields or ("Content-Type: text/html; charset=utf-8",))]
    return feed.join([*lines, "", ""]).encode() + body


def record(
    block: bytes, *more: str, kind: str = "response", version: str = "1.0", length: str = "", **style: str
) -> bytes:
    """A record by hand; ``style`` has the line feed, what ends the header and what ends the record."""
    feed = style.get("feed", "\r\n")
    mime = "application/http; msgtype=response" if kind == "response" else "text/html"
    fields = [f"WARC/{version}", f"WARC-Type: {kind}", "WARC-Target-URI: http://example.org/", f"Content-Type: {mime}"]
    head = feed.join([*fields, *more, length or f"Content-Length: {len(block)}"])
    return head.encode() + style.get("blank", 2 * feed).encode() + block + style.get("end", 2 * feed).encode()


def page(number: int, *fields: str, feed: str = "\r\n") -> bytes:
    return http(PAGE.format(number).encode(), *fields, feed=feed)


def pages(found: Batch) -> list[int]:
    """The numbers of the pages that became documents."""
    texts = found.rows["text"].to_list()
    assert all("“naïve” café." in text and "\ufeff" not in text for text in texts)
    return [int(text.split()[1].rstrip(":")) for text in texts]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["0.17", "0.18", "1.0", "1.1"]),
            st.sampled_from(["\r\n", "\n"]),
            st.sampled_from(["Content-Length: {}", "content-length:{}", "CONTENT-LENGTH :\r\n\t{}"]),
            st.sampled_from(["", "\n", "\r\n", "\r\n\r\n", "\n" * 5]),
            st.booleans(),
        ),
        max_size=5,
    )
)
def test_records_are_read_however_their_lines_end(styles: list[tuple[str, str, str, str, bool]]) -> None:
    raw = b""
    for number, (version, feed, length, end, blank) in enumerate(styles):
        block = page(number, feed=feed)
        said = length.format(len(block)).replace("\r\n", feed)
        raw += record(block, version=version, feed=feed, length=said, end=end, blank=2 * feed if blank else feed)
    found = read("a.warc", b"\n" + raw + record(b"x", kind="warcinfo") + record(page(9)))
    assert pages(found) == [*range(len(styles)), 9]
    assert found.failures.is_empty()


def test_headers_left_over_from_an_encoding_already_undone_cost_nothing() -> None:
    plain = ("Content-Type: text/html; charset=utf-8", "Transfer-Encoding: chunked", "content-encoding: x-gzip")
    assert pages(read("a.warc", record(page(0, *plain)) + record(page(1)))) == [0, 1]


def test_the_encoding_of_a_page_is_the_one_that_browsers_take() -> None:
    windows = record(http(PAGE.format(0).encode("cp1252"), "Content-Type: text/html; charset=ISO-8859-1"))
    marked = record(http(b"\xef\xbb\xbf" + PAGE.format(1).encode()))
    found = read("a.warc", windows + marked)
    assert pages(found) == [0, 1]
    assert found.rows["text"][1].startswith("Page 1")  # and not with the title, which follows where a mark is left in


@pytest.mark.parametrize(
    ("block", "more", "kind", "reason"),
    [
        (http(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(range(256))), (), "response", "its bytes are image/jpeg"),
        (page(0), ("WARC-Segment-Number: 1",), "response", "partial: segment 1"),
        (b"<p>rest", ("WARC-Segment-Number: 2", "WARC-Segment-Origin-ID: <urn:x>"), "continuation", "partial.*<urn:x>"),
        (http(b"~{VPND\xff~}", "Content-Type: text/html; charset=hz-gb-2312"), (), "response", "browsers refuse"),
        (
            http(b"\x1f\x8b\x08\x00\x00", "Content-Encoding: gzip"),
            ("WARC-Truncated: time",),
            "response",
            "truncated.*time",
        ),
        (http(b"body", "Content-Type: image/png"), (), "response", "content of type image/png"),
        (b"no http", (), "response", "without an HTTP header"),
        (b"", (), "revisit", "a revisit"),
        (b"", (), "unheard-of", "a record of type unheard-of"),
        (b"caf\xe9", (), "conversion", "UTF-8 at byte 3"),
        (b"%PDF-1.4\n1 0 obj", (), "conversion", "its bytes are application/pdf"),
    ],
)
def test_what_is_no_whole_text_is_a_failure_with_its_reason(
    block: bytes, more: tuple[str, ...], kind: str, reason: str
) -> None:
    raw = record(block, *more, kind=kind)
    if kind == "conversion":
        raw = raw.replace(b"text/html", b"text/plain")
    found = read("a.warc", record(page(1)) + raw + record(page(2)))
    assert pages(found) == [1, 2]
    assert found.failures["position"].to_list() == [1]
    assert found.failures["offset"].to_list() == [len(record(page(1)))]
    assert found.failures["reason"].str.contains(reason).all()


def test_a_truncated_page_says_so() -> None:
    found = read("a.warc", record(page(0), "WARC-Truncated: length"))
    assert json.loads(found.rows["metadata"][0])["truncated"] == "length"


def test_texts_of_conversions_keep_no_mark() -> None:
    for raw in ("\ufeffcafé".encode(), "café".encode("utf-16")):
        found = read("a.wet", record(raw, kind="conversion").replace(b"text/html", b"text/plain"))
        assert found.rows["text"].to_list() == ["café"]


@pytest.mark.parametrize("change", [-40, -5, 5, 60])
def test_a_wrong_length_costs_its_record_and_the_bytes_are_accounted_for(change: int) -> None:
    block = page(1)
    wrong = record(block, length=f"Content-Length: {len(block) + change}")
    found = read("a.warc", record(page(0)) + wrong + record(page(2)) + record(page(3)))
    assert pages(found) == [0, 2, 3]
    assert found.failures["offset"].to_list() == [len(record(page(0)))]
    assert found.failures["reason"].str.contains(f"{len(wrong)} bytes are passed over").all()


@pytest.mark.parametrize("reach", ["two records", "into a header"])
def test_a_length_that_reaches_over_other_records_hides_none(reach: str) -> None:
    others = record(page(2)) + record(page(3))
    first = page(1) + b"\r\n\r\n"
    reached = len(others) - 4 if reach == "two records" else others.index(b"\r\n\r\n")
    wrong = record(first + others[:reached], end="") + others[reached:]
    found = read("a.warc", record(page(0)) + wrong + record(page(4)))
    assert pages(found) == [0, 2, 3, 4]
    assert found.failures["reason"].str.contains("reaches over other records; .* bytes are passed over").to_list() == [
        True
    ]


def test_a_page_about_records_is_one_document() -> None:
    for example in (b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: 1902\r\n\r\nHTTP/1.1 200 OK", record(page(7))):
        block = http(PAGE.format(0).replace("</article>", "<pre>\n").encode() + example)
        digest = base64.b32encode(hashlib.sha1(block).digest()).decode()
        found = read("a.warc", record(block, f"WARC-Block-Digest: sha1:{digest}") + record(page(1)))
        assert found.rows.height == 2
        assert found.failures.is_empty()


def test_a_record_that_begins_within_a_line_is_found() -> None:
    block = page(0)
    raw = record(block[:-5], length=f"Content-Length: {len(block)}", end="")
    assert pages(read("a.warc", raw + record(page(1)) + b"\xef\xbb\xbf" + record(page(2)))) == [1, 2]


def test_the_records_of_warcio_are_read() -> None:
    target = io.BytesIO()
    writer = WARCWriter(target, gzip=True)
    writer.write_record(writer.create_warcinfo_record("a.warc.gz", {"software": "test"}))
    for number in range(3):
        header = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1")
        body = io.BytesIO(PAGE.format(number).encode())
        writer.write_record(writer.create_warc_record("http://example.org/", "response", body, http_headers=header))
        writer.write_record(writer.create_revisit_record("http://example.org/", "sha1:X", "http://x", "2024-05-01"))
    found = read("a.warc.gz", target.getvalue())
    assert pages(found) == [0, 1, 2]
    assert found.failures["reason"].str.contains("revisit").to_list() == [True] * 3
