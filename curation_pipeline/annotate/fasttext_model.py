"""Prediction with a compressed fastText classifier, for many texts in one call.

The arithmetic is that of fastText's own code, in single precision and in its order (Joulin et al. 2016,
arXiv:1607.01759; product quantisation: arXiv:1612.03651), so that labels and probabilities are the same. Its binding
takes one text a call and looks every piece of a word up in a chained hash map, which is most of its time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.annotate.characters import SPACE, classed
from curation_pipeline.annotate.compiled import compiled, inlined
from curation_pipeline.annotate.interning import intern, runs
from curation_pipeline.errors import DataError

_MAGIC, _VERSION = 793712314, 12
_HIERARCHICAL_SOFTMAX = 1
_LABEL = "__label__"
_END = "</s>"
_BEGIN_OF_WORD, _END_OF_WORD = 0x3C, 0x3E
_FREE = -1


@dataclass(frozen=True, slots=True, eq=False)
class FastTextModel:
    """A classifier with pieces of words, a hierarchical softmax and quantised inputs.

    Attributes:
        labels: c names, without fastText's prefix.
        inputs: float32 (r, d) vectors of words, then of pieces of words.
        words: int32 open-addressed table of words by their hash, -1 where free; ``spelled``: uint8 their UTF-8 end to
            end; ``places``: int64 (w + 1,) where each begins.
        pieces: int32 (slots, 2) open-addressed table: bucket of a piece, and its row of ``inputs``; -1 where free.
        buckets: into which pieces are hashed.
        shortest, longest: characters of a piece.
        tree: int32 (2 c - 1, 2) left and right of each node; -1 for the leaves, which are the labels.
        outputs: float32 (c - 1, d) vectors of the inner nodes.
    """

    labels: tuple[str, ...]
    inputs: np.ndarray
    words: np.ndarray
    spelled: np.ndarray
    places: np.ndarray
    pieces: np.ndarray
    buckets: int
    shortest: int
    longest: int
    tree: np.ndarray
    outputs: np.ndarray

    def predict(self, texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
        """The likeliest label of each of n texts, each read as one line.

        Args:
            texts: n strings; white space and zeros set words apart.

        Returns:
            int32 (n,) label, -1 where none has a probability above 1e-5; float32 (n,) its probability.
        """
        raw, kinds, ends = classed(texts)
        starts, stops, offsets = runs((kinds & SPACE == 0) & (raw != 0), ends)
        codes, first = intern(raw, starts, stops)
        starts, stops = starts[first], stops[first]
        # A word of L letters has at most ``longest`` pieces that begin at each of them or at the boundary, and itself.
        lengths = stops - starts
        rows = np.empty(int((lengths + 2).sum()) * self.longest + first.size, dtype=np.int32)
        row_ends = np.zeros(first.size + 1, dtype=np.int64)
        word = np.empty(int(lengths.max(initial=0)) + 2, dtype=np.uint8)
        end_of_text = self._word(_END)
        _rows_of_words(
            raw, starts, stops, self.words, self.spelled, self.places, self.pieces, self.buckets,
            self.shortest, self.longest, end_of_text, word, rows, row_ends,
        )  # fmt: skip
        label, score = np.full(len(texts), _FREE, dtype=np.int32), np.zeros(len(texts), dtype=np.float32)
        stack = np.empty((len(self.tree), 2), dtype=np.float32)
        _predict(
            codes, offsets, rows, row_ends, self.inputs, self.tree, self.outputs, end_of_text, stack, label, score
        )  # fmt: skip
        return label, score

    def _word(self, word: str) -> int:
        """The row of a word, or -1."""
        raw = np.frombuffer(word.encode(), dtype=np.uint8)
        return int(_find(raw, 0, raw.size, _hash(raw, 0, raw.size), self.words, self.spelled, self.places))


def load_fasttext(path: Path) -> FastTextModel:
    """Read a file of fastText's format 12.

    Raises:
        DataError: the file is no such model, or one of another kind.
    """
    data = path.read_bytes()
    reader = _Reader(data, path)
    if reader.take("<i4", 2).tolist() != [_MAGIC, _VERSION]:
        raise DataError(f"{path} is no fastText model of version {_VERSION}; reinstall the package that it is from")
    settings = reader.take("<i4", 12).tolist()
    reader.take("<f8", 1)
    dims, word_ngrams, loss, buckets, shortest, longest = (settings[i] for i in (0, 5, 6, 8, 9, 10))
    size, n_words, _ = reader.take("<i4", 3).tolist()
    n_pruned = int(reader.take("<i8", 2)[1])
    if word_ngrams != 1 or loss != _HIERARCHICAL_SOFTMAX or n_pruned < 0:
        raise DataError(f"{path} is no compressed fastText model with a hierarchical softmax over words and pieces")
    entries = [(reader.name(), int(reader.take("<i8", 1)[0]), reader.take("<i1", 1)) for _ in range(size)]
    pruned = reader.take("<i4", 2 * n_pruned).reshape(-1, 2).astype(np.int64)
    if not reader.take("<u1", 1)[0]:
        raise DataError(f"{path} is no compressed fastText model; its inputs are not quantised")
    inputs = reader.quantised()
    if reader.take("<u1", 1)[0]:
        raise DataError(f"{path} has quantised outputs, which are not read")
    n_labels, _ = reader.take("<i8", 2).tolist()
    outputs = reader.take("<f4", n_labels * dims).reshape(n_labels, dims)
    names = [name for name, _, _ in entries[:n_words]]
    raw = np.frombuffer("".join(names).encode(), dtype=np.uint8)
    places = np.concatenate([[0], np.cumsum([len(name.encode()) for name in names])]).astype(np.int64)
    words = np.full(1 << max(int(4 * n_words).bit_length(), 4), _FREE, dtype=np.int32)
    _enter_words(raw, places, words)
    pieces = np.full((1 << max(int(2 * n_pruned).bit_length(), 4), 2), _FREE, dtype=np.int32)
    _enter_pieces(pruned[:, 0], pruned[:, 1] + n_words, pieces)
    tree = _tree([count for _, count, _ in entries[n_words:]])
    labels = tuple(name.removeprefix(_LABEL) for name, _, _ in entries[n_words:])
    return FastTextModel(
        labels, inputs, words, raw, places, pieces, buckets, shortest, longest, tree, outputs[: n_labels - 1].copy()
    )


class _Reader:
    """A file read from its beginning to its end."""

    def __init__(self, data: bytes, path: Path) -> None:
        self.data, self.path, self.at = data, path, 0

    def take(self, dtype: str, count: int) -> np.ndarray:
        """The next numbers."""
        stop = self.at + np.dtype(dtype).itemsize * count
        if stop > len(self.data):
            raise DataError(f"{self.path} ends too early; reinstall the package that it is from")
        found: np.ndarray = np.frombuffer(self.data, dtype=dtype, count=count, offset=self.at)
        self.at = stop
        return found

    def name(self) -> str:
        """The next string, up to its closing zero."""
        stop = self.data.index(b"\0", self.at)
        found = self.data[self.at : stop].decode()
        self.at = stop + 1
        return found

    def quantised(self) -> np.ndarray:
        """The next matrix, written out; float32 (rows, columns)."""
        with_norms = bool(self.take("<u1", 1)[0])
        rows, _ = self.take("<i8", 2).tolist()
        codes = self.take("<u1", int(self.take("<i4", 1)[0])).reshape(rows, -1)
        found = self._centroids(codes)
        return found * self._centroids(self.take("<u1", rows)[:, None]) if with_norms else found

    def _centroids(self, codes: np.ndarray) -> np.ndarray:
        """The vectors that codes (rows, parts) stand for: each part of a vector is one of 256 centroids."""
        dims, parts, width, last = self.take("<i4", 4).tolist()
        centroids = self.take("<f4", 256 * dims)
        found: list[Any] = []
        for part in range(parts):
            own = last if part == parts - 1 else width
            begin = 256 * part * width
            found.append(centroids[begin : begin + 256 * own].reshape(256, own)[codes[:, part]])
        return np.concatenate(found, axis=1)


def _tree(counts: list[int]) -> np.ndarray:
    """Huffman's tree over labels that are sorted by falling count; the last node is its root."""
    n = len(counts)
    weight = counts + [10**15] * (n - 1)
    tree = np.full((2 * n - 1, 2), _FREE, dtype=np.int32)
    leaf, node = n - 1, n
    for i in range(n, 2 * n - 1):
        for side in range(2):
            if leaf >= 0 and weight[leaf] < weight[node]:
                tree[i, side], leaf = leaf, leaf - 1
            else:
                tree[i, side], node = node, node + 1
        weight[i] = weight[tree[i, 0]] + weight[tree[i, 1]]
    return tree


@inlined
def _stirred(value: np.uint32, byte: np.uint8) -> np.uint32:
    """One more byte, which fastText takes as signed, in a hash by FNV-1a; numba widens products, so they are cut."""
    return np.uint32((value ^ np.uint32(np.int8(byte))) * np.uint32(16777619))


@compiled
def _hash(raw: np.ndarray, start: int, stop: int) -> np.uint32:
    """FNV-1a of these bytes."""
    value = np.uint32(2166136261)
    for i in range(start, stop):
        value = _stirred(value, raw[i])
    return value


@compiled
def _find(
    raw: np.ndarray, start: int, stop: int, key: np.uint32, words: np.ndarray, spelled: np.ndarray, places: np.ndarray
) -> int:
    """The word that these bytes spell, or -1."""
    mask = np.uint32(words.size - 1)
    slot = key & mask
    while words[slot] >= 0:
        word = words[slot]
        begin = places[word]
        if places[word + 1] - begin == stop - start:
            i = 0
            while i < stop - start and raw[start + i] == spelled[begin + i]:
                i += 1
            if i == stop - start:
                return np.int64(word)  # type: ignore[return-value] # a number of 64 bits in numba
        slot = (slot + np.uint32(1)) & mask
    return np.int64(-1)  # type: ignore[return-value]


@compiled
def _enter_words(spelled: np.ndarray, places: np.ndarray, words: np.ndarray) -> None:
    mask = np.uint32(words.size - 1)
    for word in range(places.size - 1):
        slot = _hash(spelled, places[word], places[word + 1]) & mask
        while words[slot] >= 0:
            slot = (slot + np.uint32(1)) & mask
        words[slot] = word


@compiled
def _enter_pieces(buckets: np.ndarray, rows: np.ndarray, pieces: np.ndarray) -> None:
    mask = pieces.shape[0] - 1
    for i in range(buckets.size):
        slot = buckets[i] & mask
        while pieces[slot, 0] >= 0 and pieces[slot, 0] != buckets[i]:
            slot = (slot + 1) & mask
        pieces[slot, 0], pieces[slot, 1] = buckets[i], rows[i]


@compiled
def _rows_of_words(
    raw: np.ndarray, starts: np.ndarray, stops: np.ndarray, words: np.ndarray, spelled: np.ndarray, places: np.ndarray,
    pieces: np.ndarray, buckets: int, shortest: int, longest: int, end_of_text: int, word: np.ndarray,
    rows: np.ndarray, ends: np.ndarray,
) -> None:  # fmt: skip
    """Rows of the inputs that each word adds: its own, then those of its pieces with the boundaries of the word."""
    prefix = np.array([95, 95, 108, 97, 98, 101, 108, 95, 95], dtype=np.uint8)  # a word "__label__..." is no word
    mask = pieces.shape[0] - 1
    out = 0
    for number in range(starts.size):
        start, size = starts[number], stops[number] - starts[number]
        known = 0
        while known < 9 and known < size and raw[start + known] == prefix[known]:
            known += 1
        found = _find(raw, start, start + size, _hash(raw, start, start + size), words, spelled, places)
        if known < 9 and found >= 0:
            rows[out] = found
            out += 1
        if known == 9 or (found >= 0 and found == end_of_text):
            ends[number + 1] = out
            continue
        word[0] = _BEGIN_OF_WORD
        word[1 : size + 1] = raw[start : start + size]
        word[size + 1] = _END_OF_WORD
        for i in range(size + 2):
            if word[i] & 0xC0 == 0x80:
                continue
            value = np.uint32(2166136261)
            j, length = i, 1
            while j < size + 2 and length <= longest:
                value = _stirred(value, word[j])
                j += 1
                while j < size + 2 and word[j] & 0xC0 == 0x80:
                    value = _stirred(value, word[j])
                    j += 1
                if length >= shortest and not (length == 1 and (i == 0 or j == size + 2)):
                    bucket = np.int64(value % np.uint32(buckets))
                    slot = bucket & mask
                    while pieces[slot, 0] >= 0 and pieces[slot, 0] != bucket:
                        slot = (slot + 1) & mask
                    if pieces[slot, 0] >= 0:
                        rows[out] = pieces[slot, 1]
                        out += 1
                length += 1
        ends[number + 1] = out


@compiled
def _log(value: np.float32) -> np.float32:
    return np.float32(np.log(np.float64(value) + 1e-5))


@compiled
def _predict(
    codes: np.ndarray, offsets: np.ndarray, rows: np.ndarray, ends: np.ndarray, inputs: np.ndarray, tree: np.ndarray,
    outputs: np.ndarray, end_of_text: int, stack: np.ndarray, labels: np.ndarray, scores: np.ndarray,
) -> None:  # fmt: skip
    """Add up the vectors of each text's words, then search the tree for its likeliest leaf."""
    hidden = np.empty(inputs.shape[1], dtype=np.float32)
    leaves = np.int64((tree.shape[0] + 1) // 2)
    least = _log(np.float32(0.0))
    for text in range(offsets.size - 1):
        hidden[:] = np.float32(0.0)
        n = 0
        ended = False
        for place in range(offsets[text], offsets[text + 1]):
            code = codes[place]
            for i in range(ends[code], ends[code + 1]):
                row = rows[i]
                for j in range(hidden.size):
                    hidden[j] += inputs[row, j]
            n += ends[code + 1] - ends[code]
            if ends[code + 1] - ends[code] == 1 and rows[ends[code]] == end_of_text:
                ended = True
                break
        if not ended and end_of_text >= 0:
            for j in range(hidden.size):
                hidden[j] += inputs[end_of_text, j]
            n += 1
        if n == 0:
            continue
        share = np.float32(1.0 / n)
        for j in range(hidden.size):
            hidden[j] *= share
        best = np.float32(-np.inf)
        stack[0, 0], stack[0, 1] = np.float32(tree.shape[0] - 1), np.float32(0.0)
        depth = 1
        while depth:
            depth -= 1
            node, score = np.int64(stack[depth, 0]), stack[depth, 1]
            if score < least or score < best:
                continue
            if node < leaves:
                if score > best or labels[text] < 0:
                    best, labels[text] = score, node
                continue
            product = np.float32(0.0)
            for j in range(hidden.size):
                product += outputs[node - leaves, j] * hidden[j]
            odds = np.float32(1.0) + np.float32(np.exp(np.float64(-product)))
            share = np.float32(1.0 / np.float64(odds))
            stack[depth, 0], stack[depth, 1] = np.float32(tree[node, 1]), score + _log(share)
            rest = np.float32(1.0 - np.float64(share))
            stack[depth + 1, 0], stack[depth + 1, 1] = np.float32(tree[node, 0]), score + _log(rest)
            depth += 2
        if labels[text] >= 0:
            scores[text] = np.float32(np.exp(np.float64(best)))
