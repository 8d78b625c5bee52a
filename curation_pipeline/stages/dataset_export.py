"""A curated batch for others: its ids and weights as a Parquet file, with a dataset card and Croissant metadata."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from curation_pipeline.corpus.packaged import PACKAGED
from curation_pipeline.experiment.dataset_card import Column, DatasetFacts, croissant, dataset_card
from curation_pipeline.lake.lake import Lake, file_sha256
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.gate import gate_of

FILE = "batch.parquet"
COLUMNS = (
    Column("doc_id", "sc:Text", "content id of the document: 32 hexadecimal digits of a hash of its text"),
    Column("source", "sc:Text", "the source that the document came from"),
    Column("snapshot", "sc:Text", "the delivery of that source"),
    Column("domain", "sc:Text", "register of the source"),
    Column("weight", "sc:Float", "weight of the document in the training loss; 1 is the usual one"),
    Column("n_tokens", "sc:Integer", "length in tokens of the pipeline's tokenizer"),
    Column("p_harm", "sc:Float", "estimated probability that the text is harmful, in [0, 1]"),
)
_FIGURES = ("token_budget", "budget_use", "effective_sample_size", "mean_p_harm", "pool_mean_p_harm", "strata")
_PREFIX = "token_share_by_"


def export_batch(ctx: Context, batch: Manifest, out_dir: Path) -> Path:
    """Write a batch as a folder that can be published: ``batch.parquet``, ``README.md`` and ``croissant.json``.

    Args:
        ctx: the surroundings; the profile gives the card its name.
        batch: an artefact of the table ``batches``.
        out_dir: folder to write to; made if absent.

    Returns:
        ``out_dir``.

    Raises:
        LakeError: the batch or its pool is gone.
    """
    lake = ctx.lake
    out_dir.mkdir(parents=True, exist_ok=True)
    pool = next(found for found in map(lake.get, batch.inputs) if found.table == "pool")
    wanted = [column.name for column in COLUMNS if column.name not in ("weight", "n_tokens")]
    rows = lake.frame(batch, columns=["doc_id", "weight", "n_tokens"])
    rows = rows.join(lake.frame(pool, columns=wanted), on="doc_id", how="left", maintain_order="left")
    temporary = out_dir / f"{FILE}.part"
    rows.select([column.name for column in COLUMNS]).write_parquet(temporary)
    temporary.replace(out_dir / FILE)
    facts = batch_facts(ctx, batch, pool, rows, out_dir / FILE)
    (out_dir / "README.md").write_text(dataset_card(facts), encoding="utf-8")
    text = json.dumps(croissant(facts), indent=2, ensure_ascii=False)
    (out_dir / "croissant.json").write_text(text + "\n", encoding="utf-8")
    return out_dir


def batch_facts(ctx: Context, batch: Manifest, pool: Manifest, rows: pl.DataFrame, path: Path) -> DatasetFacts:
    """What the card and the metadata state.

    Args:
        ctx: the surroundings.
        batch: the batch.
        pool: the pool that it was drawn from.
        rows: as published.
        path: of the published file.
    """
    chain, iteration = batch.partition["chain"], int(batch.partition["iteration"])
    summary, licences = batch.summary, _licences(ctx.lake, pool)
    return DatasetFacts(
        name=f"{ctx.profile.name}-{chain.replace('/', '-')}-{iteration}",
        identity=batch.id,
        profile=ctx.profile.name,
        chain=chain,
        iteration=iteration,
        created=batch.created_at[:10],
        file=path.name,
        sha256=file_sha256(path),
        n_bytes=path.stat().st_size,
        documents=rows.height,
        tokens=int(rows["n_tokens"].sum()),
        columns=COLUMNS,
        sources={str(name): licences.get(str(name), "not stated") for name in rows["source"].unique().sort()},
        shares={
            axis.removeprefix(_PREFIX): {
                name: (shares["pool"].get(name, 0.0), shares["batch"].get(name, 0.0)) for name in shares["pool"]
            }
            for axis, shares in summary.items()
            if axis.startswith(_PREFIX)
        },
        figures={name.replace("_", " "): summary[name] for name in _FIGURES if name in summary},
        made_from=batch.inputs,
    )


def _licences(lake: Lake, pool: Manifest) -> dict[str, str]:
    """Licences of a pool's sources, as far as the project knows them.

    They are those of what was read then: the profile may have dropped a source since, or given its name to another.
    """
    packaged = {entry.name: entry.licence for entry in PACKAGED}
    read = [lake.get(ids["documents"]) for ids in gate_of(lake, pool).corpus.values()]
    datasets = {m.partition["source"]: m.parameters["source"].get("dataset") for m in read}
    return {name: packaged.get(dataset, "not stated") for name, dataset in datasets.items()}
