"""The partitions of the graph: corpus snapshots, iteration windows, and the cells of an experiment.

An iteration is an ordinal with a date on it: the windows are several slots a night from the first night of this
state folder on, and the n-th window is iteration n. The first night is written down once, so that ordinals never move:
into the state folder, or into the bucket that several machines share. Windows are in UTC, without daylight saving.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache

import dagster as dg

from curation_pipeline.config import active_profile, load_profile, state_folder
from curation_pipeline.errors import ConfigError
from curation_pipeline.lake.store import LocalStore
from curation_pipeline.stages.arms import Cell
from curation_pipeline.stages.context import open_lake
from curation_pipeline.stages.state import MAIN, state_partition
from curation_pipeline.steps.step import Partitioning, of_corpus

WINDOW_FORMAT = "%Y-%m-%d-%H:%M"
DAY_FORMAT = "%Y-%m-%d"
FIRST_NIGHT = "first_night"
MOST_WINDOWS = 100_000
"""Dagster's advice for the partitions of an asset."""

corpus_partitions = dg.DynamicPartitionsDefinition(name="corpus")
"""One key ``source|snapshot`` for each delivery of raw text."""

cell_partitions = dg.DynamicPartitionsDefinition(name="experiment_cells")
"""One key ``experiment|arm|seed`` for each chain of an experiment."""


def follow_declared(instance: dg.DagsterInstance, keys: Iterable[str]) -> None:
    """Make the corpus partitions of an instance those that the profile declares.

    What is retired leaves the partitions, so that no backfill or automation makes it; its events stay in the log, and
    show again if it comes back.
    """
    name, wanted = str(corpus_partitions.name), set(keys)
    for key in set(instance.get_dynamic_partitions(name)) - wanted:
        instance.delete_dynamic_partition(name, key)
    instance.add_dynamic_partitions(name, sorted(wanted))


def first_night() -> str:
    """The date of iteration 1, written down when it is first asked for.

    Raises:
        ConfigError: what is written there is no date.
    """
    profile = load_profile(active_profile())
    store = open_lake(profile, state_folder()).store if profile.lake.bucket else LocalStore(state_folder())
    data = store.read(FIRST_NIGHT)
    if data is None:
        store.put_if_absent(FIRST_NIGHT, datetime.now(UTC).strftime(DAY_FORMAT).encode())
        data = store.read(FIRST_NIGHT)
        assert data is not None  # written above, by this process or another
    try:
        return datetime.strptime(data.decode().strip(), DAY_FORMAT).strftime(DAY_FORMAT)
    except ValueError as error:
        raise ConfigError(
            f"{store.root}/{FIRST_NIGHT} holds no date of the form 2026-01-31 ({error}): write into it the day "
            "of iteration 1, or delete it where no iteration has been committed"
        ) from error


@cache
def iteration_partitions() -> dg.TimeWindowPartitionsDefinition:
    """The windows of the loop's iterations: `max_iterations` and `future_windows` more, whatever the clock says.

    Raises:
        ConfigError: the profile's cron gives no such windows, or the clock is years away from the first night.
    """
    loop = load_profile(active_profile()).loop
    night, wanted = first_night(), loop.max_iterations + loop.future_windows
    ahead = wanted
    while ahead <= MOST_WINDOWS:
        try:
            windows = dg.TimeWindowPartitionsDefinition(
                start=f"{night}-00:00", fmt=WINDOW_FORMAT, cron_schedule=loop.window_cron, end_offset=ahead
            )
            if len(windows.get_partition_keys()) >= wanted:
                return windows
        except (dg.DagsterError, ValueError, OverflowError) as error:
            raise ConfigError(
                f"loop.window_cron {loop.window_cron!r} gives no {wanted} windows from {night} on ({error}): write a "
                "cron of several slots a night, such as 0 0-5 * * *, or lower loop.max_iterations"
            ) from error
        ahead *= 2  # Dagster counts from now: a clock before the first night takes some to get there
    raise ConfigError(
        f"this machine's clock says {datetime.now(UTC):%Y-%m-%d %H:%M}, long before {night}, the first night of this "
        f"state: set the clock, or correct {state_folder() / FIRST_NIGHT} where no iteration has been committed"
    )


def _windows() -> Sequence[str]:
    """The keys of all windows in order; a clock that goes back while a process runs takes none away."""
    partitions = iteration_partitions()
    return partitions.get_partition_keys(max(datetime.now(UTC), partitions.start))


def ordinal_of(window: str) -> int:
    """The iteration (from 1) of a window's key.

    Raises:
        dagster.DagsterInvariantViolationError: there is no such window.
    """
    keys = _windows()
    if window not in keys:
        raise dg.DagsterInvariantViolationError(f"{window!r} is no iteration window; they run {keys[0]} to {keys[-1]}")
    return keys.index(window) + 1


def window_of(ordinal: int) -> str:
    """The window's key of an iteration (from 1).

    Raises:
        ConfigError: the settings allow no such iteration.
    """
    keys = _windows()
    if not 1 <= ordinal <= len(keys):
        raise ConfigError(f"iteration {ordinal} has no window, they reach to {len(keys)}: raise loop.max_iterations")
    return keys[ordinal - 1]


def partition_key(partition: Mapping[str, str]) -> str:
    """Dagster's partition key of a partition of the lake: iterations of the loop by their window."""
    return window_of(int(partition["iteration"])) if "iteration" in partition else "|".join(partition.values())


def lake_partition(partitioning: Partitioning, key: str) -> dict[str, str]:
    """The partition of the lake that a key of Dagster means.

    Raises:
        ConfigError: there is no such iteration, or the key of an experiment's run has another form.
    """
    if partitioning is Partitioning.CORPUS:
        return dict(of_corpus(key).partition)
    if partitioning is Partitioning.ITERATION:
        return state_partition(MAIN, ordinal_of(key))
    return Cell.parse(key).partition
