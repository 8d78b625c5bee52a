"""How what a step shows appears in Dagster's UI: numbers, tables with links, and plots as inline images."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dagster as dg

from assets.partitions import partition_key
from curation_pipeline import escaping
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.steps.view import Answer, Code, Figure, Link, Markdown, Plot, Png, Table, View


def data_version(manifest: Manifest) -> dg.DataVersion:
    """The content hash: the same content is the same version, whatever made it."""
    return dg.DataVersion(manifest.content_hash[:32])


def describe(manifest: Manifest) -> dict[str, dg.MetadataValue]:
    """The metadata that every artefact has: its id, size, age and the figures of its summary."""
    shown: dict[str, Figure] = {
        "manifest": manifest.id,
        "size_mib": round(manifest.n_bytes / 2**20, 3),
        "seconds": manifest.seconds,
        "seed": manifest.seed,
    }
    if any(file.name == "data.parquet" for file in manifest.files):
        shown["dagster/row_count"] = manifest.n_rows
    shown |= {name: value for name, value in manifest.summary.items() if value is not None}
    return metadata(shown)


def metadata(figures: Mapping[str, Figure]) -> dict[str, dg.MetadataValue]:
    """Figures as Dagster shows them."""
    return {name: _value(figure) for name, figure in figures.items()}


def result(manifest: Manifest, view: View, extra: Mapping[str, Figure]) -> dg.MaterializeResult:
    """What an asset returns for a finished artefact.

    Args:
        manifest: the artefact.
        view: what its step shows of it.
        extra: what the asset adds.
    """
    return dg.MaterializeResult(
        data_version=data_version(manifest),
        metadata={**describe(manifest), **metadata({**view.figures, **extra})},
        check_results=[_answer(answer) for answer in view.answers],
    )


def address(link: Link) -> str:
    """The UI's path of a link."""
    key = None if link.partition is None else partition_key(link.partition)
    return f"/assets/{link.step}" + (f"?partition={quote(key)}" if key else "")


def _answer(answer: Answer) -> dg.AssetCheckResult:
    severity = dg.AssetCheckSeverity.ERROR if answer.check.blocking else dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(
        check_name=answer.check.name, passed=answer.passed, severity=severity, metadata=metadata(answer.figures)
    )


def _cell(cell: object) -> object:
    if isinstance(cell, Link):
        return escaping.link(cell.text, address(cell))
    return escaping.code(cell.text) if isinstance(cell, Code) else cell


def _value(figure: Any) -> dg.MetadataValue:
    match figure:
        case bool():
            return dg.MetadataValue.bool(figure)
        case int():
            return dg.MetadataValue.int(figure)
        case float():
            return dg.MetadataValue.float(figure)
        case str():
            return dg.MetadataValue.text(figure)
        case Path():
            return dg.MetadataValue.path(str(figure))
        case Markdown():
            return dg.MetadataValue.md(figure.text)
        case Link() | Code():
            return dg.MetadataValue.md(str(_cell(figure)))
        case Table():
            rows = ([_cell(cell) for cell in row] for row in figure.rows)
            return dg.MetadataValue.md(escaping.markdown_table(figure.columns, rows))
        case Png():
            return _image(figure.data)
        case Plot():
            return _image(_drawn(figure))
        case _:
            return dg.MetadataValue.json(figure)


def _image(png: bytes) -> dg.MetadataValue:
    return dg.MetadataValue.md(f"![plot](data:image/png;base64,{base64.b64encode(png).decode()})")


def _drawn(plot: Plot) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(plot.width, plot.height), layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    plot.draw(axes)
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
