from __future__ import annotations

from itertools import combinations

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curation_pipeline.annotate.duplicates_settings import DuplicatesSettings
from curation_pipeline.annotate.figures import as_arrays, differ, figures
from curation_pipeline.annotate.minhash import minhash_signatures
from curation_pipeline.annotate.near_duplicates import duplicate_clusters

SHORT = "Farm to Market Road {} is located in Lamar County."
LONG = (
    "Farm to Market Road {} is located in Lamar County in the north of the state. It begins at a junction with the old "
    "highway near the town and runs to the east through farmland and woods, crosses the river over a narrow bridge, "
    "passes the school and the church, and ends at the county line. The road has two lanes for all of its length and "
    "carries few vehicles on an ordinary day, most of which belong to those who live next to it and to their visitors."
)


def kept(texts: list[str], settings: DuplicatesSettings | None = None) -> list[bool]:
    frame = pl.DataFrame({"doc_id": [f"{i:03d}" for i in range(len(texts))], "text": texts, "partition": "p"})
    frame = frame.with_columns(n_bytes=pl.col("text").str.len_bytes())
    found = minhash_signatures(frame, settings)
    signatures = found["signature"].to_numpy()
    return duplicate_clusters(frame, signatures, as_arrays(found["figures"]), settings)["kept"].to_list()


@pytest.mark.parametrize(
    "template", [SHORT, LONG, "{}", "{} + {} is a sum", "\u516c\u8def\u7b2c{}\u53f7\u4f4d\u4e8e\u8be5\u53bf"]
)
def test_texts_that_differ_in_a_number_alone_are_all_kept(template: str) -> None:
    texts = [template.format(n, n + 30) for n in (7, *range(1500, 1510))]
    assert all(kept(texts))
    assert kept(texts, DuplicatesSettings(fold_digits=True)).count(True) == 1


@pytest.mark.parametrize(
    "variants",
    [
        ["7 + 5", "7 - 5", "7 * 5", "7 / 5", "5 - 7", "7 = 5", "7 < 5", "7.5", "75"],
        [
            LONG.format(n)
            for n in ("35", "-35", "$35", "€35", "35%", "3.5", "3:5", "½", "Ⅷ", "三十五", "35-36", "36-35")
        ],
        [LONG.format(n) for n in ("١٥٠٦", "१५०७", "1508")],
        ["I love this film 😀", "I love this film 😡", "I love C++", "I love C"],
        [LONG.format("5") + f" I feel {mood} about it." for mood in "😀😡"],
        ["今天气温-5度而且有风有雪", "今天气温5度而且有风有雪"],
        ["ไม่", "ไม้", "ไม", "ใหม่", "ไหม", "की", "कि", "का", "かき", "かぎ", "がき"],
    ],
)
def test_what_tells_texts_apart_is_not_folded_away(variants: list[str]) -> None:
    assert all(kept(variants))


def test_copies_are_still_removed() -> None:
    text = LONG.format("1506 (FM 1506)")
    copies = [
        text[:-60], f"NEWS, 12 March 2020\n{text}", f"{text} Seen 123 times.", f"- {text}", text.upper(),
        text.replace("(FM 1506) ", ""), text.replace("narrow", "rather narrow"), text.replace("Road ", "Road \u2013 "),
    ]  # fmt: skip
    for copy in copies:
        assert kept([text, copy]).count(True) == 1, copy
    assert kept(["The war of 1914-1918 was long", "the war of 1914\u20131918 was long."]).count(True) == 1
    assert kept(["* first is this item\n* 5 apples\n", "- first is this item\n- 5 apples\n"]).count(True) == 1


def test_a_copy_of_one_of_many_variants_is_found() -> None:
    texts = [LONG.format(n) for n in range(3000)]
    assert kept([*texts, texts[2500].upper()]) == [*[True] * 3000, False]


@given(st.lists(st.text("ab 1\u4e8c2.-+*%\u20ac\U0001f600\u0e44\u0e48é ", max_size=40), min_size=2, max_size=6))
@example(["1 2 a b c d e", "2 a b c d e f"])
def test_figures_are_of_the_text_alone_and_the_kernel_compares_them_as_sets(texts: list[str]) -> None:
    found = figures(pl.Series(texts, dtype=pl.Utf8), 5)
    for text, own in zip(texts, found.to_list(), strict=True):
        assert own == sorted(set(own)) == figures(pl.Series([text]), 5)[0].to_list()
    # With a threshold of zero and bands of one minimum, what a signature shares with another joins them.
    settings = DuplicatesSettings(n_hashes=8, bands=8, rows=1, threshold=0.0)
    rows = minhash_signatures(pl.DataFrame({"doc_id": texts, "text": texts}), settings)
    for (one, a), (other, b) in combinations(zip(texts, rows.iter_rows(), strict=True), 2):
        if one != other and a[1] == b[1]:
            assert (kept([one, other], settings).count(True) == 2) == differ(a[2], b[2])


def test_a_long_line_of_signs_takes_linear_time() -> None:
    text = "one two three four five " + "=*" * 500_000
    assert figures(pl.Series([text]), 5).list.len().item() > 0
