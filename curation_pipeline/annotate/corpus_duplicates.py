"""Exact and near duplicates of a corpus that does not fit into memory.

Documents that share a band, directly or through others, form a component (``band_candidates``), and no duplicate lies
in another component. So components are clustered in batches of bounded size, each by ``near_duplicates``, with the
result that all documents together would have. Only documents of a component have their signatures read.

Where a corpus has grown, a component without a new document is what it was: its rows are taken from the earlier result.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from curation_pipeline.annotate.band_candidates import batches, components
from curation_pipeline.annotate.duplicates_settings import DuplicatesSettings
from curation_pipeline.annotate.figures import as_arrays
from curation_pipeline.annotate.near_duplicates import duplicate_clusters
from curation_pipeline.annotate.signature_clusters import band_keys
from curation_pipeline.errors import DataError
from curation_pipeline.progress import Progress, silent

BATCH = 1 << 17
"""Documents of a batch, about: some 60 MB of signatures, and twice that while they are clustered. A component that is
larger than a batch is clustered as a whole, at some 0.9 KB a document, half of it a mapped file."""
MOST_BATCHES = 256
"""Batches at most, since the files of all are open at once; beyond 16 million documents to cluster they grow."""
PIECE = 1 << 18
"""Rows of the result that are sorted at a time."""
ROWS_READ = 1 << 15
"""Rows of an array that are read at a time."""
FEW = 16
"""Rows so far apart on average are read one by one: a call costs about what it costs to read as many."""
BANDS, MINIMA, N_BYTES = "bands.npy", "minima.npy", "n_bytes.npy"
KEYS = ("doc_id", "partition")
ROWS: dict[str, pl.DataType] = {
    "doc_id": pl.Utf8(),
    "partition": pl.Utf8(),
    "n_bytes": pl.Int64(),
    "figures": pl.List(pl.UInt64()),
}
"""What a batch holds of a document next to its signature."""


@dataclass(frozen=True, slots=True)
class IndexedPart:
    """A partition as files, in which row i is of one document.

    Attributes:
        name: of the partition; names sort as partitions do, the earliest first.
        signatures: Parquet file with the columns of ``minhash.schema``, of which only ids and figures are read.
        index: folder with the arrays of ``write_index``.
        new: the earlier result knows nothing of it.
    """

    name: str
    signatures: Path
    index: Path
    new: bool = True


def write_index(n_bytes: pl.Series, signatures: Path, settings: DuplicatesSettings, folder: Path) -> None:
    """Write what searches need of a partition as arrays of which any row can be read alone.

    Those are ``bands.npy``, uint64 (n, bands) keys, of which each search reads all; ``minima.npy``, uint32 (n, h)
    signatures, and ``n_bytes.npy``, int64 (n,), of which it reads the rows of candidates.

    Args:
        n_bytes: length of each text.
        signatures: Parquet file with a column ``signature``, in the same order.
        settings: banding.
        folder: for the files.

    Raises:
        DataError: there are not as many lengths as signatures, or these are of other settings.
    """
    with pq.ParquetFile(signatures) as file:
        n, pieces = file.metadata.num_rows, range(file.num_row_groups)
        if n != len(n_bytes):
            raise DataError(f"{signatures} has {n} signatures for {len(n_bytes)} documents; make the table again")
        with (folder / N_BYTES).open("wb") as lengths:
            _write_header(lengths, np.dtype(np.int64), (n,))
            lengths.write(np.ascontiguousarray(n_bytes.to_numpy()).data)
        with (folder / BANDS).open("wb") as bands, (folder / MINIMA).open("wb") as minima:
            _write_header(bands, np.dtype(np.uint64), (n, settings.bands))
            _write_header(minima, np.dtype(np.uint32), (n, settings.n_hashes))
            for piece in pieces:
                table = pl.DataFrame(pl.from_arrow(file.read_row_group(piece, ["signature"])))
                matrix = np.ascontiguousarray(table["signature"].to_numpy())
                if matrix.shape[1] != settings.n_hashes:
                    raise DataError(
                        f"{signatures} has signatures of {matrix.shape[1]} minima, and the profile says "
                        f"{settings.n_hashes}; make the table again"
                    )
                own = np.arange(len(matrix))
                keys = np.stack([band_keys(matrix, own, band, settings.rows) for band in range(settings.bands)], axis=1)
                bands.write(keys.data)
                minima.write(matrix.data)


@dataclass(frozen=True, slots=True)
class Found:
    """Duplicates of a corpus.

    Attributes:
        documents: of all partitions.
        compared: documents whose signatures were read: those of components with a new document.
        frames: rows of the documents that have a duplicate, by doc_id and partition; columns of
            ``near_duplicates.duplicate_clusters``.
    """

    documents: int
    compared: int
    frames: Iterator[pl.DataFrame]


def corpus_duplicates(
    parts: Sequence[IndexedPart],
    settings: DuplicatesSettings,
    folder: Path,
    known: Path | None = None,
    progress: Progress = silent,
) -> Found:
    """Find the duplicates of a corpus; the rows are those of ``near_duplicates.duplicate_clusters`` over all documents.

    In memory are some 17 bytes a document, and the documents of one batch.

    Args:
        parts: all partitions, in order of name.
        settings: banding, threshold and preference.
        folder: for intermediate files, some 16 bytes a document and band at first, then the signatures of documents in
            components; a search that was interrupted goes on from what is there.
        known: the result for the partitions that are not new, as a Parquet file; None where all are.
        progress: told how far it is.

    Raises:
        DataError: a document is twice in one partition.
        OSError: the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sizes = [len(np.load(part.index / BANDS, mmap_mode="r")) for part in parts]
    documents = sum(sizes)
    finished = folder / "components.npy"
    if not finished.exists():
        keys = (piece for part in parts for piece in _pieces(part.index / BANDS))
        progress("bringing candidates together", 0.1)
        component = components(keys, documents, settings.bands, folder / "bands")
        with _whole(finished).open("wb") as stream:
            _write_header(stream, component.dtype, component.shape)
            stream.write(component.data)
        _whole(finished).rename(finished)
    component = np.load(finished)
    new = np.repeat(np.array([part.new for part in parts], dtype=bool), sizes)
    batch = batches(component, new, BATCH, MOST_BATCHES)
    del component
    compared = int(np.count_nonzero(batch >= 0))
    number = int(batch.max(initial=-1)) + 1
    results = [folder / f"{index:03d}.parquet" for index in range(number)]
    spooled = folder / "batches"
    if not all(path.exists() for path in results):
        if not (spooled / "complete").exists():
            progress("reading signatures of candidates", 0.3)
            shutil.rmtree(spooled, ignore_errors=True)
            spooled.mkdir()
            _spool(parts, sizes, batch, number, spooled)
            (spooled / "complete").touch()
        del batch
        for index, path in enumerate(results):
            progress("clustering", 0.4 + 0.6 * index / number)
            if not path.exists():
                _cluster(spooled, index, settings, path)
    return Found(documents, compared, _merged(results, known))


def _write_header(stream: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Begin a file of an array, whose rows may then be written one after the other; `np.save` hides a full disk."""
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, described)


def _pieces(path: Path) -> Iterator[np.ndarray]:
    """An array on disk, some rows at a time: a mapped one would count as memory once it has been read."""
    array = np.load(path, mmap_mode="r")
    with path.open("rb") as stream:
        stream.seek(array.offset)
        for start in range(0, len(array), ROWS_READ):
            rows = min(ROWS_READ, len(array) - start)
            yield np.fromfile(stream, array.dtype, rows * array.shape[1]).reshape(rows, -1)


def _rows_of(stream: BinaryIO, like: np.memmap, rows: np.ndarray) -> np.ndarray:
    """Some rows of an array on disk, ``rows`` ascending: one by one where they are few, else all from first to last."""
    width = like.dtype.itemsize * like.shape[1]
    first, span = int(rows[0]), int(rows[-1] - rows[0]) + 1
    near = span < FEW * rows.size
    if near:
        read = os.pread(stream.fileno(), span * width, like.offset + first * width)
    else:
        read = b"".join(os.pread(stream.fileno(), width, like.offset + int(row) * width) for row in rows)
    found: np.ndarray = np.frombuffer(read, like.dtype).reshape(-1, like.shape[1])
    return found[rows - first] if near else found


def _whole(path: Path) -> Path:
    """Where a file is written until it is whole, so that what has its name can be believed after a crash."""
    return path.with_name(f"{path.name}.partial")


def _spool(parts: Sequence[IndexedPart], sizes: Sequence[int], batch: np.ndarray, number: int, folder: Path) -> None:
    """Write the documents of each batch to two files of its own: minima one after the other, and Arrow of ``ROWS``."""
    schema = pl.DataFrame(schema=ROWS).to_arrow().schema
    with ExitStack() as stack:
        minima = [stack.enter_context((folder / f"{index:03d}.minima").open("wb")) for index in range(number)]
        streams = [stack.enter_context((folder / f"{index:03d}.arrows").open("wb")) for index in range(number)]
        tables = [stack.enter_context(pa.ipc.new_stream(stream, schema)) for stream in streams]
        first = 0
        for part, size in zip(parts, sizes, strict=True):
            own = batch[first : first + size]
            first += size
            if (own < 0).all():
                continue
            lengths, array = np.load(part.index / N_BYTES), np.load(part.index / MINIMA, mmap_mode="r")
            with pq.ParquetFile(part.signatures) as file, (part.index / MINIMA).open("rb") as stream:
                start = 0
                for group in range(file.num_row_groups):
                    here = own[start : start + file.metadata.row_group(group).num_rows]
                    rows = np.flatnonzero(here >= 0)
                    if rows.size:
                        read = pl.DataFrame(pl.from_arrow(file.read_row_group(group, ["doc_id", "figures"])))
                        table = read[rows].with_columns(
                            pl.lit(part.name).alias("partition"), n_bytes=lengths[start + rows]
                        )
                        matrix = _rows_of(stream, array, start + rows)
                        order = np.argsort(here[rows], kind="stable")
                        arrow = table[order].select(*ROWS).to_arrow().cast(schema)
                        ends = [0, *(np.flatnonzero(np.diff(here[rows[order]])) + 1), rows.size]
                        for begin, end in pairwise(ends):
                            index = here[rows[order[begin]]]
                            minima[index].write(np.ascontiguousarray(matrix[order[begin:end]]).data)
                            tables[index].write_table(arrow.slice(begin, end - begin))
                    start += len(here)


def _cluster(folder: Path, index: int, settings: DuplicatesSettings, out: Path) -> None:
    """Cluster the documents of a batch; all of them have a row."""
    minima, arrows = folder / f"{index:03d}.minima", folder / f"{index:03d}.arrows"
    with pa.OSFile(str(arrows)) as source:
        rows = pl.DataFrame(pl.from_arrow(pa.ipc.open_stream(source).read_all()))
    # Mapped, since a component may be larger than memory has room for.
    matrix = np.memmap(minima, dtype=np.uint32, mode="r").reshape(rows.height, -1)
    found = duplicate_clusters(rows, matrix, as_arrays(rows["figures"]), settings)
    table = io.BytesIO()  # Polars would not say that the disk is full in a way that could be recognised
    found.sort(*KEYS).write_parquet(table, row_group_size=PIECE // 8)
    _whole(out).write_bytes(table.getbuffer())
    _whole(out).rename(out)
    minima.unlink()
    arrows.unlink()


def _merged(results: Sequence[Path], known: Path | None) -> Iterator[pl.DataFrame]:
    """Rows of all batches and of what was known, a range of ids at a time; all files are sorted by doc_id."""
    every = [pl.scan_parquet(path, glob=False) for path in (*results, *([known] if known else []))]
    if not every:
        return
    step = 64
    ids = pl.concat([frame.select("doc_id").gather_every(step) for frame in every]).collect()["doc_id"].sort()
    bounds = [*ids.gather_every(max(PIECE // step, 1)).unique(maintain_order=True), None]
    for lower, upper in pairwise(bounds):
        inside = pl.col("doc_id") >= lower
        if upper is not None:
            inside &= pl.col("doc_id") < upper
        frames = [frame.filter(inside).collect() for frame in every]
        if known is not None:
            *frames, old = frames
            again = pl.concat([frame.select(KEYS) for frame in frames]) if frames else old.select(KEYS).clear()
            frames.append(old.join(again, on=KEYS, how="anti"))
        yield pl.concat(frames).filter(pl.col("cluster_size") > 1).sort(*KEYS)
