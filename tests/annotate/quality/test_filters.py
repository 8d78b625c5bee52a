"""Filters of datatrove as quality rules; where it is not installed, a class with the protocol that it documents."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from curation_pipeline.annotate.quality import QualitySettings, failed_rules, quality_rules, recipe_parameters
from curation_pipeline.config import validate_profile
from curation_pipeline.errors import ConfigError, DataError

HERE = "tests.annotate.quality.test_filters"
DOCUMENTS = pl.DataFrame({"doc_id": list("abc"), "text": ["one two", None, "a b c d e"]})


class ShortTextFilter:
    """As ``datatrove.pipeline.filters.base_filter.BaseFilter`` has it: ``filter(doc) -> bool | tuple[bool, str]``."""

    def __init__(self, least: int = 1) -> None:
        self.least = least

    def filter(self, doc: Any) -> bool | tuple[bool, str]:
        doc.metadata["words"] = len(doc.text.split())
        if doc.id == "c" and self.least == 5:
            raise KeyError("c")
        return True if doc.metadata["words"] >= self.least else (False, "few_words")


def settings(*filters: Any) -> QualitySettings:
    return QualitySettings.model_validate({"filters": list(filters)})


def test_a_filter_is_a_rule_with_reasons() -> None:
    path = f"{HERE}.ShortTextFilter"
    chosen = settings(path, {"filter": path, "name": "long_text", "options": {"least": 3}})
    table = quality_rules(DOCUMENTS, chosen)
    assert table["pass_tests_short_text"].to_list() == [True, False, True]
    assert table["tests_short_text_reason"].to_list() == [None, "few_words", None]
    assert table["pass_long_text"].to_list() == [False, False, True]
    failed = failed_rules(table.select("pass_long_text", "pass_c4", "pass_gopher_quality_words"))
    assert failed.to_list()[0] == ["gopher_quality_words", "long_text"]
    assert quality_rules(DOCUMENTS.head(0), chosen).schema == table.schema
    profile = {
        "name": "x",
        "corpus": {"sources": [{"kind": "package", "name": "a", "dataset": "bold"}]},
        "annotate": {"quality": {"filters": [path]}},
        "removal": {"rules": ["tests_short_text"]},
    }
    assert validate_profile(profile, "test").removal.rules == ("tests_short_text",)


def test_recipes_without_filters_do_not_mention_them() -> None:
    assert list(recipe_parameters(QualitySettings())) == ["quality"]
    assert "filters" not in QualitySettings().model_dump(mode="json")
    assert recipe_parameters(settings("polars.Filter"))["filters"] == [f"polars {pl.__version__}"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("nowhere.Filter", r"nowhere\.Filter cannot be imported .*pip install nowhere"),
        (f"{HERE}.NoFilter", "cannot be imported"),
        ({"filter": f"{HERE}.ShortTextFilter", "options": {"most": 1}}, "cannot be made with the options"),
        (f"{HERE}.Any", "cannot be made"),
        ("collections.Counter", "has no method `filter`"),
    ],
)
def test_a_filter_that_cannot_be_used_is_one_clear_error(given: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        quality_rules(DOCUMENTS, settings(given))


def test_a_filter_that_fails_names_the_document() -> None:
    with pytest.raises(DataError, match="ShortTextFilter failed on document c: KeyError"):
        quality_rules(DOCUMENTS, settings({"filter": f"{HERE}.ShortTextFilter", "options": {"least": 5}}))
    with pytest.raises(ConfigError, match="several rules are called c4"):
        settings({"filter": f"{HERE}.ShortTextFilter", "name": "c4"})


def test_a_real_filter_of_datatrove() -> None:
    pytest.importorskip("datatrove")
    regex = {"filter": "datatrove.pipeline.filters.RegexFilter", "options": {"regex_exp": "two"}}
    assert quality_rules(DOCUMENTS, settings(regex))["pass_datatrove_regex"].to_list() == [False, True, True]
