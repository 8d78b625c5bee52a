"""The project as a Dagster resource: the profile in force, the lake, and the folder of local state."""

from __future__ import annotations

import time
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from curation_pipeline.config import active_profile, cache_folder, load_profile, state_folder
from curation_pipeline.progress import Progress, silent
from curation_pipeline.stages.context import Context, open_lake

if TYPE_CHECKING:
    from dagster import DagsterLogManager

REPORTER: ContextVar[Progress] = ContextVar("REPORTER", default=silent)
"""Where a process that runs assets itself (the command line) listens to their progress."""

LOG_EVERY_SECONDS = 10.0


def logging_progress(log: DagsterLogManager) -> Progress:
    """A progress callback that logs at most every ten seconds and tells the process's reporter every time."""
    last = time.monotonic()

    def report(what: str, fraction: float) -> None:
        nonlocal last
        REPORTER.get()(what, fraction)
        if time.monotonic() - last >= LOG_EVERY_SECONDS:
            last = time.monotonic()
            log.info(f"{what}: {100 * fraction:.0f} %")

    return report


class ProjectResource(dg.ConfigurableResource[Any]):
    """The profile, the lake and the state folder; each asset asks it for its context."""

    profile: str = Field(
        default_factory=active_profile, description="a shipped profile's name, or a path to a TOML file"
    )
    state: str = Field(default_factory=lambda: str(state_folder()), description="folder of all local state")
    cache: str = Field(default_factory=lambda: str(cache_folder()), description="folder of downloaded archives")

    def context(self, log: DagsterLogManager | None = None) -> Context:
        """What a stage is handed.

        Args:
            log: where progress is logged; nowhere when None.

        Raises:
            ConfigError: the profile is missing or wrong.
        """
        profile = load_profile(self.profile)
        progress = silent if log is None else logging_progress(log)
        return Context(open_lake(profile, Path(self.state)), profile, Path(self.cache), progress)
