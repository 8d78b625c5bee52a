"""What a record holds: encodings undone where they are there, types told by the bytes."""

from __future__ import annotations

import contextlib
import gzip
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.corpus.charsets import UnreadableError
from curation_pipeline.corpus.payload import Message, content_type, decoded_body, fields, http_message, sniffed_type

MOST = 100_000
HTML = "<html><body><p>A page of the café archive.</p></body></html>".encode()


def chunked(body: bytes, size: int = 20) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%X;name=value\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def bare_deflate(body: bytes) -> bytes:
    machine = zlib.compressobj(wbits=-15)
    return machine.compress(body) + machine.flush()


ENCODERS = {
    "chunked": chunked,
    "gzip": gzip.compress,
    "X-GZip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": bare_deflate,
    "br": brotli.compress,
    "zstd": zstandard.compress,
    "identity": bytes,
}


def message(body: bytes, *codings: str, transfer: str = "") -> Message:
    return Message(200, {"content-encoding": ", ".join(codings), "transfer-encoding": transfer}, body)


@given(
    st.sampled_from([HTML, b"Cafe\r\nof the town\r\n", b"0\r\nwas the sum", b"; a note", b"Some words", b"x^2 + y^2"]),
    st.lists(st.sampled_from(sorted(ENCODERS)), max_size=3),
    st.booleans(),
)
def test_encodings_are_undone_in_order_and_only_where_they_are(body: bytes, codings: list[str], sent: bool) -> None:
    raw = body
    for coding in codings if sent else ():
        raw = ENCODERS[coding](raw)
    assert decoded_body(message(raw, *codings), MOST) == body
    if sent:  # and with the transfer encoding taken off by the crawler, as most do
        assert decoded_body(message(raw, *codings, transfer="chunked"), MOST) == body
        assert decoded_body(message(chunked(raw), *codings, transfer="chunked"), MOST) == body


@pytest.mark.parametrize("coding", ["chunked", "gzip", "deflate", "br", "zstd"])
def test_a_body_that_breaks_off_is_partial(coding: str) -> None:
    raw = ENCODERS[coding](HTML * 3)
    with pytest.raises(UnreadableError, match="partial"):
        decoded_body(message(raw[: len(raw) * 2 // 3], coding), MOST)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "Deflate", "br", "zstd"])
def test_a_bomb_is_left(coding: str) -> None:
    with pytest.raises(UnreadableError, match="max_document_bytes"):
        decoded_body(message(ENCODERS[coding](bytes(20_000_000)), coding), MOST)


@given(st.binary(max_size=80) | st.sampled_from([f(HTML) for f in ENCODERS.values()]), st.data())
def test_damaged_bodies_give_at_most_a_reason(body: bytes, data: st.DataObject) -> None:
    codings = data.draw(st.lists(st.sampled_from(sorted(ENCODERS)), max_size=3))
    at = data.draw(st.integers(0, max(0, len(body) - 1)))
    with contextlib.suppress(UnreadableError):
        plain = decoded_body(message(body[:at] + b"\0" + body[at + 1 :], *codings), MOST)
        sniffed_type(data.draw(st.sampled_from(["text/html", ""])), plain)


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + bytes(range(256)),
        b"\xff\xd8\xff\xe1\x20\x30http://ns.adobe.com/xap/1.0/\x00" + b"<rdf>text</rdf>" * 200,
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)),
        b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00" + bytes(range(256)),
        b"%PDF-1.4\n1 0 obj <</Type /Catalog>> endobj\n" * 9,
        b"PK\x03\x04\x14\x00\x00\x00mimetype" + b"application/epub+zip" * 90,
        gzip.compress(HTML),
        zstandard.compress(HTML),
        b"<br /><b>Warning</b>: no such file" * 90 + bytes(range(256)) * 20,
    ],
    ids=["jpeg", "jpeg xmp", "png", "gif", "pdf", "zip", "gzip", "zstd", "warning, then bytes"],
)
def test_binary_is_no_page_whatever_its_header_says(body: bytes) -> None:
    for declared in ("text/html", "text/plain", ""):
        with pytest.raises(UnreadableError, match="its bytes are"):
            sniffed_type(declared, body)


@pytest.mark.parametrize(
    ("declared", "body", "wanted"),
    [
        ("", HTML, "text/html"),
        ("", b"  \n<!DOCTYPE html>\n<p>text", "text/html"),
        ("", b"<section><p>text</p></section>", "text/html"),
        ("", b"<?xml version='1.0'?><html xmlns='x'>", "application/xhtml+xml"),
        ("", b"<?xml version='1.0'?><rss>", "text/xml"),
        ("", b"Just words.", "text/plain"),
        ("", "<p>text".encode("utf-16"), "text/html"),
        ("unknown/unknown", HTML, "text/html"),
        ("application/octet-stream", HTML, "text/html"),
        ("application/octet-stream", b"words", "application/octet-stream"),
        ("application/xml", b"<?xml version='1.0'?><html xmlns='x'>", "application/xhtml+xml"),
        ("text/plain", HTML, "text/plain"),
        ("text/plain", b"BMW makes cars.", "text/plain"),
        ("text/html", b"<p>A page with a stray \x0b\x00 in a paragraph long enough to bear it.", "text/html"),
        ("image/jpeg", HTML, "image/jpeg"),
    ],
)
def test_a_type_is_told_by_the_bytes_where_the_header_does_not(declared: str, body: bytes, wanted: str) -> None:
    assert sniffed_type(declared, body) == wanted


def test_headers_are_read_however_they_are_written() -> None:
    raw = (
        b"HTTP/1.1 100 Continue\r\n\r\nhttp/2 200\nCONTENT-TYPE : text/html;\n\tcharset=x\nA: 1\nA: 2\nno field\n\nbody"
    )
    found = http_message(raw)
    assert (found.status, found.body) == (200, b"body")
    assert found.header == {"content-type": "text/html; charset=x", "a": "1, 2"}
    assert http_message(b"HTTP/1.1 200 OK\r\nServer: x\r\n<html>").body == b"<html>"
    assert fields(b"Link:\r\n <http://example.org/>") == {"link": "<http://example.org/>"}
    assert content_type("text/plain, TEXT/HTML; charset=utf-8, */*") == "text/html"
    assert content_type("html") == ""
