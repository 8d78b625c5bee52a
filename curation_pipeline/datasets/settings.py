"""What a person writes about labelled data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import BeforeValidator, Field, model_validator

from curation_pipeline.datasets.dialect import CsvDialect
from curation_pipeline.settings import Settings

Axis = Literal["toxicity", "bias", "subtle", "refusal"]
AXES: tuple[Axis, ...] = get_args(Axis)
"""What a label of 1 means: insult or abuse; stereotype or sexism; implicit hate or an unsafe reply; a refusal."""

FileFormat = Literal[
    "table", "edos", "davidson", "paradetox", "diasafety", "toxigen", "wiki_talk", "wiki_templates", "hh_rlhf"
]
LabelRole = Literal["fit", "calibrate", "report"]


def _as_text(value: object) -> object:
    """Numbers and booleans among listed values as the text that a table holds."""
    if isinstance(value, list | tuple):
        return tuple(str(item) if isinstance(item, bool | int | float) else item for item in value)
    return value


Values = Annotated[tuple[str, ...], BeforeValidator(_as_text)]


class LabelledFile(Settings):
    """One human-labelled data set in a file of this machine.

    A published format is read as its publisher distributes it. ``table`` is any CSV, TSV, JSONL (each plain or
    ``.gz``) or Parquet file; what its labels are is said by one of ``positive_labels`` (with or without
    ``negative_labels``), ``threshold``, or neither where they are numbers in [0, 1] already.
    """

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_]*$", description="name of the data set among the labels; no two share one"
    )
    path: Path = Field(description="the file; for diasafety the folder of train.json, val.json and test.json")
    format: FileFormat = Field(default="table", description="how the file is laid out")
    axis: Axis | None = Field(
        default=None,
        description="what a label of 1 means: toxicity, bias, subtle or refusal; a published format knows, a table "
        "must say",
    )
    text_column: str = Field(default="text", min_length=1, description="table: column of the texts")
    label_column: str = Field(default="label", min_length=1, description="table: column of the labels")
    positive_labels: Values = Field(default=(), description="table: label values that mean 1")
    negative_labels: Values = Field(
        default=(), description="table: label values that mean 0; where absent, all that are not positive"
    )
    threshold: float | None = Field(default=None, description="table: numbers at or above this mean 1, the others 0")
    group_column: str | None = Field(default=None, min_length=1, description="table: column of the group written about")
    split_column: str | None = Field(default=None, min_length=1, description="table: column of the publisher's split")
    split_roles: dict[str, LabelRole] = Field(
        default_factory=dict,
        description="table: role of each split; without split_column texts are divided by hash, 60/20/20",
    )
    csv: CsvDialect = Field(default=CsvDialect(), description="table: how a CSV or TSV file quotes its fields")
    meaning: str = Field(default="", description="what a label of 1 means, in words, for those who read the results")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.format != "table":
            own = sorted(self.model_fields_set - {"name", "path", "format", "axis", "meaning"})
            if own:
                raise ValueError(f"{', '.join(own)} belong to format = 'table'; {self.format} has its own columns")
            return self
        if self.axis is None:
            raise ValueError(f"a table must say what its label of 1 means: axis = one of {', '.join(AXES)}")
        if self.threshold is not None and (self.positive_labels or self.negative_labels):
            raise ValueError("give threshold or positive_labels, not both")
        if self.negative_labels and not self.positive_labels:
            raise ValueError("negative_labels need positive_labels as well")
        if (self.split_column is None) != (not self.split_roles):
            raise ValueError("split_column and split_roles belong together")
        return self


class LabelSettings(Settings):
    """Labelled sets of the user's own, next to those that packages carry."""

    files: tuple[LabelledFile, ...] = Field(default=(), description="human-labelled files, each with its meaning")

    @model_validator(mode="after")
    def _unique(self) -> Self:
        names = [file.name for file in self.files]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"labelled files share the name(s) {', '.join(twice)}: give each its own")
        return self
