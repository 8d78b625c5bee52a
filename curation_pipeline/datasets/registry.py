"""The role of every labelled split: what it may be used for, and nothing else.

pool: may be trained on. fit: fits detectors and heads. calibrate: calibrates them. credit: drives the loop.
report: shown per iteration. final: looked at once, at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from curation_pipeline.datasets.text import near_duplicate_units, normalised_keys
from curation_pipeline.errors import DataError

ROLES: tuple[str, ...] = ("pool", "fit", "calibrate", "credit", "report", "final")
"""From the least to the most held out."""

LABELS_SCHEMA: dict[str, pl.DataType] = {
    "text_id": pl.Utf8(),
    "dataset": pl.Utf8(),
    "split": pl.Utf8(),
    "text": pl.Utf8(),
    "label": pl.Float64(),
    "agreement": pl.Float64(),
    "group": pl.Utf8(),
    "role": pl.Utf8(),
}
"""text_id: content id. label in [0, 1], its meaning stated per dataset. agreement in [0, 1] or null."""

SPLIT_SEED = 20_240
"""Roles depend on the text and on this constant alone, never on an experiment's seed."""


@dataclass(frozen=True, slots=True)
class LabelledSplit:
    """One split and the single role it has."""

    dataset: str
    split: str
    role: str
    meaning: str


def _by_hash(dataset: str, roles: tuple[str, ...], meaning: str) -> tuple[LabelledSplit, ...]:
    """Splits that are named for their role because a hash of the text made them."""
    return tuple(LabelledSplit(dataset, role, role, meaning) for role in roles)


_HELD_OUT = ("credit", "report", "final")
_MODEL = ("fit", "calibrate", "report")

REGISTRY: tuple[LabelledSplit, ...] = (
    *_by_hash("redditbias", _MODEL, "1 = a human called the comment a negative stereotype"),
    *_by_hash("pyrit_harm", _MODEL, "mean human harm score of a model's response"),
    *_by_hash("pyrit_refusal", _MODEL, "1 = a human called the response a refusal"),
    LabelledSplit("impermium", "train_fit", "fit", "1 = a human called the comment an insult"),
    LabelledSplit("impermium", "train_calibrate", "calibrate", "1 = a human called it an insult"),
    LabelledSplit("impermium", "test", "report", "1 = a human called it an insult"),
    *_by_hash("rtp_prompts", _HELD_OUT, "Perspective toxicity of the prompt"),
    *_by_hash("bold_prompts", _HELD_OUT, "none: prefixes of encyclopaedic sentences"),
    LabelledSplit("crows_pairs", "all", "report", "which sentence of a pair is the stereotype"),
    *_by_hash("bbq_ambiguous", ("credit", "report"), "unknown is the right answer"),
    LabelledSplit("stereoset_lm", "all", "report", "the sentence with meaning"),
    LabelledSplit("quac_continuation", "all", "report", "the true next sentence"),
)
"""Splits of packaged sets; the packages and licences are in ``datasets/catalogue.py``."""


def roles_by_hash(texts: pl.Series, shares: dict[str, float]) -> pl.Series:
    """One role per text, in the given shares, such that texts with one normalised key never part.

    Args:
        texts: strings, length n.
        shares: role -> share; the shares sum to 1.
    """
    unit = near_duplicate_units(texts, SPLIT_SEED)
    edges = np.cumsum(list(shares.values()))[:-1]
    place = np.searchsorted(edges, unit.to_numpy(), side="right")
    return pl.Series("role", np.array(list(shares))[place].tolist(), dtype=pl.Utf8)


def hold_out(rows: pl.DataFrame, text: str = "text") -> pl.DataFrame:
    """Drops rows whose near-duplicate has a role that is further held out, so that :func:`check` passes.

    Args:
        rows: a frame with a column role and the column of texts named by ``text``.
        text: name of that column.
    """
    rank = pl.col("role").replace_strict({role: i for i, role in enumerate(ROLES)}, return_dtype=pl.Int8)
    keyed = rows.with_columns(near_keys(rows[text]), rank.alias("_rank"))
    return keyed.filter(pl.col("_rank") == pl.col("_rank").max().over("_key")).drop("_key", "_rank")


def check(labels: pl.DataFrame) -> None:
    """Asserts that every split has one known role, and that no near-duplicate texts stand in two.

    Near-duplicates are texts that agree in their first 60 letters and digits (all of them, if there are fewer).

    Args:
        labels: rows of ``LABELS_SCHEMA``; only dataset, split, text and role are read.

    Raises:
        DataError: names the split, or counts the texts and quotes ids, never the texts.
    """
    unknown = sorted(set(labels["role"].unique().to_list()) - set(ROLES), key=str)
    if unknown:
        raise DataError(f"labels have unknown roles {unknown}; allowed: {', '.join(ROLES)}")
    pairs = labels.select("dataset", "split", "role").unique().sort("dataset", "split", "role")
    declared = {(entry.dataset, entry.split): entry.role for entry in REGISTRY}
    seen: dict[tuple[str, str], str] = {}
    for dataset, split, role in pairs.iter_rows():
        wanted = seen.setdefault((dataset, split), declared.get((dataset, split), role))
        if wanted != role:
            raise DataError(
                f"split {dataset}/{split} has the roles {wanted!r} and {role!r}; a split has one role: divide it in two"
            )
    keyed = labels.with_columns(near_keys(labels["text"]))
    straddling = keyed.group_by("_key").agg(
        pl.col("role").n_unique().alias("n"),
        pl.concat_str("dataset", "split", "text_id", separator="/").sort().alias("rows"),
    )
    straddling = straddling.filter(pl.col("n") > 1).sort("_key")
    if straddling.height:
        shown = "; ".join(" and ".join(rows[:4]) for rows in straddling["rows"].head(3).to_list())
        raise DataError(
            f"{straddling.height} near-duplicate texts stand in two roles (dataset/split/text_id: {shown}); "
            "drop them from the less held-out split (registry.hold_out)"
        )


def near_keys(texts: pl.Series) -> pl.Series:
    """The key by which near-duplicates are found, named ``_key``: the text itself when it has no letter or digit."""
    keys = normalised_keys(texts)
    return pl.select(pl.when(keys == "").then(texts).otherwise(keys).alias("_key")).to_series()
