"""The current tables of the lake as plain Parquet folders, for DuckDB, dbt and people to read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl

from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest, sha256_text
from curation_pipeline.stages.arms import reported_chains
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.declared import RETIRED, standing
from curation_pipeline.stages.parity import batch_parity
from curation_pipeline.stages.state import MAIN, read_state, state_partition

CORPUS_TABLES = ("documents", "text_statistics", "toxicity_teacher")
LOOP_TABLES = {
    "pool": ("pool", "data"),
    "removed": ("pool", "removed"),
    "decisions": ("batches", "decisions"),
    "batches": ("batches", "data"),
    "metrics": ("metrics", "data"),
    "generations": ("metrics", "generations"),
    "probes": ("probes", "data"),
}
"""Served table to the lake's table and file."""


def export_sources(ctx: Context, folder_of: Callable[[str], Path]) -> dict[str, int]:
    """Bring every served table up to date.

    Files carry the id of the artefact that they come from, so what is there already is left alone, and what is no
    longer current is removed.

    Args:
        ctx: the surroundings.
        folder_of: the folder of a served table.

    Returns:
        Files in each table's folder.
    """
    lake = ctx.lake
    counts: dict[str, int] = {}

    def serve(table: str, files: dict[str, Callable[[Path], None]]) -> None:
        folder = folder_of(table)
        folder.mkdir(parents=True, exist_ok=True)
        for name, write in files.items():
            target = folder / f"{name}.parquet"
            if not target.exists():
                temporary = folder / f".{name}.{os.getpid()}"
                temporary.unlink(missing_ok=True)
                write(temporary)
                temporary.replace(target)
        for path in folder.glob("[!_.]*.parquet"):
            if path.stem not in files:
                path.unlink()
        counts[table] = len(files)

    every = list(lake.manifests())
    known, _ = standing(ctx)

    def corpus(table: str) -> list[Manifest]:
        return [m for m in lake.heads(table) if known.get(m.partition_text) != RETIRED]

    for table in CORPUS_TABLES:
        serve(table, {m.id: _linker(lake, m, "data.parquet") for m in corpus(table)})
    current = {m.id for m in corpus("documents")}
    gone = [m for m in every if m.table == "documents" and m.id not in current]
    serve("retired_documents", {m.id: _linker(lake, m, "data.parquet") for m in gone})
    serve("quarantine", {m.id: _linker(lake, m, "quarantine.parquet") for m in corpus("documents")})
    serve("topics", {m.id: _writer(_topics, lake, m) for m in corpus("sentence_vectors")})
    serve("duplicates", {m.id: _linker(lake, m, "data.parquet") for m in lake.heads("duplicates")})
    judged = [m for m in lake.heads("heldout_texts") if m.holds("judged.parquet")]
    serve("judged", {m.id: _linker(lake, m, "judged.parquet") for m in judged})
    serve("labels", {m.id: _linker(lake, m, "data.parquet") for m in lake.heads("labels")})
    reported = reported_chains(ctx)
    for served, (table, name) in LOOP_TABLES.items():
        wanted = [MAIN] if served in ("pool", "removed") else reported
        made = [m for m in lake.heads(table) if m.partition["chain"] in wanted]
        files = {m.id: _writer(_loop_table, lake, m, name, m.partition) for m in made}
        if table == "metrics" and (base := lake.head("base_metrics")) is not None:
            # Every chain starts from the same base: its evaluation is iteration 0 of each.
            for chain in reported:
                place = state_partition(chain, 0)
                files[f"{base.id}-{sha256_text(chain)[:16]}"] = _writer(_loop_table, lake, base, name, place)
        serve(served, files)
    batches = [m for m in lake.heads("batches") if m.partition["chain"] in reported]
    pool_of = {m.id: next(i for i in m.inputs if i.startswith("pool-")) for m in batches}
    serve("batch_parity", {m.id: _writer(_batch_parity, lake, m, pool_of[m.id]) for m in batches})
    serve("manifests", {f"manifests-{len(every)}": _writer(_manifests, every)})
    committed = sorted(m.id for m in every if m.table == "state" and m.partition["chain"] in reported)
    serve("state", {f"state-{sha256_text(' '.join(committed))[:16]}": _writer(_states, ctx, reported)})
    return counts


def _linker(lake: Lake, manifest: Manifest, name: str) -> Callable[[Path], None]:
    def link(target: Path) -> None:
        source = lake.path(manifest, name)
        try:
            os.link(source, target)
        except OSError:  # another file system
            shutil.copyfile(source, target)

    return link


def _writer(frame: Callable[..., pl.DataFrame], *arguments: object) -> Callable[[Path], None]:
    def write(target: Path) -> None:
        frame(*arguments).write_parquet(target)

    return write


def _topics(lake: Lake, manifest: Manifest) -> pl.DataFrame:
    return lake.frame(manifest, columns=["doc_id", "topic", "topic_distance"])


def _loop_table(lake: Lake, manifest: Manifest, name: str, place: Mapping[str, str]) -> pl.DataFrame:
    frame = _placed(lake, manifest, lake.frame(manifest, name), place)
    if "vector" in frame.columns:
        frame = frame.with_columns(pl.col("vector").arr.to_list())
    return frame


def _batch_parity(lake: Lake, manifest: Manifest, pool: str) -> pl.DataFrame:
    return _placed(lake, manifest, batch_parity(lake, pool, manifest.id), manifest.partition)


def _placed(lake: Lake, manifest: Manifest, frame: pl.DataFrame, place: Mapping[str, str]) -> pl.DataFrame:
    """The frame of an artefact with its chain, iteration and attempt."""
    head = lake.head_record(manifest.table, manifest.partition)
    return frame.with_columns(
        pl.lit(place["chain"]).alias("chain"),
        pl.lit(place["iteration"]).alias("iteration"),
        pl.lit(int(place["iteration"]), pl.Int32).alias("ordinal"),
        pl.lit(0 if head is None else head.attempt, pl.Int32).alias("attempt"),
    )


def _states(ctx: Context, reported: list[str]) -> pl.DataFrame:
    lake = ctx.lake
    rows = []
    for chain in reported:
        for manifest in lake.heads("state", {"chain": chain}):
            state = read_state(lake, manifest)
            head = lake.head_record("state", manifest.partition)
            parent = None if state.parent_state_id is None else lake.get(state.parent_state_id).partition["iteration"]
            rows.append(
                {
                    "chain": chain,
                    "iteration": state.key,
                    "ordinal": state.ordinal,
                    "attempt": 0 if head is None else head.attempt,
                    "status": state.status,
                    "policy_id": state.policy_id,
                    "checkpoint_id": state.checkpoint_id,
                    "reward_model_id": state.reward_model_id,
                    "batch_id": state.own.get("batches"),
                    "parent_iteration": parent,
                    "committed_at": manifest.created_at,
                    "safety": state.own_performance.safety,
                    "alignment": state.own_performance.alignment,
                    "capability": state.own_performance.capability,
                    "performance": state.own_performance.performance,
                    "token_budget": ctx.profile.loop.token_budget if state.ordinal else None,
                }
            )
    schema: dict[str, type[pl.DataType]] = {"ordinal": pl.Int32, "attempt": pl.Int32, "token_budget": pl.Int64}
    schema |= dict.fromkeys(("policy_id", "batch_id", "parent_iteration"), pl.Utf8)
    return pl.DataFrame(rows, schema_overrides=schema)


def _manifests(every: list[Manifest]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "id": m.id,
                "table": m.table,
                "partition": m.partition_text,
                "n_rows": m.n_rows,
                "n_files": len(m.files),
                "n_bytes": m.n_bytes,
                "content_hash": m.content_hash,
                "seed": m.seed,
                "code_version": m.code_version,
                "created_at": m.created_at,
                "inputs": list(m.inputs),
            }
            for m in every
        ],
        schema_overrides={"inputs": pl.List(pl.Utf8), "seed": pl.Int64},
    )
