"""The search on disk gives the rows that all documents in memory give, whatever the files, the batches and the past."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_pipeline.annotate import band_candidates, corpus_duplicates
from curation_pipeline.annotate.corpus_duplicates import IndexedPart, write_index
from curation_pipeline.annotate.duplicates_settings import DuplicatesSettings
from curation_pipeline.annotate.figures import as_arrays
from curation_pipeline.annotate.minhash import schema
from curation_pipeline.annotate.near_duplicates import duplicate_clusters


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """Limits so low that a few dozen documents need many spill files, batches and pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(band_candidates, "FILE_ENTRIES", 8)
        patch.setattr(corpus_duplicates, "BATCH", 5)
        patch.setattr(corpus_duplicates, "PIECE", 128)
        patch.setattr(corpus_duplicates, "ROWS_READ", 7)
        patch.setattr(corpus_duplicates, "FEW", 3)
        yield


def corpus(n: int, values: int, partitions: int, seed: int) -> pl.DataFrame:
    """Documents with few different minima, figures and lengths, some of them in several partitions."""
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, max(3 * n // 4, 1), n)
    minima = rng.integers(0, values, (n, 8)).astype(np.uint32)
    lengths = rng.integers(1, 4, n)
    figures = [sorted({int(pair) << 32 | int(pair) % 2 for pair in rng.integers(0, 4, 2)}) for _ in range(n)]
    frame = pl.DataFrame(
        {
            "doc_id": [hashlib.sha256(bytes([i % 256, i // 256])).hexdigest()[:32] for i in chosen],
            "partition": [f"p|{i:02d}" for i in rng.integers(0, partitions, n)],
            "n_bytes": lengths[chosen],
            "signature": pl.Series(minima[chosen], dtype=pl.Array(pl.UInt32, 8)),
            "figures": pl.Series([figures[i] for i in chosen], dtype=pl.List(pl.UInt64)),
        }
    )
    return frame.unique(["doc_id", "partition"], maintain_order=True)


def in_memory(frame: pl.DataFrame, chosen: DuplicatesSettings) -> pl.DataFrame:
    """The reference."""
    found = duplicate_clusters(frame, frame["signature"].to_numpy(), as_arrays(frame["figures"]), chosen)
    return found.filter(pl.col("cluster_size") > 1).sort("doc_id", "partition")


def written(frame: pl.DataFrame, folder: Path, chosen: DuplicatesSettings, known: frozenset[str]) -> list[IndexedPart]:
    parts = []
    for (name,), rows in frame.group_by(["partition"], maintain_order=True):
        stem = str(name).replace("|", "-")
        signatures, index = folder / f"{stem}.parquet", folder / stem
        rows.select(*schema(chosen)).write_parquet(signatures, row_group_size=50)
        index.mkdir()
        write_index(rows["n_bytes"], signatures, chosen, index)
        parts.append(IndexedPart(str(name), signatures, index, new=name not in known))
    return sorted(parts, key=lambda part: part.name)


def searched(
    frame: pl.DataFrame, folder: Path, chosen: DuplicatesSettings, known: pl.DataFrame | None = None
) -> tuple[pl.DataFrame, int]:
    """Rows of the search on disk, and how many documents were compared."""
    folder.mkdir(parents=True)
    before: Path | None = None
    earlier: frozenset[str] = frozenset()
    if known is not None:
        before, earlier = folder / "known.parquet", frozenset(known["partition"])
        rows, _ = searched(known, folder / "earlier", chosen)
        rows.write_parquet(before)
    found = corpus_duplicates.corpus_duplicates(
        written(frame, folder, chosen, earlier), chosen, folder / "scratch", before
    )
    assert found.documents == frame.height
    return pl.concat([in_memory(frame[:0], chosen), *found.frames]), found.compared


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 120),
    values=st.integers(2, 6),
    partitions=st.integers(1, 5),
    seed=st.integers(0, 2**32),
    threshold=st.sampled_from([0.5, 0.75, 1.0]),
    prefer=st.sampled_from(["longest", "earliest"]),
    data=st.data(),
)
def test_rows_are_those_of_all_documents_in_memory(
    n: int,
    values: int,
    partitions: int,
    seed: int,
    threshold: float,
    prefer: str,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    chosen = DuplicatesSettings.model_validate(
        {"n_hashes": 8, "bands": 4, "rows": 2, "threshold": threshold, "prefer": prefer}
    )
    frame = corpus(n, values, partitions, seed)
    expected = in_memory(frame, chosen)
    folder = tmp_path_factory.mktemp("search")
    rows, compared = searched(frame, folder / "whole", chosen)
    assert rows.equals(expected)
    assert compared >= rows.height
    # A delivery that sorts anywhere, after a search of the others: the same rows, and no more is compared.
    names = sorted(frame["partition"].unique())
    delivered = data.draw(st.sampled_from(names))
    rows, again = searched(frame, folder / "grown", chosen, frame.filter(pl.col("partition") != delivered))
    assert rows.equals(expected)
    assert again <= compared


def test_only_what_a_delivery_touches_is_compared_again(tmp_path: Path) -> None:
    chosen = DuplicatesSettings(n_hashes=8, bands=4, rows=2, threshold=0.75)
    rng = np.random.default_rng(3)
    pairs = np.repeat(rng.integers(0, 2**32, (50, 8), dtype=np.uint32), 2, axis=0)
    pairs[1::2, 7] += 1
    one = pl.DataFrame(
        {
            "doc_id": [f"{i:03d}" for i in range(100)],
            "partition": "p|1",
            "n_bytes": pl.Series(range(100), dtype=pl.Int64),
            "signature": pl.Series(pairs, dtype=pl.Array(pl.UInt32, 8)),
            "figures": pl.Series([[]] * 100, dtype=pl.List(pl.UInt64)),
        }
    )
    new = one[10:11].with_columns(doc_id=pl.lit("new"), partition=pl.lit("p|2"))
    frame = pl.concat([one, new])
    rows, compared = searched(frame, tmp_path / "grown", chosen, one)
    assert compared == 3
    assert rows.equals(in_memory(frame, chosen))
    assert rows.filter(doc_id="new")["kept_doc_id"].item() == "011"
    assert rows.filter(pl.col("doc_id").is_in(["010", "011"]))["cluster_size"].to_list() == [3, 3]


def test_a_search_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    chosen = DuplicatesSettings(n_hashes=8, bands=4, rows=2, threshold=0.75)
    frame = corpus(400, 60, 3, 1)
    parts = written(frame, tmp_path, chosen, frozenset())
    scratch = tmp_path / "scratch"
    told: list[str] = []

    def interrupt(what: str, share: float) -> None:
        told.append(what)
        if told.count("clustering") == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        corpus_duplicates.corpus_duplicates(parts, chosen, scratch, progress=interrupt)
    done = {path: path.stat().st_mtime_ns for path in scratch.glob("*.parquet")}
    assert len(done) == 2
    again: list[str] = []
    found = corpus_duplicates.corpus_duplicates(parts, chosen, scratch, progress=lambda what, share: again.append(what))
    assert set(again) == {"clustering"}  # neither bands nor signatures were read again
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert pl.concat(list(found.frames)).equals(in_memory(frame, chosen))


def test_components_are_those_of_the_graph_of_shared_bands(tmp_path: Path) -> None:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rng = np.random.default_rng(0)
    keys = rng.integers(0, 2**64, 3000, dtype=np.uint64)[rng.integers(0, 3000, (2000, 3))]
    _, number = np.unique(keys, return_inverse=True)
    rows = np.repeat(np.arange(2000), 3)
    graph = coo_array((np.ones(6000), (rows, 2000 + number.reshape(-1))), shape=(5000, 5000))
    _, label = connected_components(graph, directed=False)
    first = {name: row for row, name in reversed(list(enumerate(label[:2000])))}
    found = band_candidates.components(np.array_split(keys, 7), 2000, 3, tmp_path / "bands")
    assert found.tolist() == [first[name] for name in label[:2000]]
    assert not (tmp_path / "bands").exists()


def test_batches_hold_whole_components_up_to_the_limit() -> None:
    component = np.array([0, 0, 2, 3, 3, 3, 6, 7, 6, 7, 6, 6, 12])
    every = np.ones(13, dtype=bool)
    assert band_candidates.batches(component, every, 5, 99).tolist() == [0, 0, -1, 0, 0, 0, 1, 2, 1, 2, 1, 1, -1]
    assert band_candidates.batches(component, every, 1, 3).max() <= 3
    new = np.zeros(13, dtype=bool)
    new[[2, 9]] = True
    assert np.flatnonzero(band_candidates.batches(component, new, 5, 99) >= 0).tolist() == [7, 9]
