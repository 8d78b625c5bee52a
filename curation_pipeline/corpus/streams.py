"""Bytes of plain and compressed files, as far as they can be read.

A stream is an iterator of pieces of bytes and of :class:`Damage`: bytes are missing at that place, and what follows is
a new start. After damage a gzip stream is taken up again at its next member and a Zstandard stream at its next frame.
Memory is bounded by the size of a piece whatever the file holds.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from curation_pipeline.corpus.rows import ReadOptions
from curation_pipeline.datasets.bounds import BombError, Meter

CHUNK_BYTES = 256 * 1024
PIECE_BYTES = 1024 * 1024
"""Most bytes of one piece out of gzip."""

ZSTD_STEP = 512
"""Compressed bytes given to the Zstandard decoder at once: each three can become 128 KiB in the worst case, and what a
step gives before damage is lost."""

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


def pieces(stream: BinaryIO, name: str, options: ReadOptions) -> Iterator[Piece]:
    """The content of a file, decompressed as its name says.

    Args:
        stream: the file, opened for reading bytes; must be able to seek where it is compressed.
        name: its name; ``.gz`` and ``.zst`` are unpacked.
        options: limits of unpacking.
    """
    meter = options.fresh_meter()
    lower = name.lower()
    try:
        if lower.endswith(".gz"):
            yield from _Gzip(stream, meter).pieces()
        elif lower.endswith(".zst"):
            yield from _Zstd(stream, meter).pieces()
        else:
            while data := stream.read(CHUNK_BYTES):
                meter.taken += len(data)
                yield meter.give(data)
    except BombError as error:
        yield Damage(f"the rest of the file is left unread: {error}")
    except OSError as error:
        yield Damage(f"the file cannot be read on: {error}")


class _Members:
    """What gzip and Zstandard share: members one after the other, each found by its first bytes."""

    kind = ""

    def __init__(self, stream: BinaryIO, meter: Meter) -> None:
        self.stream, self.meter = stream, meter

    def _resume(self, after: int, magic: bytes, sound: Callable[[bytes], bool]) -> int | None:
        """The place of the next member behind ``after`` whose first bytes can be unpacked, or None.

        The search begins right behind the start of the damaged member: a decoder that reads damaged bytes can run past
        the member's end before it notices.
        """
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
                if sound(head):
                    return start + at
                at = window.find(magic, at + 1)
            keep = len(magic) - 1
            start += len(window) - keep
            window = window[-keep:]
        return None


class _Gzip(_Members):
    def pieces(self) -> Iterator[Piece]:
        """Decompressed pieces of all members, up to the very byte where one is damaged."""
        place: int | None = 0
        while place is not None:
            place = yield from self._run(place)

    def _run(self, place: int) -> Any:
        """Members from ``place`` on until one is damaged: where to go on, or None at the end."""
        self.stream.seek(place)
        machine: Any = None
        begun = at = place
        while data := self.stream.read(CHUNK_BYTES):
            while data:
                if machine is None or machine.eof:
                    # Members may be padded with zero bytes; anything else is the next member.
                    padding = len(data) - len(data.lstrip(b"\0")) if machine is not None else 0
                    at, data = at + padding, data[padding:]
                    if not data:
                        break
                    machine, begun = zlib.decompressobj(wbits=31), at
                before = machine.copy()
                try:
                    piece = machine.decompress(data, PIECE_BYTES)
                except zlib.error as error:
                    consumed = yield from self._salvage(before, data)
                    yield Damage(f"damaged gzip stream at byte {at + consumed} of the file ({error})")
                    return self._resume(begun + 1, GZIP_MAGIC, _sound_gzip)
                rest = machine.unused_data if machine.eof else machine.unconsumed_tail
                taken = len(data) - len(rest)
                at, data = at + taken, rest
                self.meter.taken += taken
                if piece:
                    yield self.meter.give(piece)
                elif not taken:
                    break
        if machine is not None and not machine.eof:
            yield from self._flush(machine)
            if not machine.eof:
                yield Damage(f"truncated gzip stream: the file ends at byte {at}")
                return self._resume(begun + 1, GZIP_MAGIC, _sound_gzip)
        return None

    def _flush(self, machine: Any) -> Iterator[Piece]:
        """What a decoder still holds when no more input comes."""
        while piece := machine.decompress(machine.unconsumed_tail, PIECE_BYTES):
            yield self.meter.give(piece)

    def _salvage(self, machine: Any, data: bytes) -> Any:
        """What the decoder gives byte by byte before the damage that a whole piece failed on; how far it came."""
        rescued = bytearray()
        done = 0
        try:
            for done in range(len(data)):
                rescued += machine.decompress(data[done : done + 1])
                if len(rescued) >= PIECE_BYTES:
                    yield self.meter.give(bytes(rescued))
                    rescued.clear()
        except zlib.error:
            pass  # This is the damage; the caller reports it.
        self.meter.taken += done
        if rescued:
            yield self.meter.give(bytes(rescued))
        return done


def _sound_gzip(head: bytes) -> bool:
    """Whether a gzip member begins here: a legal header, and data that unpack as far as they are at hand."""
    if len(head) < 10 or head[3] & 0xE0:
        return False
    machine = zlib.decompressobj(wbits=31)
    try:
        return bool(machine.decompress(head, PIECE_BYTES)) or machine.eof
    except zlib.error:
        return False


class _Zstd(_Members):
    def __init__(self, stream: BinaryIO, meter: Meter) -> None:
        super().__init__(stream, meter)
        import zstandard

        # Dumps made with `zstd --long=31` need the widest window; it takes memory only as far as it is filled.
        self._codec = zstandard.ZstdDecompressor(max_window_size=2**31)
        self._error = zstandard.ZstdError

    def pieces(self) -> Iterator[Piece]:
        """Decompressed pieces of all frames, up to the block where one is damaged."""
        place: int | None = 0
        while place is not None:
            place = yield from self._run(place)

    def _run(self, place: int) -> Any:
        """Frames from ``place`` on until one is damaged: where to go on, or None at the end."""
        self.stream.seek(place)
        machine: Any = None
        begun = at = place
        given = 0
        while chunk := self.stream.read(CHUNK_BYTES):
            for start in range(0, len(chunk), ZSTD_STEP):
                data = chunk[start : start + ZSTD_STEP]
                while data:
                    if machine is None or machine.eof:
                        machine, begun, given = self._codec.decompressobj(), at, 0
                    try:
                        piece = machine.decompress(data)
                    except self._error as error:
                        yield from self._salvage(begun, at, given)
                        yield Damage(f"damaged Zstandard stream at byte {at} of the file ({error})")
                        return self._resume(begun + 1, ZSTD_MAGIC, self._sound)
                    rest = machine.unused_data if machine.eof else b""
                    self.meter.taken += len(data) - len(rest)
                    at, data = at + len(data) - len(rest), rest
                    given += len(piece)
                    if piece:
                        yield self.meter.give(piece)
        if machine is not None and not machine.eof:
            yield Damage(f"truncated Zstandard stream: the file ends at byte {at}")
            return self._resume(begun + 1, ZSTD_MAGIC, self._sound)
        return None

    def _salvage(self, begun: int, at: int, given: int) -> Iterator[Piece]:
        """What the step at ``at`` gives before its damage: the frame once more, its last step byte by byte."""
        machine = self._codec.decompressobj()
        self.stream.seek(begun)
        skipped = 0
        try:
            while begun < at:
                data = self.stream.read(min(ZSTD_STEP, at - begun))
                begun += len(data)
                skipped += len(machine.decompress(data))
            if skipped != given:
                return
            for byte in self.stream.read(ZSTD_STEP):
                if piece := machine.decompress(bytes((byte,))):
                    yield self.meter.give(piece)
        except (self._error, EOFError):
            return

    def _sound(self, head: bytes) -> bool:
        """Whether a frame begins here: it unpacks as far as it is at hand, if only to nothing yet."""
        machine = self._codec.decompressobj()
        try:
            for start in range(0, min(len(head), 64 * ZSTD_STEP), ZSTD_STEP):
                machine.decompress(head[start : start + ZSTD_STEP])
                if machine.eof:
                    break
        except self._error:
            return False
        return True
