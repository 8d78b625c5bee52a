"""The chosen model on the holdout, and how often the holdout was used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from curation_pipeline.escaping import one_line
from curation_pipeline.report.html import CI, Column, csv, element, join, numeric, paragraph, small, table, text
from curation_pipeline.report.section import ENDS, ReportData, ReportSource, ReportTable, Rows, Section
from curation_pipeline.steps.experiment.final_evaluation import holdout_accesses

ACCESSES = ReportTable(
    "holdout_accesses",
    {"number": int, "chain": str, "ordinal": int, "checkpoint": str, "at": str, "new_model": bool, "safety": float}
    | {"capability": float, "performance": float, **ENDS, "performance_when_chosen": float},
)


def query(source: ReportSource) -> dict[str, Rows]:
    """Every final evaluation, with what it found."""
    rows = []
    for access in holdout_accesses(source.lake):
        found = source.lake.json(source.lake.get(access.manifest_id), "performance")
        row = {name: getattr(access, name) for name in ("number", "chain", "ordinal", "checkpoint", "at", "new_model")}
        row |= {axis: found["final"][axis] for axis in ("safety", "capability", "performance")}
        row |= dict(zip(CI, found["intervals"]["performance"], strict=True))
        rows.append({**row, "performance_when_chosen": found["chosen_on"]["performance"]})
    return {"holdout_accesses": rows}


def show(data: ReportData) -> Markup:
    """The table of all accesses; a warning where there was more than one."""
    frame = data.table(ACCESSES).sort("number")
    warning = Markup("")
    if frame.height > 1:
        models = frame["checkpoint"].n_unique()
        warning = element(
            "div",
            element(
                "p",
                f"The holdout was used {frame.height} times, for {models} model{'s' if models > 1 else ''}: only the "
                "first use is free of selection; each later one could lean on what the earlier ones showed.",
            ),
            css="notes",
        )
    columns = [
        numeric("use", "number", str),
        text("at", "at", 25),
        Column("model", _model),
        numeric("iteration", "ordinal", str),
        numeric("safety", "safety"),
        numeric("capability", "capability"),
        numeric("P on the holdout", "performance", ends=CI),
        numeric("P when chosen", "performance_when_chosen"),
    ]
    return join(
        paragraph(
            "Items that no iteration was evaluated on. The figures that a model is chosen by flatter it, since the "
            "highest of many is chosen; these do not, as long as the holdout is used once. ",
            csv("holdout-accesses", frame),
        ),
        warning,
        table(frame.to_dicts(), columns),
    )


def _model(row: Mapping[str, Any]) -> Markup:
    return join(one_line(row["chain"], 40), "" if row["new_model"] else join(" ", small("used before")))


SECTION = Section(50, "holdout", "The chosen model on the holdout", show, (ACCESSES,), query)
