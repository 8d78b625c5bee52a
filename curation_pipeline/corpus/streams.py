"""Lines of plain and compressed files, as far as they can be read; what cannot be is a failure, not an exception."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from curation_pipeline.corpus.schema import EXCERPT_CHARS

CHUNK_BYTES = 256 * 1024
MAX_LINE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Failure:
    """Something in a file that could not be read.

    Attributes:
        excerpt: at most 200 characters of it, undecodable bytes escaped.
        reason: what is wrong, in words a user can act on.
    """

    excerpt: str
    reason: str


class _DamagedStream(Exception):
    """A compressed stream broke off; carries why."""


def excerpt(raw: bytes | str) -> str:
    """The first characters of ``raw``, always printable as UTF-8."""
    text = raw[: 4 * EXCERPT_CHARS].decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
    return text[:EXCERPT_CHARS].encode("utf-8", "backslashreplace").decode("utf-8")[:EXCERPT_CHARS]


def lines(path: Path) -> Iterator[tuple[int, int, bytes | Failure]]:
    """Lines of a file, plain or compressed, with their line feed, in memory bounded by the longest line allowed.

    Everything before a break in a compressed stream is given; the cut line at the break is one failure.
    """
    carry = bytearray()
    position = offset = skipped = 0
    damage = ""
    try:
        for chunk in _chunks(path):
            if skipped:
                cut = chunk.find(b"\n") + 1
                if not cut:
                    skipped += len(chunk)
                    continue
                offset, position, skipped = offset + skipped + cut, position + 1, 0
                chunk = chunk[cut:]
            carry += chunk
            if b"\n" in chunk:
                whole = bytes(carry).split(b"\n")
                carry = bytearray(whole.pop())
                for line in whole:
                    yield position, offset, line + b"\n"
                    position += 1
                    offset += len(line) + 1
            if len(carry) > MAX_LINE_BYTES:
                yield position, offset, Failure(excerpt(bytes(carry)), f"a line of more than {MAX_LINE_BYTES} bytes")
                carry, skipped = bytearray(), len(carry)
    except (_DamagedStream, OSError) as error:
        damage = str(error)
    if damage:
        yield position, offset, Failure(excerpt(bytes(carry)), f"the file breaks off here: {damage}")
    elif carry and not skipped:
        yield position, offset, bytes(carry)


def _chunks(path: Path) -> Iterator[bytes]:
    name = path.name.lower()
    with path.open("rb") as stream:
        if name.endswith(".gz"):
            yield from _gzip_chunks(stream)
        elif name.endswith(".zst"):
            yield from _zstd_chunks(stream)
        else:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk


def _gzip_chunks(stream: BinaryIO) -> Iterator[bytes]:
    """Decompressed chunks of all members of a gzip stream, up to the very byte where it is damaged."""
    machine = zlib.decompressobj(wbits=31)
    started = False
    while data := stream.read(CHUNK_BYTES):
        while data:
            if machine.eof:
                # Members may be padded with zero bytes; anything else is the next member.
                data = data.lstrip(b"\0")
                if not data:
                    break
                machine = zlib.decompressobj(wbits=31)
            started = True
            before = machine.copy()
            pending, pieces = data, []
            try:
                while True:
                    pieces.append(machine.decompress(pending, 16 * CHUNK_BYTES))
                    pending = machine.unconsumed_tail
                    if not pending:
                        break
                    yield pieces.pop()
                    before = machine.copy()
                    data = pending
            except zlib.error as error:
                yield _salvage(before, data)
                raise _DamagedStream(f"damaged gzip stream ({error})") from error
            yield from pieces
            data = machine.unused_data
    if started and not machine.eof:
        yield machine.flush()
    if started and not machine.eof:
        raise _DamagedStream("truncated gzip stream")


def _salvage(machine: Any, data: bytes) -> bytes:
    """What a decompressor gives byte by byte before it meets the damage that a whole chunk failed on."""
    rescued = bytearray()
    try:
        for i in range(len(data)):
            rescued += machine.decompress(data[i : i + 1])
    except zlib.error:
        pass  # This is the damage; the caller reports it.
    return bytes(rescued)


def _zstd_chunks(stream: BinaryIO) -> Iterator[bytes]:
    """Decompressed chunks of all frames of a Zstandard stream."""
    import zstandard

    codec = zstandard.ZstdDecompressor(max_window_size=2**31)
    machine = codec.decompressobj()
    fed = False
    # Small steps: what a step gives before its damage is lost.
    while data := stream.read(CHUNK_BYTES // 16):
        while data:
            if machine.eof:
                machine = codec.decompressobj()
            fed = True
            try:
                piece = machine.decompress(data)
            except zstandard.ZstdError as error:
                raise _DamagedStream(f"damaged Zstandard stream ({error})") from error
            if piece:
                yield piece
            data = machine.unused_data if machine.eof else b""
    if fed and not machine.eof:
        raise _DamagedStream("truncated Zstandard stream")
