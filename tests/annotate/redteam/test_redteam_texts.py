"""Disguises, swaps, paraphrases and neutral sentences: what they change, and what they leave."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.annotate.dialect import dialect
from curation_pipeline.annotate.identity import TERMS as CATEGORIES
from curation_pipeline.annotate.identity import identity_group
from curation_pipeline.annotate.redteam import variants
from curation_pipeline.annotate.redteam.framing import FRAMES, framed
from curation_pipeline.annotate.redteam.paraphrase import grammatical
from curation_pipeline.annotate.redteam.probe import influential, without_each
from curation_pipeline.annotate.redteam.sentences import SPOKEN, TEMPLATES, TERMS, identity_sentences
from curation_pipeline.annotate.redteam.swap import GROUPS, swap_identity
from curation_pipeline.annotate.redteam.variants import FAMILIES, content_words, disguise

WIKI = Path(__file__).resolve().parents[4] / "shared/data/corpus/wiki_toxicity_testsets/bias_madlibs_77k.csv"

words = st.text("abcdefghijklmnopqrstuvwxyz", min_size=3, max_size=12)
seeds = st.integers(0, 2**32)


@given(words, seeds)
def test_each_family_keeps_what_it_says(word: str, seed: int) -> None:
    made = {family: change(word, np.random.default_rng(seed)) for family, change in FAMILIES.items()}
    plain = str.maketrans("@431!0$5", "aaeiioss")
    assert made["leetspeak"].translate(plain) == word
    assert made["spacing"].replace(" ", "") == word
    assert made["case_flips"].lower() == word
    assert made["case_flips"] != word
    for mark in (*"\u200b\u200c\u200d\u2060\u00ad",):
        made["zero_width"] = made["zero_width"].replace(mark, "")
    assert made["zero_width"] == word
    assert "".join(c for c in made["punctuation"] if c.isalpha()) == word
    assert made["punctuation"] != word
    assert len(made["homoglyphs"]) == len(word)
    assert all(a == b or not b.isascii() for a, b in zip(word, made["homoglyphs"], strict=True))
    assert [c for i, c in enumerate(made["repetition"]) if i == 0 or c != made["repetition"][i - 1]] == [
        c for i, c in enumerate(word) if i == 0 or c != word[i - 1]
    ]
    assert len(made["repetition"]) in range(len(word) + 2, len(word) + 5)
    typo = made["misspelling"]
    assert typo[0] == word[0]
    assert sorted(typo) == sorted(word) or abs(len(typo) - len(word)) <= 1
    assert sum((np.array(list(typo)) != np.array(list(word))).tolist()) <= 2 if len(typo) == len(word) else True


@given(st.lists(st.text(max_size=60), max_size=4), st.sampled_from(sorted(FAMILIES)), seeds)
def test_a_disguise_depends_on_its_text_alone_and_spares_what_is_no_target(
    texts: list[str], family: str, seed: int
) -> None:
    together = disguise(texts, family, seed)
    assert together == [disguise([text], family, seed)[0] for text in texts]
    assert disguise(texts, family, seed, [[] for _ in texts]) == texts
    for text, new in zip(texts, together, strict=True):
        spans = content_words(text)
        first, last = (spans[0][0], len(text) - spans[-1][1]) if spans else (len(text), 0)
        assert new[:first] == text[:first]
        assert new[len(new) - last :] == text[len(text) - last :]


def test_known_variants() -> None:
    text = "You are such an idiot, and you know it's true!"
    assert [text[a:b] for a, b in content_words(text)] == ["idiot", "know", "true"]
    assert disguise([text], "spacing", 1) == ["You are such an i d i o t, and you k n o w it's t r u e!"]
    assert disguise([text], "homoglyphs", 1)[0].encode("ascii", "ignore").decode().startswith("You are such an dt,")
    assert set(variants.KEYBOARD["s"]) == set("adwezx")


def test_probing_finds_the_word_that_matters() -> None:
    texts = ["What a stupid movie about boats", "Fools and idiots everywhere"]
    harm = {"stupid": 0.6, "idiots": 0.5, "fools": 0.3}

    def score(text: str) -> float:
        return sum(value for word, value in harm.items() if word in text.lower())

    shortened, spans = without_each(texts, most=10)
    found = influential(
        np.array([score(text) for text in texts]), np.array([score(text) for text in shortened]), spans, k=2
    )
    chosen = [[text[a:b] for a, b in words] for text, words in zip(texts, found, strict=True)]
    assert chosen[0][0] == "stupid"
    assert chosen[1] == ["idiots", "Fools"]


def test_frames_quote_the_text() -> None:
    for family, frames in FRAMES.items():
        made = framed(["you are an idiot."] * 3 + [f"number {i} {{x}}" for i in range(200)], family, 3)
        assert made[0] == made[2]
        assert '"you are an idiot"' in made[0]
        assert '"number 7 {x}"' in made[10]
        assert len({text.replace(f"number {i} {{x}}", "") for i, text in enumerate(made[3:])}) == len(frames)


def test_identity_sentences_are_many_neutral_and_about_their_category() -> None:
    assert len(set(TEMPLATES)) == len(TEMPLATES) >= 40
    assert len({term.one for term in TERMS}) == len(TERMS) >= 40
    assert {term.category for term in TERMS} == set(CATEGORIES)
    made = identity_sentences().with_columns(identity_group("text"))
    assert made.height == len(TERMS) * len(TEMPLATES)
    assert made.filter(pl.col("category") != pl.col("identity_group")).is_empty()
    assert made["text"].is_unique().all()
    assert not made["text"].str.contains(r"\b[Aa] [AEIOUaeiou]|\b[Aa]n [^AEIOUaeiouL]|\{").any()


@pytest.mark.skipif(not WIKI.exists(), reason="the Wikipedia templates are not beside the project")
def test_no_identity_sentence_is_one_of_the_wikipedia_templates() -> None:
    own = identity_sentences()["text"].str.to_lowercase().str.strip_chars(" .")
    theirs = pl.read_csv(WIKI)["Text"].str.to_lowercase().str.strip_chars(" .")
    assert not own.is_in(theirs.implode()).any()


@pytest.mark.parametrize(
    ("source", "pattern"),
    [
        ("jewish", "A {adjective} man met a {one} and two {many}."),
        ("muslim", "{many} and {creed}, by a {adjective} writer"),
        ("black", "Black coffee for a {adjective} man and black-owned shops"),
        ("african american", "{adjective} voters and an {one}"),
        ("autistic", "An {adjective} pupil"),
        ("woman", "the {many}'s team and one {one}"),
    ],
)
def test_every_name_of_the_group_is_swapped_and_its_number_kept(source: str, pattern: str) -> None:
    def without_articles(text: str) -> str:
        return re.sub(r"\ban? ", "", text.lower())

    group = next(group for group in GROUPS if source in (group.one, group.adjective))
    text = pattern.format(**asdict(group))
    targets = set()
    for seed in range(30):
        row = swap_identity([text], seed).row(0, named=True)
        other = next(other for other in GROUPS if row["target"] in (other.adjective, other.one))
        assert (row["category"], row["source"], other.category) == (group.category, source, group.category)
        assert other is not group
        assert without_articles(row["text"]) == without_articles(pattern.format(**asdict(other)))
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", row["text"].lower())
        targets.add(row["target"])
    assert len(targets) > 2


def test_capitals_follow_the_text() -> None:
    def swapped(text: str, target: str) -> str:
        rows = (swap_identity([text], seed).row(0, named=True) for seed in range(99))
        return str(next(row["text"] for row in rows if row["target"] == target))

    assert swapped("MUSLIM women", "hindu") == "HINDU women"
    assert swapped("We met an Atheist.", "sikh") == "We met a Sikh."
    assert swapped("We met a Sikh.", "atheist") == "We met an atheist."
    assert swapped("a black guy", "arab") == "an arab guy"
    assert swapped("Gay people vote.", "queer") == "Queer people vote."


def test_swaps_leave_texts_about_no_one() -> None:
    texts = ["Black coffee, white walls and a blind alley.", "A human manager.", "Many mandarins.", ""]
    assert swap_identity(texts, 1).is_empty()
    both = swap_identity(["Christians met Muslims."], 1)
    assert "Muslims" in both["text"][0]
    assert both["target"][0] not in ("muslim", "christian")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("They are going to be late.", "They gon' be late."),
        ("He is always talking about it.", "He always be talkin' about it."),
        ("She isn't working and doesn't know anything.", "She ain't workin' and don't know nothin'."),
        ("We have already told them.", "We done told them."),
        ("It is the king's ring.", "It is the king's ring."),
        ("My sister\u2019s here.", "My sister\u2019s here."),
    ],
)
def test_known_paraphrases(text: str, wanted: str) -> None:
    assert grammatical([text]).get(text, text) == wanted


def test_a_change_of_spelling_is_no_change_of_grammar() -> None:
    assert grammatical(["I like walking.", "They are walking.", "Nothing here."]) == {
        "They are walking.": "They walkin'."
    }


def test_paraphrases_raise_the_proxy_of_dialect() -> None:
    changed = grammatical(SPOKEN)
    before, after = (dialect(pl.Series(list(texts)))["aae_score"] for texts in (changed, changed.values()))
    assert float(before.sum()) == 0.0
    assert int((after > 0).sum()) > 0.75 * len(changed)
