"""Text of the data on its way to a person: one function for each surface that would take parts of it for commands.

Names, addresses, keys and texts of a corpus are other people's: they may hold terminal sequences, Markdown, markup, or
characters that turn the direction of writing. HTML pages escape markup by themselves (Jinja); :func:`one_line` takes
out what HTML lets through.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# Control characters, line and paragraph separators, lone surrogates, and what reorders or hides the text around it.
_HOSTILE = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f"
)
_UNSAFE = re.compile(f"[{_HOSTILE}]")
_BREAKS = re.compile(r"[\t\n]")
_MARKDOWN = re.compile(r"[\\`*\[\]<>|#~$&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def visible(text: str, lines: bool = False) -> str:
    """Text for a terminal: what would move the cursor, change the screen or turn the text is shown as its code.

    Args:
        text: any text.
        lines: leave line feeds and tabs as they are.
    """
    shown = _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return shown if lines else _BREAKS.sub(lambda found: found[0].encode("unicode_escape").decode(), shown)


def one_line(text: str, limit: int = 0) -> str:
    """One line of text without control and direction characters, of at most ``limit`` characters (0: any).

    For HTML pages, whose templates escape markup, and for plots.
    """
    kept = _UNSAFE.sub("", re.sub(r"\s", " ", text))
    return kept[: limit - 1] + "…" if limit and len(kept) > limit else kept


class SafeMarkdown(str):
    """A piece of Markdown that this project wrote; what it holds of the data is escaped already."""

    __slots__ = ()


def markdown(text: object) -> SafeMarkdown:
    """Text as one line of Markdown that shows it as it is: no link, image, tag, emphasis or table cell begins in it."""
    if isinstance(text, SafeMarkdown):
        return text
    return SafeMarkdown(_MARKDOWN.sub(lambda found: f"\\{found[0]}", one_line(str(text))))


def code(text: str) -> SafeMarkdown:
    """Text as code in Markdown; grave accents in it become apostrophes."""
    return SafeMarkdown(f"`{one_line(text).replace('`', chr(39)).replace('|', chr(92) + '|')}`")


def link(text: str, address: str) -> SafeMarkdown:
    """A link in Markdown; the address must be quoted already, as :func:`urllib.parse.quote` does."""
    return SafeMarkdown(f"[{markdown(text)}]({address})")


def markdown_table(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> SafeMarkdown:
    """A table in Markdown. Numbers with a point get four digits, None is empty, other cells are shown as they are."""
    lines: list[list[str]] = [[markdown(column) for column in columns], ["---"] * len(columns)]
    lines += ([markdown(cell if isinstance(cell, SafeMarkdown) else shown(cell)) for cell in row] for row in rows)
    return SafeMarkdown("\n".join(f"| {' | '.join(line)} |" for line in lines))


def shown(cell: object) -> str:
    """A table's cell as text: four digits of a number with a point, nothing for None, other things as they are."""
    if cell is None:
        return ""
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
