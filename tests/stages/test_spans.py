"""A corpus that is put together a span of documents at a time is the corpus that would be put together in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from curation_pipeline.annotate import near_duplicates
from curation_pipeline.errors import DataError
from curation_pipeline.lake import keyed, runs
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.stages import pool_sample as sampling
from curation_pipeline.stages import texts
from curation_pipeline.stages.corpus_figures import BINS, Histogram, Sums
from curation_pipeline.stages.pool_sample import pool_sample
from curation_pipeline.stages.sampling import is_held_out
from curation_pipeline.stages.texts import POOLED, corpus_parts
from curation_pipeline.steps.loop.candidate_pool import copies_of_held_out
from research.synthetic_pool import synthetic_pool

N = 900


@pytest.fixture
def small_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many parts, runs and spans of a small table."""
    monkeypatch.setattr(texts, "PART", 70)
    monkeypatch.setattr(runs, "STEP", 16)
    monkeypatch.setattr(runs, "SHARD_ROWS", 90)
    monkeypatch.setattr(runs, "RUN_BYTES", 6_000)


def build(lake: Lake, table: str, place: dict[str, str], frame: pl.DataFrame) -> Manifest:
    return lake.build(Recipe(table, place, (), {}), lambda draft: draft.frame(frame))


@pytest.fixture
def corpus(lake: Lake) -> dict[str, dict[str, str]]:
    """Two partitions that share a third of their documents, with repeats that have no annotations."""
    frame = synthetic_pool(5, N).frame.sample(fraction=1.0, shuffle=True, seed=2)
    found: dict[str, dict[str, str]] = {}
    for source, rows in (("a", slice(0, 600)), ("b", slice(400, N))):
        own = frame[rows]
        place = {"source": source, "snapshot": "s"}
        documents = own.select("doc_id", "domain", source=pl.lit(source), snapshot=pl.lit("s"))
        documents = documents.with_columns(duplicate=pl.int_range(pl.len()) % 11 == 10)
        kept = own.filter(~documents["duplicate"])
        tables = {
            "documents": documents,
            "text_statistics": kept.select("doc_id", "quality", "identity_group"),
            "toxicity_teacher": kept.select("doc_id", "lexical"),
            "sentence_vectors": kept.select("doc_id", "vector", "topic"),
            "token_counts": kept.select("doc_id", "n_tokens"),
            "register": kept.select("doc_id", register=pl.lit("web")),
            "dialect": kept.select("doc_id", aae_score=pl.lit(0.0)),
        }
        found[f"{source}|s"] = {table: build(lake, table, place, rows).id for table, rows in tables.items()}
    return found


def in_memory(lake: Lake, corpus: dict[str, dict[str, str]]) -> pl.DataFrame:
    """Every document of the corpus with its annotations, joined by doc_id, each where it comes first."""
    frames = []
    for _, ids in sorted(corpus.items()):
        frame = lake.frame(lake.get(ids["documents"])).filter(~pl.col("duplicate"))
        frame = frame.select("doc_id", "source", "snapshot", "domain")
        for table, columns in POOLED.items():
            rows = lake.frame(lake.get(ids[table]))
            frame = frame.join(rows.select("doc_id", *columns) if columns else rows, on="doc_id", how="inner")
        frames.append(frame)
    return pl.concat(frames).unique("doc_id", keep="first", maintain_order=True).sort("doc_id")


@pytest.mark.usefixtures("small_spans")
def test_spans_of_a_corpus_are_its_join(lake: Lake, corpus: dict[str, dict[str, str]], tmp_path: Path) -> None:
    with runs.sorted_runs(tmp_path) as documents:
        documents.extend(corpus_parts(lake, corpus, ("source", "snapshot", "domain"), POOLED))
        spans = [documents.read(span).unique("doc_id", keep="first", maintain_order=True) for span in documents.spans()]
        assert len(spans) > 5
        whole = in_memory(lake, corpus)
        assert pl.concat(spans).equals(whole)
        asked = whole["doc_id"].sample(fraction=1.0, shuffle=True, seed=1)
        assert documents.of(asked)["doc_id"].equals(asked)
        assert documents.of(asked).sort("doc_id").equals(whole)
        assert documents.of(pl.Series("doc_id", ["f" * 32]))["topic"].to_list() == [None]


def test_annotations_of_other_documents_are_refused(lake: Lake, corpus: dict[str, dict[str, str]]) -> None:
    rows = lake.frame(lake.get(corpus["a|s"]["token_counts"])).reverse()
    other = build(lake, "token_counts", {"source": "a", "snapshot": "turned"}, rows)
    wrong = {**corpus, "a|s": {**corpus["a|s"], "token_counts": other.id}}
    with pytest.raises(DataError, match=r"token_counts of the partition a\|s does not hold its documents"):
        list(corpus_parts(lake, wrong, ("source",), POOLED))


@pytest.mark.usefixtures("small_spans")
def test_copies_of_held_out_documents(lake: Lake) -> None:
    ids = [f"{i * 7919:032x}" for i in range(400)]
    kind = ["near" if i % 3 else "exact" for i in range(400)]
    clusters = [ids[i - i % 4] for i in range(400)]
    table = pl.DataFrame({"doc_id": ids, "cluster_id": clusters, "kind": kind})
    assert set(table.columns) <= set(near_duplicates.SCHEMA)
    manifest = build(lake, "duplicates", {}, table)
    found = pl.concat(copies_of_held_out(lake, manifest, 0.1, 3))["doc_id"]
    held_out = is_held_out(table["doc_id"], 0.1, 3)
    near = np.array(kind) == "near"
    leaking = {clusters[i] for i in np.flatnonzero(held_out & near)}
    assert leaking
    assert set(found) == {ids[i] for i in np.flatnonzero(near) if clusters[i] in leaking}


def test_figures_of_parts_add_up() -> None:
    frame = synthetic_pool(6, 3_000).frame
    parts = [frame[start : start + 700] for start in range(0, frame.height, 700)]
    wanted = (pl.len().cast(pl.Int64).alias("documents"), pl.col("n_tokens").cast(pl.Int64).sum())
    sums = Sums(["source", "topic"], *wanted)
    for part in parts:
        sums.add(part)
    assert sums.table().equals(frame.group_by("source", "topic").agg(wanted).sort("source", "topic"))
    for log in (False, True):
        histogram = Histogram("tokens", "n_tokens", log)
        for part in parts:
            histogram.meet(part)
        for part in parts:
            histogram.add(part)
        values = frame["n_tokens"].to_numpy().astype(np.float64)
        counts, edges = np.histogram(np.log10(values) if log else values, BINS)
        rows = histogram.rows()
        assert rows["documents"].to_list() == counts.tolist()
        np.testing.assert_allclose(rows["low"], 10 ** edges[:-1] if log else edges[:-1])
    assert Histogram("nothing", "n_tokens").rows().is_empty()


def test_a_sample_stands_for_its_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = synthetic_pool(6, 8_000).frame.sort("doc_id")
    path = tmp_path / "pool.parquet"
    keyed.write_keyed(frame, path)
    whole = pool_sample(path)
    assert whole.frame.equals(frame), "a small pool is its own sample"
    assert (whole.share, whole.budget(1_234)) == (1.0, 1_234)
    some = pool_sample(path, 2_000)
    assert some.frame.height == pytest.approx(2_000, rel=0.1)
    assert some.frame["doc_id"].is_in(frame["doc_id"].implode()).all()
    assert some.share == pytest.approx(some.frame["n_tokens"].sum() / frame["n_tokens"].sum())
    assert some.frame["p_harm"].mean() == pytest.approx(frame["p_harm"].mean(), rel=0.1)
    cut = keyed.shards_of([path], 900)
    monkeypatch.setattr(sampling, "shards_of", lambda paths: cut)
    assert pool_sample(path, 2_000).frame.equals(some.frame), "however the pool is cut"


def test_row_groups_do_not_depend_on_the_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    from curation_pipeline.lake import draft as drafts

    monkeypatch.setattr(drafts, "ROW_GROUP", 100)
    frame = synthetic_pool(6, 730).frame.sort("doc_id")
    for name, step in (("fine", 13), ("coarse", 400)):
        draft = Draft(tmp_path, tmp_path)
        with draft.keyed_writer(dict(frame.schema), name, "lz4") as write:
            for start in range(0, frame.height, step):
                write(frame[start : start + step])
        footer = pq.ParquetFile(tmp_path / f"{name}.parquet").metadata
        assert [footer.row_group(i).num_rows for i in range(footer.num_row_groups)] == [100] * 7 + [30]
        assert pl.read_parquet(tmp_path / f"{name}.parquet").equals(frame)
