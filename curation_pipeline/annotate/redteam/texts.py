"""The real texts that detectors are audited with, out of the labelled sets."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from curation_pipeline.annotate.redteam.measure import AuditSize
from curation_pipeline.errors import DataError
from curation_pipeline.seeds import unit_hash

AUDIT_ROLES = ("calibrate", "report")
"""Roles whose texts no detector was fitted on."""


def audit_texts(
    labels: pl.DataFrame,
    harmful: Sequence[str],
    benign: Sequence[str],
    seed: int,
    size: AuditSize | None = None,
    per_set: int = 300,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Benign and harmful texts for :func:`measure.audit_detector`, of several labelled sets.

    Where a label of 0 means "not sexist" or "not hate", the text may be abusive all the same: leave such a set out of
    ``benign``.

    Args:
        labels: rows of ``registry.LABELS_SCHEMA``.
        harmful: names of the sets whose texts labelled above .5 are taken as harmful.
        benign: names of the sets whose texts labelled below .5 are taken as benign.
        seed: chooses the texts.
        size: of the audit: its bounds on a text's length are applied here too.
        per_set: most texts of one set and side: one large set would otherwise be the whole audit.

    Returns:
        The benign rows and the harmful rows of ``labels``.

    Raises:
        DataError: no text is left on one side.
    """
    size = size or AuditSize()
    length = pl.col("text").str.len_chars().is_between(size.least_chars, size.most_chars)
    rows = labels.filter(pl.col("role").is_in(AUDIT_ROLES) & length)
    rows = rows.with_columns(pl.Series("_u", unit_hash(rows["text_id"], seed), dtype=pl.Float64)).sort("_u")
    found = []
    for side, names, chosen in (
        ("benign", benign, pl.col("label") < 0.5),
        ("harmful", harmful, pl.col("label") > 0.5),
    ):
        part = rows.filter(chosen & pl.col("dataset").is_in(list(names)))
        if part.is_empty():
            raise DataError(
                f"the labelled sets {', '.join(names)} have no {side} text of {size.least_chars} to {size.most_chars} "
                f"characters with the role {' or '.join(AUDIT_ROLES)}; name others, or add a set to labels.files"
            )
        found.append(part.group_by("dataset", maintain_order=True).head(per_set).drop("_u"))
    return found[0], found[1]
