"""One way to seed: every random stream is derived by name from one integer.

Streams derived under different names are independent, so adding a consumer never shifts the numbers of another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import polars as pl


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
    """
    series = ids if isinstance(ids, pl.Series) else pl.Series("id", list(ids), dtype=pl.Utf8)
    if series.is_empty():
        return np.empty(0)
    raw = np.frombuffer(b"".join(bytes.fromhex(value) for value in series.to_list()), dtype=">u8").reshape(-1, 2)
    mixed = raw[:, 0].astype(np.uint64) ^ raw[:, 1].astype(np.uint64) ^ np.uint64(derive(seed, "unit_hash"))
    with np.errstate(over="ignore"):
        mixed += np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return np.asarray(((mixed >> np.uint64(11)).astype(np.float64) + 0.5) / float(1 << 53))
