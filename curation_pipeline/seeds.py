"""One way to seed: every random stream is derived by name from one integer.

Streams derived under different names are independent, so adding a consumer never shifts the numbers of another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import polars as pl

from curation_pipeline.errors import DataError

_DIGITS = 32
_BLOCK = 8192
"""Ids that are decoded at once: few enough to stay in the cache."""


def derive(seed: int, *names: str | int) -> int:
    """A seed in [0, 2**63) for the stream ``names`` under ``seed``."""
    text = "\x1f".join([str(seed), *(f"{type(name).__name__}:{name}" for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """The generator of the stream ``names`` under ``seed``."""
    return np.random.default_rng(derive(seed, *names))


def unit_hash(ids: pl.Series | Sequence[str], seed: int) -> np.ndarray:
    """A uniform number in (0, 1) for each 128-bit hexadecimal id, a function of the id and the seed alone.

    The id is already a cryptographic hash, so mixing its low 64 bits with the seed by the finaliser of splitmix64
    (Steele, Lea and Flood, 2014) is enough; no state means that any shard can be redone alone with the same numbers.

    Args:
        ids: ids of 32 hexadecimal digits, length n.
        seed: any integer.

    Returns:
        float64 of shape (n,), strictly inside (0, 1).

    Raises:
        DataError: an id is not 32 hexadecimal digits.
    """
    series = ids if isinstance(ids, pl.Series) else pl.Series("id", list(ids), dtype=pl.Utf8)
    if series.is_empty():
        return np.empty(0)
    raw = _words(series)
    mixed = raw[:, 0] ^ raw[:, 1] ^ np.uint64(derive(seed, "unit_hash"))
    with np.errstate(over="ignore"):
        mixed += np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return np.asarray(((mixed >> np.uint64(11)).astype(np.float64) + 0.5) / float(1 << 53))


def _words(ids: pl.Series) -> np.ndarray:
    """The high and the low 64 bits (n, 2) of ids of 32 hexadecimal digits.

    The digits stand one after the other in the column's buffer, so they are read there in place, without a Python
    string for any of them.
    """
    array = ids.to_arrow()
    _, offset_buffer, digit_buffer = array.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    if ids.null_count() or not bool((np.diff(offsets) == _DIGITS).all()):
        raise DataError(f"an id is not {_DIGITS} hexadecimal digits long; ids are made by the corpus reader")
    digits = np.frombuffer(digit_buffer, dtype=np.uint8)[offsets[0] : offsets[-1]].view("<u8").reshape(-1, _DIGITS // 8)
    words = np.empty((len(digits), 2), np.uint64)
    for start in range(0, len(digits), _BLOCK):
        halves = _unhex(digits[start : start + _BLOCK])
        words[start : start + _BLOCK] = (halves[:, 0::2] << np.uint64(32)) | halves[:, 1::2]
    return words


def _unhex(digits: np.ndarray) -> np.ndarray:
    """The 32-bit values, as uint64, of words of eight hexadecimal digits in ASCII: all digits of a word at once."""
    letter = (digits >> _bits(6)) & _each(0x01)
    value = (digits & _each(0x0F)) + letter * np.uint64(9)
    # Written back in lower case, a digit is what it was read from; another character is not, or has no value below 16.
    above_nine = ((value + _each(0x06)) >> _bits(4)) & _each(0x01)
    written = value + _each(0x30) + above_nine * np.uint64(0x27)
    if bool(((written ^ (digits | (letter << _bits(5)))) | (value & _each(0xF0))).any()):
        raise DataError("an id holds a character that is no hexadecimal digit; ids are made by the corpus reader")
    # The first digit is in the lowest byte: pairs, then fours, then all eight are joined with the first one highest.
    for bits, mask in ((4, 0x00FF_00FF_00FF_00FF), (8, 0x0000_FFFF_0000_FFFF), (16, 0x0000_0000_FFFF_FFFF)):
        value = ((value << _bits(bits)) | (value >> _bits(2 * bits))) & np.uint64(mask)
    return value


def _each(byte: int) -> np.uint64:
    """A word with this value in each of its bytes."""
    return np.uint64(byte * 0x0101_0101_0101_0101)


def _bits(count: int) -> np.uint64:
    """How far to shift a word of unsigned digits."""
    return np.uint64(count)
