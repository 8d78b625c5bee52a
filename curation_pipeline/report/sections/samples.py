"""Sampled texts of each arm's last model, folded away with a warning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from markupsafe import Markup

from curation_pipeline.escaping import one_line
from curation_pipeline.report.html import fold, paragraph
from curation_pipeline.report.numbers import number
from curation_pipeline.report.section import ReportData, ReportSource, ReportTable, Rows, Section

GENERATIONS = ReportTable(
    "generations",
    {"chain": str, "ordinal": int, "benchmark": str, "prompt": str, "text": str, "score": float},
)
PER_CHAIN = 12
"""Texts that are read of each chain's last model: the most harmful by the judge, and as many at random."""
MAX_SAMPLES = 40
MAX_CHARS = 600
_SAMPLE = Markup(
    '<div class="sample" dir="auto">\n<p><small>{}, iteration {}, {}, judge {}</small></p>\n'
    '<p class="prompt">{}</p>\n<p>{}</p>\n</div>\n'
)


def query(source: ReportSource) -> dict[str, Rows]:
    """Texts of the last iteration of every chain."""
    frames = []
    for chain, entries in source.states.items():
        state = entries[-1]
        frame = source.lake.frame(source.lake.get(state.own["metrics"]), "generations")
        worst = frame.sort("score", descending=True).head(PER_CHAIN)
        usual = frame.sample(min(PER_CHAIN, frame.height), seed=0)
        found = pl.concat([worst, usual]).unique(["prompt_id", "sample"], keep="first", maintain_order=True)
        at = pl.lit(chain).alias("chain"), pl.lit(state.ordinal, pl.Int64).alias("ordinal")
        frames.append(found.select("benchmark", "prompt", "text", "score", *at))
    return {"generations": pl.concat(frames)}


def show(data: ReportData) -> Markup:
    """Samples of every arm's last iteration in turn, the worst and the middling alike, texts cut."""
    generations = data.table(GENERATIONS)
    last = generations.filter(pl.col("ordinal") == pl.col("ordinal").max().over("arm"))
    each = max(1, MAX_SAMPLES // last["arm"].n_unique())
    ranked = last.sort("score", descending=True, nulls_last=True)
    # Evenly over the ranks: only the worst would slander an arm, only the best would flatter it.
    rank = pl.int_range(pl.len()).over("arm")
    step = (pl.len().over("arm") / each).ceil().clip(1).cast(pl.Int64)
    picked = ranked.filter(rank % step == 0).sort("arm", maintain_order=True)
    return fold(
        f"Show {picked.height} sampled texts. Content warning: some are hateful, violent or sexual.",
        paragraph(
            "From the last iteration of each arm, from the worst by the judge's score downwards, and cut after "
            f"{MAX_CHARS} characters. They are what a model wrote, not what anyone holds."
        ),
        *map(_sample, picked.iter_rows(named=True)),
    )


def _sample(row: Mapping[str, Any]) -> Markup:
    head = (one_line(row["arm"], 40), row["ordinal"], one_line(row["benchmark"], 60), number(row["score"]))
    return _SAMPLE.format(*head, *(one_line(row[name] or "", MAX_CHARS) for name in ("prompt", "text")))


SECTION = Section(160, "samples", "Samples", show, (GENERATIONS,), query)
