"""The sources of a corpus as a profile declares them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from curation_pipeline.settings import Settings

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class FolderSource(Settings):
    """Files in a folder of this machine: JSONL, CSV or TSV (plain, .gz or .zst) and Parquet, told by their suffix.

    Every subfolder is a snapshot of its name; files that lie in the folder itself are the snapshot "all".
    """

    kind: Literal["folder"] = "folder"
    name: str = Field(pattern=NAME, description="name of the source; first half of its partition keys")
    path: Path = Field(description="the folder")
    text_column: str = Field(default="text", min_length=1, description="column or key that holds the text")
    url_column: str | None = Field(default=None, description="column of the page's address, if there is one")
    created_at_column: str | None = Field(default=None, description="column of the time of writing, ISO 8601")
    language: str | None = Field(default=None, description="language of all texts, e.g. en; not detected")
    domain: str = Field(default="web", min_length=1, description="register: encyclopaedia, conversation, news, ...")
    max_chars: int | None = Field(default=None, ge=200, description="longer texts are split at paragraphs or sentences")


class PackageSource(Settings):
    """Texts that a published package carries; see ``corpus/packaged.py`` for the data sets there are."""

    kind: Literal["package"] = "package"
    name: str = Field(pattern=NAME, description="name of the source; first half of its partition keys")
    dataset: str = Field(min_length=1, description="name of a packaged data set")
    snapshots: tuple[str, ...] | None = Field(default=None, description="which of its snapshots; all if absent")
    limit: int | None = Field(default=None, ge=1, description="most documents kept in one snapshot")
    max_chars: int | None = Field(
        default=2_000, ge=200, description="longer texts are split at paragraphs or sentences; absent: never"
    )
    accept_licence: bool = Field(
        default=False, description="true if you accept the terms of a data set whose licence restricts its use"
    )


Source = Annotated[FolderSource | PackageSource, Field(discriminator="kind")]
"""A source of either kind, told apart by its ``kind``."""
