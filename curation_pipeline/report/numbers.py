"""Figures as people read them on a page and in a terminal."""

from __future__ import annotations

import math

DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


def number(value: float | None, signed: bool = False) -> str:
    """Three decimals, or a dash."""
    if value is None or not math.isfinite(value):
        return DASH
    rounded = round(value, 3) + 0.0  # no negative zero
    return (f"{rounded:+.3f}" if signed else f"{rounded:.3f}").replace("-", MINUS)


def percent(value: float | None, signed: bool = False) -> str:
    """Percent with up to one decimal, or a dash."""
    if value is None or not math.isfinite(value):
        return DASH
    digits = 0 if abs(value) >= 0.1 else 1
    return (f"{100 * value:+.{digits}f}%" if signed else f"{100 * value:.{digits}f}%").replace("-", MINUS)


def signed(value: float | None) -> str:
    """A difference: three decimals with their sign, or a dash."""
    return number(value, signed=True)


def points(value: float | None) -> str:
    """A difference of two shares in percentage points, or a dash."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{round(100 * value, 1) + 0.0:+.1f}".replace("-", MINUS)


def count(value: float | None) -> str:
    """A whole number with thin spaces between thousands, or a dash."""
    return DASH if value is None or not math.isfinite(value) else f"{value:,.0f}".replace(",", "\u202f")


def size(value: float | None) -> str:
    """Bytes in the largest fitting unit."""
    if value is None:
        return DASH
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
