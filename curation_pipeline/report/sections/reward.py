"""The weights of the reward over the iterations, with the reason of each move."""

from __future__ import annotations

from markupsafe import Markup

from curation_pipeline.report.html import element, figure, join, legend, numeric, paragraph, table, text
from curation_pipeline.report.plots import curves
from curation_pipeline.report.section import ReportData, ReportSource, ReportTable, Rows, Section

WEIGHTS = ReportTable("reward_moves", {"ordinal": int, "weight": str, "value": float, "reason": str})


def query(source: ReportSource) -> dict[str, Rows]:
    """Alpha, beta and gamma of every iteration."""
    rows = []
    for ordinal, manifest in source.made("reward_models"):
        moves = source.lake.json(manifest, "moves") if ordinal else []
        reasons = {move["name"]: move["reason"] for move in moves}
        start = None if ordinal else "the profile's value"
        rows += [
            {
                "ordinal": ordinal,
                "weight": weight,
                "value": float(manifest.summary[weight]),
                "reason": reasons.get(weight, start),
            }
            for weight in ("alpha", "beta", "gamma")
        ]
    return {"reward_moves": rows}


def show(data: ReportData) -> Markup:
    """Plot and table of the weights."""
    moves = data.table(WEIGHTS).sort("ordinal", "weight")
    names = moves["weight"].unique().sort().to_list()
    plot = curves(moves, "ordinal", "weight", "weights of the reward", "reward-weights", order=names)
    columns = [
        numeric("iteration", "ordinal", str),
        text("weight", "weight", 24),
        numeric("value", "value"),
        text("reason", "reason", 240, "words"),
    ]
    return join(
        paragraph("They stay on the simplex and move by at most a fifth an iteration."),
        element("div", element("div", legend(names), figure(plot)), table(moves.to_dicts(), columns), css="split"),
    )


SECTION = Section(80, "reward", "Weights of the reward", show, (WEIGHTS,), query)
