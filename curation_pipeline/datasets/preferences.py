"""Preference pairs whose right answer humans fixed: from labelled texts, and from files of the user's.

Pairs are built so that the length of an answer gives nothing away; those of HH-RLHF are taken as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from curation_pipeline.datasets.balance import balanced_by_length, match_by_length
from curation_pipeline.datasets.published_labels import PUBLISHED, SHARES, dialogues
from curation_pipeline.datasets.registry import hold_out, near_keys, roles_by_hash
from curation_pipeline.datasets.settings import LabelledFile
from curation_pipeline.datasets.tables import parse_json, read_text, whole_text
from curation_pipeline.datasets.text import text_ids
from curation_pipeline.errors import DataError
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

_TURN = "\n\nAssistant:"
_GAP = pl.col("preferred").str.len_chars().cast(pl.Int64) - pl.col("dispreferred").str.len_chars().cast(pl.Int64)
"""How much longer the preferred text is."""


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
    frame = frame.with_columns(pl.lit(value).alias(name) for name, value in constants.items())
    return balanced_pairs(with_pair_ids(frame), seed, size)


def with_pair_ids(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of ``PREFERENCES_SCHEMA`` from those that lack only ``pair_id``, the id of context and both texts."""
    joined = pl.Series(["\x1f".join(row) for row in frame.select("context", "preferred", "dispreferred").iter_rows()])
    return frame.with_columns(text_ids(joined.cast(pl.Utf8)).alias("pair_id")).select(PREFERENCES_SCHEMA.keys())


def balanced_pairs(frame: pl.DataFrame, seed: int, size: int) -> pl.DataFrame:
    """At most ``size`` pairs, as many of each role, among which length alone answers half right."""
    ranked = frame.with_columns(pl.Series("_u", unit_hash(frame["pair_id"], seed), dtype=pl.Float64)).sort("_u")
    roles = ranked["role"].unique().sort().to_list()
    parts = [balanced_by_length(ranked.filter(pl.col("role") == role), _GAP, size // len(roles)) for role in roles]
    return pl.concat([ranked.clear(), *parts]).sort("_u").select(PREFERENCES_SCHEMA.keys())


def preference_sets(files: Sequence[LabelledFile], labels: pl.DataFrame | None = None) -> pl.DataFrame:
    """All pairs that the files of format ``hh_rlhf`` and ``diasafety`` give; other formats have none.

    HH-RLHF's pairs are taken as they are: length does tell something there, so a baseline that knows it alone must
    go with any figure. DiaSafety's are matched by length, as `matched_pairs` does.

    A pair is left out when a near-duplicate of one of its texts is in a pair that is further held out, or among the
    labels in any other role: what is fitted on one is then never reported on by the other.

    Args:
        files: labelled files of the user's.
        labels: rows of ``registry.LABELS_SCHEMA`` that are fitted or reported on together with the pairs, if any.

    Returns:
        Rows of `PREFERENCES_SCHEMA` with the roles fit, calibrate and report; ``source`` is the file's
        name. A pair's role is by hash of how its dialogue opens (HH-RLHF), or by the publisher's split, as that of the
        same replies among the labels is (DiaSafety).

    Raises:
        ConfigError: a path is wrong.
        DataError: a file does not hold what it should; names the row.
    """
    empty = pl.DataFrame(schema=PREFERENCES_SCHEMA)
    read = {"hh_rlhf": _hh_rlhf, "diasafety": _diasafety}
    pairs = pl.concat([empty, *(read[file.format](file) for file in files if file.format in read)])
    sides = pairs.unpivot(["context", "preferred", "dispreferred"], index=["pair_id", "role"], value_name="text")
    sides = sides.select("pair_id", "role", "text").filter(pl.col("text") != "")
    kept = hold_out(sides)
    if labels is not None:
        others = labels.select(pl.lit(None, dtype=pl.Utf8).alias("pair_id"), "role", "text")
        keyed = pl.concat([kept, others]).with_columns(near_keys(pl.concat([kept["text"], others["text"]])))
        # Pairs agree among themselves by now: a key with two roles has one among the labels.
        keyed = keyed.filter(pl.col("role").n_unique().over("_key") == 1)
        kept = keyed.filter(pl.col("pair_id").is_not_null())
    whole = kept["pair_id"].value_counts().join(sides["pair_id"].value_counts(), on=["pair_id", "count"])
    return pairs.filter(pl.col("pair_id").is_in(whole["pair_id"].implode()))


def _hh_rlhf(file: LabelledFile) -> pl.DataFrame:
    """Pairs of last replies to one conversation (Bai et al., 2022); the few that part earlier are left out."""
    rows: list[tuple[str, str, str]] = []
    for number, line in enumerate(read_text(file.path).split("\n"), start=1):
        if line.strip():
            chosen, rejected = (_parted(text, file.path, number) for text in _both(line, file.path, number))
            if chosen[0] == rejected[0] and chosen[1] and rejected[1] and chosen[1] != rejected[1]:
                rows.append((chosen[0].strip(), chosen[1], rejected[1]))
    if not rows:
        raise DataError(f"{file.path} holds no pair of replies to one conversation; check the file and its format")
    schema = dict.fromkeys(("context", "preferred", "dispreferred"), pl.Utf8)
    frame = pl.DataFrame(rows, schema=schema, orient="row").unique(maintain_order=True)
    # Many conversations continue one another: those that open alike have one role.
    frame = frame.with_columns(
        roles_by_hash(frame["context"], SHARES),
        pl.lit(file.name).alias("source"),
        pl.lit(None, dtype=pl.Utf8).alias("group"),
    )
    return with_pair_ids(hold_out(frame, text="context"))


def _both(line: str, path: Path, number: int) -> tuple[str, str]:
    record = parse_json(line, f"{path}, row {number}")
    found = tuple(record.get(key) if isinstance(record, dict) else None for key in ("chosen", "rejected"))
    if not all(isinstance(text, str) for text in found):
        raise DataError(
            f"{path}, row {number}: the texts chosen and rejected are needed; correct the row or the format"
        )
    return whole_text(str(found[0]), f"{path}, row {number}: chosen"), whole_text(
        str(found[1]), f"{path}, row {number}: rejected"
    )


def _parted(text: str, path: Path, number: int) -> tuple[str, str]:
    """A conversation up to and with its last "Assistant:", and the reply."""
    before, mark, reply = text.rpartition(_TURN)
    if not mark:
        raise DataError(f"{path}, row {number}: a conversation has no turn that begins with 'Assistant:'")
    return before + mark, reply.strip()


def _diasafety(file: LabelledFile) -> pl.DataFrame:
    """Pairs of a safe and an unsafe reply of nearly one length.

    Replies to one and the same context are paired first, and keep it. The others are paired within their kind of
    context, and have none: after the context of one of them the other would only look incoherent.
    """
    rows = dialogues(file.path).with_columns(pl.col("context", "response").str.strip_chars())
    rows = rows.filter(pl.col("response").str.len_chars() > 0).unique(["context", "response"], maintain_order=True)
    rows = rows.with_columns(
        pl.col("split").replace_strict(dict(PUBLISHED["diasafety"].splits), return_dtype=pl.Utf8).alias("role"),
        (pl.col("label") == "Unsafe").cast(pl.Float64).alias("unsafe"),
        pl.col("category").str.to_lowercase().alias("group"),
        length=pl.col("response").str.len_chars().cast(pl.Float64),
    )
    # A reply that was judged both ways, in two contexts, is the answer to none here.
    rows = hold_out(rows, text="response").filter(pl.col("unsafe").n_unique().over("response") == 1)
    joined = pl.select(pl.concat_str(rows["context"], rows["response"], separator="\x1f")).to_series()
    rows = rows.with_columns(text_ids(joined).alias("key"))
    shared = rows.filter(pl.col("unsafe").n_unique().over("role", "context") == 2)
    same = _pairs(shared, ["role", "group", "context"])
    used = pl.concat([same["low_key"], same["high_key"]])
    rest = rows.filter(~pl.col("key").is_in(used.implode())).with_columns(context=pl.lit(""))
    frame = pl.concat([same, _pairs(rest, ["role", "group", "context"])]).with_columns(source=pl.lit(file.name))
    pairs = with_pair_ids(frame).sort("pair_id")
    parts = [balanced_by_length(part, _GAP, part.height) for part in pairs.partition_by("role", maintain_order=True)]
    return pl.concat([pairs.clear(), *parts])


def _pairs(rows: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """Safe against unsafe replies of nearly one length, within the values of ``by``."""
    found: list[tuple[str, ...]] = []
    ordered = rows.sort(*by, "length", "key")
    for values, part in ordered.group_by(by, maintain_order=True):
        texts, keys = part["response"].to_list(), part["key"].to_list()
        order = part["key"].arg_sort().to_list()
        lengths = part["length"].to_numpy().astype(np.float64)
        for low, high in match_by_length(part["unsafe"].to_numpy(), lengths, order, margin=1.0):
            found.append((*map(str, values), texts[low], texts[high], keys[low], keys[high]))
    names = [*by, "preferred", "dispreferred", "low_key", "high_key"]
    return pl.DataFrame(found, schema=dict.fromkeys(names, pl.Utf8), orient="row")
