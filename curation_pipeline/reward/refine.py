"""Moving the reward's weights after an evaluation: a shortfall of the trained model raises the weight that answers it.

The rule is dual ascent on the constraints "safety >= its target", "alignment >= its target" and "capability not below
its reference", with multiplicative steps on the simplex. A shortfall is what an axis lacks to its target, or what it
lost since the last iteration beyond the noise tolerance, whichever is larger. No weight changes by more than
``max_log_step`` (20%) an iteration, so one noisy evaluation cannot turn the loop around.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from curation_pipeline.errors import DataError
from curation_pipeline.reward.composite import WEIGHT_OF, Reason, RewardWeights
from curation_pipeline.reward.settings import RewardSettings


@dataclass(frozen=True, slots=True)
class Move:
    """One weight's change and why.

    Attributes:
        reason: what the evaluation showed, for a person to read.
        name: alpha, beta or gamma.
        before, after: the weight, after normalising.
    """

    reason: str
    name: str
    before: float
    after: float


def refine(
    weights: RewardWeights,
    metrics_now: Mapping[str, float],
    metrics_before: Mapping[str, float],
    targets: Mapping[str, float],
    settings: RewardSettings,
) -> tuple[RewardWeights, list[Move]]:
    """The next iteration's weights.

    Args:
        weights: of this iteration.
        metrics_now: of the model just trained, keys ``safety``, ``alignment``, ``capability``, higher is better, on a
            scale where 1 is the whole range; an axis that is missing moves nothing.
        metrics_before: of the parent model; may be empty.
        targets: wanted values of safety and alignment, and the reference of capability (such as the random arm's), of
            which ``capability_tolerance`` may be lost.
        settings: rate, largest step, floor and tolerances.

    Returns:
        The new weights, and one move for each axis that fell short (weights that merely made room are not moves).

    Raises:
        DataError: when a metric is not a finite number.
    """
    steps: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for axis, name in WEIGHT_OF.items():
        shortfall, reason = _shortfall(axis, metrics_now, metrics_before, targets, settings)
        if shortfall > 0:
            steps[name] = min(settings.max_log_step, settings.refine_rate * shortfall)
            reasons[name] = reason
    if not steps:
        return weights, []
    after = weights.moved(steps, floor=settings.min_weight)
    moves = [Move(reasons[name], name, getattr(weights, name), getattr(after, name)) for name in steps]
    return after, moves


def _shortfall(
    axis: Reason,
    now: Mapping[str, float],
    before: Mapping[str, float],
    targets: Mapping[str, float],
    settings: RewardSettings,
) -> tuple[float, str]:
    """How far an axis falls short, and the reason in words."""
    for values in (now, before, targets):
        if axis in values and not math.isfinite(values[axis]):
            raise DataError(f"refinement: {axis} is {values[axis]}; a judge or benchmark failed, repeat the evaluation")
    if axis not in now:
        return 0.0, ""
    found: list[tuple[float, str]] = []
    if axis in targets:
        target = targets[axis]
        if axis == "capability":
            target -= abs(target) * settings.capability_tolerance
        found.append((target - now[axis], f"{axis} {now[axis]:.3f} is below its target {target:.3f}"))
    if axis in before:
        tolerance = settings.tolerance
        if axis == "capability":
            tolerance = max(tolerance, abs(before[axis]) * settings.capability_tolerance)
        found.append((before[axis] - now[axis] - tolerance, f"{axis} fell from {before[axis]:.3f} to {now[axis]:.3f}"))
    return max(found, default=(0.0, ""))
