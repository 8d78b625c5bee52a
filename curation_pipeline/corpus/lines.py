"""Lines out of a stream, in blocks, with the place of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from curation_pipeline.corpus.rows import excerpt
from curation_pipeline.corpus.streams import Damage, Piece


@dataclass(slots=True)
class Block:
    """Lines that follow one another without a gap.

    Attributes:
        position: number of the first line in the file, from 0.
        offset: of its first byte in the decompressed stream.
        lines: without their line feeds.
        last_open: the last line has no line feed: the file, or what can be read of it, ends there.
    """

    position: int
    offset: int
    lines: list[bytes]
    last_open: bool = False
    _offsets: list[int] = field(default_factory=list)

    def offset_of(self, index: int) -> int:
        """Offset of the first byte of a line."""
        if not self._offsets:
            # Made for the first failure of a block only: sound blocks never need it.
            self._offsets = list(accumulate((len(line) + 1 for line in self.lines), initial=self.offset))
        return self._offsets[index]


@dataclass(frozen=True, slots=True)
class Gap:
    """A line, or what is left of one, that cannot be given.

    Attributes:
        position: its number in the file.
        offset: of its first byte in the decompressed stream.
        excerpt: how it begins.
        reason: what is wrong.
        restart: bytes are missing behind it, so that what follows has no connection with what came before.
    """

    position: int
    offset: int
    excerpt: str
    reason: str
    restart: bool


def blocks(stream: Iterable[Piece], max_line_bytes: int) -> Iterator[Block | Gap]:
    """The lines of a stream in order, and a gap for each that is longer than allowed or broken off by damage.

    Memory is bounded by ``max_line_bytes`` and the size of a piece.
    """
    carry: list[bytes] = []
    held = position = offset = skipped = 0
    for piece in stream:
        if isinstance(piece, Damage):
            begin = b"".join(carry)
            yield Gap(position, offset, excerpt(begin), f"the file breaks off here: {piece.reason}", True)
            offset, position = offset + len(begin) + skipped, position + 1
            carry, held, skipped = [], 0, 0
            continue
        if skipped:
            cut = piece.find(b"\n") + 1
            if not cut:
                skipped += len(piece)
                continue
            offset, position, skipped = offset + skipped + cut, position + 1, 0
            piece = piece[cut:]
        if b"\n" in piece:
            carry.append(piece)
            lines = b"".join(carry).split(b"\n")
            rest = lines.pop()
            size = held + len(piece) - len(rest)
            if held + len(piece) > max_line_bytes:
                yield from _checked(Block(position, offset, lines), max_line_bytes)
            elif lines:
                yield Block(position, offset, lines)
            position, offset = position + len(lines), offset + size
            carry, held = ([rest], len(rest)) if rest else ([], 0)
        elif piece:
            carry.append(piece)
            held += len(piece)
        if held > max_line_bytes:
            begin = b"".join(carry)
            yield Gap(position, offset, excerpt(begin), _too_long(max_line_bytes), False)
            carry, held, skipped = [], 0, held
    if held:
        yield Block(position, offset, [b"".join(carry)], last_open=True)


def _too_long(most: int) -> str:
    return f"a line of more than max_document_bytes = {most} bytes"


def _checked(block: Block, max_line_bytes: int) -> Iterator[Block | Gap]:
    """A block with a gap in place of each line that is too long."""
    start = 0
    for index, line in enumerate(block.lines):
        if len(line) > max_line_bytes:
            if index > start:
                yield Block(block.position + start, block.offset_of(start), block.lines[start:index])
            reason = _too_long(max_line_bytes)
            yield Gap(block.position + index, block.offset_of(index), excerpt(line), reason, False)
            start = index + 1
    if start < len(block.lines):
        yield Block(block.position + start, block.offset_of(start), block.lines[start:])
