r"""Byte-level BPE of many texts at once: every different piece of them is encoded a single time, by a compiled loop.

GPT-2's pattern (Radford et al. 2019) divides a text into pieces that are encoded each by itself:
``'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+``. A chunk of documents has some
twenty times as many pieces as different ones. The ids are those of the library tokenizers, which takes longer to make
an object for each piece than to encode it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.annotate.characters import CODE_POINTS, classes_of
from curation_pipeline.annotate.compiled import compiled, inlined
from curation_pipeline.annotate.interning import intern, spelled
from curation_pipeline.annotate.wordhash import utf8

OTHER, SPACE, LETTER, NUMBER = (np.uint8(kind) for kind in range(4))
_KINDS = ((SPACE, r"\s"), (LETTER, r"\p{L}"), (NUMBER, r"\p{N}"))
_LONGEST = 256
"""Bytes of the longest piece that the loop encodes: the time it takes grows with their square."""
_BYTES = 8_000_000
"""Text divided into pieces at once: bounds the memory that the pieces take."""


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """Some texts as pieces that are encoded each by itself.

    Attributes:
        tokens: int32 ids of the u different pieces end to end, and ``ends``: int64 (u + 1,) where each begins.
        codes: int32 (m,) which of them each piece is.
        lengths: int64 (n,) tokens of each text.
    """

    tokens: np.ndarray
    ends: np.ndarray
    codes: np.ndarray
    lengths: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class BytePairs:
    """A tokenizer of the library tokenizers that divides by GPT-2's pattern and merges bytes.

    Attributes:
        backend: the tokenizer; encodes the few pieces that are long.
        digits_apart: each digit is set apart first, as SmolLM does.
        letters: int32 (256,) id of each byte.
        keys: uint64 open-addressed table of pairs of ids, the left one in the upper half, plus 1; 0 where free.
        ranks: int32, of each of ``keys`` the place in the order of merges.
        merged: int32, the id that each merge gives.
    """

    backend: Any
    digits_apart: bool
    letters: np.ndarray
    keys: np.ndarray
    ranks: np.ndarray
    merged: np.ndarray

    def pieces(self, texts: pl.Series) -> Iterator[Pieces]:
        """The pieces of texts in their order, some megabytes of text at a time."""
        every, ends = utf8(texts)
        start = 0
        while start < len(texts):
            stop = max(start + 1, int(np.searchsorted(ends, ends[start] + _BYTES, side="right")) - 1)
            yield self._pieces(every[ends[start] : ends[stop]], ends[start : stop + 1] - ends[start])
            start = stop

    def _pieces(self, raw: np.ndarray, ends: np.ndarray) -> Pieces:
        stops, offsets = divide(raw, ends, self.digits_apart)
        starts = np.concatenate([[0], stops[:-1]]).astype(np.int64)
        codes, first = intern(raw, starts, stops)
        starts, stops = starts[first], stops[first]
        tokens = np.empty(int((stops - starts).sum()), dtype=np.int32)
        token_ends = np.zeros(first.size + 1, dtype=np.int64)
        long = np.flatnonzero(stops - starts > _LONGEST)
        texts = spelled(raw, starts[long], stops[long]).to_list()
        ids = [encoding.ids for encoding in self.backend.encode_batch_fast(texts, add_special_tokens=False)]
        given = np.array([token for each in ids for token in each], dtype=np.int32)
        sizes = np.array([len(each) for each in ids], dtype=np.int64)
        scratch = np.empty((2, _LONGEST + 1), dtype=np.int32)
        tables = (self.letters, self.keys, self.ranks, self.merged)
        _encode(raw, starts, stops, *tables, given, sizes, scratch, tokens, token_ends)
        total = np.concatenate([[0], np.cumsum(np.diff(token_ends)[codes])])
        return Pieces(tokens[: token_ends[-1]], token_ends, codes, np.diff(total[offsets]))


def byte_pairs(backend: Any) -> BytePairs | None:
    """The tables of a tokenizer; None where it divides texts in another way, rewrites them or is no byte-level BPE."""
    if backend.normalizer is not None or backend.pre_tokenizer is None:
        return None
    # With `encode_special_tokens` only the tokens that are added and not special divide a text.
    if not all(token.special for token in backend.get_added_tokens_decoder().values()):
        return None
    divider = json.loads(backend.pre_tokenizer.__getstate__())
    steps = divider["pretokenizers"] if divider["type"] == "Sequence" else [divider]
    if not steps or steps[-1]["type"] != "ByteLevel" or steps[-1]["add_prefix_space"] or not steps[-1]["use_regex"]:
        return None
    if steps[:-1] not in ([], [{"type": "Digits", "individual_digits": True}]):
        return None
    model = json.loads(backend.model.__getstate__())
    if model["type"] != "BPE" or any(model.get(name) for name in _OTHERWISE):
        return None
    vocabulary = model["vocab"]
    letters = [vocabulary.get(letter) for letter in _byte_letters()]
    if None in letters:
        return None
    pairs = [tuple(pair) if isinstance(pair, list) else tuple(pair.split(" ")) for pair in model["merges"]]
    sides = np.array([(vocabulary[left], vocabulary[right]) for left, right in pairs], dtype=np.uint64).reshape(-1, 2)
    keys = np.zeros(1 << max(int(4 * len(pairs)).bit_length(), 4), dtype=np.uint64)
    ranks = np.zeros(keys.size, dtype=np.int32)
    _enter((sides[:, 0] << np.uint64(32)) + sides[:, 1] + np.uint64(1), keys, ranks)
    merged = np.array([vocabulary[left + right] for left, right in pairs], dtype=np.int32)
    return BytePairs(backend, len(steps) > 1, np.array(letters, dtype=np.int32), keys, ranks, merged)


_OTHERWISE = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges")
"""Settings of the library's BPE that make it another function."""


def _byte_letters() -> list[str]:
    """The letter that the alphabet of byte-level BPE has for each byte."""
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte if byte in plain else 256 + others.index(byte)) for byte in range(256)]


def divide(raw: np.ndarray, ends: np.ndarray, digits_apart: bool) -> tuple[np.ndarray, np.ndarray]:
    """The pieces of n texts.

    Args:
        raw: the texts in UTF-8 end to end, uint8 (b,).
        ends: int64 (n + 1,) offsets of the texts, from 0.
        digits_apart: each digit is a piece, and texts end before and begin after it.

    Returns:
        int64 (m,) the byte after each piece; pieces follow one another without gaps. int64 (n + 1,) offsets of the
        texts in the pieces.
    """
    stops = np.empty(raw.size, dtype=np.int64)
    offsets = np.zeros(ends.size, dtype=np.int64)
    _divide(raw, ends, classes_of(raw, _kinds(raw)), digits_apart, stops, offsets)
    return stops[: offsets[-1]].copy(), offsets


def _kinds(raw: np.ndarray) -> np.ndarray:
    """The kind of each code point that occurs, as the library's own engine of patterns has it; uint8 (CODE_POINTS,)."""
    from tokenizers import Regex, pre_tokenizers

    table = np.zeros(CODE_POINTS, dtype=np.uint8)
    seen = np.flatnonzero(_seen(raw, CODE_POINTS))
    text = "".join(map(chr, seen.tolist()))
    for kind, pattern in _KINDS:
        match = np.ones(seen.size, dtype=bool)
        for _, (start, stop) in pre_tokenizers.Split(Regex(pattern), "removed").pre_tokenize_str(text):
            match[start:stop] = False
        table[seen[match]] = kind
    return table


def _seen(raw: np.ndarray, size: int) -> np.ndarray:
    """Which code points occur, bool (size,)."""
    found = np.zeros(size, dtype=bool)
    if raw.size:
        _mark(raw, found)
    return found


@compiled
def _mark(raw: np.ndarray, found: np.ndarray) -> None:
    point = np.uint32(0)
    left = 0
    for byte in raw:
        if byte < 0x80:
            found[byte] = True
        elif byte < 0xC0:
            point = (point << np.uint32(6)) | np.uint32(byte & 0x3F)
            left -= 1
            if left == 0:
                found[point] = True
        else:
            left = 1 if byte < 0xE0 else 2 if byte < 0xF0 else 3
            point = np.uint32(byte & (0x3F >> left))


@compiled
def _divide(
    raw: np.ndarray, ends: np.ndarray, kinds: np.ndarray, digits_apart: bool, stops: np.ndarray, offsets: np.ndarray
) -> None:
    n = 0
    for row in range(ends.size - 1):
        at, end = ends[row], ends[row + 1]
        while at < end:
            kind = kinds[at]
            stop = at
            if digits_apart and kind == NUMBER:
                stop = at + 1
                while stop < end and raw[stop] & 0xC0 == 0x80:
                    stop += 1
            elif raw[at] == 39 and at + 1 < end and raw[at + 1] in (115, 116, 109, 100):  # 's 't 'm 'd
                stop = at + 2
            elif raw[at] == 39 and at + 2 < end and (raw[at + 1], raw[at + 2]) in ((114, 101), (118, 101), (108, 108)):
                stop = at + 3  # 're 've 'll
            else:
                begin = at
                if raw[at] == 32 and at + 1 < end and kinds[at + 1] != SPACE:
                    begin += not (digits_apart and kinds[at + 1] == NUMBER)
                kind = kinds[begin]
                stop = begin
                while stop < end and kinds[stop] == kind:
                    stop += 1
                if kind == SPACE and stop < end and not (digits_apart and kinds[stop] == NUMBER):
                    # The last of several spaces goes with what follows it.
                    last = stop - 1
                    while raw[last] & 0xC0 == 0x80:
                        last -= 1
                    if last > at:
                        stop = last
            stops[n] = stop
            n += 1
            at = stop
        offsets[row + 1] = n


@compiled
def _enter(pairs: np.ndarray, keys: np.ndarray, ranks: np.ndarray) -> None:
    """Enter each pair under its rank; a later merge of the same pair replaces the earlier one, as in the library."""
    mask = np.uint64(keys.size - 1)
    for rank in range(pairs.size):
        slot = (pairs[rank] * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)) & mask
        while keys[slot] != 0 and keys[slot] != pairs[rank]:
            slot = (slot + np.uint64(1)) & mask
        keys[slot], ranks[slot] = pairs[rank], rank


@inlined
def _rank(left: int, right: int, keys: np.ndarray, ranks: np.ndarray) -> int:
    """Place of a pair in the order of merges; a large number where there is none."""
    key = (np.uint64(left) << np.uint64(32)) + np.uint64(right) + np.uint64(1)
    mask = np.uint64(keys.size - 1)
    slot = (key * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)) & mask
    while keys[slot] != 0:
        if keys[slot] == key:
            return np.int32(ranks[slot])  # type: ignore[return-value] # a number of 32 bits in numba
        slot = (slot + np.uint64(1)) & mask
    return np.int32(0x7FFFFFFF)  # type: ignore[return-value]


@compiled
def _encode(
    raw: np.ndarray,
    starts: np.ndarray,
    stops: np.ndarray,
    letters: np.ndarray,
    keys: np.ndarray,
    ranks: np.ndarray,
    merged: np.ndarray,
    given: np.ndarray,
    sizes: np.ndarray,
    scratch: np.ndarray,
    tokens: np.ndarray,
    ends: np.ndarray,
) -> None:
    """Merge in each piece the pair of the least rank, the leftmost of equal ones, until none is left.

    ``given`` has the ids of the long pieces end to end, and ``sizes`` how many each has.
    """
    ids, rank = scratch[0], scratch[1]
    n_out, n_given, n_long = 0, 0, 0
    for piece in range(starts.size):
        size = stops[piece] - starts[piece]
        if size > _LONGEST:
            for _ in range(sizes[n_long]):
                tokens[n_out] = given[n_given]
                n_out, n_given = n_out + 1, n_given + 1
            n_long += 1
            ends[piece + 1] = n_out
            continue
        for i in range(size):
            ids[i] = letters[raw[starts[piece] + i]]
        for i in range(size - 1):
            rank[i] = _rank(ids[i], ids[i + 1], keys, ranks)
        while size > 1:
            best = 0
            for i in range(1, size - 1):
                if rank[i] < rank[best]:
                    best = i
            if rank[best] == 0x7FFFFFFF:
                break
            ids[best] = merged[rank[best]]
            for i in range(best + 1, size - 1):
                ids[i] = ids[i + 1]
                rank[i] = rank[i + 1]
            size -= 1
            if best < size - 1:
                rank[best] = _rank(ids[best], ids[best + 1], keys, ranks)
            if best > 0:
                rank[best - 1] = _rank(ids[best - 1], ids[best], keys, ranks)
        for i in range(size):
            tokens[n_out] = ids[i]
            n_out += 1
        ends[piece + 1] = n_out
