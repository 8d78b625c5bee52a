"""Counts over the words of many texts (Gopher's quality rules)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from curation_pipeline.annotate.compiled import compiled
from curation_pipeline.annotate.quality.splitting import HAS_LETTER, SYMBOLS_ONLY
from curation_pipeline.annotate.quality.tokens import Tokens, hash_words

WORD_COLUMNS = ("tokens", "words", "word_chars", "lettered", "stop_words")
"""Columns of ``word_counts``: all tokens; those that are not marks only, and the characters in them; tokens with a
letter; distinct stop words."""


def word_counts(tokens: Tokens, stop_words: Sequence[str]) -> npt.NDArray[np.int64]:
    """Counts of ``WORD_COLUMNS`` for each text, shape (n_texts, n_columns).

    Args:
        tokens: of a batch of texts.
        stop_words: at most 64, looked for as they are written.
    """
    counts = np.zeros((len(tokens.offsets) - 1, len(WORD_COLUMNS)), dtype=np.int64)
    size = 512
    keys, bits = np.zeros(size, dtype=np.uint64), np.zeros(size, dtype=np.uint64)
    for place, key in enumerate(hash_words(list(dict.fromkeys(stop_words)))):
        slot = int(key) % size
        while keys[slot]:
            slot = (slot + 1) % size
        keys[slot], bits[slot] = key, np.uint64(1 << place)
    longest = max(map(len, stop_words), default=0)
    _word_counts(tokens.hashes, tokens.lengths, tokens.flags, tokens.offsets, keys, bits, longest, counts)
    return counts


@compiled
def _word_counts(
    hashes: npt.NDArray[np.uint64],
    lengths: npt.NDArray[np.int32],
    flags: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    keys: npt.NDArray[np.uint64],
    bits: npt.NDArray[np.uint64],
    longest: int,
    counts: npt.NDArray[np.int64],
) -> None:
    mask = np.uint64(len(keys) - 1)
    for text in range(len(offsets) - 1):
        words, characters, lettered, found = 0, 0, 0, np.uint64(0)
        for i in range(offsets[text], offsets[text + 1]):
            if not flags[i] & SYMBOLS_ONLY:
                words += 1
                characters += lengths[i]
            lettered += flags[i] & HAS_LETTER != 0
            if lengths[i] <= longest:
                slot = hashes[i] & mask
                while keys[slot] != np.uint64(0):
                    if keys[slot] == hashes[i]:
                        found |= bits[slot]
                        break
                    slot = (slot + np.uint64(1)) & mask
        n_found = 0
        while found:
            found &= found - np.uint64(1)
            n_found += 1
        counts[text, 0] = offsets[text + 1] - offsets[text]
        counts[text, 1], counts[text, 2], counts[text, 3], counts[text, 4] = words, characters, lettered, n_found
