"""The quality rules as a table, and what follows from their values: flags and the names of failed rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import polars as pl

from curation_pipeline.annotate.quality.settings import QualitySettings

Family = Literal["gopher_quality", "gopher_repetition", "c4", "fineweb"]
FAMILIES: tuple[Family, ...] = get_args(Family)

GOPHER = "Rae et al. 2021, arXiv:2112.11446, appendix A.1.1"
GOPHER_TABLE = "Rae et al. 2021, arXiv:2112.11446, table A1"
C4 = "Raffel et al. 2020, arXiv:1910.10683, section 2.2"
C4_CODE = "published code of C4 (tensorflow_datasets, c4_utils)"
FINEWEB = "Penedo et al. 2024, arXiv:2406.17557, section 3.6"
FINEWEB_CODE = "published filter of FineWeb (datatrove)"


@dataclass(frozen=True, slots=True)
class QualityRule:
    """A value of a document that must not be below ``min_<name>`` or above ``max_<name>`` of its family.

    Attributes:
        family: whose rule it is; also the section of the settings.
        name: of the rule within its family.
        measures: what the value is.
        unit: of the value.
        source: where the rule is defined.
    """

    family: Family
    name: str
    measures: str
    unit: str
    source: str

    @property
    def column(self) -> str:
        """Column of the value."""
        return f"{self.family}_{self.name}"

    @property
    def flag(self) -> str:
        """Column that says whether a document passes."""
        return f"pass_{self.family}_{self.name}"

    @property
    def dtype(self) -> pl.DataType:
        """Type of the value: counts are whole."""
        return pl.Int32() if self.unit in ("words", "distinct words", "sentences", "lines") else pl.Float32()

    def bounds(self, settings: QualitySettings) -> tuple[float | None, float | None]:
        """The least and the greatest value that pass; None where that side is open."""
        section = getattr(settings, self.family)
        return getattr(section, f"min_{self.name}", None), getattr(section, f"max_{self.name}", None)


_LINES, _CHARS = "share of lines", "share of characters"

RULES: tuple[QualityRule, ...] = (
    QualityRule("gopher_quality", "words", "words that are not marks only", "words", GOPHER),
    QualityRule("gopher_quality", "mean_word_length", "mean length of these words", "characters", GOPHER),
    QualityRule("gopher_quality", "hashes_per_word", "hash signs", "per word", GOPHER),
    QualityRule(
        "gopher_quality", "ellipses_per_word", "ellipses (three full stops or the character)", "per word", GOPHER
    ),
    QualityRule("gopher_quality", "bullet_lines", "lines that begin with a bullet (• or -)", _LINES, GOPHER),
    QualityRule("gopher_quality", "ellipsis_lines", "lines that end in an ellipsis", _LINES, GOPHER),
    QualityRule("gopher_quality", "lettered_words", "words with at least one letter", "share of words", GOPHER),
    QualityRule("gopher_quality", "stop_words", "different stop words", "distinct words", GOPHER),
    QualityRule("gopher_repetition", "repeated_lines", "lines seen before in the document", _LINES, GOPHER_TABLE),
    QualityRule(
        "gopher_repetition", "repeated_paragraphs", "paragraphs seen before", "share of paragraphs", GOPHER_TABLE
    ),
    QualityRule("gopher_repetition", "repeated_line_chars", "characters in lines seen before", _CHARS, GOPHER_TABLE),
    QualityRule(
        "gopher_repetition", "repeated_paragraph_chars", "characters in paragraphs seen before", _CHARS, GOPHER_TABLE
    ),
    *(
        QualityRule("gopher_repetition", f"top_{n}_gram", f"characters in the commonest {n}-gram", _CHARS, GOPHER_TABLE)
        for n in (2, 3, 4)
    ),
    *(
        QualityRule(
            "gopher_repetition", f"repeated_{n}_grams", f"characters in {n}-grams seen before", _CHARS, GOPHER_TABLE
        )
        for n in (5, 6, 7, 8, 9, 10)
    ),
    QualityRule("c4", "sentences", "sentences in the lines that the line rules leave", "sentences", C4),
    QualityRule("c4", "lorem_ipsum_lines", "lines with the words lorem ipsum", "lines", C4),
    QualityRule("c4", "curly_bracket_lines", "lines with a curly bracket", "lines", C4),
    QualityRule("c4", "long_word_lines", "lines removed for an endless word", _LINES, C4_CODE),
    QualityRule("c4", "unended_lines", "lines removed because no end mark ends them", _LINES, C4),
    QualityRule("c4", "few_word_lines", "lines removed for too few words", _LINES, C4),
    QualityRule("c4", "javascript_lines", "lines removed because they name JavaScript", _LINES, C4),
    QualityRule("c4", "policy_lines", "lines removed because they speak of cookies or terms of use", _LINES, C4),
    QualityRule("fineweb", "ended_lines", "lines that end a sentence", _LINES, FINEWEB),
    QualityRule("fineweb", "short_lines", "lines of 30 characters or fewer", _LINES, FINEWEB),
    QualityRule("fineweb", "repeated_line_chars", "characters in lines seen before", _CHARS, FINEWEB),
    QualityRule("fineweb", "line_feeds_per_word", "line feeds", "per word", FINEWEB_CODE),
)
"""All rules. A share of nothing (no word, no line) is 0."""


def rule_names(settings: QualitySettings) -> list[str]:
    """What ``removal.rules`` can name: families, rules, and the filters that the settings add."""
    return [*FAMILIES, *(rule.column for rule in RULES), *(chosen.rule for chosen in settings.filters)]


def value_schema(families: tuple[Family, ...] = FAMILIES) -> dict[str, pl.DataType]:
    """Value columns of some families, in the order of ``RULES``."""
    return {rule.column: rule.dtype for rule in RULES if rule.family in families}


SCHEMA: dict[str, pl.DataType] = {
    "doc_id": pl.Utf8(),
    **value_schema(),
    **{rule.flag: pl.Boolean() for rule in RULES},
    **{f"pass_{family}": pl.Boolean() for family in FAMILIES},
}


def flags(values: pl.DataFrame, settings: QualitySettings) -> pl.DataFrame:
    """Add to values what passes: a flag a rule, and a flag a family (all its rules pass).

    No text is needed, so that thresholds can change without it; the settings that say so in their description are the
    exception: they decide what is counted.

    Args:
        values: at least the value columns of some families; flags that are there already are replaced.
        settings: thresholds.

    Returns:
        ``values`` with ``pass_...`` columns for the families that are there.
    """
    present = [rule for rule in RULES if rule.column in values.columns]
    values = values.with_columns(_passes(rule, settings).alias(rule.flag) for rule in present)
    found = list(dict.fromkeys(rule.family for rule in present))
    return values.with_columns(
        pl.all_horizontal(rule.flag for rule in present if rule.family == family).alias(f"pass_{family}")
        for family in found
    )


def _passes(rule: QualityRule, settings: QualitySettings) -> pl.Expr:
    low, high = rule.bounds(settings)
    value = pl.col(rule.column)
    passes = pl.lit(True)
    # Both sides in the type of the column: 0.3 as a 64-bit number is below its nearest 32-bit number.
    if low is not None:
        passes = passes & (value >= pl.lit(low).cast(rule.dtype))
    if high is not None:
        passes = passes & (value <= pl.lit(high).cast(rule.dtype))
    return passes


def failed_rules(frame: pl.DataFrame) -> pl.Series:
    """Names of the rules that each document fails: List(Utf8), those of ``RULES`` first, then filters.

    Args:
        frame: flag columns of any of the rules; families do not count.
    """
    known = [rule.flag for rule in RULES]
    families = {f"pass_{family}" for family in FAMILIES}
    flags = [flag for flag in known if flag in frame.columns]
    flags += [name for name in frame.columns if name.startswith("pass_") and name not in {*known, *families}]
    names: list[pl.Expr] = [pl.lit(None, dtype=pl.Utf8)]
    names += [pl.when(~pl.col(flag)).then(pl.lit(flag.removeprefix("pass_"))) for flag in flags]
    return frame.select(failed_rules=pl.concat_list(names).list.drop_nulls())["failed_rules"]
