from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_pipeline.annotate.quality import (
    FAMILIES,
    RULES,
    SCHEMA,
    QualitySettings,
    failed_rules,
    flags,
    quality_rules,
    quality_values,
)
from curation_pipeline.annotate.quality import quality as module
from curation_pipeline.annotate.quality.tokens import encode, tokenise
from curation_pipeline.config import cache_folder
from curation_pipeline.errors import ConfigError
from tests.annotate.quality import plain_rules as reference

ROOT = Path(__file__).parents[3]


def frame(texts: list[str | None]) -> pl.DataFrame:
    return pl.DataFrame(
        {"doc_id": [str(i) for i in range(len(texts))], "text": texts}, schema={"doc_id": pl.Utf8, "text": pl.Utf8}
    )


def words_of(texts: list[str]) -> list[list[str]]:
    """Tokens as strings."""
    tokens = tokenise(*encode(texts))
    together = "".join(texts)
    strings = [together[s : s + n] for s, n in zip(tokens.starts.tolist(), tokens.lengths.tolist(), strict=True)]
    return [strings[a:b] for a, b in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)]


# Tokens as spaCy 3.8 (spacy.blank("en")) gives them.
SPLITS = {
    "Hello, world.": ["Hello", ",", "world", "."],
    "don't can't cannot they'd've": ["do", "n't", "ca", "n't", "can", "not", "they", "'d", "'ve"],
    "its It's it\u2019s whats id": ["its", "It", "'s", "it", "\u2019s", "what", "s", "i", "d"],
    "e.g. the U.S. and Dr. Who, a.m.": ["e.g.", "the", "U.S.", "and", "Dr.", "Who", ",", "a.m."],
    "5km 10am $3.50 20% x+1": ["5", "km", "10", "am", "$", "3.50", "20", "%", "x+1"],
    "a well-known re-do--no 1-2": ["a", "well", "-", "known", "re", "-", "do", "--", "no", "1", "-", "2"],
    "http://foo.com/x?y=1-2 me@site.org, foo.Bar": ["http://foo.com/x?y=1-2", "me@site.org", ",", "foo", ".", "Bar"],
    "Wait...what?! (yes:) :-) 8-D": ["Wait", "...", "what", "?", "!", "(", "yes", ":)", ":-)", "8-D"],
    "日本語、です。": ["日本語、です", "。"],
    "«Ok» ©2020 ]°C.#": ["«", "Ok", "»", "©", "2020", "]", "°", "C", ".", "#"],
}


@pytest.mark.parametrize("text", SPLITS)
def test_words_are_split_as_published_filters_split_them(text: str) -> None:
    assert words_of([text]) == [SPLITS[text]]


def test_golden_numbers() -> None:
    """Counted by hand."""
    text = "- The cat sat. The cat sat.\n- The cat sat. The cat sat.\n\nA #dog and the {fox}..."
    got = quality_rules(frame([text])).row(0, named=True)
    # Tokens: 9 a line in the first two (hyphen, 2 x (The cat sat .)), then A # dog and the { fox } ... = 9 more.
    expected = {
        "gopher_quality_words": 17,  # 6 + 6 + A dog and the fox
        "gopher_quality_mean_word_length": 3.0,  # 12 words of 3 letters, and 1 + 3 + 3 + 3 + 3 of 5
        "gopher_quality_hashes_per_word": 1 / 27,
        "gopher_quality_ellipses_per_word": 1 / 27,
        "gopher_quality_bullet_lines": 0.5,  # of four lines, one empty
        "gopher_quality_ellipsis_lines": 0.25,
        "gopher_quality_lettered_words": 17 / 27,
        "gopher_quality_stop_words": 2,  # and, the; The is another word
        "gopher_repetition_repeated_lines": 1 / 3,
        "gopher_repetition_repeated_paragraphs": 0.0,
        "gopher_repetition_repeated_line_chars": 27 / len(text),
        "gopher_repetition_top_2_gram": 4 * len("The cat") / len(text),
        "gopher_repetition_top_4_gram": 4 * len("The cat sat .") / len(text),
        "gopher_repetition_repeated_5_grams": (1 + 2 * 10 - 10) / len(text),  # "- The cat sat ." once: then too few
        "c4_sentences": 4,  # two in each of the first lines
        "c4_curly_bracket_lines": 0,  # its line has no end mark and went before
        "c4_unended_lines": 0.5,  # the empty line and the one with the ellipsis
        "fineweb_ended_lines": 1.0,
        "fineweb_short_lines": 1.0,
        "fineweb_repeated_line_chars": 27 / (len(text) - 3),
        "fineweb_line_feeds_per_word": 3 / 27,
    }
    mean = (12 * 3 + 1 + 3 * 4) / 17
    expected["gopher_quality_mean_word_length"] = mean
    assert {name: got[name] for name in expected} == pytest.approx(expected, abs=6e-5)
    assert not got["pass_gopher_quality_words"]
    assert got["pass_gopher_quality_bullet_lines"]
    assert not got["pass_gopher_quality"]


MARKS = ["#", "...", "…", "- ", "• ", "\n", "\n", "\n\n", " ", "  ", "\t", "\r\n", "\u2028", "\x0b", "\x85", "{", "é"]
NOTES = ["[1]", "[edit]", "[citation needed]", "lorem Ipsum", "JavaScript", "uses cookies", "Terms of Use", "x" * 1001]
PROSE = ["the", "cat", "sat on", "and that", "Dog.", "a b c", "Why?", '"Yes!"', "日本。", "don't", "re-do", "12", "3.5"]
PIECES = st.sampled_from([*MARKS, *NOTES, *PROSE, "This is it."])
TEXTS = st.lists(PIECES, max_size=60).flatmap(
    lambda parts: st.sampled_from(["", " "]).map(lambda glue: glue.join(parts))
)


@given(st.lists(TEXTS, min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_values_are_those_of_a_plain_reference(texts: list[str]) -> None:
    got = quality_rules(frame(list(texts)))
    for text, words, row in zip(texts, words_of(texts), got.iter_rows(named=True), strict=True):
        kept = [line.strip() for line in text.splitlines()]
        kept += [reference.re.sub(r"\[\d*\]|\[edit\]|\[citation needed\]", "", line) for line in kept]
        sections = {
            "gopher_quality": reference.gopher_quality(text, words),
            "gopher_repetition": reference.gopher_repetition(text, words),
            "c4": reference.c4(text),
            "fineweb": reference.fineweb(text, words),
        }
        for family, values in sections.items():
            for name, value in values.items():
                assert row[f"{family}_{name}"] == pytest.approx(value, abs=6e-5), (family, name, text)


@given(
    st.lists(st.sampled_from(["It rained. ", "Why? ", "He said no. ", '"Stop!" ', "Dr. Who (see p. 3). "]), max_size=9)
)
@settings(max_examples=50, deadline=None)
def test_sentences_of_clean_lines(parts: list[str]) -> None:
    line = "Well then " + "".join(parts) + "it ended."
    words = words_of([line])[0]
    expected = reference.sentences(words)
    text = f"{line}\n{line.replace('. ', '.[12] ')}\nno end mark"
    assert quality_rules(frame([text]))["c4_sentences"].to_list() == [2 * expected]


@given(st.lists(st.text(max_size=200), max_size=6))
@settings(max_examples=50, deadline=None)
def test_any_text_gives_finite_values_whatever_its_neighbours(texts: list[str]) -> None:
    got = quality_rules(frame(list(texts)))
    assert got.schema == pl.Schema(SCHEMA)
    assert got.height == len(texts)
    assert got.null_count().sum_horizontal().sum() == 0
    for rule in RULES:
        column = got[rule.column].cast(pl.Float64)
        assert column.is_finite().all()
        assert (column >= 0).all()
        if rule.unit.startswith("share") and "top" not in rule.name:
            assert (column <= 1).all(), rule.column
    alone = [quality_rules(frame([text])).drop("doc_id") for text in texts]
    if alone:
        assert got.drop("doc_id").equals(pl.concat(alone))


def test_odd_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = [
        "",
        None,
        " ",
        "\n",
        "\n\n\n",
        "a",
        ".",
        "#",
        "日",
        "\u00a0",
        "😀",
        "\U000e0100",
        "word " * 200_000,
        "x" * 1_000_000,
    ]
    odd += [
        "!" * 100_000,
        "." * 100_000,
        "ab-" * 30_000,
        "1km" * 30_000,
        "\n".join(["same"] * 50_000),
        "[" * 100_000,
        ":)" * 50_000,
    ]
    got = quality_rules(frame(odd))
    assert got.height == len(odd)
    assert got["gopher_quality_words"].to_list()[:2] == [0, 0]
    assert got["gopher_repetition_top_2_gram"][12] == pytest.approx(0.9 * 2 * 199_999 / 200_000, abs=1e-3)
    assert got["c4_long_word_lines"][13] == 1.0
    # The size of batches is no part of the result.
    monkeypatch.setattr(module, "BATCH_CHARS", 1000)
    assert quality_rules(frame(odd)).equals(got)


def test_an_empty_frame_has_the_schema() -> None:
    assert quality_rules(frame([])).schema == pl.Schema(SCHEMA)


def test_thresholds_change_without_the_text() -> None:
    documents = frame(["The cat sat on the mat with a hat. " * 3, "# # # the of", "{ and } the end is near."])
    values = quality_values(documents, QualitySettings())
    strict = QualitySettings.model_validate(
        {"gopher_quality": {"min_words": 0, "max_hashes_per_word": 1.0}, "c4": {"min_sentences": 1}}
    )
    assert flags(values, strict).select(list(SCHEMA)).equals(quality_rules(documents, strict))
    loose = flags(quality_rules(documents), strict)
    assert loose.select(list(SCHEMA)).equals(quality_rules(documents, strict))
    assert not quality_rules(documents)["pass_gopher_quality_hashes_per_word"][1]
    assert loose["pass_gopher_quality_hashes_per_word"][1]


def test_a_value_at_its_threshold_passes() -> None:
    """A third of the lines: 0.3 and 3 of 10 are the same number in the column's type."""
    text = "\n".join([f"Line {word} ends here" for word in "abcdefg"] + ["Line x goes..."] * 3)
    got = quality_rules(frame([text]))
    assert got["gopher_quality_ellipsis_lines"].to_list() == pytest.approx([0.3])
    assert got["pass_gopher_quality_ellipsis_lines"].to_list() == [True]


def test_failed_rules_are_named_in_order() -> None:
    got = quality_rules(frame(["a", "The cat sat with that dog to be of use."]))
    failed = failed_rules(got).to_list()
    names = [rule.column for rule in RULES]
    for row, names_failed in zip(got.iter_rows(named=True), failed, strict=True):
        assert names_failed == [name for name in names if not row[f"pass_{name}"]]
        for family in FAMILIES:
            assert row[f"pass_{family}"] == (not any(name.startswith(family) for name in names_failed))
    assert failed_rules(got.head(0)).to_list() == []


def test_families_alone_give_what_they_give_together() -> None:
    documents = frame(["The cat sat.\n- The cat sat [1].\n\nThe {dog} sat...", "x y z", ""])
    whole = quality_rules(documents)
    for family in FAMILIES:
        part = quality_values(documents, QualitySettings(), (family,))
        assert part.equals(whole.select(part.columns))


def test_every_rule_has_a_threshold_and_bounds_are_ordered() -> None:
    for rule in RULES:
        assert rule.bounds(QualitySettings()) != (None, None), rule.column
    with pytest.raises(ConfigError, match="min_words"):
        QualitySettings.model_validate({"gopher_quality": {"min_words": 10, "max_words": 5}})


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = loaded
    spec.loader.exec_module(loaded)
    return loaded


@pytest.mark.slow
@pytest.mark.network
def test_verdicts_agree_with_datatrove(tmp_path: Path) -> None:
    if not (ROOT / ".venv-peers/datatrove/bin/python").exists():
        pytest.skip("needs datatrove in .venv-peers/datatrove (benchmarks/peers-datatrove.txt)")
    benchmark = load(ROOT / "benchmarks/quality_rules.py")
    documents = load(ROOT / "benchmarks/peers/quality_documents.py").documents(cache_folder(), seed=11, share=0.08)
    source = tmp_path / "documents.jsonl"
    documents.write_ndjson(source)
    table = benchmark.agreement(benchmark.ours(source), benchmark.datatrove_verdicts(source)["verdicts"])
    assert {name: entry["agreement"] for name, entry in table.items() if entry["agreement"] < 0.995} == {}
