"""The main text of a page, by either extractor."""

from __future__ import annotations

from typing import Literal

import pytest

from curation_pipeline.corpus.payload import main_text

SENTENCE = "The harbour was built in 1821 and rebuilt after the flood, as the archive of the town records in detail. "
PAGE = f"""<html><head><title>Harbour</title><script>track()</script></head><body>
<nav><ul><li><a href="/">Home</a></li><li><a href="/shop">Shop</a></li></ul></nav>
<main><article><h1>Harbour</h1><p>{SENTENCE * 3}</p><p>{SENTENCE * 2}</p></article></main>
<footer>Cookie settings</footer></body></html>"""


@pytest.mark.parametrize("extractor", ["resiliparse", "trafilatura"])
def test_main_text_leaves_navigation_out(extractor: Literal["resiliparse", "trafilatura"]) -> None:
    text = main_text(PAGE, extractor)
    assert text.count("rebuilt after the flood") == 5
    for noise in ("Shop", "Cookie", "track", "<p>"):
        assert noise not in text
    assert main_text("", extractor) == ""


@pytest.mark.parametrize("extractor", ["resiliparse", "trafilatura"])
def test_numeric_references_mean_what_browsers_mean(extractor: Literal["resiliparse", "trafilatura"]) -> None:
    page = PAGE.replace("as the archive", "it&#146;s &#150; &#x80;5 &#8217; as the archive")
    xml = f"<?xml version='1.0' encoding='koi8-r'?>{page}"  # text, whatever the declaration says
    for html in (page, xml):
        assert "it’s – €5 ’ as" in main_text(html, extractor)  # noqa: RUF001
