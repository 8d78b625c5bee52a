"""Pieces of text numbered by what they spell, so that whatever depends on the spelling alone is worked out once."""

from __future__ import annotations

import numpy as np
import polars as pl

from curation_pipeline.annotate.compiled import compiled


def intern(raw: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number m pieces of a text in the order in which their spellings first occur.

    Args:
        raw: uint8 (b,) text.
        starts: int64 (m,) first byte of each piece.
        stops: int64 (m,) the byte after its last one.

    Returns:
        int32 (m,) number of each piece's spelling, and int64 (u,) the first piece of each spelling.
    """
    slots = np.zeros(1 << max(int(2 * starts.size).bit_length(), 4), dtype=np.int32)
    hashes = np.empty(starts.size, dtype=np.uint64)
    codes = np.empty(starts.size, dtype=np.int32)
    first = np.empty(starts.size, dtype=np.int64)
    n = _intern(raw, starts, stops, slots, hashes, codes, first) if starts.size else 0
    return codes, first[:n]


def spelled(raw: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> pl.Series:
    """The pieces ``raw[start:stop]`` of UTF-8 text as strings."""
    import pyarrow as pa

    lengths = stops - starts
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    data = raw[np.arange(ends[-1]) + np.repeat(starts - ends[:-1], lengths)]
    array = pa.LargeStringArray.from_buffers(len(lengths), pa.py_buffer(ends), pa.py_buffer(data))
    return pl.Series(pl.from_arrow(array), dtype=pl.Utf8)


@compiled
def _intern(
    raw: np.ndarray,
    starts: np.ndarray,
    stops: np.ndarray,
    slots: np.ndarray,
    hashes: np.ndarray,
    codes: np.ndarray,
    first: np.ndarray,
) -> int:
    """Look each piece up in an open-addressed table of spellings; how many there are."""
    mask = np.uint64(slots.size - 1)
    n = 0
    for i in range(starts.size):
        start, size = starts[i], stops[i] - starts[i]
        value = np.uint64(0xCBF29CE484222325)
        for j in range(start, stops[i]):
            value = (value ^ np.uint64(raw[j])) * np.uint64(0x9E3779B97F4A7C15)
        value ^= value >> np.uint64(29)
        slot = value & mask
        code = -1
        while slots[slot] != 0:
            code = slots[slot] - 1
            if hashes[code] == value and stops[first[code]] - starts[first[code]] == size:
                # Equal hashes settle nothing by themselves: the spelling does.
                other = starts[first[code]]
                j = 0
                while j < size and raw[start + j] == raw[other + j]:
                    j += 1
                if j == size:
                    break
            code = -1
            slot = (slot + np.uint64(1)) & mask
        if code < 0:
            code = n
            hashes[n], first[n] = value, i
            slots[slot] = n + 1
            n += 1
        codes[i] = code
    return n
