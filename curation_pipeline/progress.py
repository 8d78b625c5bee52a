"""How long work reports how far it is; the core never prints."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float], None]
"""Called with what is being done and the fraction done, in [0, 1]."""


def silent(_what: str, _fraction: float) -> None:
    """A progress callback for callers that show nothing."""
