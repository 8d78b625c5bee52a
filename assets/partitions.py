"""The partitions of the graph: corpus snapshots, iteration windows, and the cells of an experiment.

An iteration is an ordinal with a date on it: the windows are several slots a night from the first night of this
state folder on, and the n-th window is iteration n. The first night is written down once, so that ordinals never move.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import cache

import dagster as dg

from curation_pipeline.config import active_profile, load_profile, state_folder
from curation_pipeline.lake.store import LocalStore

WINDOW_FORMAT = "%Y-%m-%d-%H:%M"

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
    """The date of iteration 1, written into the state folder when it is first asked for."""
    store = LocalStore(state_folder())
    store.put_if_absent("first_night", datetime.now().strftime("%Y-%m-%d").encode())
    data = store.read("first_night")
    assert data is not None  # written above, by this process or another
    return data.decode().strip()


@cache
def iteration_partitions() -> dg.TimeWindowPartitionsDefinition:
    """The windows of the loop's iterations."""
    loop = load_profile(active_profile()).loop
    return dg.TimeWindowPartitionsDefinition(
        start=f"{first_night()}-00:00",
        fmt=WINDOW_FORMAT,
        cron_schedule=loop.window_cron,
        end_offset=loop.future_windows,
    )


def ordinal_of(window: str) -> int:
    """The iteration (from 1) of a window's key.

    Raises:
        dagster.DagsterInvariantViolationError: there is no such window.
    """
    keys = iteration_partitions().get_partition_keys()
    if window not in keys:
        raise dg.DagsterInvariantViolationError(f"{window!r} is no iteration window; they run {keys[0]} to {keys[-1]}")
    return keys.index(window) + 1


def window_of(ordinal: int) -> str:
    """The window's key of an iteration (from 1)."""
    return iteration_partitions().get_partition_keys()[ordinal - 1]
