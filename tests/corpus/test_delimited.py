"""CSV as Spark, MySQL and people write it: what is not certain is a failure, never a text."""

from __future__ import annotations

import pytest

from curation_pipeline.datasets.dialect import CsvDialect
from tests.corpus.formats import read, settings

ESCAPED = r"""text,id
"She asked \"why\" twice",1
"one, and \"two\", three",2
"first
second, with \"marks\"
third",3
"D:\\data",4
"as it is: \n",5
"""
TEXTS = ['She asked "why" twice', 'one, and "two", three', 'first\nsecond, with "marks"\nthird', "D:\\data"]


def test_quotes_behind_a_backslash_are_read_as_written() -> None:
    batch = read("a.csv", ESCAPED.encode())
    assert batch.rows["text"].to_list() == [*TEXTS, r"as it is: \n"]
    assert batch.failures.is_empty()


def test_without_an_escape_no_part_of_a_field_is_taken_for_a_record() -> None:
    batch = read("a.csv", ESCAPED.encode(), settings(csv=CsvDialect(escape="")))
    assert batch.rows["text"].to_list() == [r"D:\\data", r"as it is: \n"]
    assert batch.failures.height == 5  # lines of which nobody can say where their records end
    assert sum(len(line) for line in batch.failures["excerpt"]) == len(ESCAPED[8:]) - len(
        '"D:\\\\data",4\n"as it is: \\n",5\n'
    )


@pytest.mark.parametrize(
    "field",
    [
        '"opens\nnext, line\nand "breaks" it",1',
        '"opens and "breaks" it\nnext, line\nthe end",1',
        '"opens\nnext, line\n\nmore, lines\nto "the" end",1',
        'no field "opens\nhere",1',
    ],
)
def test_lines_of_a_broken_field_are_failures(field: str) -> None:
    raw = f'text,id\nbefore,0\n{field}\n"sound ""row""",2\nlast,3\n'
    batch = read("a.csv", raw.encode())
    assert set(batch.rows["text"]) >= {"before", 'sound "row"', "last"}
    assert not [text for text in batch.rows["text"] if text in ("next", "more") or "end" in text or "here" in text]
    assert "may be part of the record that begins at byte 17" in " ".join(batch.failures["reason"])


def test_a_file_of_one_column_that_breaks_off_in_a_field() -> None:
    batch = read("a.csv", b'text\n"whole"\n"broken\noff\n')
    assert batch.rows["text"].to_list() == ["whole"]
    assert batch.failures["excerpt"].to_list() == ['"broken\n', "off\n"]


def test_a_field_without_quotes_and_an_escape_in_it_is_not_guessed() -> None:
    batch = read("a.csv", b'text,id\n"a \\"b\\"",1\nC:\\\\x,2\nC:\\x,3\n')
    assert batch.rows["text"].to_list() == ['a "b"', "C:\\x"]
    assert "can mean two things" in batch.failures["reason"][0]


def test_delimiter_is_that_of_the_header() -> None:
    assert read("a.csv", b"\xef\xbb\xbfid;text\n1;one, two\n").rows["text"].to_list() == ["one, two"]


def test_a_quoted_word_at_the_start_of_a_field_is_not_guessed() -> None:
    raw = b'id\ttext\n1\t"Yes" is a band\n2\tx\n'
    found = read("a.tsv", raw)
    assert found.rows["text"].to_list() == ["x"]
    assert 'quote = ""' in found.failures["reason"][0]
    assert read("a.tsv", raw, settings(csv=CsvDialect(quote=""))).rows["text"].to_list() == ['"Yes" is a band', "x"]


def test_a_header_that_names_the_text_twice_gives_no_text() -> None:
    found = read("a.csv", b"id,text,text\n1,first,second\n")
    assert found.rows.is_empty()
    assert "more than once" in found.failures["reason"][0]
    assert found.failures.height == 2
