"""Which data made a checkpoint, and which checkpoints a document touched: a walk over manifests."""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl

from curation_pipeline.errors import LakeError
from curation_pipeline.lake.keyed import row_at
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.document_index import DOC_ID, Location, ids_of_url, locate
from curation_pipeline.stages.state import history


@dataclass(frozen=True, slots=True)
class CheckpointLineage:
    """Everything that a checkpoint was made from.

    Attributes:
        checkpoint: its manifest.
        chain: checkpoints from this one back to the cold start, with the batch that each was trained on (None for
            the cold start, whose uncurated draw is a file of its own artefact).
        partitions: one row for each raw corpus partition: key, documents manifest, content hash, rows in the
            partition, and documents and tokens of it that were trained on, summed over the chain.
    """

    checkpoint: Manifest
    chain: tuple[tuple[Manifest, Manifest | None], ...]
    partitions: pl.DataFrame


@dataclass(frozen=True, slots=True)
class DocumentLineage:
    """Everything that a document touched.

    Attributes:
        documents: rows of the document in the raw corpus (one for each copy), without its text.
        uses: one row for each draw: chain, iteration, batch, probability, weight.
        checkpoints: one row for each checkpoint trained, directly or through its parents, on a batch that drew it.
    """

    documents: pl.DataFrame
    uses: pl.DataFrame
    checkpoints: pl.DataFrame


def resolve_checkpoint(lake: Lake, name: str) -> Manifest:
    """The checkpoint that a person names: an id, ``last``, or ``<chain>/<ordinal>``.

    Raises:
        LakeError: there is no such checkpoint.
    """
    if name.startswith(("checkpoints-", "base_checkpoint-")):
        return lake.get(name)
    if name == "last":
        states = history(lake, "main")
        if not states:
            raise LakeError("nothing has been committed yet: run `curate run` first")
        return lake.get(states[-1].checkpoint_id)
    chain, _, ordinal = name.rpartition("/")
    for state in history(lake, chain) if re.fullmatch("[0-9]{1,9}", ordinal) else ():
        if state.ordinal == int(ordinal):
            return lake.get(state.checkpoint_id)
    raise LakeError(
        f"{name!r} is no checkpoint, doc_id or url of this lake; give a checkpoint id, `last`, `<chain>/<ordinal>`, "
        "32 hexadecimal digits, or a url. `curate status` lists the checkpoints"
    )


def _training_chain(lake: Lake, checkpoint: Manifest) -> list[tuple[Manifest, Manifest | None]]:
    links: list[tuple[Manifest, Manifest | None]] = []
    current: Manifest | None = checkpoint
    while current is not None:
        inputs = [lake.get(identity) for identity in current.inputs]
        batch = next((m for m in inputs if m.table == "batches"), None)
        links.append((current, batch))
        current = next((m for m in inputs if m.table in ("checkpoints", "base_checkpoint")), None)
    return links


def _trained_on(lake: Lake, link: tuple[Manifest, Manifest | None]) -> pl.DataFrame:
    checkpoint, batch = link
    frame = lake.frame(checkpoint, "draw") if batch is None else lake.frame(batch)
    return frame.select("doc_id", pl.col("n_tokens").cast(pl.Int64))


def checkpoint_lineage(lake: Lake, checkpoint: Manifest) -> CheckpointLineage:
    """Walk from a checkpoint back to the raw partitions; see `CheckpointLineage`."""
    links = _training_chain(lake, checkpoint)
    used = pl.concat([_trained_on(lake, link) for link in links])
    per_document = used.group_by("doc_id").agg(pl.len().alias("draws"), pl.col("n_tokens").sum())
    partitions = {m.id: m for m in lake.ancestors(checkpoint.id) if m.table == "documents"}
    rows = []
    claimed = pl.Series("doc_id", [], dtype=pl.Utf8)
    for manifest in sorted(partitions.values(), key=lambda m: m.partition_text):
        ids = lake.frame(manifest, columns=["doc_id"])["doc_id"].unique()
        # A text that is in several partitions is counted where the pool took it from: the first in order of key.
        here = per_document.filter(pl.col("doc_id").is_in(ids.implode()) & ~pl.col("doc_id").is_in(claimed.implode()))
        claimed = pl.concat([claimed, here["doc_id"]])
        rows.append(
            {
                "partition": manifest.partition_text,
                "documents_manifest": manifest.id,
                "content_hash": manifest.content_hash,
                "rows": manifest.n_rows,
                "documents_used": here.height,
                "draws": int(here["draws"].sum()),
                "tokens_used": int(here["n_tokens"].sum()),
            }
        )
    return CheckpointLineage(checkpoint, tuple(links), pl.DataFrame(rows))


def find_documents(lake: Lake, name: str) -> dict[str, list[Location]]:
    """Where documents are, by doc_id: the one with this id, or all of the page with this url.

    Raises:
        LakeError: no document has this id or url, or the document index has not been made.
    """
    ids = [name] if DOC_ID.match(name) else ids_of_url(lake, name)
    found = {doc_id: places for doc_id in ids if (places := locate(lake, doc_id))}
    if not found:
        raise LakeError(f"no document of the raw corpus has the id or url {name!r}")
    return found


def raw_row(lake: Lake, place: Location) -> pl.DataFrame:
    """The row of a document in the raw corpus, with the manifest of its documents."""
    row = row_at(lake.path(place.documents, "data.parquet"), place.row)
    return row.with_columns(pl.lit(place.documents.id).alias("manifest"))


def document_lineage(lake: Lake, name: str) -> DocumentLineage:
    """Find a document and all that it touched; see `DocumentLineage`.

    Raises:
        LakeError: no document has this id or url.
    """
    found = find_documents(lake, name)
    documents = pl.concat(raw_row(lake, place).drop("text") for places in found.values() for place in places)
    ids = documents["doc_id"].unique()
    uses: list[dict[str, object]] = []
    batches: set[str] = set()
    for manifest in lake.manifests():
        if manifest.table == "batches":
            rows = lake.frame(manifest, "decisions").filter(pl.col("drawn") & pl.col("doc_id").is_in(ids.implode()))
        elif manifest.table == "base_checkpoint":
            rows = lake.frame(manifest, "draw").filter(pl.col("doc_id").is_in(ids.implode()))
        else:
            continue
        for row in rows.iter_rows(named=True):
            batches.add(manifest.id)
            uses.append(
                {
                    "chain": manifest.partition.get("chain", "(base)"),
                    "iteration": manifest.partition.get("iteration", "0000"),
                    "batch": manifest.id,
                    "doc_id": row["doc_id"],
                    "probability": row.get("probability"),
                    "weight": row.get("weight"),
                }
            )
    touched = [m for m in lake.descendants(batches) if m.table == "checkpoints"] if batches else []
    touched += [lake.get(identity) for identity in batches if identity.startswith("base_checkpoint-")]
    checkpoints = [
        {
            "chain": m.partition.get("chain", "(base)"),
            "iteration": m.partition.get("iteration", "0000"),
            "checkpoint": m.id,
        }
        for m in touched
        if any(_uses(lake, m, batch) for batch in batches)
    ]
    return DocumentLineage(
        documents,
        pl.DataFrame(uses, infer_schema_length=None).sort("chain", "iteration") if uses else pl.DataFrame(),
        pl.DataFrame(checkpoints).sort("chain", "iteration") if checkpoints else pl.DataFrame(),
    )


def _uses(lake: Lake, checkpoint: Manifest, batch: str) -> bool:
    """Whether the model saw the batch: it is on the training chain, not merely among what chose the data."""
    return any(
        (link_batch is not None and link_batch.id == batch) or link.id == batch
        for link, link_batch in _training_chain(lake, checkpoint)
    )
