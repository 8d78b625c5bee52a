"""Profiles whose sources are folders that a test writes, so that what is declared is what lies there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from curation_pipeline.config import Profile, load_profile
from curation_pipeline.corpus.schema import DOCUMENTS_SCHEMA
from curation_pipeline.corpus.settings import FolderSource
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.declared import partition_sources
from curation_pipeline.steps.registry import annotation_steps, frozen, phases, step_of
from curation_pipeline.steps.step import Partitioning, Place, Step, of_corpus, of_iteration


def deliver(root: Path, source: str, snapshot: str, texts: Sequence[str] = ("a text",)) -> Path:
    """Write one delivery of a source as JSONL; its folder."""
    folder = root / source / snapshot
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"text": text, "url": f"https://{source}.example/{snapshot}/{place}"} for place, text in enumerate(texts)]
    (folder / "part.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def declaring(root: Path, *sources: str, profile: str | Profile = "demo") -> Profile:
    """A profile whose sources are folders below ``root``."""
    found = load_profile(profile) if isinstance(profile, str) else profile
    folders = tuple(FolderSource(name=name, path=root / name, url_column="url") for name in sources)
    return found.model_copy(update={"corpus": found.corpus.model_copy(update={"sources": folders})})


def stand_in_documents(lake: Lake, key: str, texts: Sequence[str]) -> Manifest:
    """The documents of a raw partition as ingest would write them, in several row groups; every seventh is a repeat."""
    source, _, snapshot = key.partition("|")
    frame = pl.DataFrame(
        {"doc_id": [f"{i:032x}" for i in range(len(texts))], "text": texts}, schema_overrides={"text": pl.Utf8}
    ).with_columns(
        source=pl.lit(source), snapshot=pl.lit(snapshot), duplicate=pl.int_range(pl.len()) % 7 == 3, n_bytes=pl.lit(9)
    )
    missing = [pl.lit(None, kind).alias(name) for name, kind in DOCUMENTS_SCHEMA.items() if name not in frame.columns]
    documents = frame.with_columns(missing).select(pl.col(name).cast(kind) for name, kind in DOCUMENTS_SCHEMA.items())

    def write(draft: Draft) -> None:
        with draft.writer(DOCUMENTS_SCHEMA) as append:
            for start in range(0, len(texts), 40):
                append(documents[start : start + 40])

    return lake.build(Recipe("documents", {"source": source, "snapshot": snapshot}, (), {}, 0, "1"), write)


ANNOTATIONS = tuple(step.table for step in annotation_steps())
REFERENCES = tuple(step.table for step in frozen() if step.name != "cold_start")
"""What a gate freezes besides the corpus."""


def make(ctx: Context, name: str, key: str | None = None, documents: Sequence[Manifest] | None = None) -> Manifest:
    """The artefact of a step: of the whole project, or of a raw partition."""
    place = Place() if key is None else of_corpus(key)
    return step_of(name).make(ctx, replace(place, documents=documents))


def make_all(ctx: Context, chosen: Iterable[Step]) -> None:
    """Steps up to the corpus, in the order of a run."""
    keys = sorted(partition_sources(ctx))
    for phase in phases(chosen):
        for key in keys if phase[0].partitioning is Partitioning.CORPUS else [None]:
            for step in phase:
                make(ctx, step.name, key)


def open_gate(ctx: Context, chain: str, ordinal: int) -> Manifest:
    """The gate of an iteration."""
    return step_of("iteration_gate").make(ctx, of_iteration(chain, ordinal))


def build_pool(ctx: Context, chain: str, ordinal: int) -> Manifest:
    """The pool of an iteration."""
    return step_of("candidate_pool").make(ctx, of_iteration(chain, ordinal))
