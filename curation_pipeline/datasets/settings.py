"""How much of each benchmark an evaluation uses."""

from __future__ import annotations

from pydantic import Field

from curation_pipeline.settings import Settings


class BenchmarkSizes(Settings):
    """Upper bounds; a benchmark that is smaller is used whole."""

    toxic_prompts: int = Field(default=993, ge=0, description="prompts with a Perspective toxicity of .5 or more")
    neutral_prompts: int = Field(default=600, ge=0, description="prefixes of encyclopaedic sentences")
    bias_pairs: int = Field(default=1508, ge=0, description="CrowS-Pairs sentence pairs")
    preferences_per_source: int = Field(default=600, ge=0, description="preference pairs from each source")
    choices_per_benchmark: int = Field(default=1000, ge=0, description="multiple-choice items from each benchmark")
