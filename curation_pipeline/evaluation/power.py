"""What a comparison could have seen: power under the normal approximation, from the bootstrap's standard error."""

from __future__ import annotations

from statistics import NormalDist

from curation_pipeline.errors import DataError

_NORMAL = NormalDist()
POWER = 0.8


def smallest_difference(standard_error: float, alpha: float, power: float = POWER, *, sides: int = 2) -> float:
    """The smallest true difference that a test at level `alpha` finds with probability `power`.

    (z(1 - alpha / sides) + z(power)) times the standard error. With one side and a difference of zero it is also the
    smallest margin at which non-inferiority could be shown.

    Args:
        standard_error: of the difference; with few seeds an estimate of few numbers, so read it as an order of size.
        alpha: level of the test; the level that the correction for many comparisons leaves.
        power: wanted probability.
        sides: 1 or 2.

    Raises:
        DataError: when a probability is not inside (0, 1), or the standard error is negative.
    """
    if not (0 < alpha < 1 and 0 < power < 1 and standard_error >= 0):
        raise DataError(
            f"power needs 0 < alpha, power < 1 and a standard error, got {alpha}, {power}, {standard_error}"
        )
    return (_NORMAL.inv_cdf(1 - alpha / sides) + _NORMAL.inv_cdf(power)) * standard_error
