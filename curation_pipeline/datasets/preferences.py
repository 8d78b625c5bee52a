"""Preference pairs whose right answer humans fixed, built so that the length of an answer gives nothing away."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl

from curation_pipeline.datasets.balance import balanced_by_length
from curation_pipeline.datasets.bias_sets import BBQ_FOLDER, BBQ_SHARES, bias_marks
from curation_pipeline.datasets.packages import members, read_member
from curation_pipeline.datasets.registry import hold_out, roles_by_hash
from curation_pipeline.datasets.text import text_ids
from curation_pipeline.seeds import unit_hash

PREFERENCES_SCHEMA: dict[str, pl.DataType] = {
    "pair_id": pl.Utf8(),
    "context": pl.Utf8(),
    "preferred": pl.Utf8(),
    "dispreferred": pl.Utf8(),
    "source": pl.Utf8(),
    "group": pl.Utf8(),
    "role": pl.Utf8(),
}

_MAX_LENGTH_GAP = 0.15


def bbq_ambiguous(archive: Path, seed: int, size: int) -> pl.DataFrame:
    """BBQ (Parrish et al., 2022), ambiguous contexts: "unknown" is preferred over the stereotyped answer.

    The stereotyped answer is the one that the publisher's metadata marks for the bias score, so it is the target group
    for questions with a negative sense and the other group for the rest. Categories that cross two groups are left
    out: there the mark is not consistent. A question template, with all its fillings, has one role.

    Args:
        archive: the package that carries BBQ.
        seed: chooses which pairs are kept.
        size: upper bound on the number of pairs.
    """
    marks = bias_marks(archive)
    rows = []
    for name in members(archive):
        if not (name.startswith(BBQ_FOLDER) and name.endswith(".jsonl")) or "_x_" in name:
            continue
        for line in read_member(archive, name).decode("utf-8").splitlines():
            if '"ambig"' not in line:
                continue
            item = json.loads(line)
            mark = marks.get(f"{item['category']} {item['question_index']} {item['example_id']}")
            if mark is not None and mark != item["label"]:
                context = f"{item['context']} {item['question']}"
                template = f"{item['category']} {item['question_index']}"
                rows.append((context, item[f"ans{item['label']}"], item[f"ans{mark}"], item["category"], template))
    columns = ["context", "preferred", "dispreferred", "group", "template"]
    frame = pl.DataFrame(rows, schema=columns, orient="row").unique(columns[:3], keep="first", maintain_order=True)
    frame = frame.with_columns(roles_by_hash(frame["template"], BBQ_SHARES), pl.lit("bbq_ambiguous").alias("source"))
    return _balanced(with_pair_ids(hold_out(frame, text="context")), seed, size)


def matched_pairs(labels: pl.DataFrame, dataset: str, seed: int, size: int, margin: float) -> pl.DataFrame:
    """Pairs of labelled texts of one group and nearly one length, the lower label preferred; the context is empty.

    Args:
        labels: labelled texts; only the report role of ``dataset`` is used.
        dataset: name of the labelled set, which becomes the pairs' source.
        seed: chooses which pairs are kept.
        size: upper bound on the number of pairs.
        margin: least difference between the two labels.
    """
    rows = labels.filter((pl.col("dataset") == dataset) & (pl.col("role") == "report"))
    rows = rows.with_columns(pl.col("text").str.len_chars().alias("length")).sort("group", "length", "text_id")
    pairs: list[tuple[str, str, str]] = []
    for (group,), part in rows.group_by("group", maintain_order=True):
        texts = part["text"].to_list()
        order = part["text_id"].arg_sort().to_list()  # as good as random: an order by length pairs one way only
        found = match_by_length(part["label"].to_numpy(), part["length"].to_numpy().astype(np.float64), order, margin)
        pairs += [(texts[low], texts[high], str(group)) for low, high in found]
    frame = pl.DataFrame(pairs, schema={"preferred": pl.Utf8, "dispreferred": pl.Utf8, "group": pl.Utf8}, orient="row")
    constants = {"context": "", "source": dataset, "role": "report"}
    return _balanced(with_pair_ids(frame.with_columns(pl.lit(v).alias(k) for k, v in constants.items())), seed, size)


def match_by_length(labels: np.ndarray, lengths: np.ndarray, turns: list[int], margin: float) -> list[tuple[int, int]]:
    """Greedy disjoint pairs (lower label, higher label) of nearly one length, ``lengths`` ascending.

    Each text, in the order of ``turns``, takes the free partner nearest in length on the side that keeps longer and
    shorter answers in balance, and one on the other side only if there is none.
    """
    free = np.ones(len(labels), dtype=bool)
    surplus = 0  # pairs whose lower label is the longer text, minus the others
    pairs = []
    for i in turns:
        if not free[i]:
            continue
        near = np.searchsorted(lengths, [lengths[i] / (1.0 + _MAX_LENGTH_GAP), lengths[i] * (1.0 + _MAX_LENGTH_GAP)])
        window = np.arange(near[0], near[1])
        window = window[free[window] & (np.abs(labels[window] - labels[i]) >= margin)]
        if not window.size:
            continue
        sign = np.sign(lengths[window] - lengths[i]) * np.sign(labels[i] - labels[window])  # +1: lower label is longer
        unwanted = sign * np.sign(surplus) > 0
        order = np.lexsort((np.abs(lengths[window] - lengths[i]), unwanted))
        j = int(window[order[0]])
        surplus += int(sign[order[0]])
        free[[i, j]] = False
        pairs.append((i, j) if labels[i] < labels[j] else (j, i))
    return pairs


def with_pair_ids(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of ``PREFERENCES_SCHEMA`` from those that lack only ``pair_id``, the id of context and both texts."""
    joined = pl.Series(["\x1f".join(row) for row in frame.select("context", "preferred", "dispreferred").iter_rows()])
    return frame.with_columns(text_ids(joined.cast(pl.Utf8)).alias("pair_id")).select(PREFERENCES_SCHEMA.keys())


def _balanced(frame: pl.DataFrame, seed: int, size: int) -> pl.DataFrame:
    """At most ``size`` pairs, as many of each role, among which length alone answers half right."""
    ranked = frame.with_columns(pl.Series("_u", unit_hash(frame["pair_id"], seed), dtype=pl.Float64)).sort("_u")
    gap = pl.col("preferred").str.len_chars().cast(pl.Int64) - pl.col("dispreferred").str.len_chars().cast(pl.Int64)
    roles = ranked["role"].unique().sort().to_list()
    parts = [balanced_by_length(ranked.filter(pl.col("role") == role), gap, size // len(roles)) for role in roles]
    return pl.concat([ranked.clear(), *parts]).sort("_u").select(PREFERENCES_SCHEMA.keys())
