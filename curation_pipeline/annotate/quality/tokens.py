"""Words of many texts at once, split as spaCy's English tokeniser splits them.

White space separates chunks. A chunk that is an exception (a contraction, an abbreviation, an emoticon) has its given
tokens; of any other, marks are split off both ends until none is left or an exception remains, an address is left whole
and what remains is split at marks between letters. The published implementations of Gopher and FineWeb count words that
way: punctuation counts as a word of its own, and a hyphenated word as three.

Everything is a flat array over a batch of texts with offsets, so that no Python runs a word or a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from curation_pipeline.annotate.quality import characters as ch
from curation_pipeline.annotate.quality import splitting
from curation_pipeline.annotate.quality.exceptions import exceptions
from curation_pipeline.annotate.quality.splitting import Codes, Hashes, Offsets

_UNITS = (
    "km km² km³ m m² m³ dm dm² dm³ cm cm² cm³ mm mm² mm³ ha µm nm yd in ft kg g mg µg t lb oz m/s km/h kmh mph hPa Pa "
    "mbar mb MB kb KB gb GB tb TB T G M K %"
)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of a batch of texts, in order, without white space.

    Attributes:
        hashes: of each token's characters, shape (n_tokens,).
        starts: place of its first character in the batch.
        lengths: in characters.
        flags: sum of SYMBOLS_ONLY, HAS_LETTER, SENTENCE_MARK, PUNCTUATION_ONLY and AFTER_GAP.
        offsets: tokens of text ``i`` are ``offsets[i]:offsets[i + 1]``.
    """

    hashes: Hashes
    starts: Offsets
    lengths: npt.NDArray[np.int32]
    flags: npt.NDArray[np.uint8]
    offsets: Offsets


def encode(texts: Sequence[str]) -> tuple[Codes, Offsets]:
    """Code points of texts, one after the other, and where each begins (one more than there are texts)."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le"), dtype=np.dtype("<u4")).astype(np.uint32)
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)), out=offsets[1:])
    return codes, offsets


def tokenise(codes: Codes, offsets: Offsets) -> Tokens:
    """Split each text of a batch (see ``encode``) into tokens."""
    n_codes = len(codes)
    # As many tokens as characters at most; pages that are never written to cost nothing.
    hashes, starts = np.empty(n_codes + 1, dtype=np.uint64), np.empty(n_codes + 1, dtype=np.int64)
    lengths, flags = np.empty(n_codes + 1, dtype=np.int32), np.empty(n_codes + 1, dtype=np.uint8)
    suffixes, token_offsets = np.empty(n_codes + 1, dtype=np.int64), np.zeros(len(offsets), dtype=np.int64)
    keys, pieces, longest = _exception_table()
    splitting.split(
        codes, offsets, ch.class_table(), keys, pieces, longest, _unit_table(),
        hashes, starts, lengths, flags, suffixes, token_offsets,
    )  # fmt: skip
    n = token_offsets[-1]
    return Tokens(hashes[:n], starts[:n], lengths[:n], flags[:n], token_offsets)


def hash_words(words: Sequence[str]) -> Hashes:
    """The hash that ``tokenise`` gives to each of some words."""
    codes, offsets = encode(words)
    hashes = np.empty(len(words), dtype=np.uint64)
    splitting.hash_each(codes, offsets, hashes)
    return hashes


@lru_cache(maxsize=1)
def _unit_table() -> Hashes:
    return np.sort(hash_words(_UNITS.split()))


@lru_cache(maxsize=1)
def _exception_table() -> tuple[Hashes, npt.NDArray[np.int8], int]:
    """Exceptions by hash.

    Returns:
        An open-addressed table of hashes (0 where empty); the lengths of up to four tokens of each (shape (size, 5);
        the last column is the number of tokens that the rule of affixes alone makes of it, 0 where no affix is in it,
        so that neighbours which add up to an exception can be joined again); the length of the longest.
    """
    known = exceptions()
    size = 1 << (4 * len(known)).bit_length()
    keys, pieces = np.zeros(size, dtype=np.uint64), np.zeros((size, 5), dtype=np.int8)
    longest = max(map(len, known))
    codes, offsets = encode(list(known))
    counts = np.zeros(len(known), dtype=np.int8)
    splitting.count_without_exceptions(codes, offsets, ch.class_table(), _unit_table(), counts)
    for key, parts, count in zip(hash_words(list(known)), known.values(), counts, strict=True):
        slot = int(key) & (size - 1)
        while keys[slot]:
            slot = (slot + 1) & (size - 1)
        keys[slot] = key
        pieces[slot, : len(parts)] = [len(part) for part in parts]
        pieces[slot, 4] = count
    return keys, pieces, longest
