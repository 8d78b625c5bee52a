from __future__ import annotations

import hashlib
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_pipeline.annotate.duplicates_settings import DuplicatesSettings
from curation_pipeline.annotate.figures import as_arrays
from curation_pipeline.annotate.minhash import minhash_signatures
from curation_pipeline.annotate.near_duplicates import SCHEMA, duplicate_clusters
from curation_pipeline.annotate.signature_clusters import WINDOW, cluster_signatures
from curation_pipeline.errors import ConfigError, DataError

VOCABULARY = np.array([f"{a}{b}{c}{d}" for a in "bdfglmnprst" for b in "aeiou" for c in "dkmrst" for d in "aeiou"])


def words(n: int, seed: int) -> list[str]:
    return [str(word) for word in np.random.default_rng(seed).choice(VOCABULARY, n)]


def edited(text: list[str], seed: int, n: int = 1) -> list[str]:
    """Some words replaced; one of 150 leaves a similarity of about .93 to the original, .87 to another such copy."""
    out = list(text)
    for place in np.random.default_rng(seed).choice(len(text), n, replace=False):
        out[place] = f"edited by {words(1, seed)[0]}"
    return out


def table(rows: list[tuple[str, str]]) -> pl.DataFrame:
    """Documents of (partition, text)."""
    frame = pl.DataFrame(rows, schema={"partition": pl.Utf8, "text": pl.Utf8}, orient="row")
    return frame.with_columns(
        doc_id=pl.Series([hashlib.sha256(text.encode()).hexdigest()[:32] for _, text in rows], dtype=pl.Utf8),
        n_bytes=pl.col("text").str.len_bytes(),
    )


def arrays(signatures: pl.DataFrame) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    return signatures["signature"].to_numpy(), as_arrays(signatures["figures"])


def clusters(frame: pl.DataFrame, chosen: DuplicatesSettings | None = None) -> pl.DataFrame:
    return duplicate_clusters(frame, *arrays(minhash_signatures(frame, chosen)), chosen)


@pytest.fixture(scope="module")
def corpus() -> pl.DataFrame:
    """300 distinct texts in three partitions, 60 of them with one to three edits, 20 with exact copies."""
    rows = []
    for i in range(300):
        text = words(150, i)
        rows.append((f"p{i % 3}", " ".join(text)))
        if i < 60:
            rows += [(f"p{(i + k) % 3}", " ".join(edited(text, 1000 * i + k))) for k in range(i % 3 + 1)]
        if i % 15 == 0:
            rows += [(f"p{k}", " ".join(text)) for k in range(3) if k != i % 3]
    return table(rows)


def test_planted_duplicates_are_found_and_distinct_texts_kept(corpus: pl.DataFrame) -> None:
    found = clusters(corpus)
    assert found.columns[:2] == ["doc_id", "partition"]
    assert {name: dtype for name, dtype in found.schema.items() if name != "partition"} == SCHEMA
    assert found["doc_id"].to_list() == corpus["doc_id"].to_list()
    assert found["kept"].sum() == 300
    assert found["kind"].value_counts().sort("kind").rows() == [(None, 300), ("exact", 40), ("near", 120)]
    assert found.filter("kept").select((pl.col("kept_doc_id") == pl.col("doc_id")).all()).item()
    near = found.filter(pl.col("kind") == "near")
    assert near["similarity"].min() >= 0.68  # type: ignore[operator]
    assert found["cluster_id"].n_unique() == 300
    sizes = found.group_by("cluster_id").agg(pl.len(), pl.col("cluster_size").unique(), pl.col("doc_id").min())
    assert sizes.select((pl.col("cluster_size").list.first() == pl.col("len")).all()).item()
    assert sizes.select((pl.col("cluster_id") == pl.col("doc_id")).all()).item()
    first = found.filter(pl.col("kind") == "exact").select(
        pl.col("reason").str.contains("same text as in partition p0")
    )
    assert first.to_series().any()


def test_order_of_rows_does_not_matter(corpus: pl.DataFrame) -> None:
    found = clusters(corpus)
    for seed in range(3):
        again = clusters(corpus.sample(fraction=1.0, shuffle=True, seed=seed))
        assert again.sort("doc_id", "partition").equals(found.sort("doc_id", "partition"))


def test_what_is_kept_holds_no_duplicate(corpus: pl.DataFrame) -> None:
    kept = corpus.filter(clusters(corpus)["kept"])
    again = clusters(kept)
    assert again["kept"].all()
    assert again["reason"].unique().to_list() == ["no duplicate found"]


def test_an_unrelated_partition_changes_no_cluster(corpus: pl.DataFrame) -> None:
    other = table([("a new one", " ".join(words(150, 5000 + i))) for i in range(200)])
    both = clusters(pl.concat([other, corpus]))
    assert both.filter(pl.col("partition") != "a new one").equals(clusters(corpus))


def test_the_longest_stays_then_the_earliest_then_the_smallest_id() -> None:
    text = words(150, 1)
    same_length = [" ".join(text).replace("a", "A", k) for k in range(1, 4)]
    rows = table([("p2", " ".join(text)), ("p3", " ".join(text) + " longer"), ("p1", same_length[0])])
    found = clusters(rows)
    assert found["kept"].to_list() == [False, True, False]
    assert found["reason"][0].endswith("which is longer")
    assert "for 2 others; beside the next best it is longer" in found["reason"][1]
    found = clusters(rows[[0, 2]])
    assert found["kept"].to_list() == [False, True]
    assert "in an earlier partition" in found["reason"][0]
    ties = table([("p1", one) for one in same_length])
    found = clusters(ties)
    assert found.filter("kept")["doc_id"].item() == ties["doc_id"].min()
    earliest = clusters(rows, DuplicatesSettings(prefer="earliest"))
    assert earliest["kept"].to_list() == [False, False, True]


def test_partitions_sort_by_their_type() -> None:
    text = " ".join(words(40, 1))
    frame = table([("10", text), ("9", text)])
    assert clusters(frame)["kept"].to_list() == [True, False]
    assert clusters(frame.with_columns(pl.col("partition").cast(pl.Int32)))["kept"].to_list() == [False, True]


def test_a_chain_is_one_cluster_but_its_far_end_stays() -> None:
    """Each text resembles the next; the first and the last have little in common."""
    chain = [words(150, 1)]
    for step in range(8):
        chain.append([*chain[-1][12:], *words(12, 100 + step)])
    frame = table([("p", " ".join(text)) for text in chain])
    found = clusters(frame)
    assert found["cluster_id"].n_unique() == 1
    assert 3 <= found["kept"].sum() <= 6
    signature = dict(zip(frame["doc_id"], minhash_signatures(frame)["signature"].to_numpy(), strict=True))
    for row in found.filter(~pl.col("kept")).iter_rows(named=True):
        estimate = (signature[row["doc_id"]] == signature[row["kept_doc_id"]]).mean()
        assert estimate >= 0.68
        assert row["similarity"] == pytest.approx(estimate, abs=1e-4)
    kept = found.filter("kept")["doc_id"].to_list()
    assert all((signature[i] == signature[j]).mean() < 0.68 for i, j in combinations(kept, 2))


def test_an_exact_copy_of_a_dropped_text_names_the_text_that_stays() -> None:
    text = words(150, 1)
    short, long = " ".join(text), " ".join([*text, "more"])
    found = clusters(table([("p1", short), ("p2", short), ("p2", long)]))
    assert found["kind"].to_list() == ["near", "exact", None]
    assert found["kept_doc_id"].n_unique() == 1
    assert found["cluster_size"].to_list() == [3, 3, 3]


def test_empty_and_faulty_frames(corpus: pl.DataFrame) -> None:
    empty = clusters(corpus[:0])
    assert empty.is_empty()
    assert {name: dtype for name, dtype in empty.schema.items() if name != "partition"} == SCHEMA
    with pytest.raises(DataError, match="but 5 signatures"):
        duplicate_clusters(corpus, *arrays(minhash_signatures(corpus[:5])))
    with pytest.raises(DataError, match="twice in one partition"):
        clusters(pl.concat([corpus, corpus[:1]]))
    with pytest.raises(ConfigError, match="a signature has 16 minima"):
        duplicate_clusters(
            corpus, *arrays(minhash_signatures(corpus, DuplicatesSettings(n_hashes=16, bands=2, rows=4)))
        )


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 40), st.integers(2, 5), st.integers(0, 2**32), st.sampled_from([0.25, 0.5, 0.75, 1.0]))
def test_clusters_are_those_of_the_graph_of_all_pairs(n: int, values: int, seed: int, threshold: float) -> None:
    """Against scipy's components and a greedy election over every pair; small buckets are compared in full."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rng = np.random.default_rng(seed)
    signatures = rng.integers(0, values, (n, 8)).astype(np.uint32)
    order = rng.permutation(n)
    bands, rows = 4, 2
    rowwise = signatures[order]
    equal = (rowwise[:, None] == rowwise[None]).sum(2)
    same_band = (rowwise.reshape(n, 1, bands, rows) == rowwise.reshape(1, n, bands, rows)).all(3).any(2)
    close = equal >= threshold * 8
    one, other = np.nonzero(close & same_band)
    _, component = connected_components(coo_array((np.ones(one.size), (one, other)), shape=(n, n)), directed=False)
    kept: list[int] = []
    expected = []
    for i in range(n):
        near = [k for k in kept if component[k] == component[i] and close[i, k]]
        best = max(near, key=lambda k: (equal[i, k], -k)) if near else i
        expected.append(best)
        if best == i:
            kept.append(i)
    found = cluster_signatures(signatures, order, bands, rows, threshold)
    assert found.kept.tolist() == expected
    firsts = [int(np.flatnonzero(component == c)[0]) for c in component]
    assert found.component.tolist() == firsts


def test_a_bucket_that_boilerplate_fills_takes_linear_time_and_loses_no_duplicate() -> None:
    """All share a band, so all are candidates of each other; half are pairs that differ in one minimum."""
    n, width = 20_000, 16
    rng = np.random.default_rng(0)
    signatures = rng.integers(0, 2**32, (n, width), dtype=np.uint32)
    signatures[:, :4] = 7
    signatures[1 : n // 2 : 2] = signatures[0 : n // 2 : 2]
    signatures[1 : n // 2 : 2, 15] += 1
    found = cluster_signatures(signatures, np.arange(n), 4, 4, 0.9)
    assert n > 100 * WINDOW
    assert (found.kept != np.arange(n)).sum() == n // 4
    assert (found.kept[1 : n // 2 : 2] == np.arange(0, n // 2, 2)).all()
