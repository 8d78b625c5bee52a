"""What the command line prints: tables for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from curation_pipeline.capacity.plan import Cost
from curation_pipeline.errors import ConfigError
from curation_pipeline.escaping import shown
from curation_pipeline.report.explain import Explanation
from curation_pipeline.stages.lineage import CheckpointLineage, DocumentLineage


def print_checkpoint(console: Console, found: CheckpointLineage) -> None:
    """Show a checkpoint's lineage."""
    console.print(Text(found.checkpoint.id, "bold"), f" content {found.checkpoint.content_hash[:16]}")
    for checkpoint, batch in found.chain:
        where = checkpoint.partition_text or "cold start"
        data = "an uncurated random draw" if batch is None else f"{batch.id} ({batch.n_rows:,} documents)"
        console.print(f"  {where:<16} {checkpoint.id} <- {data}", soft_wrap=True)
    print_frame(console, "Raw partitions behind it", found.partitions)


def print_document(console: Console, found: DocumentLineage) -> None:
    """Show what a document touched."""
    print_frame(console, "Document", found.documents)
    print_frame(console, "Draws", found.uses)
    print_frame(console, "Checkpoints trained on it", found.checkpoints)


def print_plan(console: Console, costs: Sequence[Cost], cpus: int, limit: float | None) -> None:
    """Show what each step of a plan takes, the dearest first, and all together.

    Args:
        console: where to.
        costs: of the steps.
        cpus: that are at work.
        limit: ``loop.max_cost``.
    """
    names = ("step", "documents", "CPU hours", "GPU hours", "memory, GB", "disk, GB", "calls", "price")
    table = Table(title="What a run takes", title_justify="left")
    for name in names:
        table.add_column(name, justify="left" if name == "step" else "right")
    for cost in sorted(costs, key=lambda cost: (-cost.price, -cost.cpu_seconds, cost.step)):
        table.add_row(cost.step, _amount(cost.documents), *map(_amount, _amounts(cost)))
    every = [sum(column) for column in zip(*map(_amounts, costs), strict=True)]
    every[2] = max(cost.peak_bytes for cost in costs) / 1e9
    table.add_section()
    table.add_row("all", "", *map(_amount, every))
    console.print(table)
    hours = every[0] / cpus + every[1]
    console.print(f"About {hours:,.1f} hours on {cpus} CPUs and, where there are GPU hours, one GPU.", soft_wrap=True)
    if limit is not None:
        verdict = "within" if every[-1] <= limit else "MORE THAN"
        console.print(f"The price is {verdict} loop.max_cost = {limit:,.2f}.")


def _amounts(cost: Cost) -> tuple[float, ...]:
    hours = cost.cpu_seconds / 3600, cost.gpu_seconds / 3600
    return *hours, cost.peak_bytes / 1e9, cost.bytes_written / 1e9, cost.calls, cost.price


def _amount(value: float) -> str:
    """Three significant digits of a small number, thousands apart in a large one."""
    if not value:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 0.001 else "<0.001"


def print_frame(console: Console, title: str, frame: pl.DataFrame) -> None:
    """Show a frame; nested columns are left out."""
    frame = frame.select(pl.exclude(pl.List, pl.Struct, pl.Array)) if frame.width else frame
    if frame.is_empty():
        console.print(f"{title}: none")
        return
    table = Table(title=title, title_justify="left")
    for name in frame.columns:
        # An id is there to be copied: it is never cut.
        table.add_column(name, no_wrap=name == "doc_id", min_width=32 if name == "doc_id" else None, overflow="fold")
    for row in frame.iter_rows():
        table.add_row(*(_cell(value) for value in row))
    console.print(table)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else shown(value)


def print_explanation(console: Console, found: Explanation) -> None:
    """Show everything about a document."""
    console.print(found.doc_id, style="bold")
    console.print(found.excerpt)
    print_frame(console, "Where it is", found.copies)
    facts = [
        {"annotation": "" if index else table, "column": column, "value": shown(value)}
        for table, values in found.annotations.items()
        for index, (column, value) in enumerate(values.items())
    ]
    print_frame(console, "Annotations", pl.DataFrame(facts))
    console.print(f"Quality rules not passed: {', '.join(found.failed_rules) or 'none'}")
    print_frame(console, "Duplicates", found.duplicates)
    if found.held_out:
        console.print("Held out: no pool ever holds it; models are evaluated on such documents.")
    print_frame(console, "What keeps it out of the next pool", found.removed)
    history = found.history
    print_frame(console, "Decisions", history.drop("doc_id", "batch", strict=False) if history.width else history)


def write_frame(frame: pl.DataFrame, path: Path) -> None:
    """Write a frame in the format that the file's name says.

    Raises:
        ConfigError: the name ends in none that is known.
    """
    writers: dict[str, Callable[[IO[bytes]], object]] = {
        ".parquet": frame.write_parquet,
        ".csv": frame.write_csv,
        ".jsonl": frame.write_ndjson,
    }
    write = writers.get(path.suffix.lower().replace(".ndjson", ".jsonl"))
    if write is None:
        raise ConfigError(f"{path}: the name must end in .parquet, .csv or .jsonl")
    with path.open("wb") as stream:
        write(stream)
