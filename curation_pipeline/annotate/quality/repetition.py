"""Characters in repeated n-grams of words (Gopher's repetition rules, table A1 of arXiv:2112.11446)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curation_pipeline.annotate.compiled import compiled
from curation_pipeline.annotate.quality.tokens import Tokens

TOP_SIZES = (2, 3, 4)
"""Sizes of n-grams of which the most frequent one counts."""
REPEATED_SIZES = (5, 6, 7, 8, 9, 10)
"""Sizes of n-grams of which every repetition counts."""


def repeated_characters(tokens: Tokens) -> npt.NDArray[np.int64]:
    """Characters in repeated n-grams of each text, shape (n_texts, 9): sizes 2 to 10.

    * Sizes 2, 3, 4: length of the most frequent n-gram (its words joined by blanks; the first of several) times how
      often it occurs, where an n-gram that occurs once counts once; 0 where the text has fewer words.
    * Sizes 5 to 10: going through the words, an n-gram that was met before adds the length of its words, and the walk
      continues behind it, so that no character counts twice.

    An n-gram is known by a hash of 64 bits of the hashes of its words.
    """
    n_texts = len(tokens.offsets) - 1
    result = np.zeros((n_texts, len(TOP_SIZES) + len(REPEATED_SIZES)), dtype=np.int64)
    longest = int(np.diff(tokens.offsets).max(initial=0))
    size = max(16, 1 << (2 * longest + 2).bit_length())
    _repeated_characters(
        tokens.hashes,
        tokens.lengths,
        tokens.offsets,
        np.zeros(size, dtype=np.uint64),
        np.zeros(size, dtype=np.int64),
        np.zeros(size, dtype=np.int32),
        np.empty(longest + 1, dtype=np.uint64),
        np.empty(longest + 1, dtype=np.int64),
        result,
    )
    return result


@compiled
def _repeated_characters(
    hashes: npt.NDArray[np.uint64],
    lengths: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int64],
    keys: npt.NDArray[np.uint64],
    owner: npt.NDArray[np.int64],
    count: npt.NDArray[np.int32],
    gram: npt.NDArray[np.uint64],
    ends: npt.NDArray[np.int64],
    result: npt.NDArray[np.int64],
) -> None:
    factor, fold = np.uint64(0xD6E8FEB86659FD93), np.uint64(32)
    who = 0  # a slot belongs to the pass whose number is in `owner`, so the table is never cleared
    for text in range(len(offsets) - 1):
        first, n = offsets[text], offsets[text + 1] - offsets[text]
        mask = 16
        while mask < 2 * n:
            mask *= 2
        mask -= 1
        ends[0] = 0
        for i in range(n):
            gram[i] = hashes[first + i]
            ends[i + 1] = ends[i] + lengths[first + i]
        for size in range(2, 11):
            if size > n:
                break
            who += 1
            for i in range(n - size + 1):
                value = gram[i] * factor
                value ^= value >> fold
                gram[i] = value + hashes[first + i + size - 1]
            best, best_at, repeated, at = 0, 0, 0, 0
            while at < n - size + 1:
                key = gram[at] * factor
                slot = np.int64((key >> fold) & np.uint64(mask))
                while owner[slot] == who and keys[slot] != key:
                    slot = (slot + 1) & mask
                known = owner[slot] == who
                if size <= 4:
                    count[slot] = count[slot] + 1 if known else 1
                    best = max(best, count[slot])
                if not known:
                    owner[slot] = who
                    keys[slot] = key
                elif size > 4:
                    repeated += ends[at + size] - ends[at]
                    at += size
                    continue
                at += 1
            if size <= 4:
                # The n-gram with that count which comes first in the text.
                while True:
                    key = gram[best_at] * factor
                    slot = np.int64((key >> fold) & np.uint64(mask))
                    while keys[slot] != key:
                        slot = (slot + 1) & mask
                    if count[slot] == best:
                        break
                    best_at += 1
                result[text, size - 2] = best * (ends[best_at + size] - ends[best_at] + size - 1)
            else:
                result[text, size - 2] = repeated
                if repeated == 0:  # then no longer n-gram repeats either
                    break
