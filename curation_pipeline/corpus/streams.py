"""Bytes of plain and compressed files, as far as they can be read.

A stream is an iterator of pieces of bytes and of :class:`Damage`: bytes are missing at that place, and what follows is
a new start. After damage a compressed stream is taken up again at its next member, frame or stream. Memory is bounded
by the size of a piece whatever the file holds.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

from curation_pipeline.datasets.bounds import BombError, Meter

CHUNK_BYTES = 256 * 1024
PIECE_BYTES = 1024 * 1024
"""Most bytes of one piece out of a decoder that can be asked for so many."""

STEP_BYTES = 16 * 1024
"""Compressed bytes given to a decoder at once."""

ZSTD_STEP_BYTES = 512
"""The same for Zstandard, whose decoder gives all it can: each three bytes can become 128 KiB in the worst case."""

LEAST_MEMBER_BYTES = 20
"""An empty gzip member has so many; fewer zeros between two members are padding, which xz allows."""

XZ_MEMORY = 1024**3
"""An xz stream that needs more memory, which is a dictionary of nearly that size, is not unpacked."""

MAX_DICTIONARY_BYTES = 16 * 1024 * 1024

DICTIONARY_FRAME = b"\x5d\x2a\x4d\x18"
"""The skippable frame in which a ``.warc.zst`` file brings its dictionary."""

ZSTD_DICTIONARY = b"\x37\xa4\x30\xec"
GZIP_MAGIC = b"\x1f\x8b\x08"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes are missing here.

    Attributes:
        reason: what is wrong, with the place in the file.
    """

    reason: str


Piece = bytes | Damage


def pieces(stream: BinaryIO, name: str, meter: Meter) -> Iterator[Piece]:
    """The content of a file, decompressed as its name says.

    Args:
        stream: the file, opened for reading bytes; must be able to seek where it is compressed.
        name: its name; what ends in one of ``PACKINGS`` is unpacked.
        meter: counts what is unpacked.
    """
    packing = PACKINGS.get(packing_of(name))
    try:
        if packing is not None:
            yield from _Unpacking(stream, packing, meter).pieces()
        else:
            while data := stream.read(CHUNK_BYTES):
                meter.take(len(data))
                yield meter.give(data)
    except BombError as error:
        yield Damage(f"the rest of the file is left unread: {error}")
    except OSError as error:
        yield Damage(f"the file cannot be read on: {error}")


Decode = Callable[[Any, bytes], Iterator[bytes]]
"""All that the decoder of a member gives for more bytes, in pieces. A decoder has ``eof``, whether its member has
ended, and ``unused_data``, what it was given behind the member's end."""


def _bounded(machine: Any, data: bytes) -> Iterator[bytes]:
    """Of gzip: what has not been decoded yet is in ``unconsumed_tail``."""
    while True:
        piece = machine.decompress(data, PIECE_BYTES)
        data = machine.unconsumed_tail
        if piece:
            yield piece
        if machine.eof or (not data and len(piece) < PIECE_BYTES):
            return


def _buffered(machine: Any, data: bytes) -> Iterator[bytes]:
    """Of bzip2 and xz, whose decoders keep what they have not decoded yet."""
    while True:
        if piece := machine.decompress(data, PIECE_BYTES):
            yield piece
        if machine.eof or machine.needs_input:
            return
        data = b""


def _at_once(machine: Any, data: bytes) -> Iterator[bytes]:
    """Of Zstandard, whose decoder gives all it can."""
    if piece := machine.decompress(data):
        yield piece


@dataclass(frozen=True, slots=True)
class Packing:
    """A way to compress a file: members one after the other, each found by its first bytes.

    Attributes:
        kind: its name for people.
        magic: how every member begins.
        codecs: looks at the start of a file and gives what makes the decoder of each member.
        decode: gives the decoder more bytes.
        padded: zero bytes may stand between members.
        sure: the decoder refuses from the first bytes on what is no member.
        step: bytes given to the decoder at once.
    """

    kind: str
    magic: bytes
    codecs: Callable[[BinaryIO], Callable[[], Any]]
    decode: Decode
    padded: bool = False
    sure: bool = True
    step: int = STEP_BYTES


def _zstd_codecs(stream: BinaryIO) -> Callable[[], Any]:
    import zstandard

    # Dumps made with `zstd --long=31` need the widest window; it takes memory only as far as it is filled.
    plain = zstandard.ZstdDecompressor(max_window_size=2**31)
    content = _dictionary_frame(stream)
    if content.startswith(ZSTD_MAGIC):
        with plain.stream_reader(content) as reader:
            try:
                content = reader.read(MAX_DICTIONARY_BYTES)
            except zstandard.ZstdError:
                content = b""
    if not content.startswith(ZSTD_DICTIONARY):
        return plain.decompressobj
    try:
        coded = zstandard.ZstdDecompressor(zstandard.ZstdCompressionDict(content), max_window_size=2**31)
        coded.decompressobj()
    except zstandard.ZstdError:  # A damaged dictionary: every frame that needs it says so.
        coded = plain
    return coded.decompressobj


def _dictionary_frame(stream: BinaryIO) -> bytes:
    """The content of the frame at the start of a file that brings a dictionary; empty where there is none."""
    head = stream.read(8)
    size = int.from_bytes(head[4:], "little")
    return stream.read(size) if head.startswith(DICTIONARY_FRAME) and size <= MAX_DICTIONARY_BYTES else b""


PACKINGS: dict[str, Packing] = {
    ".gz": Packing(
        "gzip", GZIP_MAGIC, lambda _: partial(zlib.decompressobj, wbits=31), _bounded, padded=True, sure=False
    ),
    ".zst": Packing("Zstandard", ZSTD_MAGIC, _zstd_codecs, _at_once, step=ZSTD_STEP_BYTES),
    ".bz2": Packing("bzip2", b"BZh", lambda _: bz2.BZ2Decompressor, _buffered),
    ".xz": Packing(
        "xz",
        b"\xfd7zXZ\0",
        lambda _: partial(lzma.LZMADecompressor, lzma.FORMAT_XZ, memlimit=XZ_MEMORY),
        _buffered,
        padded=True,
    ),
}
"""What unpacks a file, by the end of its name."""


def packing_of(name: str) -> str:
    """The end of a file's name that says how it is compressed; empty where it is not."""
    lower = name.lower()
    return next((suffix for suffix in PACKINGS if lower.endswith(suffix)), "")


def _errors() -> tuple[type[Exception], ...]:
    """What decoders raise where a member is damaged."""
    import zstandard

    return (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError, EOFError)


def _goes_on(resume: int | None) -> str:
    return "and nothing behind it can be read" if resume is None else f"and can be read again from byte {resume} on"


class _Unpacking:
    """One way through a compressed file."""

    def __init__(self, stream: BinaryIO, packing: Packing, meter: Meter) -> None:
        self.stream, self.packing, self.meter = stream, packing, meter
        self.codec = packing.codecs(stream)
        self.errors = _errors()

    def pieces(self) -> Iterator[Piece]:
        """Decompressed pieces of all members, up to the very byte where one is damaged."""
        place: int | None = 0
        while place is not None:
            place = yield from self._run(place)

    def _run(self, place: int) -> Any:
        """Members from ``place`` on until one is damaged: where to go on, or None at the end."""
        self.stream.seek(place)
        codec: Any = None
        begun = at = place
        given = zeros = 0
        while chunk := self.stream.read(CHUNK_BYTES):
            start = 0
            while start < len(chunk):
                data = chunk[start : start + self.packing.step]
                if codec is None or codec.eof:
                    padding = len(data) - len(data.lstrip(b"\0")) if codec and self.packing.padded else 0
                    start, at, data, zeros = start + padding, at + padding, data[padding:], zeros + padding
                    if not data:
                        continue
                    if zeros >= LEAST_MEMBER_BYTES:
                        # At the end of a file they fill a block; here they may have taken the place of members.
                        yield Damage(f"{zeros} zero bytes up to byte {at} of the {self.packing.kind} file")
                    zeros = 0
                    codec, begun, given = self.codec(), at, 0
                self.meter.take(len(data))
                try:
                    for piece in self.packing.decode(codec, data):
                        given += len(piece)
                        yield self.meter.give(piece)
                except self.errors as error:
                    came = yield from self._salvage(begun, at, given)
                    resume = self._resume(begun + 1)
                    what = f"damaged {self.packing.kind} stream at byte {came} of the file ({error})"
                    yield Damage(f"{what}, {_goes_on(resume)}")
                    return resume
                unused = len(codec.unused_data) if codec.eof else 0
                self.meter.take(-unused)
                start, at = start + len(data) - unused, at + len(data) - unused
        if codec is not None and not codec.eof:
            resume = self._resume(begun + 1)
            yield Damage(f"truncated {self.packing.kind} stream: the file ends at byte {at}, {_goes_on(resume)}")
            return resume
        return None

    def _salvage(self, begun: int, at: int, given: int) -> Any:
        """What a decoder gives before the damage in its step at ``at``: the member again, that step byte by byte.

        Returns the place of the damage.
        """
        codec = self.codec()
        self.stream.seek(begun)
        place = begun
        try:
            while data := self.stream.read(max(1, min(self.packing.step, at - place))):
                for piece in self.packing.decode(codec, data):
                    new, given = piece[given:], max(0, given - len(piece))
                    if new:
                        yield self.meter.give(new)
                place += len(data)
        except self.errors:
            pass  # This is the damage; the caller reports it.
        return place

    def _resume(self, after: int) -> int | None:
        """The place of the next member behind ``after`` whose first bytes can be unpacked, or None.

        The search begins right behind the start of the damaged member: a decoder that reads damaged bytes can run past
        the member's end before it notices.
        """
        magic = self.packing.magic
        self.stream.seek(after)
        window, start = b"", after
        while data := self.stream.read(CHUNK_BYTES):
            window += data
            at = window.find(magic)
            while at >= 0:
                head = window[at : at + CHUNK_BYTES]
                if len(head) < CHUNK_BYTES:
                    place = self.stream.tell()
                    head += self.stream.read(CHUNK_BYTES - len(head))
                    self.stream.seek(place)
                if self._is_sound(head):
                    return start + at
                at = window.find(magic, at + 1)
            keep = len(magic) - 1
            start += len(window) - keep
            window = window[-keep:]
        return None

    def _is_sound(self, head: bytes) -> bool:
        """Whether a member begins here: it unpacks as far as it is at hand, and gives something where that is proof."""
        codec = self.codec()
        gave = self.packing.sure
        try:
            for start in range(0, min(len(head), 64 * self.packing.step), self.packing.step):
                gave = any(list(self.packing.decode(codec, head[start : start + self.packing.step]))) or gave
                if codec.eof:
                    return True
        except self.errors:
            return False
        return gave
