"""What the report shows: frames with fixed columns, each of which may still be missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import polars as pl

from curation_pipeline.errors import DataError
from curation_pipeline.experiment.report_schemas import OPTIONAL, REQUIRED_ANYWAY, SCHEMAS

AXES = ("safety", "alignment", "capability", "performance")


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything a report is made of. A part that is None, or a frame without rows, is left out of the page.

    A chain is named `arm` or `arm/cell`; chains of one arm are averaged. All chains are assumed to have been given
    the same token budget. Shares, rates and `reduction` lie in [0, 1] (a reduction may be negative).

    Attributes:
        title: Headline of the page.
        created_at: When the figures were read, as shown.
        arm: The arm the report is about.
        baselines: Arms it is compared with; the first is the one that reductions are stated against.
        token_budget: Tokens of each batch.
        about: Facts for the head of the page, by name (profile, base model, judge, code version).
        summary: Long table of the aggregates: axis is one of `AXES`, higher is better. Ordinal 0 is the cold start.
        harm: Relative reduction of harmful outputs of `arm` against `baseline`, with its interval.
        metrics: Every figure behind the aggregates, with the score of guessing where there is one.
        comparisons: The family of comparisons that claims rest on, see ``claims.compare``.
        front: Every model, with the Pareto front of safety and capability and the choice, see ``front.pareto_front``.
        looks: Every look at the holdout that no iteration saw, with what was found.
        policy_effects: Mean change of a document's selection probability when a feature alone rises by one standard
            deviation.
        policy_rates: Share of each group's tokens that is expected in the batch, by the policy and by its control.
        policy_control: What the policy's card says of its control and of its parent.
        credit_probes: Measured outcome of each probe and its prediction from the others.
        selection: Shares along a dimension (toxicity_bin, domain, source, ...), as the mart selection_by_stratum.
        parity: Selection rate of benign text by identity group over that of `none`, as the mart selection_parity.
        credit: dP/dn of each stratum, in the scale that the reward uses.
        credit_fit: Leave-one-out R2 of the surrogate.
        reward_moves: Weights of the reward (alpha, beta, gamma), with the reason of each move.
        moves: Every change of the reward with its reason: kind is weight, dual, correction or norm.
        multipliers: Multipliers of the constraints (`lambda_S`, ...), which the next iteration starts from.
        corrections: Shifts of the logit of P(harm) in force, by stratum.
        audits: Size of each audit batch, how many labels there are so far, and what is awaited.
        audit_shifts: What the labels of the audits say of each stratum.
        curriculum: The stage that each iteration committed, and why it moved or did not.
        distance: Rank correlation and gap of the flag rates of judge and teacher, on samples and on drawn documents.
        learning: Curves of the policy's training, one row for each quantity and step.
        divergence: Mean harm of the same sampled texts by the teacher's ensemble and by the judge.
        judge_clean: How often the judge flags clean text.
        inputs: Raw partitions.
        timings: Seconds of each stage.
        generations: Sampled texts with the judge's score.
        notes: Sentences that the reader should know, such as a warning of the commit check.
    """

    title: str = "Curation report"
    created_at: str = ""
    arm: str = "main"
    baselines: tuple[str, ...] = ("random", "threshold")
    token_budget: int | None = None
    about: Mapping[str, str] = field(default_factory=dict)
    summary: pl.DataFrame | None = None
    harm: pl.DataFrame | None = None
    metrics: pl.DataFrame | None = None
    comparisons: pl.DataFrame | None = None
    front: pl.DataFrame | None = None
    looks: pl.DataFrame | None = None
    policy_effects: pl.DataFrame | None = None
    policy_rates: pl.DataFrame | None = None
    policy_control: pl.DataFrame | None = None
    credit_probes: pl.DataFrame | None = None
    selection: pl.DataFrame | None = None
    parity: pl.DataFrame | None = None
    credit: pl.DataFrame | None = None
    credit_fit: pl.DataFrame | None = None
    reward_moves: pl.DataFrame | None = None
    moves: pl.DataFrame | None = None
    multipliers: pl.DataFrame | None = None
    corrections: pl.DataFrame | None = None
    audits: pl.DataFrame | None = None
    audit_shifts: pl.DataFrame | None = None
    curriculum: pl.DataFrame | None = None
    distance: pl.DataFrame | None = None
    learning: pl.DataFrame | None = None
    divergence: pl.DataFrame | None = None
    judge_clean: pl.DataFrame | None = None
    inputs: pl.DataFrame | None = None
    timings: pl.DataFrame | None = None
    generations: pl.DataFrame | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a frame that lacks a column.

        Raises:
            DataError: names the part and the columns.
        """
        assert set(SCHEMAS) <= {entry.name for entry in fields(self)}
        for part, schema in SCHEMAS.items():
            frame: pl.DataFrame | None = getattr(self, part)
            if frame is None:
                continue
            needed = {name for name in schema if name not in OPTIONAL or (part, name) in REQUIRED_ANYWAY}
            if missing := needed - set(frame.columns):
                raise DataError(
                    f"report part {part!r} lacks the columns {', '.join(sorted(missing))}; it has "
                    f"{', '.join(frame.columns) or 'none'}"
                )

    def part(self, name: str) -> pl.DataFrame:
        """A part with exactly the columns of its schema (empty if missing), and `arm` where it has a chain."""
        schema = SCHEMAS[name]
        frame: pl.DataFrame | None = getattr(self, name)
        if frame is None:
            frame = pl.DataFrame(schema=dict(schema))
        columns = [
            pl.col(column).cast(dtype) if column in frame.columns else pl.lit(None, dtype).alias(column)
            for column, dtype in schema.items()
        ]
        frame = frame.select(columns)
        if "chain" in schema:
            frame = frame.with_columns(arm=pl.col("chain").str.split("/").list.first())
        return frame

    def arms(self) -> list[str]:
        """The arms that have figures: the report's own, its baselines, then the others by name."""
        present = set(self.part("summary")["arm"].to_list())
        first = [arm for arm in (self.arm, *self.baselines) if arm in present]
        return first + sorted(present - set(first))

    def by_arm(self) -> pl.DataFrame:
        """The summary with the chains of an arm averaged: arm, ordinal, axis, value, ci_low, ci_high, n_chains, status.

        The interval over several chains is the envelope of theirs. `status` is the status of a single chain.
        """
        grouped = self.part("summary").group_by("arm", "ordinal", "axis")
        return grouped.agg(
            pl.col("value").mean(),
            pl.col("ci_low").min(),
            pl.col("ci_high").max(),
            pl.col("chain").n_unique().alias("n_chains"),
            pl.col("tokens").mean().alias("tokens"),
            pl.when(pl.col("chain").n_unique() == 1).then(pl.col("status").first()).alias("status"),
        ).sort("arm", "ordinal", "axis")
