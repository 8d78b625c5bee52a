"""Which documents may be near duplicates: those that share a band of their signatures, directly or through others.

The bands of all documents are spilled to files by the leading bits of their keys, so that equal keys meet in one file.
Each file is then read alone into a hash table, and documents of equal keys are united (union-find, smallest row first).
Nothing is sorted and no pair is listed: time is linear in documents and bands. In memory are 8 bytes a document and one
file; the files take 16 bytes a document and band until the search ends.

Documents of different components share no band, so that each component can be clustered without the others.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from curation_pipeline.annotate.compiled import compiled

FILE_ENTRIES = 1 << 18
"""Bands of a spill file, about: its hash table then fits into a processor's cache."""
MOST_FILES = 512
"""Spill files at most, since all are open at once; beyond that they grow."""


def components(keys: Iterable[np.ndarray], documents: int, bands: int, folder: Path) -> np.ndarray:
    """The component of each document in the graph of shared bands.

    Args:
        keys: uint64 (m, bands) band keys of the documents, in consecutive pieces; see ``signature_clusters.band_keys``.
        documents: n, rows in all pieces.
        bands: bands of a document.
        folder: for the spill files; made here, and removed at the end.

    Returns:
        int64 (n,): the first row of each row's component.
    """
    parent = np.arange(documents, dtype=np.int64)
    files = max(documents * bands // FILE_ENTRIES, 1)
    bits = min(int(files - 1).bit_length(), MOST_FILES.bit_length() - 1)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        paths = [folder / f"{number:03d}.bands" for number in range(1 << bits)]
        _spill(keys, bits, paths)
        for path in paths:
            entries = np.fromfile(path, dtype=np.uint64).reshape(-1, 2)
            path.unlink()
            table = np.full(1 << int(2 * len(entries)).bit_length(), -1, dtype=np.int64)
            _unite(entries, table, parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _flatten(parent)
    return parent


def batches(component: np.ndarray, new: np.ndarray, limit: int, most: int) -> np.ndarray:
    """Components of several documents in batches that are clustered one by one.

    Args:
        component: of ``components``, n rows.
        new: bool (n,); a component is left out where none of its documents is new.
        limit: documents of a batch, about; only a component that is larger makes a larger one.
        most: batches at most; they grow beyond the limit where there would be more.

    Returns:
        int32 (n,): the batch of each document, from 0; -1 for one that no batch needs.
    """
    wanted = np.zeros(component.size, dtype=np.int32)
    total = _wanted(component, new, wanted)
    batch = np.full(component.size, -1, dtype=np.int32)
    # A component that is larger than what is left closes a batch half full at worst, hence the two.
    _number(component, wanted, max(limit, 2 * total // most), batch)
    return batch


def _spill(keys: Iterable[np.ndarray], bits: int, paths: list[Path]) -> None:
    first = 0
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("wb")) for path in paths]
        for piece in keys:
            entries = np.empty((piece.size, 2), dtype=np.uint64)
            ends = np.zeros(len(paths) + 1, dtype=np.int64)
            _by_leading_bits(np.ascontiguousarray(piece), first, bits, entries, ends)
            for file, start, stop in zip(files, ends[:-1], ends[1:], strict=True):
                file.write(entries[start:stop].data)
            first += len(piece)


@compiled
def _by_leading_bits(keys: np.ndarray, first: int, bits: int, entries: np.ndarray, ends: np.ndarray) -> None:
    """Key and row of each band, in order of the key's leading bits; file f has ``ends[f]`` to ``ends[f + 1]``."""
    shift = np.uint64(64 - bits)
    place = np.zeros(ends.size - 1, dtype=np.int64)
    for i in range(keys.shape[0]):
        for j in range(keys.shape[1]):
            place[np.int64(keys[i, j] >> shift) if bits else 0] += 1
    for f in range(place.size):
        ends[f + 1] = ends[f] + place[f]
        place[f] = ends[f]
    for i in range(keys.shape[0]):
        for j in range(keys.shape[1]):
            leading = np.int64(keys[i, j] >> shift) if bits else np.int64(0)
            entries[place[leading], 0] = keys[i, j]
            entries[place[leading], 1] = np.uint64(first + i)
            place[leading] += 1


@compiled
def _unite(entries: np.ndarray, table: np.ndarray, parent: np.ndarray) -> None:
    """Unite each row with the first row of the same key, which the open-addressed table finds."""
    mask = np.uint64(table.size - 1)
    for i in range(entries.shape[0]):
        slot = entries[i, 0] & mask
        while table[slot] >= 0 and entries[table[slot], 0] != entries[i, 0]:
            slot = (slot + np.uint64(1)) & mask
        if table[slot] < 0:
            table[slot] = i
            continue
        one, other = np.int64(entries[i, 1]), np.int64(entries[table[slot], 1])
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        while parent[other] != other:
            parent[other] = parent[parent[other]]
            other = parent[other]
        if one < other:
            parent[other] = one
        else:
            parent[one] = other


@compiled
def _flatten(parent: np.ndarray) -> None:
    for i in range(parent.size):
        parent[i] = parent[parent[i]]  # a parent comes before its children, so it is flat already


@compiled
def _wanted(component: np.ndarray, new: np.ndarray, wanted: np.ndarray) -> int:
    """At the first row of each component: its size, or 0 where it needs no batch. The sum of all."""
    touched = np.zeros(component.size, dtype=np.bool_)
    for i in range(component.size):
        wanted[component[i]] += 1
        touched[component[i]] |= new[i]
    total = 0
    for i in range(component.size):
        if wanted[i] < 2 or not touched[i]:
            wanted[i] = 0
        total += wanted[i]
    return total


@compiled
def _number(component: np.ndarray, wanted: np.ndarray, limit: int, batch: np.ndarray) -> None:
    number, filled = 0, 0
    for i in range(component.size):
        if component[i] == i and wanted[i] > 0:
            if filled > 0 and filled + wanted[i] > limit:
                number += 1
                filled = 0
            filled += wanted[i]
            batch[i] = number
        else:
            batch[i] = batch[component[i]]
