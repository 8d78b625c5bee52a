"""What a web record holds, as a browser takes it: header, encodings, type of the content, main text of a page."""

from __future__ import annotations

import contextlib
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from curation_pipeline.corpus.charsets import UnreadableError
from curation_pipeline.corpus.streams import GZIP_MAGIC, ZSTD_MAGIC
from curation_pipeline.extras import extra

Extractor = Literal["resiliparse", "trafilatura"]

HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
XML_TYPES = frozenset({"text/xml", "application/xml"})
UNKNOWN_TYPES = frozenset({"", "unknown/unknown", "application/unknown"})
"""Types that say nothing, for which the MIME Sniffing Standard looks at the content."""

SNIFFED_BYTES = 1445
MAGIC_BYTES = 64
BINARY_SHARE = 20
"""One control character in so many makes content binary: pages have stray ones, compressed data one in ten."""

ZSTD_STEP = 512

MAX_DEPTH = 2_000
"""Block elements inside one another. Browsers stop at 512; extraction takes time quadratic in the depth."""

SMALL_PAGE_TAGS = 4_000
"""A page with fewer tags cannot nest them deep enough to matter."""

_STATUS = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})", re.IGNORECASE)
# Some headers end without a blank line: no field begins with "<".
_HTTP_END = re.compile(rb"\r?\n(?:[ \t]*\r?\n|(?=<))")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_TYPE = re.compile(r"\s*([\w!#$&^.+-]+/[\w!#$&^.+-]+)")
_CHUNK = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
_BINARY = bytes((*range(0x09), 0x0B, *range(0x0E, 0x1B), *range(0x1C, 0x20)))
"""The binary data bytes of the MIME Sniffing Standard."""

_HTML = re.compile(
    rb"(?:\xef\xbb\xbf)?[\t\n\f\r ]*<(?:!--|!doctype html[ >]|"
    rb"(?:html|head|script|iframe|h[1-6]|div|font|table|a|style|title|b|body|br|p|"
    rb"meta|link|center|main|article|section|header|nav|ul|ol|dl|form|img|span)[\s/>])",
    re.IGNORECASE,
)
_NOT_BINARY = XML_TYPES | HTML_TYPES | {"application/octet-stream"}
_MAGIC = ((ZSTD_MAGIC, "application/zstd"), (b"GIF87a", "image/gif"), (b"GIF89a", "image/gif"))
_PRINTABLE = ("application/pdf", "application/postscript", "application/rtf")
_XHTML = re.compile(rb"<html[\s>]", re.IGNORECASE)
_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<[a-z!?]", re.IGNORECASE)
_UTF16 = re.compile(rb"\xff\xfe|\xfe\xff|<\0|\0<")


def fields(header: bytes) -> dict[str, str]:
    """The fields of a WARC or HTTP header by their names in lower case: folded lines joined, repeated fields too."""
    found: dict[str, str] = {}
    for line in _FOLD.sub(b" ", header).splitlines():
        name, colon, value = line.partition(b":")
        if colon:
            key, text = name.strip().lower().decode("latin-1"), value.strip().decode("utf-8", "backslashreplace")
            found[key] = f"{found[key]}, {text}" if key in found else text
    return found


@dataclass(frozen=True, slots=True)
class Message:
    """An HTTP response.

    Attributes:
        status: its code.
        header: its fields by their names in lower case.
        body: as it was sent.
    """

    status: int
    header: dict[str, str]
    body: bytes


def http_message(block: bytes) -> Message:
    """The last response of a block; interim ones (``100 Continue``) are passed over.

    Raises:
        UnreadableError: no status line begins the block.
    """
    while status := _STATUS.match(block := block.lstrip(b"\r\n")):
        end = _HTTP_END.search(block)
        header, body = (block[: end.start()], block[end.end() :]) if end else (block, b"")
        if status[1].startswith(b"1") and _STATUS.match(body.lstrip(b"\r\n")):
            block = body
            continue
        return Message(int(status[1]), fields(header), body)
    raise UnreadableError("a response without an HTTP header")


def content_type(value: str) -> str:
    """The type that a Content-Type field names, in lower case; of several the last; empty where it names none."""
    found = [match[1] for part in value.split(",") if (match := _TYPE.match(part))]
    return found[-1].lower() if found else ""


def decoded_body(message: Message, most: int) -> bytes:
    """The body without content and transfer encodings; what is not in the encoding declared was decoded already.

    Raises:
        UnreadableError: the body is damaged, breaks off, or is longer than ``most`` bytes.
    """
    body = message.body
    declared = [message.header.get(name, "") for name in ("content-encoding", "transfer-encoding")]
    for coding in reversed(",".join(declared).lower().split(",")):
        name = coding.strip().removeprefix("x-")
        if name in _CODINGS and body:
            try:
                plain = _CODINGS[name](body, most)
            except EOFError as error:
                raise UnreadableError(f"partial: its {name} body breaks off after {len(body)} bytes") from error
            except ValueError as error:
                raise UnreadableError(f"its {name} body is damaged: {error}") from error
            body = body if plain is None else plain
        if len(body) > most:
            raise UnreadableError(f"a page of more than max_document_bytes = {most} bytes")
    return body


def _dechunked(body: bytes, most: int) -> bytes | None:
    parts: list[bytes] = []
    at = 0
    while chunk := _CHUNK.match(body, at):
        start, size = chunk.end(), int(chunk[1], 16)
        at = start + size
        # A text that was decoded already can begin with a number, or with "Cafe", on a line of its own.
        if not size:
            return b"".join(parts) if parts or not body[start:].strip() else None
        if at > len(body):
            if parts or _HTML.match(body, start):
                raise EOFError
            return None
        end = 2 if body.startswith(b"\r\n", at) else 1 if body.startswith(b"\n", at) else 0
        if not end and at < len(body):
            break
        parts.append(body[start:at])
        at += end
    if parts and at < len(body):
        if b"\n" not in body[at:]:
            raise EOFError
        raise ValueError(f"no chunk begins at its byte {at}")
    return b"".join(parts) if parts else None


def _inflated(body: bytes, most: int) -> bytes | None:
    """Of gzip, or of zlib's format, or of bare deflate, which some servers send under the name of the former."""
    if body.startswith(GZIP_MAGIC):
        try:
            return _inflate(body, 31, most)
        except zlib.error as error:
            raise ValueError(str(error)) from error
    with contextlib.suppress(zlib.error):
        return _inflate(body, 15, most)
    try:
        return _inflate(body, -15, most)
    except zlib.error:
        return None
    except EOFError:
        if binary_kind(body):
            raise
        return None


def _inflate(body: bytes, wbits: int, most: int) -> bytes:
    found = b""
    while True:
        machine = zlib.decompressobj(wbits=wbits)
        found += machine.decompress(body, most + 1 - len(found))
        body = machine.unused_data
        if len(found) > most:
            return found
        if not machine.eof:
            if found:
                raise EOFError
            raise zlib.error("nothing can be unpacked")
        if wbits == -15 and body:
            raise zlib.error("deflate has no checksum: what continues behind its end was something else")
        if wbits != 31 or not body.startswith(GZIP_MAGIC):
            return found


def _unbrotli(body: bytes, most: int) -> bytes | None:
    with extra("web", "reading web pages"):
        import brotli

    machine = brotli.Decompressor()
    found = b""
    try:
        while len(found) <= most and not machine.is_finished():
            piece = machine.process(b"" if found else body, output_buffer_limit=most + 1)
            if not piece:
                break
            found += piece
    except brotli.error:
        return None
    if len(found) <= most and not machine.is_finished():
        if binary_kind(body):
            raise EOFError
        return None
    return found or None


def _unzstd(body: bytes, most: int) -> bytes | None:
    import zstandard

    if not body.startswith(ZSTD_MAGIC):
        return None
    machine = zstandard.ZstdDecompressor(max_window_size=2**27).decompressobj()
    found = bytearray()
    try:
        for start in range(0, len(body), ZSTD_STEP):
            found += machine.decompress(body[start : start + ZSTD_STEP])
            if machine.eof or len(found) > most:
                return bytes(found)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    raise EOFError


_CODINGS: dict[str, Callable[[bytes, int], bytes | None]] = {
    "chunked": _dechunked,
    "gzip": _inflated,
    "deflate": _inflated,
    "br": _unbrotli,
    "zstd": _unzstd,
}
"""Each gives the plain bytes, or None where the body is not in its encoding; EOFError where it breaks off."""


def sniffed_type(declared: str, body: bytes) -> str:
    """The type of a body that is declared to be of another or of none: HTML and text are told by how they begin.

    Raises:
        UnreadableError: it is declared to be text, or nothing, and is binary.
    """
    found = declared
    if declared == "application/octet-stream" and _HTML.match(body):
        found = "text/html"
    elif declared in XML_TYPES and _XHTML.search(body[:SNIFFED_BYTES]):
        found = "application/xhtml+xml"
    elif declared in UNKNOWN_TYPES:
        if _HTML.match(body) or _UTF16.match(body):
            found = "text/html"
        elif not _XML.match(body):
            found = "text/plain"
        else:
            found = "application/xhtml+xml" if _XHTML.search(body[:SNIFFED_BYTES]) else "text/xml"
    if (found in HTML_TYPES or found == "text/plain") and (kind := binary_kind(body)):
        raise UnreadableError(f"its bytes are {kind}, its header says {declared or 'nothing'}")
    return found


def binary_kind(body: bytes) -> str:
    """The type of bytes that are no text; empty where they may be text."""
    with extra("web", "reading web pages"):
        from resiliparse.parse.encoding import detect_mime

    if _UTF16.match(body):
        return ""
    head = body[:SNIFFED_BYTES]
    kind = next((name for magic, name in _MAGIC if head.startswith(magic)), str(detect_mime(head.lstrip())))
    if kind in _PRINTABLE:
        return kind
    known = kind.startswith(("image/", "audio/", "video/", "font/", "application/")) and kind not in _NOT_BINARY
    if known and _controls(head[:MAGIC_BYTES]):
        return kind
    if _controls(head) * BINARY_SHARE > len(head) or _controls(body) * BINARY_SHARE > len(body):
        return kind if known else "binary data"
    return ""


def _controls(raw: bytes) -> int:
    return len(raw) - len(raw.translate(None, _BINARY))


_BLOCK = re.compile(
    r"<(/?)(?:div|section|article|main|aside|header|footer|nav|ul|ol|dl|blockquote|form|fieldset|center|figure|details|"
    r"address|pre|h[1-6])\b",
    re.IGNORECASE,
)


def nesting(html: str) -> int:
    """How deep the block elements of a page stand inside one another, at most; 0 for a page of few tags."""
    if html.count("<") < SMALL_PAGE_TAGS:
        return 0
    depth = deepest = 0
    for tag in _BLOCK.finditer(html):
        depth = max(0, depth - 1) if tag[1] else depth + 1
        deepest = max(deepest, depth)
    return deepest


def main_text(html: str, extractor: Extractor) -> str:
    """The main text of a page without navigation, headers and footers.

    Args:
        html: the page.
        extractor: ``resiliparse`` (Bevendorff et al., 2018) is fast and keeps more; ``trafilatura`` (Barbaresi, 2021)
            is slower and stricter.

    Raises:
        ConfigError: trafilatura is not installed.
    """
    if extractor == "trafilatura":
        with extra("pages", "extractor = 'trafilatura'"):
            import trafilatura
        return (trafilatura.extract(html, include_comments=False) or "").strip()
    from resiliparse.extract.html2text import extract_plain_text

    return str(extract_plain_text(html, main_content=True, alt_texts=False)).strip()
