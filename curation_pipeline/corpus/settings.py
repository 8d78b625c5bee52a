"""The kinds of source that a profile may declare: one in each module of ``corpus/sources``, and other packages' own."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from curation_pipeline.corpus import sources
from curation_pipeline.corpus.readers import plugins
from curation_pipeline.corpus.source import SourceSettings
from curation_pipeline.corpus.sources.folder import FolderSource
from curation_pipeline.corpus.sources.hub import HubSource
from curation_pipeline.corpus.sources.package import PackageSource
from curation_pipeline.plugins import of_folder

__all__ = ["FolderSource", "HubSource", "PackageSource", "Source"]


def source_kinds() -> tuple[type[SourceSettings], ...]:
    """The settings of every kind of source."""
    own = of_folder(sources.__name__, sources.__path__, "SOURCE")
    return (*own, *(plugin for plugin in plugins() if isinstance(plugin, type)))


if TYPE_CHECKING:
    Source = SourceSettings
else:
    Source = Annotated[reduce(or_, source_kinds()), Field(discriminator="kind")]
"""A source of any kind; in a profile its ``kind`` tells which."""
