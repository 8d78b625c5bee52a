"""Figures that several steps show: losses, metrics, and inputs with links to what made them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.lineage import checkpoint_lineage
from curation_pipeline.stages.state import MAIN
from curation_pipeline.stages.state import TABLE as STATES
from curation_pipeline.steps.registry import maker_of
from curation_pipeline.steps.view import Code, Link, Plot, Table


def histogram(values: pl.Series, label: str, *, log: bool = False) -> Plot:
    """Documents by a value of theirs, on a logarithmic scale of counts where most have none of it."""
    numbers = values.to_numpy().astype(np.float64)

    def draw(axes: Any) -> None:
        axes.hist(numbers, bins=40)
        axes.set(xlabel=label, ylabel="documents")
        if log:
            axes.set_yscale("log")

    return Plot(draw)


def loss_plot(lake: Lake, manifest: Manifest) -> Plot:
    """The loss of a fit over its steps."""
    losses = lake.frame(manifest, "losses")

    def draw(axes: Any) -> None:
        axes.plot(losses["step"].to_numpy(), losses["loss"].to_numpy(), linewidth=0.8)
        axes.set(xlabel="step", ylabel="weighted loss, nats a token")

    return Plot(draw)


def metrics_table(lake: Lake, manifest: Manifest) -> Table:
    """The long table of metrics with intervals."""

    def cell(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    return Table(
        ["axis", "benchmark", "metric", "value", "95% interval", "n", "judge"],
        [
            [
                row["axis"], row["benchmark"], row["metric"], cell(row["value"]),
                "" if row["ci_low"] is None else f"{cell(row['ci_low'])} to {cell(row['ci_high'])}",
                row["n"], row["judge"] or "",
            ]
            for row in lake.frame(manifest).iter_rows(named=True)
        ],
    )  # fmt: skip


def link_to(manifest: Manifest) -> Link:
    """A link to the page of an artefact; to its step's page where only the main chain has pages of its own."""
    chain, iteration = manifest.partition.get("chain", MAIN), manifest.partition.get("iteration")
    if manifest.table == STATES and iteration != "0000":
        name = "committed_state"
    else:
        step = maker_of(manifest.table)
        name = manifest.table if step is None else step.name
    own_page = chain == MAIN and iteration != "0000" and manifest.partition
    return Link(name, name, manifest.partition if own_page else None)


def input_links(lake: Lake, manifest: Manifest) -> Table:
    """The direct inputs of an artefact with links to the boxes that made them."""
    rows = []
    for identity in manifest.inputs:
        found = lake.get(identity)
        rows.append([link_to(found), found.id, found.n_rows, Code(found.content_hash[:16])])
    return Table(["input", "manifest", "rows", "content hash"], rows)


def corpus_links(lake: Lake, documents: dict[str, str]) -> Table:
    """Raw partitions with rows and content hashes, each linked to its page.

    Args:
        lake: the lake.
        documents: partition key to the id of its documents.
    """
    rows = []
    for key, identity in sorted(documents.items()):
        found = lake.get(identity)
        rows.append([Link(key, "documents", found.partition), found.n_rows, Code(found.content_hash[:16]), identity])
    return Table(["raw partition", "rows", "content hash", "manifest"], rows)


def documents_of(lake: Lake, manifest: Manifest) -> dict[str, str]:
    """Ids of the documents that an artefact was made from, by raw partition."""
    return {m.partition_text: m.id for m in lake.ancestors(manifest.id) if m.table == "documents"}


def used_partitions(ctx: Context, checkpoint: Manifest) -> Table:
    """Every raw partition that a checkpoint was trained on, with counts, hashes and links."""
    rows = []
    for row in checkpoint_lineage(ctx.lake, checkpoint).partitions.iter_rows(named=True):
        source, _, snapshot = row["partition"].partition("|")
        rows.append(
            [
                Link(row["partition"], "documents", {"source": source, "snapshot": snapshot}), row["rows"],
                row["documents_used"], row["tokens_used"], Code(row["content_hash"][:16]),
            ]
        )  # fmt: skip
    return Table(["raw partition", "rows", "documents used", "tokens used", "content hash"], rows)
