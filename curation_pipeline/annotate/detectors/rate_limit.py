"""Keeping within a service's quota: requests and tokens a minute, and pauses that the service itself asks for."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class Pacer:
    """Two token buckets (requests, tokens) of one request's depth, so a quota counted over any minute holds.

    A bucket that could fill up would let twice the quota through in the first minute. Here every request pushes the
    earliest time of the next by what it costs (the virtual-scheduling form of the leaky bucket, ITU-T I.371): callers
    reserve their turn in order, then sleep until it, and threads that wait hold no lock.

    Args:
        requests_per_minute: at most so many requests in a minute, one more at its very edge.
        tokens_per_minute: the same for tokens; None for no limit.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        requests_per_minute: float,
        tokens_per_minute: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_request = 60.0 / requests_per_minute
        self._per_token = 60.0 / tokens_per_minute if tokens_per_minute else 0.0
        self._clock = clock
        self._lock = threading.Lock()
        self._next_request = self._next_token = self._held_until = clock()

    def wait(self, tokens: int, sleep: Callable[[float], object]) -> None:
        """Return when a request of so many tokens may be sent; it is counted."""
        slot = self._reserve(tokens)
        while True:
            if (delay := slot - self._clock()) > 0:
                sleep(delay)
                if slot - self._clock() > 1e-3:  # the sleep was cut short: the caller is to stop
                    return
            with self._lock:
                held = self._held_until
            if slot >= held or self._clock() >= held:
                return
            slot = self._reserve(tokens)  # a pause was asked for while this one waited: queue up behind it

    def _reserve(self, tokens: int) -> float:
        with self._lock:
            slot = max(self._clock(), self._next_request, self._next_token, self._held_until)
            self._next_request = slot + self._per_request
            self._next_token = slot + tokens * self._per_token
            return slot

    def correct(self, tokens: int) -> None:
        """Count so many tokens more (or fewer) than were estimated when the request was sent."""
        with self._lock:
            self._next_token += tokens * self._per_token

    def hold(self, seconds: float) -> None:
        """Send nothing for so long: the service said so, and its quota is shared by all threads."""
        with self._lock:
            self._held_until = max(self._held_until, self._clock() + seconds)
            self._next_request = max(self._next_request, self._held_until)
            self._next_token = max(self._next_token, self._held_until)

    def observe(self, headers: Mapping[str, str], tokens: int, longest: float) -> None:
        """Pause when the answer's x-ratelimit headers say that the quota does not carry another such request.

        Args:
            headers: of the answer, names in lower case or a case-blind mapping.
            tokens: estimate for the next request.
            longest: seconds that are believed at most.
        """
        for kind, needed in (("requests", 1.0), ("tokens", float(max(tokens, 1)))):
            remaining = number(headers.get(f"x-ratelimit-remaining-{kind}"))
            reset = duration(headers.get(f"x-ratelimit-reset-{kind}"))
            if remaining is not None and reset is not None and remaining < needed:
                self.hold(min(reset, longest))


def number(text: str | None) -> float | None:
    """A plain non-negative number of a header; None for anything else."""
    if text is None or not re.fullmatch(r"\d{1,15}(\.\d{1,9})?", text.strip()):
        return None
    return float(text)


def duration(text: str | None) -> float | None:
    """Seconds of a header such as ``6m0s``, ``12ms``, ``1h2m3.5s`` or a plain number; None for anything else."""
    if text is None:
        return None
    text = text.strip()
    if (plain := number(text)) is not None:
        return plain
    parts = _DURATION.findall(text)
    if not parts or "".join(f"{value}{unit}" for value, unit in parts) != text:
        return None
    return sum(float(value) * _UNITS[unit] for value, unit in parts)


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds that the answer asks to wait: ``retry-after-ms``, or Retry-After as seconds or a date (RFC 9110, 10.2.3).

    Returns:
        Seconds, zero for a date that has passed; None when no such header is there or it cannot be read.
    """
    if (milliseconds := number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000.0
    text = headers.get("retry-after")
    if text is None:
        return None
    if (seconds := duration(text)) is not None:
        return seconds
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - (now or datetime.now(UTC))).total_seconds())
