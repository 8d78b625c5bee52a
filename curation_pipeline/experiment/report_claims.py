"""The report's claims: the corrected comparisons, the front with the choice, and the looks at the holdout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from curation_pipeline.experiment.claims import ALPHA, AT_CHANCE, MARGIN, OPEN, SHOWN
from curation_pipeline.experiment.report_data import ReportData
from curation_pipeline.experiment.svg import INK, MARKERS, PAPER, Plot, colour, csv_link, plot_axes

_TONES = {SHOWN: "good", OPEN: "open", AT_CHANCE: "chance"}


def claims_part(data: ReportData) -> dict[str, Any]:
    """The table of comparisons, and what its correction was over."""
    rows = data.part("comparisons")
    return {
        "rows": [{**row, "tone": _TONES.get(row["verdict"], "bad")} for row in rows.to_dicts()],
        "csv": csv_link(rows),
        "alpha": ALPHA,
        "margin": MARGIN,
        "one_seed": bool((rows["seeds"] == 1).any() or (rows["baseline_seeds"] == 1).any()),
        "unpaired": not rows["paired"].all(),
    }


def front_part(data: ReportData, arms: Sequence[str]) -> dict[str, Any]:
    """The plot of every model with the front, and the rows on it, the chosen one first."""
    rows = data.part("front")
    if rows.is_empty():
        return {"plot": None, "rows": [], "models": 0}
    on_front = rows.filter("on_front").sort("chosen", "performance", descending=True)
    return {"plot": _front(rows, arms), "rows": on_front.to_dicts(), "models": rows.height}


def looks_part(data: ReportData) -> dict[str, Any]:
    """Every look at the holdout; a sentence where there was more than one."""
    rows = data.part("looks").sort("number")
    warning = None
    if rows.height > 1:
        models = rows["checkpoint"].n_unique()
        warning = (
            f"The holdout was looked at {rows.height} times, at {models} model{'s' if models > 1 else ''}: only the "
            "first look is free of selection; each later one could lean on what the earlier ones showed."
        )
    return {"rows": rows.to_dicts(), "csv": csv_link(rows), "warning": warning}


def _front(frame: pl.DataFrame, arms: Sequence[str]) -> Plot:
    """Safety against capability of every model: the path of each chain, the front as steps, the choice ringed."""
    out: list[Plot] = []
    with plot_axes(5.6, 3.9, "safety-capability", "Safety against capability, all models", frame, out) as axes:
        for _, path in frame.sort("chain", "ordinal").group_by(["chain"], maintain_order=True):
            arm = path["arm"][0]
            index = list(arms).index(arm) if arm in arms else len(arms)
            x, y = path["capability"].to_numpy(), path["safety"].to_numpy()
            axes.plot(x, y, color=colour(index), alpha=0.45, linewidth=1.1, zorder=2)
            axes.scatter(x[:-1], y[:-1], s=16, facecolor=PAPER, edgecolor=colour(index), linewidth=1.2, zorder=3)
            axes.scatter(x[-1:], y[-1:], s=42, color=colour(index), marker=MARKERS[index % 8], zorder=5)
            for row in path.filter("on_front").iter_rows(named=True):
                for axis, draw in (("capability", axes.hlines), ("safety", axes.vlines)):
                    low, high = row[f"{axis}_low"], row[f"{axis}_high"]
                    if low is not None and high is not None:
                        at = row["safety"] if axis == "capability" else row["capability"]
                        draw(at, low, high, color=colour(index), alpha=0.4, linewidth=1.3)
        best = frame.filter("on_front").sort("capability")
        # Between two models of the front only the worse of each figure is known to be had: steps, not a chord.
        axes.step(best["capability"], best["safety"], where="pre", color=INK, alpha=0.5, linewidth=0.9, zorder=1)
        chosen = frame.filter("chosen")
        axes.scatter(
            chosen["capability"], chosen["safety"], s=150, facecolor="none", edgecolor=INK, linewidth=1.3, zorder=6
        )
        axes.set_xlabel("capability →")
        axes.set_ylabel("safety →")
        axes.margins(0.12)
    return out[0]
