"""People as experts: a table that any spreadsheet opens, and the labels that come back in it."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from curation_pipeline.annotate.expert import ANSWERS
from curation_pipeline.datasets.tables import read_csv
from curation_pipeline.errors import DataError
from curation_pipeline.seeds import derive, unit_hash

COLUMNS = ("doc_id", "label", "rater", "rationale", "text")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def export_for_people(frame: pl.DataFrame, path: Path, seed: int = 0) -> None:
    """Write documents for people to label: one row each, ``label`` to be filled with 0 (harmless) to 1 (harmful).

    What the detectors said is not in the table, and the rows are shuffled, so that neither leads the raters. A text
    that a spreadsheet would run as a formula gets an apostrophe before it; the text is not read back.

    Args:
        frame: ``doc_id`` and ``text``; other columns are not written.
        path: a CSV file in UTF-8 with a byte order mark, by which spreadsheets know its encoding.
        seed: of the order.

    Raises:
        DataError: the file exists already, perhaps with labels in it, or a document occurs twice.
    """
    if path.exists():
        raise DataError(f"{path} exists and may hold labels; move it away, or name another file")
    if frame["doc_id"].n_unique() != frame.height:
        raise DataError("a document occurs twice among those to be labelled")
    order = unit_hash(frame["doc_id"], derive(seed, "people"))
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for doc_id, text in frame.with_columns(pl.Series("_", order)).sort("_", "doc_id").select("doc_id", "text").rows():
        writer.writerow([doc_id, "", "", "", f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text])
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(b"\xef\xbb\xbf" + buffer.getvalue().encode("utf-8", "replace"))
    os.replace(partial, path)


def read_people(path: Path | Sequence[Path], chosen: pl.DataFrame | None = None) -> pl.DataFrame:
    """Labels that people wrote, several raters of a document averaged.

    Args:
        path: one file or several, such as one a rater: columns ``doc_id`` and ``label`` (a number in [0, 1]; a row with
            an empty one is not labelled yet), and, if there, ``rater`` (the file's name where it is empty) and
            ``rationale``; separated by commas, semicolons or tabs.
        chosen: ``doc_id`` and ``probability`` of what was drawn: gives the probabilities, and a document that is not
            among them is an error.

    Returns:
        Columns of ``expert.ANSWERS``, sorted by id; ``labeller`` is ``people:`` and the raters' names.

    Raises:
        DataError: with file and line: a column or a label that is missing or wrong, a rater who labels a document
            twice, an unknown document, or no label at all.
    """
    paths = [path] if isinstance(path, Path) else list(path)
    known = None if chosen is None else set(chosen["doc_id"].to_list())
    rows: list[tuple[str, float, str, str | None]] = []
    seen: dict[tuple[str, str], str] = {}
    for file in paths:
        for line, doc_id, label, rater, rationale in filled_rows(file):
            where = f"{file}, line {line}"
            if known is not None and doc_id not in known:
                raise DataError(f"{where}: the document {doc_id!r} is none of those that were chosen")
            if (before := seen.setdefault((doc_id, rater), where)) != where:
                raise DataError(f"{where}: {rater or 'the same rater'} labelled {doc_id} already ({before})")
            rows.append((doc_id, label, rater, rationale))
    if not rows:
        raise DataError(f"no label in {', '.join(map(str, paths))}: fill the column label with numbers from 0 to 1")
    labels = pl.DataFrame(
        rows, schema={"doc_id": pl.Utf8, "label": pl.Float64, "rater": pl.Utf8, "rationale": pl.Utf8}, orient="row"
    )
    answers = (
        labels.sort("doc_id", "rater")
        .group_by("doc_id", maintain_order=True)
        .agg(
            pl.col("label").mean().cast(pl.Float32),
            ("people:" + pl.col("rater").str.join("+")).alias("labeller"),
            pl.lit(None, dtype=pl.Utf8).alias("principle"),
            pl.col("rationale").drop_nulls().str.join(" | ").replace("", None),
        )
    )
    if chosen is None:
        answers = answers.with_columns(pl.lit(None, dtype=pl.Float64).alias("probability"))
    else:
        answers = answers.join(chosen.select("doc_id", "probability"), on="doc_id", how="left")
    return answers.select(pl.col(name).cast(dtype) for name, dtype in ANSWERS.items()).sort("doc_id")


def filled_rows(path: Path) -> list[tuple[int, str, float, str, str | None]]:
    """Line, id, label, rater and rationale of every labelled row.

    Raises:
        ConfigError: there is no such file.
        DataError: the file or one of its rows cannot be read; names the line.
    """
    columns, records = read_csv(path, ("doc_id", "label"))
    names = [name.lower() for name in columns]
    if missing := [name for name in ("doc_id", "label") if name not in names]:
        raise DataError(f"{path} has no column {' and '.join(missing)}; its first line must name doc_id and label")
    found = []
    for line, record in records:
        fields = {name: value.strip() for name, value in zip(names, record, strict=True)}
        if not fields["label"]:
            continue
        where = f"{path}, line {line}"
        if not fields["doc_id"]:
            raise DataError(f"{where}: a label without a doc_id")
        try:
            label = float(fields["label"])
        except ValueError:
            hint = "; write a point, not a comma" if "," in fields["label"] else ""
            raise DataError(f"{where}: the label {fields['label'][:40]!r} is no number{hint}") from None
        if not 0.0 <= label <= 1.0:
            raise DataError(f"{where}: the label {label:g} is not in [0, 1]")
        rater = fields.get("rater") or path.stem
        found.append((line, fields["doc_id"], label, rater, fields.get("rationale") or None))
    return found
