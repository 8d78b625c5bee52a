"""Thresholds of the quality rules; the defaults are those of the papers."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from curation_pipeline.annotate.quality.filters import FilterRule
from curation_pipeline.errors import ConfigError
from curation_pipeline.settings import Settings

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")


class GopherQualitySettings(Settings):
    """Rules of document quality of Gopher (Rae et al., arXiv:2112.11446, A.1.1)."""

    min_words: int = Field(default=50, ge=0, description="words that are not marks only, at least")
    max_words: int = Field(default=100_000, ge=1, description="words that are not marks only, at most")
    min_mean_word_length: float = Field(default=3.0, ge=0.0, description="mean characters a word, at least")
    max_mean_word_length: float = Field(default=10.0, ge=0.0, description="mean characters a word, at most")
    max_hashes_per_word: float = Field(default=0.1, ge=0.0, description="hash signs per word, at most")
    max_ellipses_per_word: float = Field(default=0.1, ge=0.0, description="ellipses per word, at most")
    max_bullet_lines: float = Field(default=0.9, ge=0.0, le=1.0, description="share of lines that begin with a bullet")
    max_ellipsis_lines: float = Field(default=0.3, ge=0.0, le=1.0, description="share of lines that end in an ellipsis")
    min_lettered_words: float = Field(default=0.8, ge=0.0, le=1.0, description="share of words with a letter, at least")
    min_stop_words: int = Field(default=2, ge=0, le=64, description="distinct stop words, at least")
    stop_words: tuple[str, ...] = Field(
        default=STOP_WORDS, max_length=64, description="stop words, as written; a change needs the texts again"
    )


class GopherRepetitionSettings(Settings):
    """Rules against repetition of Gopher (arXiv:2112.11446, table A1): shares, at most."""

    max_repeated_lines: float = Field(default=0.30, ge=0.0, le=1.0, description="share of lines seen before")
    max_repeated_paragraphs: float = Field(default=0.30, ge=0.0, le=1.0, description="share of paragraphs seen before")
    max_repeated_line_chars: float = Field(
        default=0.20, ge=0.0, le=1.0, description="share of characters in lines seen before"
    )
    max_repeated_paragraph_chars: float = Field(
        default=0.20, ge=0.0, le=1.0, description="share of characters in paragraphs seen before"
    )
    max_top_2_gram: float = Field(default=0.20, ge=0.0, description="share of characters in the commonest 2-gram")
    max_top_3_gram: float = Field(default=0.18, ge=0.0, description="share of characters in the commonest 3-gram")
    max_top_4_gram: float = Field(default=0.16, ge=0.0, description="share of characters in the commonest 4-gram")
    max_repeated_5_grams: float = Field(default=0.15, ge=0.0, le=1.0, description="characters in 5-grams seen before")
    max_repeated_6_grams: float = Field(default=0.14, ge=0.0, le=1.0, description="characters in 6-grams seen before")
    max_repeated_7_grams: float = Field(default=0.13, ge=0.0, le=1.0, description="characters in 7-grams seen before")
    max_repeated_8_grams: float = Field(default=0.12, ge=0.0, le=1.0, description="characters in 8-grams seen before")
    max_repeated_9_grams: float = Field(default=0.11, ge=0.0, le=1.0, description="characters in 9-grams seen before")
    max_repeated_10_grams: float = Field(default=0.10, ge=0.0, le=1.0, description="characters in 10-grams seen before")


class C4Settings(Settings):
    """Rules of C4 (Raffel et al., arXiv:1910.10683, section 2.2).

    Its line rules remove lines, not documents, so that the share of lines they remove is unlimited by default. Their
    own thresholds (the last three) need the texts again when they change.
    """

    min_sentences: int = Field(default=5, ge=0, description="sentences in the lines that are left, at least")
    max_lorem_ipsum_lines: int = Field(default=0, ge=0, description="lines with the words lorem ipsum, at most")
    max_curly_bracket_lines: int = Field(default=0, ge=0, description="lines with a curly bracket, at most")
    max_long_word_lines: float = Field(default=1.0, ge=0.0, le=1.0, description="share of lines with an endless word")
    max_unended_lines: float = Field(default=1.0, ge=0.0, le=1.0, description="share of lines without an end mark")
    max_few_word_lines: float = Field(default=1.0, ge=0.0, le=1.0, description="share of lines with too few words")
    max_javascript_lines: float = Field(default=1.0, ge=0.0, le=1.0, description="share of lines about JavaScript")
    max_policy_lines: float = Field(default=1.0, ge=0.0, le=1.0, description="share of lines about cookies and terms")
    max_word_length: int = Field(default=1000, ge=1, description="characters of a word in a line, at most")
    min_words_per_line: int = Field(default=3, ge=0, description="words of a line, at least")
    terminal_marks: str = Field(
        default=".?!\"'", max_length=64, description="characters one of which must end a line; empty: none need to"
    )


class FineWebSettings(Settings):
    """Rules of FineWeb (Penedo et al., arXiv:2406.17557, section 3.6) as its published filter has them."""

    min_ended_lines: float = Field(default=0.12, ge=0.0, le=1.0, description="share of lines that end a sentence")
    max_short_lines: float = Field(default=0.67, ge=0.0, le=1.0, description="share of lines that are short")
    max_repeated_line_chars: float = Field(
        default=0.01, ge=0.0, le=1.0, description="share of characters in lines seen before"
    )
    max_line_feeds_per_word: float = Field(default=0.3, ge=0.0, description="line feeds per word")
    short_line: int = Field(
        default=30, ge=0, description="characters of a short line, at most; a change needs the texts again"
    )


class QualitySettings(Settings):
    """Thresholds of all quality rules."""

    gopher_quality: GopherQualitySettings = Field(
        default=GopherQualitySettings(), description="quality rules of Gopher"
    )
    gopher_repetition: GopherRepetitionSettings = Field(
        default=GopherRepetitionSettings(), description="repetition rules of Gopher"
    )
    c4: C4Settings = Field(default=C4Settings(), description="rules of C4")
    fineweb: FineWebSettings = Field(default=FineWebSettings(), description="rules of FineWeb")
    filters: tuple[FilterRule, ...] = Field(
        default=(),
        # An empty list adds nothing to recipes.
        exclude_if=lambda filters: not filters,
        description="filters of datatrove as further rules: import paths, or tables with filter, name and options",
    )

    @field_validator("filters", mode="before")
    @classmethod
    def _paths(cls, given: Any) -> Any:
        if not isinstance(given, list | tuple):
            return given
        return tuple({"filter": item} if isinstance(item, str) else item for item in given)

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> Self:
        """A lower bound above the upper one would fail every document.

        Raises:
            ConfigError: a lower bound is above its upper one.
        """
        for name in ("words", "mean_word_length"):
            low, high = getattr(self.gopher_quality, f"min_{name}"), getattr(self.gopher_quality, f"max_{name}")
            if low > high:
                raise ConfigError(f"gopher_quality.min_{name} ({low}) is above gopher_quality.max_{name} ({high})")
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        """Every rule has a column of its own.

        Raises:
            ConfigError: two rules have one name.
        """
        from curation_pipeline.annotate.quality.rules import rule_names

        names = rule_names(self)
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"quality.filters: several rules are called {', '.join(repeated)}; set `name`")
        return self
