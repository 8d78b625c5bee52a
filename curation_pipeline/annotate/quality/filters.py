"""Filters of datatrove as quality rules: any class with ``filter(document)``, named by its import path.

A filter of datatrove answers True for a document to be kept, and False or (False, reason) for one to be dropped (Penedo
et al., "DataTrove: large scale data processing", 2024). Here it only marks, as every rule does.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from typing import Any

import polars as pl
from pydantic import Field

from curation_pipeline.errors import ConfigError, DataError
from curation_pipeline.settings import Settings


class FilterRule(Settings):
    """A filter that is a quality rule."""

    filter: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$",
        description="import path of the class, such as datatrove.pipeline.filters.GopherQualityFilter",
    )
    name: str | None = Field(
        default=None,
        pattern=r"^[a-z][a-z0-9_]*$",
        description="name of the rule; the package and the class in small letters if absent",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="arguments of the class")

    @property
    def rule(self) -> str:
        """The rule's name, as ``removal.rules`` names it: ``datatrove_gopher_quality`` for GopherQualityFilter."""
        package, kind = self.filter.split(".")[0], self.filter.rpartition(".")[2].removesuffix("Filter")
        return self.name or f"{package}_{re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', kind)}".lower()

    @property
    def package(self) -> str:
        """Name and version of the package that the filter comes from."""
        package = self.filter.split(".")[0]
        try:
            return f"{package} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            return package


@dataclass(slots=True)
class FilteredDocument:
    """What filters read of a document; the members of datatrove's ``Document``."""

    text: str
    id: str
    media: list[Any] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)


def filter_flags(documents: pl.DataFrame, rules: Sequence[FilterRule]) -> list[pl.Series]:
    """What filters say of documents.

    Args:
        documents: columns ``doc_id`` and ``text`` (null counts as empty).
        rules: the filters.

    Returns:
        For each rule ``pass_<rule>``, Boolean, and ``<rule>_reason``, the reason where a filter gives one.

    Raises:
        ConfigError: a filter cannot be imported or made.
        DataError: a filter failed on a document.
    """
    found = []
    for rule in rules:
        chosen = _opened(rule.filter, json.dumps(rule.options))
        passes, reasons = [], []
        # A loop over documents: filters read one at a time.
        for doc_id, text in documents.select("doc_id", pl.col("text").fill_null("")).iter_rows():
            try:
                answer = chosen.filter(FilteredDocument(text, doc_id))
            except Exception as error:  # code of somebody else
                raise DataError(
                    f"the quality filter {rule.filter} failed on document {doc_id}: {type(error).__name__}: {error}"
                ) from error
            passed, reason = answer if isinstance(answer, tuple) else (answer, None)
            passes.append(bool(passed))
            reasons.append(None if passed else reason)
        found.append(pl.Series(f"pass_{rule.rule}", passes, dtype=pl.Boolean))
        found.append(pl.Series(f"{rule.rule}_reason", reasons, dtype=pl.Utf8))
    return found


@lru_cache(maxsize=16)
def _opened(path: str, options: str) -> Any:
    module, _, name = path.rpartition(".")
    where = f"annotate.quality.filters: {path}"
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        install = "'curation-pipeline[datatrove]'" if module.startswith("datatrove") else module.split(".")[0]
        raise ConfigError(f"{where} cannot be imported ({error}); run `pip install {install}`") from error
    try:
        made = kind(**json.loads(options))
    except Exception as error:  # wrong arguments, or a package that the filter needs
        raise ConfigError(f"{where} cannot be made with the options {options}: {error}") from error
    if not callable(getattr(made, "filter", None)):
        raise ConfigError(f"{where} has no method `filter`; name a filter of documents")
    return made
