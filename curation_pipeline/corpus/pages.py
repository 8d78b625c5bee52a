"""Web pages into their main text."""

from __future__ import annotations

import re
from typing import Literal

from curation_pipeline.errors import ConfigError

MAX_DEPTH = 2_000
"""Block elements inside one another. Browsers stop at 512; extraction takes time quadratic in the depth."""

SMALL_PAGE_TAGS = 4_000
"""A page with fewer tags cannot nest them deep enough to matter."""

_BLOCK = re.compile(
    r"<(/?)(?:div|section|article|main|aside|header|footer|nav|ul|ol|dl|blockquote|form|fieldset|center|figure|details|"
    r"address|pre|h[1-6])\b",
    re.IGNORECASE,
)


def nesting(html: str) -> int:
    """How deep the block elements of a page stand inside one another, at most; 0 for a page of few tags."""
    if html.count("<") < SMALL_PAGE_TAGS:
        return 0
    depth = deepest = 0
    for tag in _BLOCK.finditer(html):
        depth = max(0, depth - 1) if tag[1] else depth + 1
        deepest = max(deepest, depth)
    return deepest


def main_text(html: str, extractor: Literal["resiliparse", "trafilatura"]) -> str:
    """The main text of a page without navigation, headers and footers.

    Args:
        html: the page.
        extractor: ``resiliparse`` (Bevendorff et al., 2018) is fast and keeps more; ``trafilatura`` (Barbaresi, 2021)
            is slower and stricter.

    Raises:
        ConfigError: trafilatura is not installed.
    """
    if extractor == "trafilatura":
        try:
            import trafilatura
        except ImportError as error:
            raise ConfigError("extractor = 'trafilatura' needs that package: pip install trafilatura") from error
        return (trafilatura.extract(html, include_comments=False) or "").strip()
    from resiliparse.extract.html2text import extract_plain_text

    return str(extract_plain_text(html, main_content=True, alt_texts=False)).strip()
