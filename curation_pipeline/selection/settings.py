"""What a person sets about the baselines."""

from __future__ import annotations

from pydantic import Field

from curation_pipeline.settings import Settings


class BaselineSettings(Settings):
    """Settings of the baselines; the defaults are the demo's."""

    toxicity_threshold: float = Field(
        default=0.1, ge=0, le=1, description="tau: documents with P(harm) at or below it pass."
    )
    source_drop: float = Field(
        default=0.5,
        ge=0,
        lt=1,
        description="Share of each source's tokens, the most harmful, that the threshold within drops.",
    )
    safety_weight: float = Field(default=0.5, ge=0, description="alpha of top-k by reward.")
    alignment_weight: float = Field(default=0.2, ge=0, description="beta of top-k by reward.")
