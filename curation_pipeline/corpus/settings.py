"""The sources of a corpus as a profile declares them."""

from __future__ import annotations

import os
from typing import Annotated, Literal, Self

import regex
from pydantic import BeforeValidator, Field, model_validator

from curation_pipeline.datasets.dialect import CsvDialect
from curation_pipeline.settings import Address, Settings

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"

TextSplit = Literal["file", "paragraphs", "lines", "regex"]
"""How plain text becomes documents: the whole file, at blank lines, each line, at matches of a regular expression."""


class ReadSettings(Settings):
    """What the readers of every kind of outside source need to know."""

    text_column: str = Field(default="text", min_length=1, description="column or key that holds the text")
    url_column: str | None = Field(default=None, description="column of the page's address, if there is one")
    created_at_column: str | None = Field(default=None, description="column of the time of writing, ISO 8601")
    language: str | None = Field(default=None, description="language of all texts, e.g. en; not detected")
    domain: str = Field(default="web", min_length=1, description="register: encyclopaedia, conversation, news, ...")
    limit: int | None = Field(
        default=None, ge=1, description="most documents kept in one snapshot: a sample that depends on the texts alone"
    )
    max_chars: int | None = Field(default=None, ge=200, description="longer texts are split at paragraphs or sentences")
    max_document_bytes: int = Field(
        default=32 * 1024 * 1024,
        ge=1_000,
        le=1024**3,
        description="a longer line, record or text goes to quarantine and is never held whole",
    )


class FolderSource(ReadSettings):
    """Files in a folder of this machine or under a prefix of a bucket, their format told by their suffix.

    JSON, JSONL, CSV, TSV, plain text, Parquet, Arrow (what ``save_to_disk`` of Hugging Face ``datasets`` writes), WARC
    and WET; each of them plain, ``.gz``, ``.zst``, ``.bz2``, ``.xz`` or a member of a ``.zip``. Every subfolder is a
    snapshot of its name; files that lie in the folder itself are the snapshot "all". What is left alone is counted and
    named with its reason.
    """

    kind: Literal["folder"] = "folder"
    name: str = Field(pattern=NAME, description="name of the source; first half of its partition keys")
    path: Annotated[Address, BeforeValidator(os.fspath)] = Field(description="the folder, or s3://bucket/prefix")
    endpoint_url: Address | None = Field(
        default=None, pattern=r"^https?://", description="address of an S3 service other than AWS"
    )
    anonymous: bool = Field(default=False, description="read a public bucket without credentials")
    include: tuple[str, ...] | None = Field(
        default=None, description="only files whose name matches one of these patterns, e.g. ['*.csv']"
    )
    outside_links: bool = Field(
        default=False,
        description="follow symbolic links that lead out of the folder; those that stay within are always followed",
    )
    text_split: TextSplit | None = Field(
        default=None, description="how .txt files become documents; they are left alone where it is absent"
    )
    text_separator: str | None = Field(
        default=None,
        min_length=1,
        description="the regular expression between documents, for text_split = 'regex'; "
        "matched against bytes, so that \\s and \\w mean ASCII, and no longer than 4096 of them",
    )
    csv: CsvDialect = Field(default=CsvDialect(), description="how .csv and .tsv files separate and quote their fields")
    extractor: Literal["resiliparse", "trafilatura"] = Field(
        default="resiliparse", description="what takes the main text out of a web page; trafilatura is an extra install"
    )
    max_expansion: float = Field(
        default=250,
        ge=2,
        description="most bytes that a stored byte may give, beyond the first 64 MiB of a file, packed or encoded as "
        "in Parquet and Arrow: a guard against decompression bombs",
    )
    max_unpacked_bytes: int = Field(
        default=1024**4, ge=1_000, description="a file is read no further than this many decompressed bytes"
    )

    @model_validator(mode="after")
    def _separator(self) -> Self:
        if (self.text_split == "regex") != (self.text_separator is not None):
            raise ValueError("text_separator belongs to text_split = 'regex', and is needed there")
        if self.text_separator is not None:
            try:
                empty = regex.compile(self.text_separator.encode()).match(b"")
            except regex.error as error:
                raise ValueError(f"text_separator is not a regular expression: {error}") from error
            if empty:
                raise ValueError("text_separator matches nothing at all: it would part every character")
        return self


class HubSource(ReadSettings):
    """A data set of the Hugging Face hub, streamed by its id; its splits are the snapshots.

    Needs the package ``datasets`` and a hub that can be reached (``HF_ENDPOINT`` names another than huggingface.co). A
    folder that ``save_to_disk`` wrote is a ``folder`` source.
    """

    kind: Literal["hub"] = "hub"
    name: str = Field(pattern=NAME, description="name of the source; first half of its partition keys")
    dataset: str = Field(min_length=1, description="id of the data set, e.g. HuggingFaceFW/fineweb")
    config: str | None = Field(default=None, description="configuration of the data set, where it has several")
    revision: str | None = Field(
        default=None, description="commit, tag or branch; the newest commit is looked up where it is absent"
    )
    snapshots: tuple[str, ...] | None = Field(default=None, description="which of its splits; all if absent")


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


Source = Annotated[FolderSource | HubSource | PackageSource, Field(discriminator="kind")]
"""A source of any kind, told apart by its ``kind``."""
