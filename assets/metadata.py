"""How a manifest is shown in the UI: numbers, plots as inline images, and tables of inputs with links."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

import dagster as dg

from curation_pipeline import escaping
from curation_pipeline.lake.manifest import Manifest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OWNERS = ["team:data-safety"]


def data_version(manifest: Manifest) -> dg.DataVersion:
    """The content hash: the same content is the same version, whatever made it."""
    return dg.DataVersion(manifest.content_hash[:32])


def describe(manifest: Manifest) -> dict[str, dg.MetadataValue]:
    """The metadata that every artefact has: its id, size, age and the scalar figures of its summary."""
    shown: dict[str, dg.MetadataValue] = {
        "manifest": dg.MetadataValue.text(manifest.id),
        "size_mib": dg.MetadataValue.float(round(manifest.n_bytes / 2**20, 3)),
        "seconds": dg.MetadataValue.float(manifest.seconds),
        "seed": dg.MetadataValue.int(manifest.seed),
    }
    if any(file.name == "data.parquet" for file in manifest.files):
        shown["dagster/row_count"] = dg.MetadataValue.int(manifest.n_rows)
    for name, value in manifest.summary.items():
        if isinstance(value, bool):
            shown[name] = dg.MetadataValue.bool(value)
        elif isinstance(value, int):
            shown[name] = dg.MetadataValue.int(value)
        elif isinstance(value, float):
            shown[name] = dg.MetadataValue.float(value)
        elif isinstance(value, str):
            shown[name] = dg.MetadataValue.text(value)
        elif value is not None:
            shown[name] = dg.MetadataValue.json(value)
    return shown


def result(
    manifest: Manifest,
    extra: Mapping[str, dg.MetadataValue] | None = None,
    checks: Iterable[dg.AssetCheckResult] = (),
) -> dg.MaterializeResult:
    """What an asset returns for a finished artefact."""
    return dg.MaterializeResult(
        data_version=data_version(manifest),
        metadata={**describe(manifest), **(extra or {})},
        check_results=list(checks),
    )


def asset_link(asset: str, partition: str | None = None) -> str:
    """The UI's path of an asset, or of one partition of it."""
    return f"/assets/{asset}" + (f"?partition={quote(partition)}" if partition else "")


def markdown_table(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> dg.MetadataValue:
    """A table in Markdown, which the UI renders with its links."""
    return dg.MetadataValue.md(escaping.markdown_table(columns, rows))


def plot(draw: Callable[[Axes], None], width: float = 6.0, height: float = 3.0) -> dg.MetadataValue:
    """A plot as an image inside Markdown.

    Args:
        draw: draws on the axes that it is given.
        width: inches.
        height: inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    draw(axes)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return dg.MetadataValue.md(f"![plot](data:image/png;base64,{encoded})")
