"""Plots of the policy, its control and its credit, as images for the UI and for MLflow."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from curation_pipeline.stages.credit_report import CreditSection
from curation_pipeline.stages.policy_report import PolicySection

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Draw = Callable[["Axes"], None]

BLUE, ORANGE, GREEN, GREY = "#3b6ea5", "#d9822b", "#4f9d69", "#8a8a8a"
_BARS = 8
"""Strata of the highest and of the lowest credit that are shown."""
_EFFECTS = 10


def picture(draws: list[Draw], columns: int, width: float, height: float) -> bytes:
    """Several small plots as one PNG.

    Args:
        draws: each draws on its own axes.
        columns: plots side by side.
        width: inches of one.
        height: inches of one.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-len(draws) // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, draw in zip(grid, draws, strict=False):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=7)
        axes.xaxis.label.set_size(8)
        axes.yaxis.label.set_size(8)
        axes.title.set_size(9)
        draw(axes)
    for axes in grid[len(draws) :]:
        axes.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def policy_pictures(section: PolicySection) -> dict[str, bytes]:
    """Every picture of a policy by its name: training, actions, before_and_after, effects, control."""
    return {
        "training": training(section.curve),
        "actions": actions(section.curve, section.actions),
        "before_and_after": before_and_after(section.rates),
        "effects": effects(section.effects),
        "control": control(section.control, section.agreement),
    }


def training(curve: pl.DataFrame) -> bytes:
    """The learning curve in eight panels."""
    seen = curve["candidates"].to_numpy() / 1_000

    def line(*names: str, aim: float | None = None, title: str = "") -> Draw:
        def draw(axes: Axes) -> None:
            for name, colour in zip(names, (BLUE, ORANGE), strict=False):
                values = curve[name].cast(pl.Float64).to_numpy()
                label = name.replace("_", " ") if len(names) > 1 else None
                axes.plot(seen, values, linewidth=1.0, color=colour, label=label)
            if aim is not None:
                axes.axhline(aim, color=GREY, linewidth=0.6, linestyle="--")
            axes.set_title(title or names[0].replace("_", " "), fontsize=9)
            axes.set_xlabel("thousand candidates", fontsize=8)
            if len(names) > 1:
                axes.legend(frameon=False, fontsize=7)

        return draw

    return picture(
        [
            line("mean_reward", title="mean reward of a candidate"),
            line("explained_variance", aim=0.0, title="explained variance of the value"),
            line("value_loss"),
            line("entropy", title="entropy, nats"),
            line("approx_kl", aim=0.0, title="KL of an update (approximate)"),
            line("clip_fraction", aim=0.0),
            line("budget_use", aim=1.0, title="budget use of the last episode"),
            line("price", "toxicity_dual", title="price of a token, dual of the ceiling"),
        ],
        columns=4,
        width=2.7,
        height=1.9,
    )


def actions(curve: pl.DataFrame, weights: tuple[float, ...]) -> bytes:
    """The action histogram over training: share of candidates given each weight."""
    seen = curve["candidates"].to_numpy() / 1_000
    shares = [curve[f"action_{i}"].to_numpy() for i in range(len(weights))]
    last = [float(share[-max(len(share) // 10, 1) :].mean()) for share in shares]
    names = ["skip" if weight == 0 else f"weight {weight:g}" for weight in weights]
    colours = ["#dddddd", "#a8c5e2", BLUE, "#1d3f66", ORANGE, GREEN][: len(weights)]

    def over_time(axes: Axes) -> None:
        axes.stackplot(seen, *shares, labels=names, colors=colours)
        axes.set(ylim=(0, 1), xlim=(seen[0], max(seen[-1], seen[0] + 1e-9)))
        axes.set_xlabel("thousand candidates", fontsize=8)
        axes.set_title("share of candidates given each weight", fontsize=9)
        axes.legend(fontsize=7, loc="lower left", framealpha=0.8)

    def at_the_end(axes: Axes) -> None:
        axes.bar(range(len(weights)), last, color=colours, edgecolor=GREY, linewidth=0.4)
        axes.set_xticks(range(len(weights)), names, fontsize=7)
        axes.set_title("in the last tenth of training", fontsize=9)
        for place, value in enumerate(last):
            axes.text(place, value, f"{value:.1%}", ha="center", va="bottom", fontsize=7)

    return picture([over_time, at_the_end], columns=2, width=4.2, height=2.6)


def before_and_after(rates: pl.DataFrame) -> bytes:
    """Token shares of each group of strata in the pool and in the batch, and how often the closed form takes it."""
    titles = {
        "domain": "domain", "toxicity_bin": "toxicity bin (0 clean)", "identity_group": "identity group",
        "topic": "topic",
    }  # fmt: skip

    def bars(axis: str) -> Draw:
        rows = rates.filter(pl.col("axis") == axis)
        if axis == "topic":
            rows = rows.sort("tokens", descending=True)
        place = np.arange(rows.height)

        def draw(axes: Axes) -> None:
            axes.barh(place - 0.2, 100 * rows["share_before"].to_numpy(), 0.38, color=GREY, label="pool")
            axes.barh(place + 0.2, 100 * rows["share_after"].to_numpy(), 0.38, color=BLUE, label="batch")
            other = rows["control_selected"] * rows["tokens"]
            if other.sum() > 0:
                share = 100 * (other / other.sum()).to_numpy()
                axes.plot(share, place + 0.2, "|", color=ORANGE, markersize=9, label="closed form")
            axes.set_yticks(place, [name[:24] for name in rows["name"]], fontsize=7)
            axes.invert_yaxis()
            axes.set_title(titles.get(axis, axis), fontsize=9)
            axes.set_xlabel("% of tokens", fontsize=8)
            if axis == "toxicity_bin":
                axes.legend(fontsize=7, framealpha=0.85, loc="lower right")

        return draw

    return picture([bars(axis) for axis in rates["axis"].unique(maintain_order=True)], columns=2, width=4.2, height=2.7)


def effects(table: pl.DataFrame) -> bytes:
    """What one standard deviation more of each feature does, everywhere and by toxicity bin."""
    overall = table.filter(pl.col("axis") == "all").head(_EFFECTS)
    names = overall["feature"].to_list()
    inside = table.filter((pl.col("axis") == "toxicity_bin") & pl.col("feature").is_in(names))
    bins = inside["name"].unique().sort().to_list()
    found = {
        (feature, name): effect for feature, name, effect in inside.select("feature", "name", "effect").iter_rows()
    }
    grid = np.array(
        [
            [value, *(found[feature, name] for name in bins)]
            for feature, value in overall.select("feature", "effect").iter_rows()
        ]
    )

    def draw(axes: Axes) -> None:
        limit = max(float(np.abs(grid).max(initial=0.0)), 1e-6)
        axes.imshow(grid, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.set_xticks(range(1 + len(bins)), ["everywhere", *(f"bin {name}" for name in bins)], fontsize=7)
        for (row, column), value in np.ndenumerate(grid):
            light = "white" if abs(value) > 0.6 * limit else "black"
            axes.text(column, row, f"{100 * value:+.1f}", ha="center", va="center", fontsize=7, color=light)
        axes.set_title("change of the chance, percentage points, for one standard deviation more", fontsize=9)

    return picture([draw], columns=1, width=6.6, height=0.6 + 0.28 * max(len(names), 3))


def control(table: pl.DataFrame, agreement: pl.DataFrame) -> bytes:
    """Policy, closed form and random draw side by side, their difference, and where the two policies agree."""
    named = {(arm, measure): (value, low, high) for arm, measure, value, low, high in table.iter_rows()}
    parts = ["value", "paid_value", "safety", "alignment", "diversity", "credit"]

    def above_random(axes: Axes) -> None:
        for offset, arm, colour in ((-0.2, "policy", BLUE), (0.2, "closed_form", ORANGE)):
            gains = [named[arm, part][0] - named["random", part][0] for part in parts]
            axes.bar(np.arange(len(parts)) + offset, gains, 0.38, color=colour, label=arm.replace("_", " "))
        axes.axhline(0, color=GREY, linewidth=0.6)
        axes.set_xticks(range(len(parts)), [part.replace("_", "\n") for part in parts], fontsize=7)
        axes.set_title("value a token above a random draw", fontsize=9)
        axes.legend(frameon=False, fontsize=7)

    def difference(axes: Axes) -> None:
        for place, part in enumerate(parts):
            value, low, high = named["difference", part]
            axes.plot([low, high], [place, place], color=GREY, linewidth=2.0)
            axes.plot([value], [place], "o", color=BLUE, markersize=4)
        axes.axvline(0, color=GREY, linewidth=0.6)
        axes.set_yticks(range(len(parts)), [part.replace("_", " ") for part in parts], fontsize=7)
        axes.invert_yaxis()
        axes.set_title("policy minus closed form, 95%", fontsize=9)

    def decisions(axes: Axes) -> None:
        grid = np.full((10, 10), np.nan)
        for row, column, tokens in agreement.iter_rows():
            grid[row, column] = np.log10(100 * tokens)
        axes.imshow(grid, origin="lower", extent=(0, 1, 0, 1), cmap="Blues", vmin=-2, vmax=2)
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.5)
        axes.set_title("tokens by chance (darker: more)", fontsize=9)
        axes.set_xlabel("chance with the closed form", fontsize=8)
        axes.set_ylabel("chance with the policy", fontsize=8)

    return picture([above_random, difference, decisions], columns=3, width=3.5, height=2.7)


def credit(section: CreditSection) -> bytes:
    """Strata of the highest and lowest credit, and measured against predicted performance of left-out probes."""
    strata = section.strata
    ends = strata if strata.height <= 2 * _BARS else pl.concat([strata.head(_BARS), strata.tail(_BARS)])

    def bars(axes: Axes) -> None:
        values = ends["credit"].to_numpy()
        axes.barh(range(ends.height), values, color=[BLUE if value >= 0 else ORANGE for value in values])
        axes.set_yticks(range(ends.height), ends["stratum"].to_list(), fontsize=7)
        axes.invert_yaxis()
        axes.axvline(0, color=GREY, linewidth=0.6)
        axes.set_title(f"credit of strata, highest and lowest of {strata.height}", fontsize=9)
        axes.set_xlabel(f"credit, scaled by R2 {section.r2:.2f}", fontsize=8)
        if not values.any():
            axes.text(0.5, 0.5, "no credit: R2 is 0", ha="center", transform=axes.transAxes, fontsize=8)

    def scatter(axes: Axes) -> None:
        probes = section.probes
        if probes.is_empty() or section.r2_refitted is None:
            axes.text(0.5, 0.5, "too few probes to leave one out", ha="center", va="center", fontsize=8)
            axes.set_axis_off()
            return
        for fresh, colour, label in ((True, BLUE, "this iteration"), (False, GREY, "earlier")):
            rows = probes.filter((pl.col("age") == 0) == fresh)
            if rows.height:
                axes.scatter(rows["predicted"].to_numpy(), rows["measured"].to_numpy(), s=12, color=colour, label=label)
        both = np.concatenate([probes["predicted"].to_numpy(), probes["measured"].to_numpy()])
        axes.plot([both.min(), both.max()], [both.min(), both.max()], color=GREY, linewidth=0.6)
        said = f"R2 {section.r2_refitted:.2f}"
        if section.interval is not None:
            said += f" (95% {section.interval[0]:.2f} to {section.interval[1]:.2f})"
        axes.set_title(f"probes left out of the fit: {said}", fontsize=9)
        axes.set_xlabel("predicted P, above the other probes", fontsize=8)
        axes.set_ylabel("measured P", fontsize=8)
        axes.legend(frameon=False, fontsize=7)

    return picture([bars, scatter], columns=2, width=4.4, height=3.2)
