"""Counts over the lines and marks of many texts (the rules of Gopher and FineWeb that look at lines)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curation_pipeline.annotate.compiled import compiled
from curation_pipeline.annotate.quality import characters as ch

Counts = npt.NDArray[np.int64]

LINE_COLUMNS = (
    "hashes",
    "ellipses",
    "line_feeds",
    "lines",
    "bullet_lines",
    "ellipsis_lines",
    "solid_lines",
    "ended_lines",
    "short_lines",
    "pieces",
    "repeated_pieces",
    "repeated_piece_chars",
    "repeated_solid_chars",
    "paragraphs",
    "repeated_paragraphs",
    "repeated_paragraph_chars",
)
"""Columns of ``line_counts``, all counts: marks; lines (ended by any line break) and those that begin with a bullet or
end with an ellipsis; solid lines (between line feeds, not blank), those that end a sentence and those that are short;
pieces (what runs of line feeds separate), those seen before and the characters in them; characters in solid lines seen
before; paragraphs (what two or more line feeds separate in the stripped text), those seen before and the characters in
them."""


def line_counts(codes: npt.NDArray[np.uint32], offsets: npt.NDArray[np.int64], short: int) -> Counts:
    """Counts of ``LINE_COLUMNS`` for each text of a batch, shape (n_texts, n_columns).

    Args:
        codes: code points of all texts.
        offsets: where each text begins.
        short: a line of at most so many characters is short.
    """
    counts = np.zeros((len(offsets) - 1, len(LINE_COLUMNS)), dtype=np.int64)
    longest = int(np.diff(offsets).max(initial=0))
    size = max(64, 1 << (2 * longest + 4).bit_length())
    # Slots of a hash set; a slot belongs to the text whose number is in `owner`, so it is never cleared.
    _line_counts(
        codes,
        offsets,
        ch.class_table(),
        short,
        np.zeros(size, dtype=np.uint64),
        np.zeros(size, dtype=np.int64),
        counts,
    )
    return counts


@compiled
def _seen(
    codes: npt.NDArray[np.uint32],
    start: int,
    end: int,
    keys: npt.NDArray[np.uint64],
    owner: npt.NDArray[np.int64],
    who: int,
    mask: int,
) -> bool:
    """Whether ``who`` has met these characters before; remembers them."""
    key = np.uint64(0xCBF29CE484222325)
    for i in range(start, end):
        key = (key ^ np.uint64(codes[i])) * np.uint64(0x9E3779B97F4A7C15)
    key ^= key >> np.uint64(29)
    slot = np.int64(key & np.uint64(mask))
    while owner[slot] == who:
        if keys[slot] == key:
            return True
        slot = (slot + 1) & mask
    owner[slot] = who
    keys[slot] = key
    return False


@compiled
def _line_counts(
    codes: npt.NDArray[np.uint32],
    offsets: npt.NDArray[np.int64],
    classes: npt.NDArray[np.uint32],
    short: int,
    keys: npt.NDArray[np.uint64],
    owner: npt.NDArray[np.int64],
    counts: Counts,
) -> None:
    for text in range(len(offsets) - 1):
        start, end = offsets[text], offsets[text + 1]
        out = counts[text]
        breaks = 0
        at, line, dots = start, start, 0
        first, last = start, start - 1  # solid characters at the ends of the line
        while at <= end:
            code = np.uint32(10) if at == end else codes[at]
            bits = classes[code]
            if bits & ch.LINE_BREAK:
                if at < end or at > line:
                    out[3] += 1
                    if last >= line:
                        out[4] += codes[first] == 0x2022 or codes[first] == 45
                        out[5] += codes[last] == 0x2026 or (
                            last - 2 >= line and codes[last] == 46 and codes[last - 1] == 46 and codes[last - 2] == 46
                        )
                out[2] += code == 10 and at < end
                breaks += code == 10 and at < end
                if code == 13 and at + 1 < end and codes[at + 1] == 10:
                    at += 1
                    out[2] += 1
                    breaks += 1
                line, last = at + 1, at
            elif not bits & ch.SPACE:
                if last < line:
                    first = at
                last = at
                out[0] += code == 35
                out[1] += code == 0x2026
            dots = dots + 1 if code == 46 and at < end else 0
            if dots == 3:
                out[1] += 1
                dots = 0
            at += 1
        mask = 64
        while mask < 2 * (breaks + 2):
            mask *= 2
        mask -= 1
        _solid_lines(codes, start, end, classes, short, keys, owner, 3 * text + 1, mask, out)
        _paragraphs(codes, start, end, classes, keys, owner, 3 * text + 3, mask, out)


@compiled
def _solid_lines(
    codes: npt.NDArray[np.uint32],
    start: int,
    end: int,
    classes: npt.NDArray[np.uint32],
    short: int,
    keys: npt.NDArray[np.uint64],
    owner: npt.NDArray[np.int64],
    who: int,
    mask: int,
    out: Counts,
) -> None:
    """Lines between line feeds; those that are not empty are the pieces that runs of line feeds separate."""
    if end == start:
        return
    line = start
    while line <= end:
        stop, solid = line, False
        while stop < end and codes[stop] != 10:
            solid |= not classes[codes[stop]] & ch.SPACE
            stop += 1
        if stop > line:
            seen = _seen(codes, line, stop, keys, owner, who, mask)
            out[9] += 1
            out[10] += seen
            out[11] += seen * (stop - line)
            if solid:
                out[6] += 1
                out[7] += classes[codes[stop - 1]] & ch.SENTENCE_END != 0
                out[8] += stop - line <= short
                out[12] += seen * (stop - line)
        line = stop + 1
    # A run of line feeds at an end of the text leaves an empty piece there; two of them repeat each other.
    edges = (codes[start] == 10) + (codes[end - 1] == 10)
    out[9] += edges
    out[10] += edges == 2


@compiled
def _paragraphs(
    codes: npt.NDArray[np.uint32],
    start: int,
    end: int,
    classes: npt.NDArray[np.uint32],
    keys: npt.NDArray[np.uint64],
    owner: npt.NDArray[np.int64],
    who: int,
    mask: int,
    out: Counts,
) -> None:
    while start < end and classes[codes[start]] & ch.SPACE:
        start += 1
    while end > start and classes[codes[end - 1]] & ch.SPACE:
        end -= 1
    at = start
    while at <= end:
        stop = at
        while stop < end and not (codes[stop] == 10 and codes[stop + 1] == 10):
            stop += 1
        seen = _seen(codes, at, stop, keys, owner, who, mask)
        out[13] += 1
        out[14] += seen
        out[15] += seen * (stop - at)
        while stop < end and codes[stop] == 10:
            stop += 1
        at = stop if stop < end else end + 1
