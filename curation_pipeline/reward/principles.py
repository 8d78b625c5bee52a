"""Written principles as weak evidence of alignment: a statement, and a few own sentences that keep or break it.

A principle is what a person can change overnight. Its examples are a handful of texts against thousands of labelled
anchors, so they enter the fit of the alignment head with a mass of their own (``reward.principle_weight``): they decide
where no label speaks and yield where labels do. Changing a principle changes that fit and nothing else: no document is
scored or embedded again, only the examples are.

The idea that written principles can stand in for labels is that of constitutional training (Bai et al. 2022), where a
model judges by them; here they are examples for a small head, since no judge is needed for that.
"""

from __future__ import annotations

from typing import Self

import polars as pl
from pydantic import Field, model_validator

from curation_pipeline.errors import ConfigError
from curation_pipeline.settings import Settings

PRINCIPLES_SCHEMA: dict[str, pl.DataType] = {"principle": pl.Utf8(), "text": pl.Utf8(), "label": pl.Float64()}


class Principle(Settings):
    """One written principle."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_]*$", description="short name, for reports")
    statement: str = Field(min_length=1, description="the principle in words, as an expert or a report reads it")
    complies: tuple[str, ...] = Field(default=(), description="own example sentences that keep it")
    violates: tuple[str, ...] = Field(default=(), description="own example sentences that break it")

    @model_validator(mode="after")
    def _has_examples(self) -> Self:
        """Check that both sides have an example.

        Raises:
            ConfigError: when one has none, or a sentence is on both.
        """
        if not self.complies or not self.violates:
            raise ConfigError(f"principle {self.name!r} needs an example that complies and one that violates it")
        both = sorted(set(self.complies) & set(self.violates))
        if both:
            raise ConfigError(f"principle {self.name!r} has {both[0]!r} among what complies and what violates it")
        return self


def examples_of(principles: tuple[Principle, ...]) -> pl.DataFrame:
    """All example sentences.

    Returns:
        Rows of ``PRINCIPLES_SCHEMA`` in the order of the principles; label 1 = complies.

    Raises:
        ConfigError: when two principles share a name.
    """
    names = [principle.name for principle in principles]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"reward.principles: {', '.join(twice)} is defined more than once; give each its own name")
    rows = [
        (principle.name, text, label)
        for principle in principles
        for texts, label in ((principle.complies, 1.0), (principle.violates, 0.0))
        for text in texts
    ]
    return pl.DataFrame(rows, schema=PRINCIPLES_SCHEMA, orient="row")
