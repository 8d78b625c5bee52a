"""Tables larger than memory in the order of a key: sorted runs on disk, merged a span of keys at a time.

What is joined by document (annotations, causes of removal, earlier draws) is appended in whatever order it is read, and
read back span by span: all rows of a key are in one span, so that each span is a small table of its own. Memory is that
of one run while rows are appended, and of one span afterwards; time is linear (Knuth, The Art of Computer Programming,
volume 3, section 5.4).
"""

from __future__ import annotations

import tempfile
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from curation_pipeline.lake.keyed import SHARD_ROWS

RUN_BYTES = 64 * 2**20
"""Rows that are held before they are sorted and written."""
STEP = 4096
"""Rows of a row group of a run: a span reads whole ones, so that few rows are read in vain."""


class Span(NamedTuple):
    """Keys from ``first`` (None: from the least) up to and without ``end`` (None: to the last)."""

    first: Any = None
    end: Any = None


@dataclass(slots=True)
class SortedRuns:
    """Rows in the order of a key; made by `sorted_runs`.

    Attributes:
        folder: of the runs.
        key: the key's column, without nulls.
    """

    folder: Path
    key: str
    _held: list[pl.DataFrame] = field(default_factory=list)
    _held_bytes: int = 0
    _runs: list[tuple[Path, list[Any]]] = field(default_factory=list)
    """Each run with the key of every `STEP`th row."""
    _spans: list[Span] = field(default_factory=list)
    _last: tuple[int, pl.DataFrame] | None = None

    def append(self, rows: pl.DataFrame) -> None:
        """Add rows; their columns and types are the same in every call."""
        self._held.append(rows)
        self._held_bytes += int(rows.estimated_size())
        if self._held_bytes >= RUN_BYTES:
            self._write()

    def extend(self, parts: Iterable[pl.DataFrame]) -> SortedRuns:
        """Append several frames, and return the runs."""
        for part in parts:
            self.append(part)
        return self

    def _write(self) -> None:
        frame = pl.concat(self._held).sort(self.key, maintain_order=True)
        self._held, self._held_bytes = [], 0
        path = self.folder / f"{len(self._runs):05d}.parquet"
        frame.write_parquet(path, compression="lz4", row_group_size=STEP, statistics=False)
        self._runs.append((path, frame[self.key].gather_every(STEP).to_list()))

    def spans(self) -> list[Span]:
        """All keys in spans of about `SHARD_ROWS` rows (more where many rows have one key), in order."""
        if self._held:
            self._write()
        firsts = sorted(first for _, found in self._runs for first in found)
        cuts = sorted(set(firsts[:: max(SHARD_ROWS // STEP, 1)][1:]))
        return [Span(first, end) for first, end in zip([None, *cuts], [*cuts, None], strict=True)]

    def read(self, span: Span) -> pl.DataFrame:
        """The rows of a span by rising key; rows of one key are in the order in which they were appended.

        A frame without columns where nothing was ever appended.
        """
        if self._held:
            self._write()
        found = [self._rows(path, firsts, span) for path, firsts in self._runs]
        return pl.concat(found).sort(self.key, maintain_order=True) if found else pl.DataFrame()

    def _rows(self, path: Path, firsts: list[Any], span: Span) -> pl.DataFrame:
        begin = 0 if span.first is None else max(bisect_left(firsts, span.first) - 1, 0)
        end = len(firsts) if span.end is None else bisect_left(firsts, span.end)
        rows = pl.scan_parquet(path, glob=False).slice(begin * STEP, (end - begin) * STEP).collect()
        if span.first is not None:
            rows = rows.filter(pl.col(self.key) >= span.first)
        return rows if span.end is None else rows.filter(pl.col(self.key) < span.end)

    def of(self, keys: pl.Series) -> pl.DataFrame:
        """The first row of each of some keys, in their order; null where there is none.

        The span that was read last is kept: keys that come by and by in their order cost one reading of all rows.
        """
        if self._held or not self._spans:
            self._spans = self.spans()
        ends = pl.Series([span.end for span in self._spans[:-1]], dtype=keys.dtype)
        place = ends.search_sorted(keys, side="right") if len(ends) else pl.zeros(len(keys), pl.UInt32, eager=True)
        found = []
        for number in place.unique().sort():
            if self._last is None or self._last[0] != number:
                rows = self.read(self._spans[number])
                self._last = number, rows.unique(self.key, keep="first", maintain_order=True)
            wanted = keys.filter(place == number).unique().implode()
            found.append(self._last[1].filter(pl.col(self.key).is_in(wanted)))
        return keys.to_frame(self.key).join(pl.concat(found), on=self.key, how="left", maintain_order="left")

    def merged(self) -> Iterator[pl.DataFrame]:
        """All rows, span by span."""
        return map(self.read, self.spans())


@contextmanager
def sorted_runs(folder: Path, key: str = "doc_id") -> Iterator[SortedRuns]:
    """Runs in a temporary folder, which is removed at the end.

    Args:
        folder: an existing folder; a draft's will do.
        key: the key's column.
    """
    with tempfile.TemporaryDirectory(prefix=".runs-", dir=folder) as own:
        yield SortedRuns(Path(own), key)
