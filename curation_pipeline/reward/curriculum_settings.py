"""Stages of the curriculum, as a person writes them: ``[[curriculum]]`` tables, in order from easy to hard."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from curation_pipeline.settings import Settings

Constraint = Literal["safety", "capability", "alignment", "groups"]
ALL: tuple[Constraint, ...] = ("safety", "capability", "alignment", "groups")


class CurriculumStage(Settings):
    """What the loop may draw from and is asked for in one stage, and when it may move on."""

    name: str = Field(min_length=1, max_length=60, description="the stage's name")
    sources: tuple[str, ...] = Field(
        default=(),
        description="sources, or source|snapshot partitions, that the pool may use; all of them if empty",
    )
    max_p_harm: float = Field(
        default=1.0, gt=0, le=1, description="documents with a greater P(harm) do not enter the pool"
    )
    target_safety: float | None = Field(
        default=None, ge=0, le=1, description="S that the refinement asks for in this stage; the loop's if absent"
    )
    target_alignment: float | None = Field(
        default=None, ge=0, le=1, description="preference accuracy asked for; the refinement's if absent"
    )
    constraints: tuple[Constraint, ...] = Field(
        default=ALL, description="constraints in force: the multipliers of the others stay where they are"
    )
    min_safety: float = Field(default=0.0, ge=0, le=1, description="S on credit data that must be met to move on")
    min_capability: float = Field(default=0.0, ge=0, le=1, description="C on credit data that must be met to move on")
    min_alignment: float = Field(default=0.0, ge=0, le=1, description="preference accuracy that must be met to move on")
    patience: int = Field(default=1, ge=1, le=100, description="accepted iterations in a row that must meet them")

    @field_validator("sources")
    @classmethod
    def _well_formed(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [name for name in sources if not name or name.count("|") > 1 or name.strip("|") != name]:
            raise ValueError(f"write a source or source|snapshot, not {', '.join(map(repr, wrong))}")
        return sources


def check_stages(stages: tuple[CurriculumStage, ...], sources: frozenset[str]) -> None:
    """Check the stages of a profile as a whole.

    Args:
        stages: in order.
        sources: names of the corpus's sources.

    Raises:
        ValueError: two stages share a name, or a stage names a source that the corpus does not have.
    """
    names = [stage.name for stage in stages]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two stages of the curriculum are called {', '.join(repeated)}")
    for stage in stages:
        if unknown := [name for name in stage.sources if name.split("|")[0] not in sources]:
            raise ValueError(
                f"curriculum stage {stage.name!r} names {', '.join(unknown)}; the corpus has "
                f"{', '.join(sorted(sources))}"
            )
