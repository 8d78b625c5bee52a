"""The tables of a draw, written part by part: a decision for every document, and the batch, with its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import polars as pl

from curation_pipeline.engine.mapping import prefetch
from curation_pipeline.selection.draw import batch_rows, decision_rows
from curation_pipeline.selection.protocol import Decisions

_AXES = ("source", "toxicity_bin", "identity_group")
COLUMNS = ("doc_id", "n_tokens", "p_harm", "stratum", *_AXES)
"""What of a pool's rows the tables and their figures need."""

Append = Callable[[pl.DataFrame], None]


@dataclass(frozen=True, slots=True)
class _Made:
    """The rows of one part."""

    decisions: pl.DataFrame
    batch: pl.DataFrame
    tally: pl.DataFrame
    threshold: float

    @classmethod
    def of(cls, part: Decisions) -> _Made:
        rows, scores, drawn = part
        decided = decision_rows(rows["doc_id"], scores, drawn)
        tally = _tally(rows.with_columns(decided["drawn"], decided["weight"]))
        return cls(decided, batch_rows(rows["doc_id"], rows["n_tokens"], drawn), tally, float(drawn.threshold))


class DrawTables:
    """Appends the decisions of one part of a pool after another, and counts.

    Args:
        decisions: appends rows of the schema ``draw.DECISIONS``.
        batch: appends rows of the schema ``draw.BATCH``.
    """

    def __init__(self, decisions: Append, batch: Append) -> None:
        self._decisions = decisions
        self._batch = batch
        self._tallies: list[pl.DataFrame] = []

    def extend(self, parts: Iterable[Decisions]) -> float:
        """Append parts; each is read and made into rows in threads while the one before is written.

        Args:
            parts: rows of the pool with ``COLUMNS``, the scores of these rows, and who of them is drawn.

        Returns:
            The threshold of the draw, -1 without any part.
        """
        threshold = -1.0
        for made in prefetch(map(_Made.of, prefetch(iter(parts)))):
            self._decisions(made.decisions)
            self._batch(made.batch)
            self._tallies.append(made.tally)
            threshold = made.threshold
        return threshold

    def summary(self, budget: int) -> dict[str, object]:
        """Figures of the batch for people: size, effective size, token shares before and after the draw."""
        tally = pl.concat(self._tallies)
        total = {name: float(tally[name].sum()) for name in tally.columns if tally[name].dtype.is_numeric()}
        tokens, drawn = max(total["tokens"], 1.0), max(total["drawn_tokens"], 1.0)

        def shares(axis: str) -> dict[str, dict[str, float]]:
            by = tally.group_by(axis).agg(pl.col("tokens", "drawn_tokens").sum()).sort(axis)
            return {
                "pool": {str(name): round(n / tokens, 4) for name, n, _ in by.iter_rows()},
                "batch": {str(name): round(n / drawn, 4) for name, _, n in by.iter_rows() if n > 0},
            }

        return {
            "documents": int(total["drawn_documents"]),
            "tokens": int(total["drawn_tokens"]),
            "token_budget": budget,
            "budget_use": round(total["drawn_tokens"] / budget, 5),
            # Kish (1965): of the tokens, and of documents that weigh as much as their tokens.
            "effective_token_share": round(total["mass"] ** 2 / max(total["mass_weight"] * drawn, 1e-12), 4),
            "effective_documents": round(total["mass"] ** 2 / max(total["mass_squared"], 1e-12), 1),
            "mean_p_harm": round(total["drawn_harm"] / drawn, 4),
            "pool_mean_p_harm": round(total["harm"] / tokens, 4),
            "strata": tally.filter(pl.col("drawn_documents") > 0)["stratum"].n_unique(),
            **{f"token_share_by_{axis}": shares(axis) for axis in _AXES},
        }


def _tally(rows: pl.DataFrame) -> pl.DataFrame:
    tokens, weight = pl.col("n_tokens").cast(pl.Int64), pl.col("weight").cast(pl.Float64)
    harm = pl.col("p_harm").cast(pl.Float64) * tokens
    # Axes as text, so that their sums below cannot be mistaken for figures.
    return rows.group_by(pl.col("stratum", *_AXES).cast(pl.Utf8)).agg(
        tokens=tokens.sum(),
        drawn_tokens=tokens.filter("drawn").sum(),
        drawn_documents=pl.col("drawn").sum().cast(pl.Int64),
        harm=harm.sum(),
        drawn_harm=harm.filter("drawn").sum(),
        mass=(weight * tokens).sum(),
        mass_weight=(weight**2 * tokens).sum(),
        mass_squared=((weight * tokens) ** 2).sum(),
    )
