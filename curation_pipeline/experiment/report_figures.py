"""The plots of the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.escaping import one_line
from curation_pipeline.experiment.svg import INK, MARKERS, MUTED, PAPER, Plot, colour, plot_axes


def trend(
    frame: pl.DataFrame, arms: Sequence[str], title: str, name: str, *, size: tuple[float, float] = (5.0, 2.5)
) -> Plot:
    """Value with interval over iterations, one line for each arm.

    Args:
        frame: arm, ordinal, value, ci_low, ci_high.
        arms: In the order of their colours.
        title: Title of the panel.
        name: Name of the download.
        size: Inches.
    """
    out: list[Plot] = []
    with plot_axes(*size, name, f"{title} over iterations", frame, out) as axes:
        for index, arm in enumerate(arms):
            rows = frame.filter(pl.col("arm") == arm).sort("ordinal")
            if rows.is_empty():
                continue
            x = rows["ordinal"].to_numpy() + 0.06 * (index - (len(arms) - 1) / 2)
            axes.plot(x, rows["value"], color=colour(index), marker=MARKERS[index % 8], zorder=4 - 0.1 * index)
            known = rows["ci_low"].is_not_null() & rows["ci_high"].is_not_null()
            if known.any():
                axes.vlines(
                    x[known.to_numpy()],
                    rows["ci_low"].filter(known),
                    rows["ci_high"].filter(known),
                    color=colour(index),
                    alpha=0.45,
                    linewidth=1.4,
                )
        _ordinals(axes, frame["ordinal"].to_list())
        axes.set_title(title)
        axes.grid(axis="x", visible=False)
        axes.margins(x=0.08, y=0.12)
    return out[0]


def shares(frame: pl.DataFrame, title: str, name: str) -> Plot:
    """Share of the pool's tokens (hollow) and of the batch's (filled) for each value of one dimension.

    Args:
        frame: value, pool_token_share, batch_token_share; drawn from top to bottom.
        title: Title of the panel.
        name: Name of the download.
    """
    out: list[Plot] = []
    height = 0.75 + 0.25 * max(frame.height, 2)
    with plot_axes(3.6, height, name, f"Share of tokens by {title}, pool and batch", frame, out) as axes:
        y = np.arange(frame.height)[::-1]
        pool, batch = 100 * frame["pool_token_share"].to_numpy(), 100 * frame["batch_token_share"].to_numpy()
        axes.hlines(y, pool, batch, color=colour(0), alpha=0.4, linewidth=2.4)
        axes.scatter(pool, y, s=30, facecolor=PAPER, edgecolor=MUTED, linewidth=1.3, zorder=3)
        axes.scatter(batch, y, s=34, color=colour(0), zorder=4)
        axes.set_yticks(y, [one_line(value, 26) for value in frame["value"]])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_xlim(left=min(0, *axes.get_xlim()))
        axes.set_ylim(-0.7, frame.height - 0.3)
        axes.set_xlabel("% of tokens")
        axes.set_title(title)
        axes.grid(axis="y", visible=False)
    return out[0]


def ranges(frame: pl.DataFrame, title: str, name: str, *, reference: float, label: str) -> Plot:
    """Values with intervals, one line each, beside a reference.

    Args:
        frame: name, value, low, high.
        title: Title of the panel.
        name: Name of the download.
        reference: Where the reference line stands.
        label: Label of the axis.
    """
    out: list[Plot] = []
    with plot_axes(3.6, 0.75 + 0.25 * max(frame.height, 2), name, title, frame, out) as axes:
        y = np.arange(frame.height)[::-1]
        axes.axvline(reference, color=MUTED, linewidth=1)
        known = (frame["low"].is_not_null() & frame["high"].is_not_null()).to_numpy()
        if known.any():
            low, high = frame["low"].to_numpy()[known], frame["high"].to_numpy()[known]
            axes.hlines(y[known], low, high, color=colour(0), alpha=0.45, linewidth=2.2)
        axes.scatter(frame["value"], y, s=32, color=colour(0), zorder=4)
        axes.set_yticks(y, [one_line(value, 26) for value in frame["name"]])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_ylim(-0.7, frame.height - 0.3)
        axes.set_xlabel(label)
        axes.set_title(title)
        axes.grid(axis="y", visible=False)
    return out[0]


def bars(frame: pl.DataFrame, title: str, name: str, label: str) -> Plot:
    """Horizontal bars from zero, negative ones in the second colour.

    Args:
        frame: name, value; drawn from top to bottom.
        title: Title of the panel.
        name: Name of the download.
        label: Label of the axis.
    """
    out: list[Plot] = []
    with plot_axes(5.2, 0.75 + 0.22 * max(frame.height, 2), name, title, frame, out) as axes:
        y = np.arange(frame.height)[::-1]
        values = frame["value"].to_numpy()
        axes.barh(y, values, height=0.62, color=[colour(0 if value >= 0 else 2) for value in values])
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.set_yticks(y, [one_line(value, 34) for value in frame["name"]])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_ylim(-0.7, frame.height - 0.3)
        axes.set_xlabel(label)
        axes.set_title(title)
        axes.grid(axis="y", visible=False)
    return out[0]


def histogram(frame: pl.DataFrame, title: str, name: str) -> Plot:
    """Counts over bins; a logarithmic axis where the bins widen by a factor.

    Args:
        frame: low, high, documents.
        title: Title of the panel.
        name: Name of the download.
    """
    out: list[Plot] = []
    with plot_axes(4.2, 2.0, name, f"Histogram of {title}", frame, out) as axes:
        low, high = frame["low"].to_numpy(), frame["high"].to_numpy()
        axes.bar(low, frame["documents"].to_numpy(), width=high - low, align="edge", color=colour(0), linewidth=0)
        if low[0] > 0 and high[-1] - low[-1] > 3 * (high[0] - low[0]):
            axes.set_xscale("log")
        axes.set_title(title)
        axes.grid(axis="x", visible=False)
    return out[0]


def curves(
    frame: pl.DataFrame,
    x: str,
    series: str,
    title: str,
    name: str,
    *,
    label: str = "",
    order: Sequence[str] = (),
    size: tuple[float, float] = (5.0, 2.6),
) -> Plot:
    """One line for each value of `series`.

    Args:
        frame: the columns `x`, `series` and value.
        x: Column of the horizontal axis.
        series: Column that tells the lines apart.
        title: Title of the panel.
        name: Name of the download.
        label: Label of the horizontal axis.
        order: Values of `series` in the order of their colours; in order of appearance when empty.
        size: Inches.
    """
    from matplotlib.ticker import MaxNLocator

    out: list[Plot] = []
    names = list(order) or frame[series].unique(maintain_order=True).to_list()
    with plot_axes(*size, name, title, frame, out) as axes:
        for index, value in enumerate(names):
            rows = frame.filter(pl.col(series) == value).sort(x)
            axes.plot(
                rows[x], rows["value"], color=colour(index), marker="o" if rows.height < 12 else None, markersize=3.5
            )
        axes.set_title(one_line(title, 40))
        if x == "ordinal":
            _ordinals(axes, frame["ordinal"].to_list())
        else:
            axes.set_xlabel(label)
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.xaxis.set_major_formatter(lambda tick, _: f"{tick / 1000:g}k" if abs(tick) >= 1000 else f"{tick:g}")
        axes.grid(axis="x", visible=False)
        axes.margins(x=0.05, y=0.1)
    return out[0]


def _ordinals(axes: Any, ordinals: Sequence[int]) -> None:
    low, high = min(ordinals), max(ordinals)
    step = max(1, (high - low) // 8)
    axes.set_xticks(range(low, high + 1, step))
    axes.set_xlim(low - 0.35, high + 0.35)
    axes.set_xlabel("iteration")
