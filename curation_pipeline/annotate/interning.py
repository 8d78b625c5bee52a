"""Pieces of text numbered by what they spell, so that whatever depends on the spelling alone is worked out once."""

from __future__ import annotations

import numpy as np
import polars as pl

from curation_pipeline.annotate.compiled import compiled
from curation_pipeline.annotate.wordhash import strings


def runs(inside: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The longest runs of bytes of one text that are ``inside`` a piece.

    Args:
        inside: bool (b,).
        ends: int64 (n + 1,) offsets of n texts in it.

    Returns:
        int64 (m,) the first byte of each run, int64 (m,) the byte after its last one, and int64 (n + 1,) offsets of the
        texts in the runs.
    """
    starts = np.empty(inside.size // 2 + ends.size, dtype=np.int64)
    stops = np.empty_like(starts)
    offsets = np.zeros(ends.size, dtype=np.int64)
    _runs(inside, ends, starts, stops, offsets)
    return starts[: offsets[-1]], stops[: offsets[-1]], offsets


def intern(raw: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number m pieces of a text in the order in which their spellings first occur.

    Args:
        raw: uint8 (b,) text.
        starts: int64 (m,) first byte of each piece.
        stops: int64 (m,) the byte after its last one.

    Returns:
        int32 (m,) number of each piece's spelling, and int64 (u,) the first piece of each spelling.
    """
    codes = np.empty(starts.size, dtype=np.int32)
    first = np.empty(starts.size, dtype=np.int64)
    n = _intern(raw, starts, stops, np.empty((starts.size, 3), dtype=np.uint64), codes, first)
    return codes, first[:n]


def spelled(raw: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> pl.Series:
    """The pieces ``raw[start:stop]`` of UTF-8 text as strings."""
    lengths = stops - starts
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return strings(raw[np.arange(ends[-1]) + np.repeat(starts - ends[:-1], lengths)], ends)


@compiled
def _runs(inside: np.ndarray, ends: np.ndarray, starts: np.ndarray, stops: np.ndarray, offsets: np.ndarray) -> None:
    n = 0
    for row in range(ends.size - 1):
        at, end = ends[row], ends[row + 1]
        while at < end:
            if inside[at]:
                starts[n] = at
                while at < end and inside[at]:
                    at += 1
                stops[n] = at
                n += 1
            at += 1
        offsets[row + 1] = n


@compiled
def _intern(
    raw: np.ndarray, starts: np.ndarray, stops: np.ndarray, known: np.ndarray, codes: np.ndarray, first: np.ndarray
) -> int:
    """Look each piece up in an open-addressed table of spellings that grows with them; how many there are.

    ``known`` has the hash of each spelling, where its first piece begins and how long that is, since what a look-up
    reads should lie together.
    """
    slots = np.zeros(1 << 12, dtype=np.int32)
    mask = np.uint64(slots.size - 1)
    n = 0
    for i in range(starts.size):
        start, size = starts[i], stops[i] - starts[i]
        value = np.uint64(0xCBF29CE484222325) + np.uint64(size)
        for j in range(start, stops[i]):
            value = (value ^ np.uint64(raw[j])) * np.uint64(0x9E3779B97F4A7C15)
        value ^= value >> np.uint64(29)
        slot = value & mask
        code = -1
        while slots[slot] != 0:
            other = slots[slot] - 1
            if known[other, 0] == value and np.int64(known[other, 2]) == size:
                # Equal hashes settle nothing by themselves: the spelling does.
                begin, j = np.int64(known[other, 1]), 0
                while j < size and raw[start + j] == raw[begin + j]:
                    j += 1
                if j == size:
                    code = other
                    break
            slot = (slot + np.uint64(1)) & mask
        if code < 0:
            code = n
            known[n, 0], known[n, 1], known[n, 2], first[n] = value, np.uint64(start), np.uint64(size), i
            slots[slot] = n + 1
            n += 1
            if 2 * n > slots.size:
                slots = np.zeros(4 * slots.size, dtype=np.int32)
                mask = np.uint64(slots.size - 1)
                for other in range(n):
                    slot = known[other, 0] & mask
                    while slots[slot] != 0:
                        slot = (slot + np.uint64(1)) & mask
                    slots[slot] = other + 1
        codes[i] = code
    return n
