"""The items that no iteration was evaluated on: what the final evaluation looks at."""

from __future__ import annotations

from dataclasses import fields

import polars as pl

from curation_pipeline.datasets.benchmarks import BenchmarkData
from curation_pipeline.datasets.safety_prompts import HARMLESS
from curation_pipeline.evaluation.settings import EvaluationSettings
from curation_pipeline.evaluation.suite import sample_rows, take

ROLE = "final"
_TAKEN = {
    "preferences": ("pair_id", "n_preferences", "source"),
    "choices": ("item_id", "n_choices", "benchmark"),
    "questions": ("item_id", "n_bbq", "condition"),
    "triples": ("item_id", "n_stereoset", "bias_type"),
}
"""field of the benchmarks -> id, setting of its size, groups that the size counts in: as the suite takes them."""
SIZES = ("n_bias_pairs", *(size for _, size, _ in _TAKEN.values()))
"""Settings that decide which items the iterations' evaluations used."""


def unseen_items(benchmarks: BenchmarkData, settings: EvaluationSettings, seed: int) -> BenchmarkData:
    """The benchmarks without everything that the evaluations of the iterations use, all rows in the role ``final``.

    Items that have the role ``final`` are taken as they are. Where a benchmark has none, those items of the reported
    roles are taken that an evaluation with these settings and this seed leaves over. A benchmark of which neither can
    be said is empty here. Items left over may share a template with items that were used (BBQ, StereoSet): they are
    unseen, yet no independent sample of another kind of question.

    Args:
        benchmarks: everything.
        settings: of the iterations' evaluations; the largest sizes that any of them had.
        seed: of the iterations' evaluations.
    """
    found: dict[str, pl.DataFrame] = {}
    for field in fields(benchmarks):
        frame: pl.DataFrame = getattr(benchmarks, field.name)
        final = frame.filter(pl.col("role") == ROLE) if "role" in frame.columns else frame.clear()
        if field.name == "requests" and final.height:
            # Harmless requests are what the others are measured against, in every role.
            final = pl.concat([final, frame.filter((pl.col("kind") == HARMLESS) & (pl.col("role") != ROLE))])
        if final.is_empty():
            final = _left_over(field.name, frame, settings, seed)
        has_role = "role" in frame.columns
        found[field.name] = final.with_columns(pl.lit(ROLE).alias("role")) if has_role else final
    return BenchmarkData(**found)


def _left_over(name: str, frame: pl.DataFrame, settings: EvaluationSettings, seed: int) -> pl.DataFrame:
    if name == "bias_pairs":
        used = sample_rows(frame, settings.n_bias_pairs, seed)
        return frame.join(used, on=["sent_more", "sent_less"], how="anti", maintain_order="left")
    if name not in _TAKEN:
        return frame.clear()
    key, size, within = _TAKEN[name]
    if name == "preferences":
        # What drives the loop is of another role and was seen by every iteration.
        frame = frame.filter(pl.col("role").is_in(list(settings.roles)))
    used = take(frame, key, getattr(settings, size), seed, within)
    return frame.join(used, on=key, how="anti", maintain_order="left")
