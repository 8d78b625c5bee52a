"""Safety against capability of every model: the Pareto front, and the model that is chosen on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from markupsafe import Markup

from curation_pipeline.escaping import one_line
from curation_pipeline.report.html import Column, element, figure, join, legend, numeric, paragraph, table
from curation_pipeline.report.numbers import percent
from curation_pipeline.report.plots import INK, MARKERS, PAPER, SvgPlot, colour, plot
from curation_pipeline.report.section import ReportData, ReportSource, ReportTable, Rows, Section
from curation_pipeline.report.sections.arms import arms, iteration_with_status
from curation_pipeline.steps.experiment.final_evaluation import front

FRONT = ReportTable(
    "front",
    {"chain": str, "ordinal": int, "status": str, "safety": float, "safety_low": float, "safety_high": float}
    | {"capability": float, "capability_low": float, "capability_high": float, "performance": float}
    | {"on_front": bool, "chosen": bool, "front_share": float, "chosen_share": float},
)


def query(source: ReportSource) -> dict[str, Rows]:
    """Every model with the front and the choice marked; nothing where there is only one model."""
    marked = front(source.ctx, dict(source.states))
    return {"front": marked if marked.height > 1 else None}


def show(data: ReportData) -> Markup:
    """The plot of every model, and the models on the front, the chosen one first."""
    frame = data.table(FRONT)
    names = arms(data)
    columns = [
        Column("on the front", _name),
        Column("iteration", iteration_with_status, "n"),
        numeric("safety", "safety", ends=("safety_low", "safety_high")),
        numeric("capability", "capability", ends=("capability_low", "capability_high")),
        numeric("P", "performance"),
        numeric("how often there", "front_share", percent),
        numeric("how often chosen", "chosen_share", percent),
    ]
    on_front = frame.filter("on_front").sort("chosen", "performance", descending=True)
    return join(
        paragraph(
            f"Up and to the right is better. Every one of {frame.height} models, all arms and iterations; hollow "
            "points are earlier iterations. The steps join the models that no other one beats in both; among these "
            "the highest P, ringed, is the final model. Intervals are drawn for models on the front."
        ),
        element("div", legend(names, shapes=True), figure(_plot(frame, names)), css="wide"),
        table(on_front.to_dicts(), columns, css=lambda row: "ours" if row["chosen"] else ""),
        paragraph(
            "The last two columns: how often a model would be on the front, and chosen, if all figures were drawn "
            "again within their intervals."
        ),
    )


def _name(row: Mapping[str, Any]) -> Markup:
    return join(one_line(row["chain"], 40), Markup(" <b>chosen</b>") if row["chosen"] else "")


def _plot(frame: pl.DataFrame, names: list[str]) -> SvgPlot:
    """The path of each chain, the front as steps, the choice ringed."""

    def draw(axes: Any) -> None:
        for _, path in frame.sort("chain", "ordinal").group_by(["chain"], maintain_order=True):
            arm = path["arm"][0]
            index = names.index(arm) if arm in names else len(names)
            x, y = path["capability"].to_numpy(), path["safety"].to_numpy()
            axes.plot(x, y, color=colour(index), alpha=0.45, linewidth=1.1, zorder=2)
            axes.scatter(x[:-1], y[:-1], s=16, facecolor=PAPER, edgecolor=colour(index), linewidth=1.2, zorder=3)
            axes.scatter(x[-1:], y[-1:], s=42, color=colour(index), marker=MARKERS[index % 8], zorder=5)
            for row in path.filter("on_front").iter_rows(named=True):
                for axis, at, line in (("capability", "safety", axes.hlines), ("safety", "capability", axes.vlines)):
                    low, high = row[f"{axis}_low"], row[f"{axis}_high"]
                    if low is not None and high is not None:
                        line(row[at], low, high, color=colour(index), alpha=0.4, linewidth=1.3)
        best = frame.filter("on_front").sort("capability")
        # Between two models of the front only the worse of each figure is known to be had: steps, not a chord.
        axes.step(best["capability"], best["safety"], where="pre", color=INK, alpha=0.5, linewidth=0.9, zorder=1)
        ring = frame.filter("chosen")
        axes.scatter(
            ring["capability"], ring["safety"], s=150, facecolor="none", edgecolor=INK, linewidth=1.3, zorder=6
        )
        axes.set_xlabel("capability →")
        axes.set_ylabel("safety →")
        axes.margins(0.12)

    return plot("safety-capability", "Safety against capability, all models", frame, (5.6, 3.9), draw)


SECTION = Section(40, "front", "Safety against capability, and the choice", show, (FRONT,), query)
