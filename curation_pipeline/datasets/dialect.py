"""How a CSV or TSV file separates and quotes its fields: as its owner says, or as its first lines show.

RFC 4180 doubles a quotation mark inside a quoted field. MySQL, Spark, R and others put a backslash before it. A file is
taken for one of the second kind only where more of its rows can be read that way.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from curation_pipeline.settings import Settings

HEAD_CHARS = 1024 * 1024
"""Characters of a file that its dialect is found from."""

DELIMITERS = ",;\t|"
ESCAPE = "\\"
NULL = r"\N"
"""What MySQL and PostgreSQL write for a missing value, where the backslash is the escape."""

Mark = Annotated[str, StringConstraints(max_length=1)]


class CsvDialect(Settings):
    """How CSV and TSV files separate and quote their fields. What is absent is found from a file's first megabyte."""

    delimiter: Mark | None = Field(default=None, min_length=1, description="the character between two fields")
    quote: Mark = Field(default='"', description="the character around a field; empty where no field is quoted")
    escape: Mark | None = Field(
        default=None,
        description="the character that takes the meaning from a quote, an escape, a delimiter or a line end behind it;"
        " empty where there is none. If absent, a backslash escapes quotes where the file's rows show it",
    )
    doubled_quotes: bool = Field(default=True, description="whether two quotes inside a quoted field mean one")

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        marks = [mark for mark in (self.delimiter, self.quote, self.escape) if mark]
        if len(set(marks)) < len(marks) or set(marks) & {"\n", "\r", "\0"}:
            raise ValueError("delimiter, quote and escape must be three different characters, none of them a line end")
        return self


@dataclass(frozen=True)
class Dialect:
    """One way to read lines as records.

    Attributes:
        delimiter: the character between two fields.
        quote: the character around a field, or empty.
        escape: the character before a quote or another escape inside a quoted field, or empty.
        doubled_quotes: two quotes inside a quoted field mean one.
        everywhere: the escape also counts outside quoted fields, and before delimiters and line ends.
    """

    delimiter: str
    quote: str = '"'
    escape: str = ""
    doubled_quotes: bool = True
    everywhere: bool = False

    def reader(self, lines: Iterable[str]) -> Iterator[list[str]]:
        """The records of lines that still have their line feeds.

        Raises:
            csv.Error: while iterating, where a record breaks the rules.
        """
        if self.escape:
            lines = map(self._prepared, lines)
        records = csv.reader(
            lines,
            delimiter=self.delimiter,
            quotechar=self.quote or None,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            escapechar=self.escape or None,
            doublequote=self.doubled_quotes,
            strict=True,
        )
        if self.escape != ESCAPE:
            return records
        return (["" if field == NULL else field for field in record] for record in records)

    def _prepared(self, line: str) -> str:
        """A line whose escapes that stand for themselves are doubled: the csv module would drop them."""
        if self.escape not in line:
            return line
        return self._escapes.sub(lambda found: found[0] if found[1] else found[0] * 2, line)

    @cached_property
    def _escapes(self) -> re.Pattern[str]:
        special = self.quote + self.escape + (self.delimiter + "\r\n" if self.everywhere else "")
        return re.compile(f"{re.escape(self.escape)}([{re.escape(special)}])?", re.DOTALL)

    def is_ambiguous(self, record: str) -> bool:
        """Whether an unquoted field of a sound record holds an escape that programs read differently.

        Spark leaves it as it is, MySQL drops it.
        """
        if self.everywhere or not self.escape or self.escape not in record:
            return False
        special = (self.escape + self.quote, self.escape * 2)
        return any(
            plain.endswith(self.escape) or any(pair in plain for pair in special)
            for plain in self._plain_fields.findall(record.rstrip("\r\n"))
        )

    def opens(self, line: str) -> bool:
        """Whether the quotes of a line begin fields, so that a record may begin with it.

        False for a line whose first unmatched quote ends a field, as in the last line of a field of several.
        """
        return not self.quote or bool(self._whole.fullmatch(line) or self._open.fullmatch(line))

    @cached_property
    def _inside(self) -> str:
        """A regular expression for what may lie between the quotes of a field."""
        quote, escape = re.escape(self.quote), re.escape(self.escape)
        doubled = f"|{quote}{quote}" if self.doubled_quotes else ""
        escaped = f"|{escape}." if escape else ""
        return f"(?:[^{quote}{escape}]{escaped}{doubled})*+"

    @cached_property
    def _plain_fields(self) -> re.Pattern[str]:
        quote, delimiter = re.escape(self.quote), re.escape(self.delimiter)
        return re.compile(f"{quote}{self._inside}{quote}|([^{delimiter}]+)", re.DOTALL)

    @cached_property
    def _field(self) -> str:
        quote, delimiter = re.escape(self.quote), re.escape(self.delimiter)
        return f"(?:{quote}{self._inside}{quote}|[^{quote}{delimiter}\r\n]*+)"

    @cached_property
    def _whole(self) -> re.Pattern[str]:
        return re.compile(f"{self._field}(?:{re.escape(self.delimiter)}{self._field})*+\r?\n?", re.DOTALL)

    @cached_property
    def _open(self) -> re.Pattern[str]:
        before = f"(?:{self._field}{re.escape(self.delimiter)})*"
        return re.compile(f"{before}{re.escape(self.quote)}{self._inside}", re.DOTALL)


def find_dialect(head: Sequence[str], given: CsvDialect, usual: str, wanted: Collection[str]) -> Dialect:
    """The dialect of a file.

    Args:
        head: its first lines, with their line feeds; the first names the columns.
        given: what its owner says of it.
        usual: the delimiter that goes with its suffix.
        wanted: columns that the header must name, by which another delimiter is found.
    """
    dialect = Dialect(given.delimiter or usual, given.quote, given.escape or "", given.doubled_quotes)
    if given.escape:
        return replace(dialect, everywhere=True)
    if given.delimiter is None and head:
        others = (replace(dialect, delimiter=mark) for mark in (usual, *DELIMITERS))
        names = {name.lower() for name in wanted}
        dialect = next((other for other in others if names <= _names(other, head[0])), dialect)
    if given.escape is None and dialect.quote and any(ESCAPE + dialect.quote in line for line in head):
        escaping = replace(dialect, escape=ESCAPE)
        if _failures(escaping, head) < _failures(dialect, head):
            return escaping
    return dialect


def column_names(header: Iterable[str]) -> list[str]:
    """The names that a header row gives to its columns."""
    return [name.strip() for name in header]


def _names(dialect: Dialect, line: str) -> set[str]:
    try:
        return {name.lower() for name in column_names(next(dialect.reader([line])))}
    except csv.Error:
        return set()


def _failures(dialect: Dialect, lines: Sequence[str]) -> int:
    """How many records of some lines break the rules, or have another number of fields than the first."""
    rest = iter(lines)
    width = count = 0
    while (first := next(rest, None)) is not None:
        try:
            for fields in dialect.reader(chain([first], rest)):
                width = width or len(fields)
                count += len(fields) not in (0, width)
        except csv.Error:
            count += 1
    return count
