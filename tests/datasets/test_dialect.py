"""Dialects of CSV: found from a file's lines, and read as their writers meant."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_pipeline.datasets.dialect import CsvDialect, Dialect, find_dialect
from curation_pipeline.datasets.tables import read_columns
from curation_pipeline.errors import DataError

FIELDS = st.text(alphabet='ab"\\,\n é;', max_size=12)


def spark(rows: list[list[str]]) -> str:
    """Every field quoted, quotes and backslashes escaped by a backslash, as Spark and MySQL write them."""
    quoted = [['"' + field.replace("\\", "\\\\").replace('"', '\\"') + '"' for field in row] for row in rows]
    return "".join(",".join(row) + "\n" for row in quoted)


def lines_of(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def found(text: str, **given: str | bool) -> list[list[str]]:
    lines = lines_of(text)
    return list(find_dialect(lines, CsvDialect(**given), ",", ("text",)).reader(lines))  # type: ignore[arg-type]


@settings(max_examples=300)
@given(rows=st.lists(st.lists(FIELDS, min_size=2, max_size=2), min_size=1, max_size=6))
def test_what_spark_and_excel_write_comes_back(rows: list[list[str]]) -> None:
    rows = [["text", "id"], ['say "so", then', "0"], *rows]
    assert found(spark(rows)) == rows
    target = io.StringIO(newline="")
    csv.writer(target, lineterminator="\n").writerows(rows)
    assert found(target.getvalue()) == rows


def test_a_backslash_without_evidence_is_a_character() -> None:
    rows = [["text", "id"], [r"\frac{a}{b} \\ c", "1"], ["C:\\", "2"], ['umlaut \\"o', "3"]]
    target = io.StringIO(newline="")
    csv.writer(target, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    assert found(target.getvalue()) == rows


def test_delimiter_of_the_header_that_names_the_columns() -> None:
    assert found("id;text\n1;one, two\n") == [["id", "text"], ["1", "one, two"]]
    assert found("id|text;a\n") == [["id|text;a"]]


def test_dialects_that_are_said() -> None:
    assert found("text,id\na\\, b,1\n", quote="", escape="\\") == [["text", "id"], ["a, b", "1"]]
    assert found("text,id\n\\N,1\n", quote="", escape="\\") == [["text", "id"], ["", "1"]]
    assert found("text,id\n'a, \"b\"',1\n", quote="'") == [["text", "id"], ['a, "b"', "1"]]
    assert found('text,id\n"a ~"b~" ~c",1\n', escape="~") == [["text", "id"], ['a "b" ~c', "1"]]
    with pytest.raises(ValueError, match="three different characters"):
        CsvDialect(quote=",", delimiter=",")


def test_what_a_quote_opens_or_closes() -> None:
    dialect = Dialect(",")
    for line in ('"a",1\n', 'a,"b ""c"""\n', '"open\n', 'a,"open ""x, y\n', "plain,1\n"):
        assert dialect.opens(line), line
    for line in ('end",1\n', 'he said "so",1\n', '"a" b,1\n', '"a\\"b",1\n'):
        assert not dialect.opens(line), line
    assert Dialect(",", escape="\\").opens('"a\\"b",1\n')


def test_labelled_tables_are_read_in_their_dialect(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(spark([["text", "label"], ['He said "hi"\nand left', "1"], ["C:\\new", "0"]]))
    assert read_columns(path, ["text", "label"]).rows() == [('He said "hi"\nand left', "1"), ("C:\\new", "0")]
    path.write_text("label;text\n1;a, b\n0;\n")
    assert read_columns(path, ["text", "label"]).rows() == [("a, b", "1"), (None, "0")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('text,label\nfine,0\n"stray,1\n', "line 4: not valid CSV"),
        ("text,label\none, two,0\n", "line 2: 3 fields where the header has 2"),
        ('text,label\n"a \\"b\\"",0\nC:\\\\x,1\n', r"line 3: a \\ in a field without quotes"),
        ("text,text\na,b\n", "'text' more than once"),
    ],
)
def test_a_row_of_a_labelled_table_is_never_guessed(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=said):
        read_columns(path, ["text"])
