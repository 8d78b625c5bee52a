"""What the data holds is shown, and commands nothing: no terminal, no Markdown, no direction of writing."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from curation_pipeline.escaping import code, link, markdown, markdown_table, one_line, visible

HOSTILE = (
    "[/b] \x1b[2J\x1b]52;c;eA==\x07 \u202egnp.exe\u202c \x00 <img src=x onerror=alert(1)> ![a](http://b) `c` | d\nnext"
)


def cells_of(text: str) -> list[str]:
    """The text of each cell of a Markdown table, as a browser would show it, or with its tags where there are any."""
    page = MarkdownIt("gfm-like", {"linkify": False}).render(text)
    return [re.sub(r"&(lt|gt|amp|quot);", _unescape, cell) for cell in re.findall(r"<td>(.*?)</td>", page, re.DOTALL)]


def _unescape(found: re.Match[str]) -> str:
    return {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}[found[1]]


@given(st.text(max_size=40))
def test_a_terminal_gets_nothing_but_printable_text(text: str) -> None:
    shown = visible(text)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    assert visible(text, lines=True).count("\n") == text.count("\n")
    shown.encode()


@given(st.lists(st.text(max_size=25), min_size=1, max_size=3))
def test_markdown_shows_the_text_as_it_is(texts: list[str]) -> None:
    assert cells_of(markdown_table(["a"] * len(texts), [texts])) == [one_line(text).strip(" ") for text in texts]


def test_hostile_text_on_every_surface() -> None:
    assert visible(HOSTILE).startswith(r"[/b] \x1b[2J\x1b]52;c;eA==\x07 \u202egnp.exe\u202c \x00 <img")
    assert cells_of(markdown_table(["a"], [[HOSTILE]])) == [one_line(HOSTILE)]
    assert "\n" not in markdown(HOSTILE)
    (cell,) = cells_of(markdown_table(["a"], [[link("x](javascript:alert(1))", "/assets/y")]]))
    assert cell == '<a href="/assets/y">x](javascript:alert(1))</a>'
    assert cells_of(markdown_table(["a"], [[code("a`b|c")]])) == ["<code>a'b|c</code>"]
    assert cells_of(markdown_table(["a", "b"], [[None, 1 / 3]])) == ["", "0.3333"]
