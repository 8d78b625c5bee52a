"""Moving the reward after an evaluation: from violated constraints to multipliers, to weights and corrections.

Multipliers follow dual ascent (``duals.py``). They are mapped to weights by

    alpha : beta : gamma  =  alpha_0 exp(lambda_S) : beta_0 exp(lambda_A) : gamma_0 exp(lambda_C),

the profile's weights alpha_0, beta_0, gamma_0 being what the loop goes back to when every constraint is met. Capability
answers to diversity: it is lost where coverage is lost. The running weights go towards that point on the simplex as far
as no weight's logarithm changes by more than ``max_log_step`` (20%) times the step, and none falls under its floor.

The multiplier of an identity group or of a register (source) shifts the logit of P(harm) there by
-min(gain lambda, ``max_constraint_shift``): where benign text of a group is drawn less often than other benign text, or
where the model unlearns clean text of a source, the detectors are believed less. What the audit found (``recalibrate``)
is added to it; all corrections move by one fraction of their way, such that none changes by more than
``max_shift_step`` an iteration, towards sums that stay within ``max_shift``.

Every change is a `Move` with its reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from curation_pipeline.errors import DataError
from curation_pipeline.reward.composite import Reason, RewardWeights
from curation_pipeline.reward.duals import Duals, ascend
from curation_pipeline.reward.evidence import Evidence, Move, Shifts, Tradeoff
from curation_pipeline.reward.refinement_settings import RefinementSettings
from curation_pipeline.reward.settings import RewardSettings

_LEAST = 5e-5
"""Smaller changes are rounding, not moves."""


@dataclass(frozen=True, slots=True)
class Refined:
    """Where the reward goes next: its weights, multipliers, corrections (columns to values to shifts), and why."""

    weights: RewardWeights
    duals: Duals
    shifts: Shifts
    moves: tuple[Move, ...]


def refine(
    weights: RewardWeights,
    duals: Duals,
    shifts: Shifts,
    evidence: Evidence,
    reward: RewardSettings,
    settings: RefinementSettings,
    audit: Shifts | None = None,
    audit_reasons: Mapping[tuple[str, str], str] | None = None,
) -> Refined:
    """The next iteration's weights, multipliers and corrections.

    Args:
        weights: in force now.
        duals: in force now.
        shifts: the corrections in force now.
        evidence: what the evaluation and the batch showed.
        reward: the profile's weights, rate, largest step, floor and tolerances.
        settings: targets and bounds of the rest.
        audit: what the audits' labels say the shifts should be; None leaves the audit's part as it is, which is then
            to be passed as it was.
        audit_reasons: in words, by (column, value).

    Raises:
        DataError: a metric is not a finite number.
    """
    after, reasons = _ascended(duals, evidence, reward, settings)
    moves = [
        Move(reasons[name], name, duals.named().get(name, 0.0), value, "dual")
        for name, value in after.named().items()
        if abs(value - duals.named().get(name, 0.0)) > _LEAST
    ]
    wanted = _wanted_weights(after, reward)
    new = _towards(weights, wanted, reward.max_log_step * duals.step)
    dual_of = {"alpha": "lambda_S", "beta": "lambda_A", "gamma": "lambda_C"}
    changed = {move.name for move in moves}
    moves += [
        Move(_weight_reason(name, dual_of[name], changed, reasons, weights, new), name, old, value)
        for name in dual_of
        if abs((value := getattr(new, name)) - (old := getattr(weights, name))) > _LEAST
    ]
    corrected, corrections = _corrected(shifts, after, audit or {}, audit_reasons or {}, reasons, settings)
    return Refined(new, after, corrected, (*moves, *corrections))


def _weight_reason(
    name: str, dual: str, changed: set[str], reasons: Mapping[str, str], before: RewardWeights, after: RewardWeights
) -> str:
    rose = getattr(after, name) > getattr(before, name)
    reason = reasons.get(dual, "")
    if dual in changed and rose:
        return reason
    if rose:
        return f"{reason + '; ' if reason else ''}on its way to where its multiplier wants it"
    return f"{reason + '; ' if reason else ''}makes room for the weights that rose"


def _ascended(
    duals: Duals, evidence: Evidence, reward: RewardSettings, settings: RefinementSettings
) -> tuple[Duals, dict[str, str]]:
    """All multipliers after their step, and what each saw, by the name that people see."""
    reasons: dict[str, str] = {}
    axis_after: dict[str, float] = {}
    axes: tuple[tuple[Reason, str], ...] = (("safety", "S"), ("capability", "C"), ("alignment", "A"))
    for axis, letter in axes:
        violation, reason = _violation(axis, evidence, reward)
        if axis == "safety" and violation is not None and violation > 0 and evidence.tradeoff is not None:
            violation, words = _weighed(violation, evidence, evidence.tradeoff, reward)
            reason += words
        reasons[f"lambda_{letter}"] = reason
        axis_after[axis] = ascend(getattr(duals, axis), violation, duals.step, reward, settings)
    groups, registers = dict(duals.groups), dict(duals.registers)
    for name in sorted({*groups, *evidence.parity}):
        seen = evidence.parity.get(name)
        # A ratio of small counts is believed only as far as its interval goes.
        violation = (
            None if seen is None else _beyond(settings.parity_floor - seen.high, settings.parity_floor - seen.low)
        )
        groups[name] = ascend(groups.get(name, 0.0), violation, duals.step, reward, settings)
        reasons[f"lambda_g {name}"] = (
            "nothing was measured"
            if seen is None
            else f"benign text that mentions {name} is drawn {seen.value:.2f} times as often as text that mentions no "
            f"group ({seen.low:.2f} to {seen.high:.2f}, {seen.n} documents), {settings.parity_floor:g} is asked"
        )
    for name in sorted({*registers, *evidence.sources}):
        seen = evidence.sources.get(name)
        limit = 1.0 + settings.register_tolerance
        violation = None if seen is None else _beyond(seen.low - limit, seen.high - limit)
        registers[name] = ascend(registers.get(name, 0.0), violation, duals.step, reward, settings)
        reasons[f"lambda_r {name}"] = (
            "nothing was measured"
            if seen is None
            else f"clean held-out text of {name} takes {seen.value:.3f} of the base's bits per byte "
            f"({seen.low:.3f} to {seen.high:.3f}, {seen.n} texts), at most {limit:g} is allowed"
        )
    kept = [{k: v for k, v in each.items() if v > 0} for each in (groups, registers)]
    return Duals(**axis_after, groups=kept[0], registers=kept[1], step=duals.step), reasons


def _beyond(near: float, far: float) -> float:
    """A violation that its interval is sure of: its nearer end where both ends agree, 0 where they do not."""
    return near if near > 0 else far if far < 0 else 0.0


def _violation(axis: Reason, evidence: Evidence, reward: RewardSettings) -> tuple[float | None, str]:
    """How far an axis falls short of its target, or fell beyond noise, whichever is more; below 0 is slack."""
    now, before, targets = evidence.now, evidence.before, evidence.targets
    for values in (now, before, targets):
        if axis in values and not math.isfinite(values[axis]):
            raise DataError(f"refinement: {axis} is {values[axis]}; a judge or benchmark failed, repeat the evaluation")
    if axis not in now:
        return None, f"{axis} was not measured"
    found: list[tuple[float, str]] = []
    if axis in targets:
        target = targets[axis]
        if axis == "capability":
            target -= abs(target) * reward.capability_tolerance
        gap = target - now[axis]
        where = "below" if gap > 0 else "not below"
        found.append((gap, f"{axis} {now[axis]:.3f} is {where} its target {target:.3f}"))
    if axis in before:
        tolerance = reward.tolerance
        if axis == "capability":
            tolerance = max(tolerance, abs(before[axis]) * reward.capability_tolerance)
        fall = before[axis] - now[axis] - tolerance
        if fall > 0:
            found.append((fall, f"{axis} fell from {before[axis]:.3f} to {now[axis]:.3f}"))
    return max(found, default=(None, f"{axis} did not fall beyond {reward.tolerance:g}"), key=_first)


def _first(pair: tuple[float | None, str]) -> float:
    return -math.inf if pair[0] is None else pair[0]


def _weighed(violation: float, evidence: Evidence, tradeoff: Tradeoff, reward: RewardSettings) -> tuple[float, str]:
    """The violation of safety halved where the surrogate says that closing it costs more capability than is allowed."""
    if not tradeoff.believed:
        return violation, ""
    cost = -tradeoff.capability_per_safety * violation
    allowed = reward.capability_tolerance * evidence.now.get("capability", 0.5)
    r2 = f"leave-one-out R2 {tradeoff.r2_safety:.2f} and {tradeoff.r2_capability:.2f}"
    if cost <= allowed:
        return violation, f"; by the probes' surrogate closing it costs {max(cost, 0.0):.3f} of capability ({r2})"
    return violation / 2, (
        f"; by the probes' surrogate closing it would cost {cost:.3f} of capability, more than the {allowed:.3f} "
        f"allowed ({r2}), so only half of it is asked for"
    )


def _wanted_weights(duals: Duals, reward: RewardSettings) -> np.ndarray:
    """(3,) alpha, beta, gamma that the multipliers ask for, none under its floor."""
    start = np.array([reward.alpha, reward.beta, reward.gamma])
    raised = start * np.exp([getattr(duals, axis) for axis in ("safety", "alignment", "capability")])
    raised /= raised.sum()
    low = raised < reward.min_weight
    while low.any() and not np.isclose(raised[low], reward.min_weight).all():
        # Those under the floor stand on it, the others share the rest in their proportions.
        raised[~low] *= (1.0 - reward.min_weight * low.sum()) / raised[~low].sum()
        raised[low] = reward.min_weight
        low = raised <= reward.min_weight
    return np.asarray(raised)


def _towards(weights: RewardWeights, wanted: np.ndarray, limit: float) -> RewardWeights:
    """The point on the way from the weights to the wanted ones where no logarithm has changed by more than limit."""
    start = np.array([weights.alpha, weights.beta, weights.gamma])
    if np.abs(wanted - start).max() <= 1e-12:
        return weights
    safe = np.maximum(start, 1e-6)
    direction = np.log(np.maximum(wanted, 1e-6) / safe)
    after, fraction = start, 1.0
    for _ in range(200):
        moved = safe * np.exp(fraction * direction)
        moved /= moved.sum()
        if np.abs(np.log(moved / safe)).max() <= limit:
            after = moved
            break
        fraction *= 0.95
    alpha, beta = float(after[0]), float(after[1])
    return RewardWeights(alpha, beta, max(0.0, 1.0 - alpha - beta), weights.eta)


def constraint_shifts(duals: Duals, settings: RefinementSettings) -> dict[str, dict[str, float]]:
    """The corrections that the group and register constraints ask for: never above 0."""

    def shift(multiplier: float) -> float:
        return -min(settings.constraint_gain * multiplier, settings.max_constraint_shift)

    found = {
        "identity_group": {name: shift(value) for name, value in duals.groups.items() if value > 0},
        "source": {name: shift(value) for name, value in duals.registers.items() if value > 0},
    }
    return {column: values for column, values in found.items() if values}


def _corrected(
    shifts: Shifts,
    duals: Duals,
    audit: Shifts,
    audit_reasons: Mapping[tuple[str, str], str],
    reasons: Mapping[str, str],
    settings: RefinementSettings,
) -> tuple[dict[str, dict[str, float]], list[Move]]:
    """The corrections moved towards audit plus constraints, within their bounds."""
    constraints = constraint_shifts(duals, settings)
    wanted: dict[tuple[str, str], tuple[float, float]] = {}
    for column in sorted({*shifts, *audit, *constraints}):
        parts = [part.get(column, {}) for part in (shifts, audit, constraints)]
        for value in sorted({*parts[0], *parts[1], *parts[2]}):
            now, found, asked = (part.get(value, 0.0) for part in parts)
            target = min(settings.max_shift, max(-settings.max_shift, found + asked))
            wanted[column, value] = now, target - now
    # One fraction for all: a document has a shift for its source and one for its group, and a bound on each alone
    # would change their sum, which is what the audit found.
    furthest = max((abs(change) for _, change in wanted.values()), default=0.0)
    fraction = min(1.0, settings.max_shift_step / furthest) if furthest > 0 else 1.0
    out: dict[str, dict[str, float]] = {}
    moves: list[Move] = []
    for (column, value), (now, change) in wanted.items():
        after = now + fraction * change
        if abs(after) > _LEAST:
            out.setdefault(column, {})[value] = after
        if abs(after - now) > _LEAST:
            letter = {"identity_group": "g", "source": "r"}.get(column, "")
            words = [audit_reasons.get((column, value), "")] if audit.get(column, {}).get(value) else []
            words += [reasons.get(f"lambda_{letter} {value}", "")] if constraints.get(column, {}).get(value) else []
            reason = "; ".join(word for word in words if word) or "what asked for it is gone"
            moves.append(Move(reason, f"correction {column} {value}", now, after, "correction"))
    return out, moves
