"""How much a text shouts: an annotator of another package."""

from __future__ import annotations

import polars as pl
from pydantic import Field

from curation_pipeline.settings import Settings
from curation_pipeline.steps.annotator import Annotate, annotator, options_of
from curation_pipeline.steps.step import Work


class ShoutingSettings(Settings):
    """``[annotate.annotator_options.shouting]`` of a profile."""

    mark: str = Field(default="!", min_length=1, max_length=1, description="the sign that is counted")


def prepare(work: Work) -> Annotate:
    """Exclamation marks of each text, and the share of its capital letters."""
    settings = options_of(work.ctx, "shouting", ShoutingSettings)
    text = pl.col("text")
    return lambda documents: documents.select(
        "doc_id",
        text.str.count_matches(settings.mark, literal=True).alias("marks"),
        (text.str.count_matches(r"\p{Lu}") / text.str.len_chars()).fill_nan(0.0).alias("capital_share"),
    )


STEP = annotator(
    "annotations.shouting",
    prepare,
    version=1,
    parameters=lambda ctx: options_of(ctx, "shouting", ShoutingSettings).model_dump(mode="json"),
    histogram=("capital_share", "share of capital letters"),
)
