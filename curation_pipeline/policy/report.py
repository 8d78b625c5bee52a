"""The control of the policy: the closed form on the same pool, objective and budget, and how the two compare.

Differences come with an interval from a bootstrap over documents that is paired: every resample is seen by both arms.
Decisions are held fixed, so the interval says how far the comparison would move on another pool of the same corpus.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from curation_pipeline.bootstrap import percentiles, resampled_counts
from curation_pipeline.policy.artefact import ScoringPolicy
from curation_pipeline.policy.candidates import Candidates
from curation_pipeline.policy.closed_form import closed_form_rule
from curation_pipeline.policy.pool import F64, Pool
from curation_pipeline.policy.problem import SelectionProblem
from curation_pipeline.policy.report_value import MEASURES, block_sums, measures
from curation_pipeline.policy.scores import Scores
from curation_pipeline.policy.scoring import FrozenState, frozen_on, scores_at
from curation_pipeline.reward.parity import selection_parity
from curation_pipeline.seeds import generator

Verdict = Literal["is ahead of", "ties with", "trails"]

_ORDER: tuple[Verdict, ...] = ("trails", "ties with", "is ahead of")
MARGIN = 0.01
"""A difference below this share of what the control gains over a random draw is a tie, however sure it is."""
_BLOCKS = 200
_RESAMPLES = 400
_BINS = 10


@dataclass(frozen=True, slots=True)
class Control:
    """A policy and its closed-form control.

    Attributes:
        table: arm (policy, closed_form, random, difference), measure, value, low, high: the figures of
            ``report_value.MEASURES`` for each arm, policy minus closed form with its 95% interval, and
            ``parity:<group>`` for each identity group.
        scores: of the closed form.
        agreement: policy_bin, control_bin (tenths of the probability, from 0), tokens (share of the pool's).
        overlap: share of the budget that both draw when they share their random numbers.
        chance: the same for the control and a random draw.
        correlation: Pearson's, of the two inclusion probabilities over documents; None where one does not vary.
        share_of_gain: ``value`` of the policy above random, over that of the control; None where the control's is 0.
        verdict: of the policy against the control, the worse one by ``value`` and by ``paid_value``.
        sentence: the verdict in words, with its figures.
    """

    table: pl.DataFrame
    scores: Scores
    agreement: pl.DataFrame
    overlap: float
    chance: float
    correlation: float | None
    share_of_gain: float | None
    verdict: Verdict
    sentence: str

    def row(self, arm: str, measure: str) -> dict[str, Any]:
        """One row of the table."""
        return self.table.row(by_predicate=(pl.col("arm") == arm) & (pl.col("measure") == measure), named=True)

    def figure(self, arm: str, measure: str) -> float:
        """The value of one row."""
        return float(self.row(arm, measure)["value"])


def control_at(state: FrozenState, policy: ScoringPolicy, seed: int) -> Control:
    """Compare a policy with the best response to the same learned reward.

    The control uses the policy's constants and duals, so that only the decision differs.

    Args:
        state: at which the policy has decided.
        policy: that policy.
        seed: of the resamples.
    """
    pool, objective = state.problem.candidates.pool, state.problem.candidates.statistics.objective
    control = frozen_on(closed_form_rule(pool, policy.settings, seed, policy), pool, objective)
    return compare(state.problem, scores_at(state), scores_at(control), generator(seed, "control"))


def compare(problem: SelectionProblem, policy: Scores, control: Scores, rng: np.random.Generator) -> Control:
    """Compare two selections of one pool at equal budget.

    Args:
        problem: n documents and the objective that both are judged by.
        policy: scores of the policy.
        control: scores of the closed form.
        rng: deals documents to blocks and resamples these.
    """
    candidates = problem.candidates
    n = len(candidates)
    blocks = min(_BLOCKS, n)
    block = rng.permutation(n) % blocks
    share = min(candidates.statistics.budget / candidates.tokens, 1.0)
    arms = {"policy": policy, "closed_form": control, "random": Scores(np.full(n, share), np.ones(n, np.float32))}
    sums = {arm: block_sums(candidates, scores, block, blocks) for arm, scores in arms.items()}
    phi_pool = (candidates.length / candidates.tokens) @ candidates.phi
    counts = resampled_counts(blocks, rng, _RESAMPLES)

    def values(arm: str, resample: F64) -> F64:
        return measures(problem, phi_pool, sums[arm].resampled(resample))

    point = {arm: values(arm, np.ones(blocks)) for arm in arms}
    resampled = {arm: np.stack([values(arm, row) for row in counts]) for arm in arms}
    resampled["difference"] = resampled["policy"] - resampled["closed_form"]
    point["difference"] = point["policy"] - point["closed_form"]
    limits = {arm: percentiles(of_arm) for arm, of_arm in resampled.items()}
    rows: list[tuple[str, str, float, float | None, float | None]] = [
        (arm, measure, float(point[arm][i]), float(limits[arm][0, i]), float(limits[arm][1, i]))
        for arm in point
        for i, measure in enumerate(MEASURES)
    ]
    rows += [
        (arm, f"parity:{group}", ratio, None, None)
        for arm, scores in arms.items()
        for group, ratio in identity_parity(candidates.pool, scores).items()
    ]
    table = pl.DataFrame(rows, schema=["arm", "measure", "value", "low", "high"], orient="row")
    judged = {
        measure: _judge(
            float(point["closed_form"][i] - point["random"][i]),
            float(point["difference"][i]),
            float(limits["difference"][0, i]),
            float(limits["difference"][1, i]),
        )
        for i, measure in enumerate(MEASURES)
        if measure in ("value", "paid_value")
    }
    # The two price uneven weights and repeated documents differently; an advantage that only one sees is none.
    verdict = min((found.verdict for found in judged.values()), key=_ORDER.index)
    return Control(
        table=table,
        scores=control,
        agreement=_agreement(candidates, policy, control),
        overlap=overlap(candidates, policy, control),
        chance=overlap(candidates, arms["random"], control),
        correlation=_correlation(policy.probability, control.probability),
        share_of_gain=judged["value"].share_of_gain,
        verdict=verdict,
        sentence=_sentence(verdict, judged["value"], judged["paid_value"]),
    )


def identity_parity(pool: Pool, scores: Scores) -> dict[str, float]:
    """Selection parity of the expected batch by identity group, see `reward.parity`."""
    columns = {
        name: pl.Series(axis.names).gather(axis.code)
        for name, axis in (("source", pool.source), ("identity_group", pool.group))
    }
    frame = pl.DataFrame(columns | {"p_harm": pool.p_harm, "drawn": scores.probability})
    return dict(selection_parity(frame).select("identity_group", "parity").iter_rows())


@dataclass(frozen=True, slots=True)
class _Judged:
    """One measure: what the control gains over a random draw, and the policy minus the control with its interval."""

    gain: float
    difference: float
    low: float
    high: float
    verdict: Verdict

    @property
    def share_of_gain(self) -> float | None:
        return (self.difference + self.gain) / self.gain if self.gain > 1e-9 else None

    @property
    def words(self) -> str:
        share = self.share_of_gain
        if share is None:
            said = "where the closed form gains nothing over a random draw"
        elif share < 0.0:
            said = "which is less than a random draw is worth"
        else:
            said = f"so that it keeps {share:.1%} of what the closed form gains over a random draw"
        return f"{self.difference:+.4f} a token (95% interval {self.low:+.4f} to {self.high:+.4f}), {said}"


def _judge(gain: float, difference: float, low: float, high: float) -> _Judged:
    margin = MARGIN * abs(gain)
    verdict: Verdict = "ties with"
    if low > 0.0 and difference > margin:
        verdict = "is ahead of"
    if high < 0.0 and difference < -margin:
        verdict = "trails"
    return _Judged(gain, difference, low, high, verdict)


def _sentence(verdict: Verdict, value: _Judged, paid: _Judged) -> str:
    said = (
        f"Here the policy {verdict} the closed form: the value of its expected batch differs by {value.words}; "
        f"measured from the reference gain, as training pays it, by {paid.words}."
    )
    if value.verdict != paid.verdict:
        said += (
            f" By value alone it {value.verdict} the closed form, as training pays it {paid.verdict} it: the two "
            "differ in what uneven weights and repeated documents cost, and the worse one counts."
        )
    elif verdict == "ties with" and not value.low <= 0.0 <= value.high:
        said += f" The difference is sure but below {MARGIN:.0%} of that gain."
    return said


def overlap(candidates: Candidates, one: Scores, other: Scores) -> float:
    """Share of the budget that two selections both draw when they share their random numbers.

    A document is drawn where its random number falls below its probability, so both draw it with the smaller one.
    """
    both = float(np.minimum(one.probability, other.probability) @ candidates.length)
    return both / max(float(other.probability @ candidates.length), 1e-12)


def _correlation(one: F64, other: F64) -> float | None:
    if min(float(one.std()), float(other.std())) < 1e-12:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def _agreement(candidates: Candidates, policy: Scores, control: Scores) -> pl.DataFrame:
    place = [np.minimum((scores.probability * _BINS).astype(np.int64), _BINS - 1) for scores in (policy, control)]
    tokens = np.bincount(place[0] * _BINS + place[1], weights=candidates.length, minlength=_BINS**2)
    grid = np.arange(_BINS**2)
    frame = pl.DataFrame(
        {"policy_bin": grid // _BINS, "control_bin": grid % _BINS, "tokens": tokens / candidates.length.sum()}
    )
    return frame.filter(pl.col("tokens") > 0)
