"""What people see of an artefact: figures, tables, plots and checks, without a word of any user interface."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation_pipeline.lake.manifest import Partition

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class Link:
    """A cell of a table that leads to the page of an artefact.

    Attributes:
        text: what is shown.
        step: name of the step that made it.
        partition: the artefact's partition in the lake; None for the step's own page.
    """

    text: str
    step: str
    partition: Partition | None = None


@dataclass(frozen=True, slots=True)
class Code:
    """A cell, or a figure, in the type of code: a hash, an id."""

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table; its cells are text, numbers, `Link` or `Code`."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]

    @classmethod
    def of(cls, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> Table:
        """A table of any rows."""
        return cls(columns, [list(row) for row in rows])


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot that is drawn when it is shown.

    Attributes:
        draw: draws on the axes that it is given.
        width: inches.
        height: inches.
    """

    draw: Callable[[Axes], None]
    width: float = 6.0
    height: float = 3.0


@dataclass(frozen=True, slots=True)
class Markdown:
    """A text in Markdown."""

    text: str


@dataclass(frozen=True, slots=True)
class Png:
    """A finished image."""

    data: bytes


Figure = bool | int | float | str | Path | Mapping[str, Any] | Table | Plot | Markdown | Png | Code | Link
"""What can be shown under a name; a mapping is shown as JSON."""


@dataclass(frozen=True, slots=True)
class Check:
    """A question that a step answers about each of its artefacts.

    Attributes:
        name: of the check.
        description: what is asked, as a sentence that is true when it passes.
        blocking: whether what depends on the artefact is not made after a failure; a failure is a warning otherwise.
    """

    name: str
    description: str
    blocking: bool = False

    def answer(self, passed: bool, **figures: Figure) -> Answer:
        """The answer, with the figures that it rests on."""
        return Answer(self, bool(passed), figures)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a check found."""

    check: Check
    passed: bool
    figures: Mapping[str, Figure]


@dataclass(frozen=True, slots=True)
class View:
    """What is shown of an artefact, in addition to its id, size and summary, which all have."""

    figures: Mapping[str, Figure] = field(default_factory=dict)
    answers: Sequence[Answer] = ()
