"""The pacer on a clock of its own, and the headers that services send."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.annotate.detectors.rate_limit import Pacer, duration, retry_after


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@given(
    st.floats(1.0, 6000.0),
    st.floats(100.0, 1e6),
    st.lists(st.tuples(st.integers(1, 5000), st.floats(0.0, 20.0)), min_size=1, max_size=60),
)
def test_no_minute_holds_more_than_the_quota_and_one_request(
    rpm: float, tpm: float, work: list[tuple[int, float]]
) -> None:
    clock, sent = Clock(), list[tuple[float, int]]()
    pacer = Pacer(rpm, tpm, clock)
    for tokens, idle in work:
        clock.now += idle
        pacer.wait(tokens, clock.sleep)
        sent.append((clock.now, tokens))
    for start, _ in sent:
        minute = [tokens for at, tokens in sent if start <= at < start + 60.0 - 1e-6]
        assert len(minute) <= rpm + 1
        assert sum(minute) <= tpm + max(minute) + 1e-6 * tpm


def test_a_pause_of_the_service_comes_before_the_quota_and_the_true_cost_is_counted() -> None:
    clock = Clock()
    pacer = Pacer(60.0, 6000.0, clock)
    pacer.wait(100, clock.sleep)
    pacer.correct(+300)  # the answer says that it cost 400: four seconds of the quota
    pacer.wait(100, clock.sleep)
    assert clock.now == pytest.approx(1004.0)
    pacer.hold(30.0)
    pacer.hold(10.0)  # a shorter pause does not end a longer one
    pacer.wait(1, clock.sleep)
    assert clock.now == pytest.approx(1034.0)
    pacer.observe({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m30s"}, 1, longest=60.0)
    pacer.wait(1, clock.sleep)
    assert clock.now == pytest.approx(1094.0), "no header is believed for longer than the settings allow"
    pacer.observe({"x-ratelimit-remaining-requests": "lots", "x-ratelimit-reset-requests": "-5"}, 1, longest=60.0)
    pacer.wait(1, clock.sleep)
    assert clock.now == pytest.approx(1095.0)


def test_headers_are_read_and_nonsense_is_not() -> None:
    assert [duration(text) for text in ("6m0s", "12ms", "1h2m3.5s", " 7 ", "0.5")] == [360.0, 0.012, 3723.5, 7.0, 0.5]
    assert [duration(text) for text in (None, "", "soon", "5x", "1s?", "-3", "nan", "1e9")] == [None] * 8
    now = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
    assert retry_after({"retry-after": "Mon, 01 Jun 2026 12:00:30 GMT"}, now) == 30.0
    assert retry_after({"retry-after": "Mon, 01 Jun 2026 11:00:00 GMT"}, now) == 0.0
    assert retry_after({"retry-after": "2", "retry-after-ms": "150"}, now) == 0.15
    assert retry_after({"retry-after": "later"}, now) is None
    assert retry_after({}, now) is None
