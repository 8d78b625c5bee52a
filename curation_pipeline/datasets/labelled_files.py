"""Human-labelled texts from files of the user's: published data sets in their own format, or any table."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import polars as pl

from curation_pipeline.datasets.packages import file_sha256
from curation_pipeline.datasets.published_labels import (
    DIALOGUE_SPLITS,
    PUBLISHED,
    ROWS,
    SHARES,
    numbers,
    refuse,
    values_as_labels,
)
from curation_pipeline.datasets.registry import LABELS_SCHEMA, REGISTRY, LabelledSplit, hold_out, roles_by_hash
from curation_pipeline.datasets.settings import LabelledFile
from curation_pipeline.datasets.tables import read_columns, require_file
from curation_pipeline.datasets.text import text_ids
from curation_pipeline.errors import ConfigError, DataError

PREFERENCES_ONLY = frozenset({"hh_rlhf"})
"""Formats that hold pairs and no labels; see ``datasets/preference_files.py``."""


def file_labels(file: LabelledFile) -> pl.DataFrame:
    """The texts of one labelled file.

    Empty texts are left out. A text of several rows is here once: with its mean label where labels are
    numbers, and not at all where it was judged both ways. Of near-duplicates in two roles the more held-out stays.

    Args:
        file: as the profile declares it; a format of pairs alone gives no rows.

    Returns:
        Rows of ``registry.LABELS_SCHEMA``; ``split`` is the publisher's where there is one, else the role.

    Raises:
        ConfigError: a path, a column or a split's role is wrong.
        DataError: the file cannot be read, or a row's value is not what it should be.
    """
    if file.format in PREFERENCES_ONLY:
        return pl.DataFrame(schema=LABELS_SCHEMA)
    rows = _table(file) if file.format == "table" else PUBLISHED[file.format].read(file.path)
    rows = rows.with_columns(pl.col("text").str.strip_chars()).filter(pl.col("text").str.len_chars() > 0)
    if rows.is_empty():
        raise DataError(f"{file.path} holds no labelled text; check the file, or take {file.name} out of labels.files")
    rows = hold_out(_with_roles(file, rows))
    rows = rows.with_columns(text_ids(rows["text"]).alias("text_id"), pl.lit(file.name).alias("dataset"))
    one = rows.group_by("text_id", maintain_order=True).agg(
        pl.col("label", "agreement").mean(), pl.exclude("label", "agreement").first()
    )
    if file.format != "table" or file.positive_labels or file.threshold is not None:
        one = one.filter(pl.col("label").is_in([0.0, 1.0]))
    return one.select(pl.col(name).cast(kind) for name, kind in LABELS_SCHEMA.items())


def declared_splits(files: Sequence[LabelledFile]) -> tuple[LabelledSplit, ...]:
    """What :data:`registry.REGISTRY` says of packaged sets, of the files: the splits, their roles and meaning."""
    entries = []
    for file in files:
        if file.format in PREFERENCES_ONLY:
            continue
        published = PUBLISHED.get(file.format)
        splits = dict(published.splits) if published else dict(file.split_roles)
        shares = published.shares if published else SHARES
        for split, role in (splits or {role: role for role in shares}).items():
            meaning = file.meaning or (published.meaning if published else f"1 = {_rule(file)}")
            entries.append(LabelledSplit(file.name, split, role, meaning))
    return tuple(entries)


def check_names(files: Sequence[LabelledFile]) -> None:
    """Refuses a file that has the name of a packaged set or of another file.

    Raises:
        ConfigError: names it.
    """
    taken = {entry.dataset for entry in REGISTRY}
    for file in files:
        if file.name in taken:
            raise ConfigError(
                f"labels.files: the name {file.name!r} ({file.path}) is that of another labelled set; choose another"
            )
        taken.add(file.name)


def _with_roles(file: LabelledFile, rows: pl.DataFrame) -> pl.DataFrame:
    published = PUBLISHED.get(file.format)
    splits = published.splits if published else file.split_roles
    if not splits:
        roles = roles_by_hash(rows["unit"].str.strip_chars(), dict(published.shares if published else SHARES))
        return rows.with_columns(roles, roles.alias("split"))
    role = rows["split"].replace_strict(dict(splits), default=None, return_dtype=pl.Utf8).alias("role")
    unknown = rows.filter(role.is_null())["split"].unique().sort()
    if unknown.len():
        remedy = "the publisher's are" if published else "split_roles has roles for"
        raise DataError(
            f"{file.path}: {rows.filter(role.is_null()).height} rows have the split(s) "
            f"{', '.join(map(repr, unknown.to_list()[:5]))}; {remedy} {', '.join(splits)}: name every split"
        )
    return rows.with_columns(role)


def _table(file: LabelledFile) -> pl.DataFrame:
    named = (file.text_column, file.label_column, file.group_column, file.split_column)
    columns = list(dict.fromkeys(name for name in named if name is not None))
    frame = read_columns(file.path, columns, dialect=file.csv)
    text = frame[file.text_column]
    optional = {"group": file.group_column, "split": file.split_column}
    return pl.DataFrame(
        {
            "text": text,
            "label": _labels(file, frame),
            "agreement": pl.repeat(None, frame.height, eager=True),
            "unit": text,
        }
        | {
            name: frame[column] if column else pl.repeat(None, frame.height, dtype=pl.Utf8, eager=True)
            for name, column in optional.items()
        },
        schema_overrides=ROWS,
    ).select(ROWS.keys())


def _labels(file: LabelledFile, frame: pl.DataFrame) -> pl.Series:
    path, column = file.path, file.label_column
    if file.threshold is not None:
        return (numbers(frame, path, column, float("-inf"), float("inf")) >= file.threshold).cast(pl.Float64)
    plain = frame.with_columns(pl.Series(column, [_plain(value) for value in frame[column]], dtype=pl.Utf8))
    if not file.positive_labels:
        frame = plain.with_columns(pl.col(column).replace({"true": "1", "false": "0"}))
        found = frame[column].cast(pl.Float64, strict=False)
        refuse(
            frame,
            path,
            column,
            (found.is_null() | ~found.is_between(0.0, 1.0)).fill_null(True),
            "a label must be a number in [0, 1]: correct the row, or name positive_labels or threshold in the profile",
        )
        return found
    values = dict.fromkeys((_plain(value) or "" for value in file.positive_labels), 1.0)
    zeros = file.negative_labels or plain[column].drop_nulls().unique().to_list()
    values = dict.fromkeys((_plain(value) or "" for value in zeros), 0.0) | values
    found = values_as_labels(plain, path, column, values, "correct the row, or name the value in the profile")
    if not (found == 1.0).any():
        raise DataError(
            f"{path}: no row of {column} has one of positive_labels ({', '.join(file.positive_labels)}); "
            f"its values begin with {', '.join(map(repr, plain[column].unique().sort().head(5).to_list()))}"
        )
    return found


def _plain(value: str | None) -> str | None:
    """A value such that "1", "1.0" and " 1 " are one, and "True" and "true" too."""
    if value is None:
        return None
    stripped = value.strip().lower()
    try:
        return f"{float(stripped):g}"
    except ValueError:
        return stripped


def _rule(file: LabelledFile) -> str:
    if file.threshold is not None:
        return f"{file.label_column} of {file.threshold:g} or more"
    return f"{file.label_column} is {' or '.join(file.positive_labels) or 'high'}"


def fingerprints(files: Sequence[LabelledFile]) -> dict[str, str]:
    """The content of each labelled file by its name: another content is another set of labels.

    Returns:
        name -> sha256 in hexadecimal; of a folder, that of its files' hashes.

    Raises:
        ConfigError: a file is not there; so a wrong path is said before anything runs.
    """
    found = {}
    for file in files:
        folder = file.format == "diasafety"
        paths = [file.path / f"{split}.json" for split in DIALOGUE_SPLITS] if folder else [file.path]
        for path in paths:
            require_file(path)
        hashes = [file_sha256(path) for path in paths]
        found[file.name] = hashlib.sha256(" ".join(hashes).encode()).hexdigest() if folder else hashes[0]
    return found
