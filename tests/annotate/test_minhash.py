from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from curation_pipeline.annotate.duplicates_settings import DuplicatesSettings
from curation_pipeline.annotate.minhash import SCHEMA, minhash_signatures
from curation_pipeline.annotate.wordhash import hash_words, mix, words
from curation_pipeline.errors import ConfigError

VOCABULARY = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdfgklmnprst"]


def signatures(*texts: str | None, **chosen: Any) -> np.ndarray:
    frame = pl.DataFrame({"doc_id": [f"{i}" for i in range(len(texts))], "text": pl.Series(texts, dtype=pl.Utf8)})
    return minhash_signatures(frame, DuplicatesSettings(**chosen))["signature"].to_numpy()


def sentence(n: int, seed: int) -> list[str]:
    return [str(word) for word in np.random.default_rng(seed).choice(VOCABULARY, n)]


def test_the_table_has_the_declared_columns_and_rows_stand_alone() -> None:
    frame = pl.DataFrame({"doc_id": ["a", "b", "c"], "text": [" ".join(sentence(30, i)) for i in range(3)]})
    table = minhash_signatures(frame)
    assert dict(table.schema) == SCHEMA
    assert table["doc_id"].to_list() == ["a", "b", "c"]
    alone = pl.concat([minhash_signatures(frame[i : i + 1]) for i in range(3)])
    assert alone.equals(table)
    assert dict(minhash_signatures(frame[:0]).schema) == SCHEMA


@pytest.mark.parametrize("fold", [False, True])
def test_minima_by_an_independent_route(fold: bool) -> None:
    """Shingles hashed and permuted one at a time with Python's integers."""
    text = "One two THREE, four five six seven eight 1999"
    chosen = DuplicatesSettings(n_hashes=8, bands=1, rows=1, shingle_words=3, fold_digits=fold)
    from curation_pipeline.annotate.minhash import _permutations

    factors, terms = _permutations(chosen)
    hashes = [int(value) for value in hash_words(words(text, fold))]
    base, modulus = 0x9E3779B97F4A7C15, 1 << 64
    values = [
        sum(h * pow(base, 2 - k, modulus) for k, h in enumerate(hashes[i : i + 3])) % modulus
        for i in range(len(hashes) - 2)
    ]
    mixed = [int(v) % 2**32 for v in mix(np.array(values, dtype=np.uint64))]
    expected = [min((m * int(a) + int(c)) % 2**32 for m in mixed) for a, c in zip(factors, terms, strict=True)]
    frame = pl.DataFrame({"doc_id": ["x"], "text": [text]})
    assert minhash_signatures(frame, chosen)["signature"][0].to_list() == expected


@pytest.mark.parametrize("changed", [20, 60, 200])
def test_the_estimate_is_unbiased_with_binomial_error(changed: int) -> None:
    """Pairs that share all but a tail: the mean is the true similarity and the spread sqrt(s(1-s)/n)."""
    n, pairs = 400, 150
    kept = n - changed
    shared, all_of_them = kept - 4, 2 * (n - 4) - (kept - 4)
    truth = shared / all_of_them
    one = [" ".join(sentence(n, seed)) for seed in range(pairs)]
    other = [" ".join(sentence(n, seed)[:kept] + sentence(changed, 10_000 + seed)) for seed in range(pairs)]
    rows = signatures(*one, *other)
    estimate = (rows[:pairs] == rows[pairs:]).mean(1)
    error = np.sqrt(truth * (1 - truth) / 112)
    assert abs(estimate.mean() - truth) < 4 * error / np.sqrt(pairs)
    assert 0.75 < estimate.std() / error < 1.25


def test_form_does_not_count_and_numbers_do_unless_they_are_folded() -> None:
    texts = (
        "The quick brown fox jumps over 12 dogs.",
        "the QUICK brown fox\njumps over {} dogs",
        "“The quick brown fox” jumps, over {} dogs!",
    )
    rows = signatures(*(text.format(12) for text in texts))
    assert (rows == rows[0]).all()
    rows = signatures(texts[0], texts[1].format(345), texts[2].format(6))
    assert (rows[1:] != rows[0]).any(1).all()
    rows = signatures(texts[0], texts[1].format(345), texts[2].format(6), fold_digits=True)
    assert (rows == rows[0]).all()


def test_texts_shorter_than_a_shingle_are_one_shingle() -> None:
    rows = signatures(
        "Thanks a lot!", "thanks, a lot", "thanks a bunch", "a lot thanks", "", None, "?!", "!?", "\U0001f600"
    )
    assert (rows[0] == rows[1]).all()
    assert (rows[4] == rows[5]).all()
    for i, j in [(0, 2), (0, 3), (0, 4), (4, 6), (6, 7), (6, 8)]:
        assert (rows[i] == rows[j]).mean() < 0.1


def test_any_text_has_a_signature() -> None:
    rows = signatures("x", "word " * 250_000, "\x00\uffff\U0010ffff", "字" * 1000)
    assert rows.shape == (4, 112)
    assert (rows < 2**32 - 1).all()


def test_another_seed_gives_other_hashes() -> None:
    text = " ".join(sentence(50, 0))
    assert (signatures(text) == signatures(text, seed=2)).mean() < 0.1


def test_bands_that_do_not_fit_are_named() -> None:
    with pytest.raises(ConfigError, match="20 x 8 = 160"):
        DuplicatesSettings(bands=20, rows=8)
