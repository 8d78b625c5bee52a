"""Whole words and phrases of a list in many texts, in any case, found and replaced in one compiled pass.

A word ends where a letter of another script begins, as at a space: Chinese, Thai or Korean may be directly next to it.
``identity.whole_words`` says the same as a pattern.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from curation_pipeline.annotate.characters import LATIN, classed
from curation_pipeline.annotate.compiled import compiled, inlined
from curation_pipeline.annotate.wordhash import strings

_SEED, _FACTOR = np.uint64(0xCBF29CE484222325), np.uint64(0x9E3779B97F4A7C15)
_SPACE, _HYPHEN = 0x20, 0x2D


@dataclass(frozen=True, slots=True, eq=False)
class Replacement:
    """Words and phrases, and what to write in their place.

    Attributes:
        keys: uint64 open-addressed table of hashes of words and of pairs of words; 0 where free.
        values: int32, which of ``texts`` replaces each.
        texts: uint8 what is written, end to end, and ``places``: int64 where each begins.
    """

    keys: np.ndarray
    values: np.ndarray
    texts: np.ndarray
    places: np.ndarray

    def apply(self, texts: pl.Series) -> pl.Series:
        """The texts with what the list holds replaced, a pair of words before the words in it."""
        raw, kinds, ends = classed(texts)
        # What is replaced takes a byte at least, and one before the next.
        longest = int(np.diff(self.places).max(initial=0))
        out = np.empty(raw.size + (raw.size // 2 + 1) * longest, dtype=np.uint8)
        offsets = np.zeros(ends.size, dtype=np.int64)
        _replace(raw, kinds, ends, self.keys, self.values, self.texts, self.places, out, offsets)
        # A copy, because the room is far larger than what is written.
        return strings(out[: offsets[-1]].copy(), offsets).alias(texts.name)


def replacement(phrases: Mapping[str, str]) -> Replacement:
    """A list of words and pairs of words, each with what replaces it.

    Args:
        phrases: in lower case; a hyphen between two words also means a space.
    """
    written = list(dict.fromkeys(phrases.values()))
    keys = np.zeros(1 << (8 * len(phrases)).bit_length(), dtype=np.uint64)
    values = np.zeros(keys.size, dtype=np.int32)
    for phrase, text in phrases.items():
        first, hyphen, second = (part.encode() for part in phrase.partition("-"))
        found = [_hash(first)] if not hyphen else [_pair(_hash(first), sep, _hash(second)) for sep in (_SPACE, _HYPHEN)]
        for key in found:
            slot = int(key) % keys.size
            while keys[slot]:
                slot = (slot + 1) % keys.size
            keys[slot], values[slot] = key, written.index(text)
    raw = [text.encode() for text in written]
    places = np.concatenate([[0], np.cumsum([len(text) for text in raw])]).astype(np.int64)
    return Replacement(keys, values, np.frombuffer(b"".join(raw), dtype=np.uint8), places)


def _hash(word: bytes) -> int:
    value = int(_SEED)
    for byte in word:
        value = (value ^ byte) * int(_FACTOR) % 2**64
    return value


def _pair(first: int, separator: int, second: int) -> int:
    return ((first ^ separator) * int(_FACTOR) + second) % 2**64


@inlined
def _value(key: np.uint64, keys: np.ndarray, values: np.ndarray) -> np.int64:
    """Which text replaces what has this hash, or -1."""
    mask = np.uint64(keys.size - 1)
    slot = key & mask
    while keys[slot] != 0:
        if keys[slot] == key:
            return np.int64(values[slot])
        slot = (slot + np.uint64(1)) & mask
    return np.int64(-1)


@compiled
def _replace(
    raw: np.ndarray,
    kinds: np.ndarray,
    ends: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    texts: np.ndarray,
    places: np.ndarray,
    out: np.ndarray,
    offsets: np.ndarray,
) -> None:
    n = np.int64(0)
    for row in range(ends.size - 1):
        at, end = ends[row], ends[row + 1]
        copied = at  # what comes before is written
        # The word before: where it is, its hash, and where its replacement is written; -1 for no word or none.
        before_start, before_stop, before, before_out = np.int64(-1), np.int64(-1), np.uint64(0), np.int64(-1)
        while at < end:
            if not kinds[at] & LATIN:
                at += 1
                continue
            start, value = at, _SEED
            while at < end and kinds[at] & LATIN:
                byte = raw[at]
                if 65 <= byte <= 90:
                    byte = np.uint8(byte | 0x20)
                elif byte == 0xC5 and raw[at + 1] == 0xBF:  # long s
                    byte, at = np.uint8(115), at + 1
                elif byte == 0xE2 and raw[at + 1] == 0x84 and raw[at + 2] == 0xAA:  # the sign of kelvin
                    byte, at = np.uint8(107), at + 2
                value = (value ^ np.uint64(byte)) * _FACTOR
                at += 1
            begin, found = start, np.int64(-1)
            if before_stop >= 0 and start == before_stop + 1 and (raw[before_stop] == 32 or raw[before_stop] == 45):
                found = _value((before ^ np.uint64(raw[before_stop])) * _FACTOR + value, keys, values)
            paired = found >= 0
            if not paired:
                found = _value(value, keys, values)
            elif before_out >= 0:
                n = before_out  # a pair comes before the word in it
            else:
                begin = before_start
            written = np.int64(-1)
            if found >= 0:
                if not paired or before_out < 0:
                    out[n : n + begin - copied] = raw[copied:begin]
                    n += begin - copied
                written = n
                for i in range(places[found], places[found + 1]):
                    out[n] = texts[i]
                    n += 1
                copied = at
            before_start, before_stop, before, before_out = start, at, value, written
            if paired:
                before_stop = np.int64(-1)
        out[n : n + end - copied] = raw[copied:end]
        n += end - copied
        offsets[row + 1] = n
