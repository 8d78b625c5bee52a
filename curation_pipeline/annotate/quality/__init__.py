"""Quality rules of Gopher, C4 and FineWeb: a value and a flag a rule."""

from curation_pipeline.annotate.quality.quality import VERSION, quality_rules, quality_values, recipe_parameters
from curation_pipeline.annotate.quality.rules import (
    FAMILIES,
    RULES,
    SCHEMA,
    Family,
    QualityRule,
    failed_rules,
    flags,
    rule_names,
)
from curation_pipeline.annotate.quality.settings import QualitySettings

__all__ = [
    "FAMILIES",
    "RULES",
    "SCHEMA",
    "VERSION",
    "Family",
    "QualityRule",
    "QualitySettings",
    "failed_rules",
    "flags",
    "quality_rules",
    "quality_values",
    "recipe_parameters",
    "rule_names",
]
