"""The corpus is what the profile declares: what it gives up is in no later gate, pool, batch, table or comparison.

Documents, exact annotations, duplicates, pools and draws are real; what needs a fitted model is a stand-in.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from curation_pipeline.corpus.settings import HubSource
from curation_pipeline.corpus.sources import hub
from curation_pipeline.errors import DataError, DownloadError
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.report.corpus_status import corpus_notes, corpus_status, retired_since
from curation_pipeline.report.explain import explain
from curation_pipeline.report.serving import export_sources
from curation_pipeline.stages.commit import commit_cold_start, commit_iteration
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.declared import IN_USE, RETIRED, UNKNOWN, UNREAD, partition_sources, standing
from curation_pipeline.stages.gate import read_gate
from curation_pipeline.stages.lineage import document_lineage
from curation_pipeline.stages.sampling import corpus_documents
from curation_pipeline.stages.state import state_partition
from curation_pipeline.steps.corpus import documents as ingest
from curation_pipeline.steps.experiment.baseline_batch import draw_baseline_batch
from curation_pipeline.steps.registry import annotation_steps, read_by
from curation_pipeline.steps.step import of_iteration

from .sources import REFERENCES, build_pool, declaring, deliver, make, open_gate
from .test_pool import small_reward

CHAIN = "random/demo-0"
HELD_OUT = pl.DataFrame({"text": ["a clean text"], "role": ["credit"], "kind": ["benign"], "domain": ["web"]})


def text(start: str, i: int) -> str:
    """Sixty words that no other text has."""
    letters = np.random.default_rng([len(start), i]).choice(list("abcdefghijklmnopqrst"), (60, 7))
    return " ".join([start, *map("".join, letters)])


OLD, NEW, LIVE = ([text(start, i) for i in range(12)] for start in ("lighthouse", "harbour", "meadow"))
COPY = OLD[0].rpartition(" ")[0]
"""A near copy of a document of another source, which is longer and so is the one that is kept."""


def write(lake: Lake, table: str, partition: dict[str, str], frame: pl.DataFrame, *inputs: str) -> Manifest:
    def make(draft: Draft) -> None:
        for name in ("data", "draw", "generations"):
            draft.frame(frame, name)
        each = dict.fromkeys(("safety", "alignment", "capability", "performance"), 0.5)
        draft.json({"reported": each, "credit_metrics": each}, "performance")

    return lake.build(Recipe(table, partition, inputs), make)


def stand_in(table: str, own: pl.DataFrame) -> pl.DataFrame:
    """Rows as a fitted annotator would write them."""
    random = np.random.default_rng(own.height)
    vectors = random.standard_normal((own.height, 8)).astype(np.float32)
    columns: dict[str, dict[str, object]] = {
        "contamination": {"n_overlaps": 0, "benchmark": None},
        "toxicity_teacher": {"alt_profanity": 0.1, "bias_head": 0.1},
        "sentence_vectors": {
            "vector": pl.Series(vectors, dtype=pl.Array(pl.Float32, 8)),
            "topic": 0,
            "topic_distance": 0.5,
        },
        "register": {"register": "web", "quality_classifier": 1.0},
        "token_counts": {"n_tokens": 100},
    }
    values = {name: value if isinstance(value, pl.Series) else pl.lit(value) for name, value in columns[table].items()}
    return own.with_columns(**values).with_columns(
        pl.col(pl.Int32).cast(pl.Int16 if table != "token_counts" else pl.Int32)
    )


def read(ctx: Context) -> None:
    """Ingest and annotate everything that is declared, as a run does."""
    for key in partition_sources(ctx):
        documents = make(ctx, "documents", key)
        own = ctx.lake.frame(documents).filter(~pl.col("duplicate")).select("doc_id")
        for step in annotation_steps():
            table = step.table
            if any(read.name != "documents" for read in read_by(step)):
                write(ctx.lake, table, documents.partition, stand_in(table, own), documents.id)
            else:
                make(ctx, table, key)
    make(ctx, "duplicates")
    make(ctx, "document_index")


def iterate(ctx: Context, ordinal: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Pool and batch of an iteration, which is committed with stand-ins for what is trained."""
    gate = open_gate(ctx, CHAIN, ordinal)
    pool = build_pool(ctx, CHAIN, ordinal)
    batch = draw_baseline_batch(ctx, of_iteration(CHAIN, ordinal), "random")
    for table in ("checkpoints", "metrics"):
        write(ctx.lake, table, state_partition(CHAIN, ordinal), pl.DataFrame({"doc_id": ["0" * 32]}), gate.id, batch.id)
    commit_iteration(ctx, CHAIN, ordinal)
    return ctx.lake.frame(pool), ctx.lake.frame(batch)


@pytest.fixture(autouse=True)
def without_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compared with the items of benchmarks, which take seconds to make."""
    monkeypatch.setattr(ingest, "read_benchmarks", lambda lake, manifest: None)
    monkeypatch.setattr(ingest, "contamination_keys", lambda items, frame: pl.Series([], dtype=pl.Utf8))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a cold start is kept, next to the folder that it was made in and that each test finds as it was."""
    return tmp_path_factory.mktemp("declared") / "kept"


@pytest.fixture
def root(kept: Path) -> Path:
    """The folder of sources and state."""
    here = kept.with_name("here")
    shutil.rmtree(here, ignore_errors=True)
    if kept.exists():
        shutil.copytree(kept, here)
    return here


@pytest.fixture
def ctx(root: Path, kept: Path) -> Context:
    """Two sources; `gone` has two deliveries, and the first of them holds what a document of `live` is a copy of."""
    lake = Lake.open(root / "state" / "lake")
    profile = declaring(root, "gone", "live")
    corpus = profile.corpus.model_copy(update={"holdout_share": 0.0})
    loop = profile.loop.model_copy(update={"token_budget": 1_000_000})
    found = Context(lake, profile.model_copy(update={"corpus": corpus, "loop": loop}), root)
    if kept.exists():
        return found
    one = pl.DataFrame({"doc_id": ["0" * 32]})
    for table in {*REFERENCES, "base_metrics"} - {"initial_reward", "duplicates"}:
        write(lake, table, {}, HELD_OUT if table == "heldout_texts" else one)
    lake.build(Recipe("initial_reward", {}), lambda draft: small_reward().save(draft.folder))
    deliver(root, "gone", "2026-01", OLD)
    deliver(root, "gone", "2026-02", NEW)
    deliver(root, "live", "2026-01", [*LIVE, COPY])
    read(found)
    commit_cold_start(found, CHAIN)
    shutil.copytree(root, kept)
    return found


def without(ctx: Context, root: Path) -> Context:
    return replace(ctx, profile=declaring(root, "live", profile=ctx.profile))


def renamed(ctx: Context, root: Path) -> Context:
    (root / "gone").rename(root / "moved")
    return replace(ctx, profile=declaring(root, "moved", "live", profile=ctx.profile))


def deleted(ctx: Context, root: Path) -> Context:
    shutil.rmtree(root / "gone" / "2026-01")
    return ctx


RETIRING = {
    without: {"live|2026-01"},
    renamed: {"live|2026-01", "moved|2026-01", "moved|2026-02"},
    deleted: {"live|2026-01", "gone|2026-02"},
}
"""Ways to give up a delivery, and the corpus that is left."""


def places(frame: pl.DataFrame) -> set[str]:
    return set(frame.select(pl.concat_str("source", "snapshot", separator="|")).to_series())


@pytest.mark.parametrize("how", RETIRING)
def test_what_is_given_up_is_in_no_later_batch_and_takes_nothing_with_it(
    ctx: Context, root: Path, how: Callable[[Context, Path], Context]
) -> None:
    copy = ctx.lake.frame(ctx.lake.require("documents", {"source": "live", "snapshot": "2026-01"}))["doc_id"][-1]
    pool, batch = iterate(ctx, 1)
    assert places(pool) == {"gone|2026-01", "gone|2026-02", "live|2026-01"}
    assert pool.height == batch.height == 36
    assert copy not in pool["doc_id"], "it is a near copy of what is kept"
    later = how(ctx, root)
    # What spans the corpus may be older than the profile, as when nothing but an iteration is launched.
    for key in partition_sources(later):
        if key.startswith("moved"):
            read(later)
    pool, batch = iterate(later, 2)
    assert places(pool) == RETIRING[how]
    assert batch.height == pool.height
    assert (copy in pool["doc_id"]) == (how is not renamed), "a live document is no copy of one that is kept nowhere"
    gate = ctx.lake.require("gates", state_partition(CHAIN, 2))
    gone = {"gone|2026-01"} if how is deleted else {"gone|2026-01", "gone|2026-02"}
    assert set(gate.summary["retired"]) == gone
    assert corpus_notes(later)[0].startswith(f"Retired: {', '.join(sorted(gone))} (")


def test_what_comes_back_is_used_again_without_new_work(ctx: Context, root: Path) -> None:
    first, _ = iterate(ctx, 1)
    shutil.move(root / "gone", root / "away")
    iterate(without(ctx, root), 2)
    read(without(ctx, root))
    shutil.move(root / "away", root / "gone")
    before = {m.id for m in ctx.lake.manifests()}
    read(ctx)
    assert {m.id for m in ctx.lake.manifests()} == before
    third, _ = iterate(ctx, 3)
    assert third["doc_id"].equals(first["doc_id"])


def test_an_interrupted_iteration_does_not_go_on_with_what_was_given_up(ctx: Context, root: Path) -> None:
    frozen = open_gate(ctx, CHAIN, 1)
    assert open_gate(ctx, CHAIN, 1) == frozen
    later = open_gate(without(ctx, root), CHAIN, 1)
    assert set(read_gate(ctx.lake, later).corpus) == {"live|2026-01"}


@pytest.mark.parametrize("left", ["nothing", "an empty folder", "a folder of empty folders", "a dangling link"])
def test_what_cannot_be_reached_is_an_error_and_never_retired(ctx: Context, root: Path, left: str) -> None:
    place = root / "gone" if left == "nothing" else root / "gone" / "2026-01"
    shutil.rmtree(place)
    if left == "a dangling link":
        place.symlink_to(root / "not mounted")
    elif left != "nothing":
        (place / "below" if "folders" in left else place).mkdir(parents=True)
    for ask in (lambda: open_gate(ctx, CHAIN, 1), lambda: corpus_documents(ctx)):
        with pytest.raises(DataError, match=str(place)):
            ask()
    known, problems = standing(ctx)
    assert known == {"gone|2026-01": UNKNOWN, "gone|2026-02": UNKNOWN, "live|2026-01": IN_USE}
    assert len(problems) == 1
    assert corpus_notes(ctx)[0].startswith("Cannot be listed: source 'gone'")


def test_a_hub_out_of_reach_is_an_error(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(source: HubSource) -> list[str]:
        raise DownloadError("the hub cannot be reached")

    monkeypatch.setattr(hub, "splits", unreachable)
    sources = (*ctx.profile.corpus.sources[1:], HubSource(name="gone", dataset="a/b"))
    corpus = ctx.profile.corpus.model_copy(update={"sources": sources})
    away = replace(ctx, profile=ctx.profile.model_copy(update={"corpus": corpus}))
    with pytest.raises(DownloadError):
        open_gate(away, CHAIN, 1)
    assert standing(away)[0]["gone|2026-01"] == UNKNOWN


def test_lineage_answers_for_what_was_given_up(ctx: Context, root: Path) -> None:
    iterate(ctx, 1)
    pool = ctx.lake.require("pool", state_partition(CHAIN, 1))
    assert retired_since(ctx, pool) is None
    later = without(ctx, root)
    document = ctx.lake.frame(ctx.lake.require("documents", {"source": "gone", "snapshot": "2026-01"})).row(
        0, named=True
    )
    for state in ("before the index is made again", "after"):
        (found,) = explain(later, document["url"])
        assert found.doc_id == document["doc_id"], state
        assert found.copies["standing"].to_list() == [RETIRED]
        assert found.removed["cause"].to_list() == [RETIRED]
        assert found.history["outcome"].to_list() == ["drawn"]
        assert document_lineage(ctx.lake, document["doc_id"]).checkpoints.height == 1
        assert (
            retired_since(later, pool)
            == f"{pool.partition_text} was drawn from gone|2026-01, gone|2026-02 too, retired since"
        )
        make(later, "document_index")
    index = ctx.lake.require("document_index")
    assert set(ctx.lake.frame(index)["source"]) == {"live"}
    assert set(ctx.lake.frame(index, "retired")["source"]) == {"gone"}


def test_served_tables_hold_the_corpus_and_the_arms_that_are_asked_for(ctx: Context, root: Path) -> None:
    iterate(ctx, 1)
    commit_cold_start(ctx, "dsir/demo-0")
    later = without(ctx, root)
    export_sources(later, lambda table: root / "served" / table)

    def served(table: str) -> pl.DataFrame:
        return pl.read_parquet(root / "served" / table / "*.parquet")

    assert set(served("documents")["source"]) == {"live"}
    assert set(served("retired_documents")["source"]) == {"gone"}
    assert served("text_statistics").height == served("topics").height == 13
    assert (
        set(served("batches")["chain"]) == set(served("state")["chain"]) == set(served("metrics")["chain"]) == {CHAIN}
    )
    export_sources(ctx, lambda table: root / "served" / table)
    assert set(served("documents")["source"]) == {"gone", "live"}
    assert not any((root / "served" / "retired_documents").iterdir())


def test_what_could_not_be_read_is_told_and_a_source_of_nothing_else_is_an_error(
    ctx: Context, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = deliver(root, "live", "2026-02", ["one more text"])
    with (folder / "part.jsonl").open("a") as stream:
        stream.write('{"body": "[/b] no text"}\nnot JSON\n')
    other = declaring(root, "live", "broken", profile=ctx.profile)
    deliver(root, "broken", "s", ["text"])
    (root / "broken" / "s" / "part.jsonl").write_text('{"body": "x"}\n' * 3)
    later = replace(ctx, profile=other)
    assert standing(later)[0]["broken|s"] == UNREAD
    for key in ("live|2026-02", "broken|s"):
        make(later, "documents", key)
    with pytest.raises(DataError, match=r"'broken': nothing of it could be read.*all 3 rows.*quarantine\.parquet"):
        corpus_documents(later)
    status = corpus_status(later)
    assert dict(status.select("raw partition", "in quarantine").iter_rows())["live|2026-02"] == 2
    assert dict(status.select("raw partition", "standing").iter_rows())["gone|2026-01"] == RETIRED
    profile = root / "own.toml"
    sources = "".join(
        f'[[corpus.sources]]\nkind = "folder"\nname = "{name}"\npath = "{root / name}"\n' for name in ("live", "broken")
    )
    profile.write_text(f'name = "own"\n{sources}')
    for name in ("CURATION_PROFILE", "CURATION_STATE", "DAGSTER_HOME"):
        monkeypatch.setenv(name, "")  # put back after the test: the command sets them
    from curation_pipeline.cli import app

    said = CliRunner().invoke(app, ["status", "--profile", str(profile), "--state", str(root / "state")])
    assert said.exit_code == 0, said.output
    assert "Retired: gone|2026-01, gone|2026-02 (24 documents)" in said.output
    assert "live|2026-02: 2 of 3 rows are in quarantine" in said.output
    assert "broken|s: all 3 rows are in quarantine" in said.output
    assert f"Chain {CHAIN} (the profile no longer asks for it)" in said.output
