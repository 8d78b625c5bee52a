"""Every iteration that the settings allow has a window, whatever the clock says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dagster._core.test_utils import freeze_time

from assets import partitions
from curation_pipeline.errors import ConfigError

TODAY = datetime(2026, 3, 28, 22, 30, tzinfo=UTC)
ORDINALS = (1, 2, 5, 66, 100)
Loop = Callable[..., None]


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    """Sets the profile's loop and starts a process's life over, on the state folder that was there."""
    monkeypatch.setenv("CURATION_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("CURATION_PROFILE", str(tmp_path / "p.toml"))

    def write(**settings: object) -> None:
        lines = "\n".join(f"{name} = {value!r}" for name, value in settings.items())
        source = 'kind = "package"\nname = "a"\ndataset = "bold"'
        (tmp_path / "p.toml").write_text(f'name = "p"\n[loop]\n{lines}\n[[corpus.sources]]\n{source}\n')
        partitions.iteration_partitions.cache_clear()

    yield write
    partitions.iteration_partitions.cache_clear()


@contextmanager
def clock(now: datetime) -> Iterator[None]:
    """A machine whose clock says so, to Dagster and to us."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return now

    with freeze_time(now), pytest.MonkeyPatch.context() as patch:
        patch.setattr(partitions, "datetime", Clock)
        yield


@pytest.mark.slow
@pytest.mark.parametrize("cron", ["0 0-5 * * *", "30 2 * * *", "*/20 1-3 * * *", "0 0 * * 1#1"])
def test_each_iteration_has_its_window_on_the_first_day_and_later(loop: Loop, cron: str) -> None:
    loop(max_iterations=100, window_cron=cron)
    with clock(TODAY):
        first = [partitions.window_of(ordinal) for ordinal in ORDINALS]
        assert first == sorted(set(first))
    # Over the nights when clocks change, and with a clock that went weeks ahead or back.
    for days in (1, 210, -1, -45):
        loop(max_iterations=100, window_cron=cron)
        with clock(TODAY + timedelta(days=days)):
            assert [partitions.window_of(ordinal) for ordinal in ORDINALS] == first
            assert partitions.ordinal_of(first[-2]) == 66
            assert partitions.iteration_partitions().has_partition_key(first[-1])
    with clock(TODAY + timedelta(days=-100)):  # in the life of one process
        assert partitions.window_of(66) == first[-2]


def test_the_windows_stay_those_of_the_definition_as_time_goes_by(loop: Loop) -> None:
    loop(max_iterations=100, future_windows=5)
    with clock(TODAY):
        before = partitions.iteration_partitions()
    loop(max_iterations=100, future_windows=5)
    with clock(TODAY + timedelta(days=30)):
        assert partitions.iteration_partitions() == before  # a backfill that is under way goes on


def test_ordinals_without_a_window_are_refused(loop: Loop) -> None:
    loop(max_iterations=3, future_windows=2)
    with clock(TODAY):
        for ordinal in (0, -1, 5_000):
            with pytest.raises(ConfigError, match=r"loop\.max_iterations"):
                partitions.window_of(ordinal)


def test_the_first_night_is_a_day_of_utc(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    loop(max_iterations=100)
    partitions.iteration_partitions()
    assert partitions.first_night() == datetime.now(UTC).strftime("%Y-%m-%d")


@pytest.mark.parametrize("written", ["", "2026-1", "soon", "2026-13-01", "\xff"])
def test_a_damaged_first_night_is_named(loop: Loop, tmp_path: Path, written: str) -> None:
    loop(max_iterations=3)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "first_night").write_bytes(written.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"first_night holds no date"):
        partitions.window_of(1)


@pytest.mark.parametrize("cron", ["nonsense", "0 0 30 2 *", "0 0-5 * * * *"])
def test_a_cron_without_windows_is_named(loop: Loop, cron: str) -> None:
    loop(max_iterations=3, window_cron=cron)
    with pytest.raises(ConfigError, match=r"loop\.window_cron"):
        partitions.iteration_partitions()


def test_a_clock_that_is_years_behind_is_named(loop: Loop) -> None:
    loop(max_iterations=3, window_cron="*/5 * * * *")
    with clock(TODAY):
        partitions.first_night()
    with clock(datetime(1990, 1, 1, tzinfo=UTC)), pytest.raises(ConfigError, match=r"clock says 1990-01-01"):
        partitions.iteration_partitions()
