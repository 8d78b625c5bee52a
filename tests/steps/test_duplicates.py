"""Duplicates of a corpus that grows: what a delivery touches is compared, and the table is that of a whole search."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from curation_pipeline.config import Profile
from curation_pipeline.corpus.schema import DOCUMENTS_SCHEMA
from curation_pipeline.errors import DataError
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.stages.context import Context
from curation_pipeline.steps.registry import step_of
from curation_pipeline.steps.step import Place, of_corpus
from curation_pipeline.steps.view import Table
from tests.stages.sources import declaring

WORDS = np.array([f"{a}{b}{c}" for a in "bdfglmnprst" for b in "aeiou" for c in "dkmrst"])


def sentence(seed: int, n: int = 40) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, n))


def documents(lake: Lake, key: str, texts: list[str]) -> None:
    """The documents of a delivery, in row groups of ten; a text that comes again is marked."""
    source, _, snapshot = key.partition("|")
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.Utf8}).with_columns(
        doc_id=pl.Series([hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts], dtype=pl.Utf8),
        n_bytes=pl.col("text").str.len_bytes(),
        source=pl.lit(source),
        snapshot=pl.lit(snapshot),
    )
    frame = frame.with_columns(duplicate=~pl.col("doc_id").is_first_distinct())
    frame = frame.with_columns(pl.lit(None).alias(name) for name in DOCUMENTS_SCHEMA if name not in frame.columns)

    def write(draft: Draft) -> None:
        with draft.writer(DOCUMENTS_SCHEMA) as append:
            append(frame[:0])
            for start in range(0, frame.height, 10):
                append(frame[start : start + 10])

    lake.build(Recipe("documents", {"source": source, "snapshot": snapshot}, parameters={"texts": texts}), write)
    step_of("minhash").make(Context(lake, profile_of(lake), lake.work), of_corpus(key))


def profile_of(lake: Lake, **duplicates: object) -> Profile:
    found = declaring(lake.work, "wiki", "forum")
    annotate = found.annotate.model_copy(update={"duplicates": found.annotate.duplicates.model_copy(update=duplicates)})
    return found.model_copy(update={"annotate": annotate})


def search(lake: Lake, *keys: str, **settings: object) -> tuple[Manifest, pl.DataFrame]:
    chosen = [lake.require("documents", of_corpus(key).partition) for key in keys]
    made = step_of("duplicates").make(Context(lake, profile_of(lake, **settings), lake.work), Place(documents=chosen))
    return made, lake.frame(made)


OLD = [sentence(i) for i in range(60)]
NEAR = [f"{text} and more" for text in OLD[:8]]


def deliver(lake: Lake) -> None:
    documents(lake, "wiki|1", [*OLD[:40], OLD[3], *NEAR[:4]])
    documents(lake, "forum|1", [*OLD[40:], OLD[7], OLD[7]])


def test_a_delivery_is_compared_with_what_it_touches_and_gives_the_table_of_a_whole_search(tmp_path: Path) -> None:
    grown, at_once = Lake.open(tmp_path / "grown"), Lake.open(tmp_path / "at_once")
    deliver(grown)
    first, before = search(grown, "forum|1", "wiki|1")
    assert first.summary["documents"] == 65
    assert dict(before["kind"].value_counts().drop_nulls().iter_rows()) == {"near": 4, "exact": 1}
    documents(grown, "forum|2", [*NEAR[4:], *(sentence(900 + i) for i in range(30))])
    second, after = search(grown, "forum|1", "forum|2", "wiki|1")
    assert 0 < second.summary["compared"] < 20
    deliver(at_once)
    documents(at_once, "forum|2", [*NEAR[4:], *(sentence(900 + i) for i in range(30))])
    whole, table = search(at_once, "forum|1", "forum|2", "wiki|1")
    assert after.equals(table)
    assert second.content_hash == whole.content_hash
    assert {key: value for key, value in second.summary.items() if key != "compared"} == {
        key: value for key, value in whole.summary.items() if key != "compared"
    }
    assert second.summary["compared"] < whole.summary["compared"]
    # Each dropped document names the one that stays, and how similar it is.
    ids = {text: hashlib.sha256(text.encode()).hexdigest()[:32] for text in (*OLD, *NEAR)}
    dropped = after.filter(pl.col("kind") == "near").select("doc_id", "kept_doc_id")
    assert set(dropped.iter_rows()) == {(ids[text], ids[near]) for text, near in zip(OLD[:8], NEAR, strict=True)}
    assert after.filter(pl.col("kind") == "near")["similarity"].is_between(0.68, 0.999).all()
    shown = (
        step_of("duplicates").view(Context(grown, profile_of(grown), grown.work), second).figures["largest_clusters"]
    )
    assert isinstance(shown, Table)
    assert [size for _, size in shown.rows] == [3] + [2] * 7
    # What has gone is compared with no more: the search begins with nothing.
    third, rest = search(grown, "forum|2", "wiki|1")
    assert ids[OLD[7]] not in rest.filter(partition="forum|1")["doc_id"]
    assert third.summary["compared"] >= rest.height


def test_a_partition_without_a_document_is_no_obstacle(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    documents(lake, "wiki|1", [])
    documents(lake, "wiki|2", [OLD[0], NEAR[0]])
    made, table = search(lake, "wiki|1", "wiki|2")
    assert (made.summary["documents"], table.height) == (2, 2)
    made, table = search(lake, "wiki|1")
    assert (made.summary["documents"], made.summary["clusters"], table.height) == (0, 0, 0)


def test_with_the_earliest_first_a_later_snapshot_of_a_source_displaces_nothing(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    documents(lake, "wiki|1", OLD[:8])
    documents(lake, "wiki|2", NEAR)
    _, longest = search(lake, "wiki|1", "wiki|2")
    assert set(longest.filter("kept")["partition"]) == {"wiki|2"}
    _, earliest = search(lake, "wiki|1", "wiki|2", prefer="earliest")
    assert set(earliest.filter("kept")["partition"]) == {"wiki|1"}


def test_signatures_of_other_settings_are_an_error(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    documents(lake, "wiki|1", OLD[:3])
    with pytest.raises(DataError, match="signatures of 112 minima, and the profile says 128"):
        search(lake, "wiki|1", n_hashes=128)


def test_a_semantic_duplicate_has_a_row_whether_or_not_it_has_near_ones(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    texts = [sentence(1, 80), sentence(2, 60), sentence(3, 60), f"{sentence(2, 60)} and more"]
    documents(lake, "wiki|1", texts)
    partition = of_corpus("wiki|1").partition
    own = lake.frame(lake.require("documents", partition), columns=["doc_id"])
    # Only the vectors of the first two texts point the same way; nothing here is about how they are fitted.
    vectors = np.array([[1, 0], [1, 0.001], [0, 1], [-1, 0]], dtype=np.float32)
    columns = {"vector": pl.Series(vectors, dtype=pl.Array(pl.Float32, 2)), "topic": pl.Series([0] * 4, dtype=pl.Int16)}
    for table, frame in (
        ("sentence_vectors", own.with_columns(**columns)),
        ("text_statistics", own.with_columns(n_words=pl.lit(60))),
    ):
        lake.build(Recipe(table, partition), partial(Draft.frame, frame=frame))
    _, found = search(lake, "wiki|1", semantic=True)
    ids = own["doc_id"].to_list()
    assert set(found.select("doc_id", "kind", "kept_doc_id", "kept").iter_rows()) == {
        (ids[1], "near", ids[3], False),
        (ids[3], None, ids[3], True),
    }
    _, found = search(lake, "wiki|1", semantic=True, threshold=1.0)  # now the second text has no near duplicate
    assert set(found.select("doc_id", "kind", "kept_doc_id", "kept").iter_rows()) == {
        (ids[1], "semantic", ids[0], False)
    }
    assert found["cluster_size"].to_list() == [1]
