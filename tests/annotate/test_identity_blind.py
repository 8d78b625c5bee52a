"""A detector that cannot see groups, and the profile's way of opening it."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.annotate.detectors.identity_blind import IdentityBlindDetector
from curation_pipeline.annotate.detectors.protocol import score_frame
from curation_pipeline.annotate.identity import identity_group, whole_words
from curation_pipeline.annotate.identity_terms import _PLURAL_WORDS, _SINGULAR_WORDS, without_groups
from curation_pipeline.progress import Progress
from tests.annotate.hostile import made_of


class Lexical:
    """Flags what it has learned to dislike, a group among it."""

    name, version, heads = "lexical", "1", ("lexical",)

    def score(self, texts: Sequence[str], progress: Progress | None = None) -> pl.DataFrame:
        words = [set(text.lower().split()) for text in texts]
        scores = [0.9 if "idiot" in each else 0.8 if "muslim" in each else 0.1 for each in words]
        return score_frame(pl.Series(scores, dtype=pl.Float64).to_numpy()[:, None], self.heads)


GROUPS = ("Muslim", "gay", "African-American", "Mexican", "Jewish", "blind", "old")
FRAMES = ("my {} neighbour is kind", "the {} man is an idiot", "I met a {} woman", "{} people vote")


@given(frame=st.sampled_from(FRAMES), group=st.sampled_from(GROUPS), other=st.sampled_from(GROUPS))
def test_the_group_that_is_named_changes_no_score(frame: str, group: str, other: str) -> None:
    detector = IdentityBlindDetector(Lexical())
    scores = detector.score([frame.format(group), frame.format(other)])["lexical"]
    assert scores[0] == scores[1]


def test_names_end_at_letters_of_other_scripts_and_at_one_another() -> None:
    texts = ["他是gay人", "나는muslim입니다", "gay gay, Asian African-American women men", "émané Frenchmen", "muslimé"]
    seen = without_groups(pl.Series("text", texts)).to_list()
    assert seen == ["他是person人", "나는person입니다", "person person, person person people people", *texts[3:]]
    groups = pl.DataFrame({"text": texts}).select(identity_group("text"))["identity_group"].to_list()
    assert groups == ["orientation", "religion", "orientation", "none", "none"]


def test_what_is_said_of_a_group_stays_visible() -> None:
    seen = IdentityBlindDetector(Lexical()).score(["my muslim friend", "an idiot said so"])["lexical"].to_list()
    assert [round(value, 1) for value in seen] == [0.1, 0.9]
    assert Lexical().score(["my muslim friend"])["lexical"][0] > 0.5


def test_plurals_become_people_and_other_words_stay() -> None:
    texts = pl.Series(["Asian Americans and gays met a transgender poet", "the manager of Germany's womanly arts"])
    assert without_groups(texts).to_list() == [
        "people and people met a person poet",
        "the manager of Germany's womanly arts",
    ]


def _by_patterns(text: str) -> str:
    """`without_groups` by regular expressions: pairs of words before single ones, plurals before singulars."""
    texts = pl.Series([text])
    for pairs in (True, False):
        for words, name in ((_PLURAL_WORDS, "people"), (_SINGULAR_WORDS, "person")):
            chosen = [word.replace("-", "[- ]") for word in words.split("|") if ("-" in word) is pairs]
            for _ in range(2):  # the space between two names belongs to the first match
                texts = texts.str.replace_all(whole_words("|".join(chosen)), f"${{1}}{name}${{2}}")
    return str(texts[0])


@given(st.lists(made_of(["gay", "african", "americans", "non-binary", "muslims", "sikh", "old"]), max_size=4))
def test_groups_are_replaced_as_patterns_would(texts: list[str]) -> None:
    assert without_groups(pl.Series(texts, dtype=pl.Utf8)).to_list() == list(map(_by_patterns, texts))
